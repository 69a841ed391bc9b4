"""Running classic BPF, and the instructions that are put before libseccomp's."""

from __future__ import annotations

import struct

import pytest

from boxes.plan import seccomp_bpf as bpf

X86, X86_64, ARM64 = 0x40000003, 0xC000003E, 0xC00000B7
ENOSYS = bpf.ERRNO | 38
ON = 0x7FFF0000  # what the filter behind the stub returns here


def program(*instructions: tuple[int, int, int, int]) -> bytes:
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in instructions)


def whole(architecture: int, number: int, *arguments: int) -> bytes:
    values = [*arguments, *[0] * (6 - len(arguments))]
    return struct.pack("=IIQ6Q", number & 0xFFFFFFFF, architecture, 0, *values)


@pytest.mark.parametrize(
    "code, value, expected",
    [(0x15, 5, True), (0x15, 4, False), (0x25, 6, True), (0x25, 5, False), (0x35, 5, True), (0x35, 4, False)],
)
def test_jump_compares_as_the_kernel_does(code: int, value: int, expected: bool) -> None:
    text = program((0x20, 0, 0, 16), (code, 0, 1, 5), (6, 0, 0, 1), (6, 0, 0, 2))
    assert bpf.outcomes(text, whole(X86_64, 0, value)) == {1 if expected else 2}


def test_jump_on_set_bits_wants_any_of_them() -> None:
    text = program((0x20, 0, 0, 16), (0x45, 0, 1, 6), (6, 0, 0, 1), (6, 0, 0, 2))
    assert [bpf.outcomes(text, whole(0, 0, value)) for value in (1, 2, 4)] == [{2}, {1}, {1}]


def test_masking_changes_what_is_compared() -> None:
    text = program((0x20, 0, 0, 16), (0x54, 0, 0, 0xF0), (0x15, 0, 1, 0x30), (6, 0, 0, 1), (6, 0, 0, 2))
    assert bpf.outcomes(text, whole(0, 0, 0x3F)) == {1}


def test_arguments_that_are_not_known_lead_both_ways() -> None:
    text = program((0x20, 0, 0, 16), (0x15, 0, 1, 5), (6, 0, 0, 1), (6, 0, 0, 2))
    assert bpf.outcomes(text, bpf.data_of(X86_64, 0)) == {1, 2}


def test_what_is_known_still_counts_where_arguments_are_not() -> None:
    text = program((0x20, 0, 0, 16), (0x15, 0, 0, 5), (0x20, 0, 0, 0), (0x15, 0, 1, 7), (6, 0, 0, 1), (6, 0, 0, 2))
    assert bpf.outcomes(text, bpf.data_of(X86_64, 7)) == {1}


def test_many_unknown_branches_are_walked_once_each() -> None:
    """2^60 ways, but only 60 places."""
    steps = [(0x20, 0, 0, 16), (0x15, 0, 0, 5)] * 60
    assert bpf.outcomes(program(*steps, (6, 0, 0, 3)), bpf.data_of(X86_64, 0)) == {3}


def test_instruction_that_libseccomp_does_not_use_is_an_error() -> None:
    with pytest.raises(ValueError, match="0x87"):
        bpf.outcomes(program((0x87, 0, 0, 0)), bpf.data_of(X86_64, 0))


def stub(newest: dict[int, int]) -> bytes:
    return bpf.unknown_calls(newest) + program((6, 0, 0, ON))


def test_calls_above_the_newest_give_enosys_on_each_architecture() -> None:
    text = stub({X86_64: 450, X86: 300, ARM64: 0})
    for architecture, newest in ((X86_64, 450), (X86, 300), (ARM64, 0)):
        for number in range(600):
            expected = ENOSYS if number > newest else ON
            assert bpf.outcomes(text, whole(architecture, number)) == {expected}, (hex(architecture), number)


def test_other_architectures_are_left_to_the_filter() -> None:
    assert bpf.outcomes(stub({X86_64: 450}), whole(0x28, 9999)) == {ON}


@pytest.mark.parametrize("number", [0x40000000 | 3, 0x40000000 | 460, 0xFFFFFFFF])
def test_x32_numbers_are_left_to_the_filter_where_x32_is_not_wanted(number: int) -> None:
    assert bpf.outcomes(stub({X86_64: 450}), whole(X86_64, number)) == {ON}


def test_x32_has_a_newest_call_of_its_own() -> None:
    text = stub({X86_64: 450, bpf.X32: 0x40000000 | 300})
    assert bpf.outcomes(text, whole(X86_64, 400)) == {ON}
    assert bpf.outcomes(text, whole(X86_64, 0x40000000 | 300)) == {ON}
    assert bpf.outcomes(text, whole(X86_64, 0x40000000 | 301)) == {ENOSYS}
    assert bpf.outcomes(text, whole(X86_64, 451)) == {ENOSYS}


def test_x32_alone_leaves_x86_64_to_the_filter() -> None:
    text = stub({bpf.X32: 0x40000000 | 300})
    assert bpf.outcomes(text, whole(X86_64, 9999)) == {ON}
    assert bpf.outcomes(text, whole(X86_64, 0x40000000 | 301)) == {ENOSYS}


def test_without_a_newest_call_all_is_left_to_the_filter() -> None:
    assert bpf.outcomes(stub({}), whole(X86_64, 9999)) == {ON}
