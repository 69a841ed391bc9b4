"""Classic BPF as seccomp(2) runs it: what becomes of a call, and the part of a filter that libseccomp leaves out."""

from __future__ import annotations

from _struct import calcsize, pack, unpack_from

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

# <linux/bpf_common.h>
_LOAD, _AND, _JUMP, _RETURN = 0x20, 0x54, 0x05, 0x06
_EQUAL, _GREATER, _GREATER_EQUAL, _SET = 0x15, 0x25, 0x35, 0x45
LONGEST = 4096  # BPF_MAXINSNS
_SIZE = calcsize("=HBBI")

# <linux/seccomp.h>: what a filter returns, without its 16 bits of data
KILL_PROCESS, KILL_THREAD, TRAP, ERRNO, NOTIFY, TRACE, LOG, ALLOW = (
    0x80000000, 0x00000000, 0x00030000, 0x00050000, 0x7FC00000, 0x7FF00000, 0x7FFC0000, 0x7FFF0000,
)  # fmt: skip
ACTION = 0xFFFF0000
_ENOSYS = 38

X86_64, X32 = 0xC000003E, 0x4000003E
_X32_BIT = 1 << 30


def data_of(architecture: int, number: int) -> bytes:
    """The first part of struct seccomp_data: arguments and instruction pointer, which would follow, are not known."""
    return pack("=iI", number, architecture)


def outcomes(program: bytes, data: bytes) -> set[int]:
    """All that the filter may return for a call. What `data`, a struct seccomp_data or the first part of one, does not
    tell can be anything; a whole one gives one value."""
    found: set[int] = set()
    seen: set[tuple[int, int | None]] = set()
    waiting: list[tuple[int, int | None]] = [(0, 0)]
    while waiting:
        at, value = waiting.pop()
        while (at, value) not in seen:
            seen.add((at, value))
            code, when_true, when_false, operand = unpack_from("=HBBI", program, at * _SIZE)
            at += 1
            if code == _RETURN:
                found.add(operand)
                break
            if code == _JUMP:
                at += operand
            elif code & 7 == 5:
                if value is None:
                    waiting.append((at + when_false, None))
                    at += when_true
                else:
                    at += when_true if _holds(code, value, operand) else when_false
            elif code == _LOAD:
                value = unpack_from("=I", data, operand)[0] if operand + 4 <= len(data) else None
            elif code == _AND:
                value = None if value is None else value & operand
            else:
                raise ValueError(f"a filter of libseccomp has no instruction {code:#x}")
    return found


def _holds(code: int, value: int, operand: int) -> bool:
    if code == _EQUAL:
        return value == operand
    if code == _GREATER:
        return value > operand
    if code == _GREATER_EQUAL:
        return value >= operand
    if code == _SET:
        return bool(value & operand)
    raise ValueError(f"a filter of libseccomp has no jump {code:#x}")


def unknown_calls(newest: Mapping[int, int]) -> bytes:
    """Instructions to be put before a filter: calls with a number above that of its architecture give ENOSYS.

    A libc falls back to an older call on ENOSYS only, so that a program made for newer kernels than the profile would
    fail on its EPERM. What counts as new is as runc has it (libcontainer/seccomp/patchbpf). `newest` maps tokens of
    libseccomp to numbers; x32 has the architecture of x86-64, and numbers with a bit of their own.
    """
    made: list[tuple[int, int, int, int | None]] = [(_LOAD, 0, 0, 4)]
    for architecture in sorted({X86_64 if token == X32 else token for token in newest}):
        section = _above(newest.get(architecture))
        if architecture == X86_64:
            section = [(_SET, len(section), 0, _X32_BIT), *section, *_above(newest.get(X32))]
        made += [(_EQUAL, 0, len(section) + 1, architecture), (_LOAD, 0, 0, 0), *section]
    end = len(made)
    return b"".join(
        pack("=HBBI", code, when_true, when_false, end - at - 1 if operand is None else operand)
        for at, (code, when_true, when_false, operand) in enumerate(made)
    )


def _above(number: int | None) -> list[tuple[int, int, int, int | None]]:
    """Return ENOSYS above this number, or go to the end, which is None here."""
    if number is None:
        return [(_JUMP, 0, 0, None)]
    return [(_GREATER, 0, 1, number), (_RETURN, 0, 0, ERRNO | _ENOSYS), (_JUMP, 0, 0, None)]
