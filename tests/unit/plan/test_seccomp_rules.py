"""Profiles compiled by libseccomp, and what becomes of system calls under them."""

from __future__ import annotations

import os
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boxes.errors import ConfigError, UnsupportedError
from boxes.linux import syscalls
from boxes.plan import seccomp_bpf as bpf
from boxes.plan import seccomp_rules as rules
from boxes.spec.schema_seccomp import ARCHITECTURES
from tests.support.seccomp import NAMES, arg, profile, rule

pytestmark = pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers are those of x86-64")

ALLOW, EPERM, ENOSYS, KILL = 0x7FFF0000, 0x00050001, 0x00050026, 0
READ, MKDIR, UNAME, SOCKET, OPENAT2 = 0, 83, 63, 41, 437
X86_64, X86, X32, ARM64 = 0xC000003E, 0x40000003, 0x4000003E, 0xC00000B7


def compiled(profile: dict[str, Any]) -> bytes:
    parts = rules.Parts(profile, "x86_64", syscalls.seccomp_number)
    fd = os.memfd_create("filter")
    try:
        taken, errno = syscalls.seccomp_compile(parts.default, parts.encode(), fd)
        if errno:
            raise parts.failed(taken, errno, "2.x")
        return rules.unknown_calls(profile, "x86_64", syscalls.seccomp_number) + os.pread(fd, 1 << 20, 0)
    finally:
        os.close(fd)


def result(text: bytes, number: int, *arguments: int, architecture: int = X86_64) -> int:
    values = [*arguments, *[0] * (6 - len(arguments))]
    found = bpf.outcomes(text, struct.pack("=IIQ6Q", number & 0xFFFFFFFF, architecture, 0, *values))
    assert len(found) == 1
    return found.pop()


@pytest.mark.parametrize(
    "action, more, expected",
    [
        ("SCMP_ACT_KILL", {}, 0x00000000),
        ("SCMP_ACT_KILL_THREAD", {}, 0x00000000),
        ("SCMP_ACT_KILL_PROCESS", {}, 0x80000000),
        ("SCMP_ACT_TRAP", {}, 0x00030000),
        ("SCMP_ACT_ERRNO", {}, 0x00050001),
        ("SCMP_ACT_ERRNO", {"errnoRet": 0}, 0x00050000),
        ("SCMP_ACT_ERRNO", {"errnoRet": 4094}, 0x00050FFE),
        ("SCMP_ACT_NOTIFY", {}, 0x7FC00000),
        ("SCMP_ACT_TRACE", {}, 0x7FF00001),
        ("SCMP_ACT_TRACE", {"errnoRet": 65535}, 0x7FF0FFFF),
        ("SCMP_ACT_LOG", {}, 0x7FFC0000),
    ],
)
def test_action_is_what_the_kernel_is_told(action: str, more: dict[str, Any], expected: int) -> None:
    text = compiled(profile(rule("mkdir", action=action, **more), default="SCMP_ACT_ALLOW"))
    assert result(text, MKDIR) == expected
    assert result(text, UNAME) == ALLOW


@pytest.mark.parametrize(
    "default, more, expected",
    [
        ("SCMP_ACT_KILL", {}, 0),
        ("SCMP_ACT_KILL_PROCESS", {}, 0x80000000),
        ("SCMP_ACT_TRAP", {}, 0x00030000),
        ("SCMP_ACT_ERRNO", {}, EPERM),
        ("SCMP_ACT_ERRNO", {"defaultErrnoRet": 6}, 0x00050006),
        ("SCMP_ACT_TRACE", {"defaultErrnoRet": 7}, 0x7FF00007),
        ("SCMP_ACT_LOG", {}, 0x7FFC0000),
    ],
)
def test_default_action_meets_all_that_is_not_named(default: str, more: dict[str, Any], expected: int) -> None:
    text = compiled(profile(rule("mkdir", "openat2"), default=default, **more))
    assert (result(text, MKDIR), result(text, UNAME)) == (ALLOW, expected)


def test_profile_without_rules_is_its_default_action() -> None:
    assert result(compiled(profile()), MKDIR) == EPERM


@pytest.mark.parametrize("count", [31, 32, 33, 290])
def test_long_profiles_decide_as_short_ones(count: int) -> None:
    """Above 32 names libseccomp makes a tree."""
    names = [name for name in NAMES if syscalls.seccomp_number(X86_64, name) >= 0][:count]
    assert len(names) == count
    text = compiled(profile(rule(*names)))
    numbers = {syscalls.seccomp_number(X86_64, name) for name in names}
    for number in range(max(numbers) + 1):
        assert result(text, number) == (ALLOW if number in numbers else EPERM), number


WORD = st.one_of(
    st.sampled_from([0, 1, 2**31, 2**32 - 1, 2**32, 2**32 + 1, 2**63, 2**64 - 1]), st.integers(0, 2**64 - 1)
)
HOLDS = {
    "NE": lambda a, v, w: a != v,
    "LT": lambda a, v, w: a < v,
    "LE": lambda a, v, w: a <= v,
    "EQ": lambda a, v, w: a == v,
    "GE": lambda a, v, w: a >= v,
    "GT": lambda a, v, w: a > v,
    "MASKED_EQ": lambda a, v, w: a & v == w,
}


@pytest.mark.parametrize("op", HOLDS)
@settings(max_examples=60, deadline=None)
@given(value=WORD, second=WORD, actual=WORD, index=st.integers(0, 5))
def test_operator_compares_all_64_bits_without_sign(op: str, value: int, second: int, actual: int, index: int) -> None:
    second = second & value if op == "MASKED_EQ" else second
    text = compiled(profile(rule("mkdir", "openat2", args=[arg(index, op, value, second)])))
    for candidate in (actual, value, (value + 1) % 2**64, (value - 1) % 2**64, second):
        arguments = [0] * 6
        arguments[index] = candidate
        expected = ALLOW if HOLDS[op](candidate, value, second) else EPERM
        assert result(text, MKDIR, *arguments) == expected, (hex(candidate), op, hex(value), hex(second))


CONDITION = st.tuples(st.integers(0, 5), st.sampled_from(sorted(set(HOLDS) - {"MASKED_EQ"})), st.integers(0, 3))


@settings(max_examples=150, deadline=None)
@given(
    conditions=st.lists(CONDITION, min_size=1, max_size=4), actual=st.lists(st.integers(0, 3), min_size=6, max_size=6)
)
def test_conditions_hold_together_unless_two_are_on_one_argument(
    conditions: list[tuple[int, str, int]], actual: list[int]
) -> None:
    text = compiled(profile(rule("mkdir", "openat2", args=[arg(*condition) for condition in conditions])))
    held = [HOLDS[op](actual[index], value, 0) for index, op, value in conditions]
    distinct = len({index for index, _, _ in conditions}) == len(conditions)
    assert result(text, MKDIR, *actual) == (ALLOW if (all(held) if distinct else any(held)) else EPERM)


def test_several_rules_for_one_call_are_alternatives() -> None:
    text = compiled(profile(*(rule("socket", args=[arg(0, "EQ", family)]) for family in (1, 2, 10)), rule("openat2")))
    assert [result(text, SOCKET, family) for family in (1, 2, 3, 10, 16)] == [ALLOW, ALLOW, EPERM, ALLOW, EPERM]


def test_rule_that_repeats_the_default_action_is_left_out() -> None:
    text = compiled(profile(rule("mkdir", action="SCMP_ACT_ERRNO", errnoRet=1), rule("openat2")))
    assert result(text, MKDIR) == EPERM


def test_rule_with_the_default_action_but_another_errno_counts() -> None:
    text = compiled(profile(rule("mkdir", action="SCMP_ACT_ERRNO", errnoRet=5), rule("openat2")))
    assert result(text, MKDIR) == 0x00050005


def test_names_that_nobody_knows_are_left_out() -> None:
    text = compiled(profile(rule("no_such_call", "mkdir", "", "openat2")))
    assert (result(text, MKDIR), result(text, UNAME)) == (ALLOW, EPERM)


def test_names_of_other_architectures_are_no_error() -> None:
    text = compiled(profile(rule("socketcall", "s390_pci_mmio_read", "mkdir", "openat2")))
    assert result(text, MKDIR) == ALLOW


# ---- architectures ----


def test_own_architecture_is_always_there_and_others_are_killed() -> None:
    text = compiled(profile(rule("mkdir", "openat2")))
    assert result(text, MKDIR) == ALLOW
    assert result(text, 39, architecture=X86) == KILL
    assert result(text, MKDIR, architecture=ARM64) == KILL


def test_named_architectures_have_their_own_numbers() -> None:
    wanted = ["SCMP_ARCH_X86", "SCMP_ARCH_X86_64", "SCMP_ARCH_X32", "SCMP_ARCH_AARCH64"]
    text = compiled(profile(rule("mkdir", "mkdirat", "openat2"), architectures=wanted))
    assert result(text, 39, architecture=X86) == ALLOW
    assert result(text, 40, architecture=X86) == EPERM
    assert result(text, 34, architecture=ARM64) == ALLOW
    assert result(text, 0x40000000 | MKDIR) == ALLOW
    assert result(text, 0x40000000 | UNAME) == EPERM


def test_architecture_named_twice_is_no_error() -> None:
    compiled(profile(rule("mkdir"), architectures=["SCMP_ARCH_X86", "SCMP_ARCH_X86", "SCMP_ARCH_X86_64"]))


@pytest.mark.parametrize("name", ["X86", "X86_64", "X32", "ARM", "AARCH64", "MIPSEL", "MIPSEL64", "PPC64LE", "RISCV64"])
def test_architecture_of_this_byte_order_is_taken(name: str) -> None:
    compiled(profile(rule("mkdir"), architectures=["SCMP_ARCH_X86", f"SCMP_ARCH_{name}"]))


@pytest.mark.parametrize("name", ["MIPS", "MIPS64", "MIPS64N32", "PPC", "PPC64", "S390", "S390X", "PARISC", "PARISC64"])
def test_architecture_of_another_byte_order_is_refused_with_the_reason(name: str) -> None:
    with pytest.raises(UnsupportedError, match="byte order is not that of this machine") as error:
        compiled(profile(rule("mkdir"), architectures=["SCMP_ARCH_X86", f"SCMP_ARCH_{name}"]))
    assert error.value.pointer == "/linux/seccomp/architectures/1"


def test_each_architecture_of_the_specification_has_a_token() -> None:
    assert set(rules.ARCHITECTURES) == set(ARCHITECTURES)


def test_tokens_are_those_of_the_audit_subsystem() -> None:
    """<linux/audit.h>: the ELF machine, 64 bits, little endian, and one convention of MIPS."""
    machines = {
        "X86": 3,
        "X86_64": 62,
        "ARM": 40,
        "AARCH64": 183,
        "LOONGARCH64": 258,
        "MIPSEL": 8,
        "PPC64LE": 21,
        "RISCV64": 243,
    }
    for name, machine in machines.items():
        bits = 0xC0000000 if "64" in name else 0x40000000
        assert rules.ARCHITECTURES[f"SCMP_ARCH_{name}"] == machine | bits


# ---- calls newer than the profile ----


def test_calls_newer_than_the_profile_give_enosys() -> None:
    text = compiled(profile(rule("mkdir", "openat2")))
    assert [result(text, number) for number in (OPENAT2 - 1, OPENAT2, OPENAT2 + 1, 9999)] == [
        EPERM,
        ALLOW,
        ENOSYS,
        ENOSYS,
    ]


@pytest.mark.parametrize("default", ["SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE"])
def test_newer_calls_are_left_to_a_permissive_default(default: str) -> None:
    assert rules.unknown_calls(profile(rule("mkdir"), default=default), "x86_64", syscalls.seccomp_number) == b""


@pytest.mark.parametrize("default", ["SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_TRAP", "SCMP_ACT_ERRNO"])
def test_newer_calls_give_enosys_whatever_a_strict_default_is(default: str) -> None:
    assert result(compiled(profile(rule("mkdir", "openat2"), default=default)), OPENAT2 + 1) == ENOSYS


def test_a_call_that_is_denied_counts_as_known() -> None:
    text = compiled(profile(rule("openat2", action="SCMP_ACT_ERRNO"), rule("mkdir")))
    assert (result(text, OPENAT2), result(text, OPENAT2 + 1)) == (EPERM, ENOSYS)


def test_profile_without_rules_knows_no_newest_call() -> None:
    assert result(compiled(profile()), 9999) == EPERM


def test_newest_call_is_told_for_each_architecture() -> None:
    text = compiled(profile(rule("mkdir", "clock_adjtime64"), architectures=["SCMP_ARCH_X86"]))
    assert result(text, 405, architecture=X86) == ALLOW
    assert result(text, 406, architecture=X86) == ENOSYS
    assert result(text, 300) == ENOSYS  # x86-64 has no clock_adjtime64


# ---- what inner meets ----


def test_calls_that_pass_are_not_held() -> None:
    assert (
        rules.held(compiled(profile(rule("mkdir", action="SCMP_ACT_KILL"), default="SCMP_ACT_ALLOW")), "x86_64") == {}
    )


@pytest.mark.parametrize(
    "action, more, expected",
    [
        ("SCMP_ACT_ERRNO", {}, ("denied", "SCMP_ACT_ERRNO, EPERM")),
        ("SCMP_ACT_ERRNO", {"errnoRet": 0}, ("denied", "SCMP_ACT_ERRNO, 0")),
        ("SCMP_ACT_KILL", {}, ("denied", "SCMP_ACT_KILL")),
        ("SCMP_ACT_TRAP", {}, ("denied", "SCMP_ACT_TRAP")),
        ("SCMP_ACT_TRACE", {}, ("denied", "SCMP_ACT_TRACE")),
        ("SCMP_ACT_NOTIFY", {}, ("notify", "SCMP_ACT_NOTIFY")),
        ("SCMP_ACT_LOG", {}, None),
    ],
)
def test_what_a_filter_does_to_a_call_of_inner_is_told(
    action: str, more: dict[str, Any], expected: tuple[str, str] | None
) -> None:
    text = compiled(profile(rule("capset", action=action, **more), default="SCMP_ACT_ALLOW"))
    assert rules.held(text, "x86_64") == ({} if expected is None else {"capset": expected})


def test_what_depends_on_arguments_may_pass() -> None:
    text = compiled(profile(rule("write", action="SCMP_ACT_ERRNO", args=[arg(0, "EQ", 9)]), default="SCMP_ACT_ALLOW"))
    assert rules.held(text, "x86_64") == {"write": ("maybe", "SCMP_ACT_ALLOW or SCMP_ACT_ERRNO, EPERM")}


# ---- what libseccomp or the kernel would not take ----


def test_conditions_with_two_actions_are_refused_by_their_place() -> None:
    args = [arg(0, "EQ", 1)]
    with pytest.raises(UnsupportedError, match="'mkdir': an earlier rule says otherwise") as error:
        compiled(profile(rule("mkdir", args=args), rule("uname", "mkdir", action="SCMP_ACT_KILL", args=args)))
    assert error.value.pointer == "/linux/seccomp/syscalls/1"


def test_of_two_rules_without_conditions_the_first_holds() -> None:
    """That is libseccomp's choice, so also the peers'."""
    text = compiled(profile(rule("mkdir"), rule("openat2", "mkdir", action="SCMP_ACT_KILL")))
    assert result(text, MKDIR) == ALLOW


def test_filter_that_is_too_long_is_refused() -> None:
    conditions = [[arg(index, "EQ", 2**40 + number) for index in range(6)] for number in range(700)]
    text = compiled(profile(*(rule("mkdir", args=args) for args in conditions)))
    with pytest.raises(ConfigError, match="4096"):
        rules.check_length(text)
