"""/linux/seccomp in the terms of libseccomp: actions, architectures and rules, as the compiler takes them."""

from __future__ import annotations

import errno as e
from _struct import pack

from boxes import system as os
from boxes.errors import BoxesError, ConfigError, UnsupportedError
from boxes.plan import seccomp, seccomp_bpf
from boxes.plan.seccomp import POINTER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Resolve = Callable[[int, str], int]

# libseccomp's tokens: AUDIT_ARCH_* of <linux/audit.h>, but for x32
ARCHITECTURES = {
    "SCMP_ARCH_X86": 0x40000003,
    "SCMP_ARCH_X86_64": seccomp_bpf.X86_64,
    "SCMP_ARCH_X32": seccomp_bpf.X32,
    "SCMP_ARCH_ARM": 0x40000028,
    "SCMP_ARCH_AARCH64": 0xC00000B7,
    "SCMP_ARCH_LOONGARCH64": 0xC0000102,
    "SCMP_ARCH_M68K": 0x00000004,
    "SCMP_ARCH_MIPS": 0x00000008,
    "SCMP_ARCH_MIPS64": 0x80000008,
    "SCMP_ARCH_MIPS64N32": 0xA0000008,
    "SCMP_ARCH_MIPSEL": 0x40000008,
    "SCMP_ARCH_MIPSEL64": 0xC0000008,
    "SCMP_ARCH_MIPSEL64N32": 0xE0000008,
    "SCMP_ARCH_PARISC": 0x0000000F,
    "SCMP_ARCH_PARISC64": 0x8000000F,
    "SCMP_ARCH_PPC": 0x00000014,
    "SCMP_ARCH_PPC64": 0x80000015,
    "SCMP_ARCH_PPC64LE": 0xC0000015,
    "SCMP_ARCH_RISCV64": 0xC00000F3,
    "SCMP_ARCH_S390": 0x00000016,
    "SCMP_ARCH_S390X": 0x80000016,
    "SCMP_ARCH_SH": 0x4000002A,
    "SCMP_ARCH_SHEB": 0x0000002A,
}
NATIVE = {"x86_64": ARCHITECTURES["SCMP_ARCH_X86_64"], "aarch64": ARCHITECTURES["SCMP_ARCH_AARCH64"]}

ACTIONS = {
    "SCMP_ACT_KILL": seccomp_bpf.KILL_THREAD,
    "SCMP_ACT_KILL_THREAD": seccomp_bpf.KILL_THREAD,
    "SCMP_ACT_KILL_PROCESS": seccomp_bpf.KILL_PROCESS,
    "SCMP_ACT_TRAP": seccomp_bpf.TRAP,
    "SCMP_ACT_ERRNO": seccomp_bpf.ERRNO,
    "SCMP_ACT_TRACE": seccomp_bpf.TRACE,
    "SCMP_ACT_LOG": seccomp_bpf.LOG,
    "SCMP_ACT_NOTIFY": seccomp_bpf.NOTIFY,
    "SCMP_ACT_ALLOW": seccomp_bpf.ALLOW,
}
# enum scmp_compare
OPERATORS = {f"SCMP_CMP_{name}": number for number, name in enumerate("NE LT LE EQ GE GT MASKED_EQ".split(), 1)}

# native/syscalls.c, struct part
_ATTRIBUTE, _ARCHITECTURE, _RULE = range(3)
_OPTIMIZE, _BINARY_TREE = 8, 2  # SCMP_FLTATR_CTL_OPTIMIZE
_MANY = 32  # rules; with none of them libseccomp up to 2.5.4 makes a broken tree


class Parts:
    """What a filter is compiled from. `origins` says of each part where in the config it comes from, and what it is."""

    def __init__(self, profile: dict[str, Any], machine: str, resolve: Resolve) -> None:
        self.default = action(profile["defaultAction"], profile.get("defaultErrnoRet"))
        self.origins: list[tuple[str, str]] = []
        self._encoded: list[bytes] = []
        rules = profile.get("syscalls") or []
        if sum(len(rule["names"]) for rule in rules) > _MANY:
            self._add(_ATTRIBUTE, _BINARY_TREE, _OPTIMIZE, [], POINTER, "the filter as a tree")
        tokens = _tokens(profile, machine)
        for token, pointer in tokens.items():
            if token != NATIVE[machine]:  # which is there from the start
                self._add(_ARCHITECTURE, token, 0, [], pointer, "the architecture")
        for number, rule in enumerate(rules):
            self._rule(rule, f"{POINTER}/syscalls/{number}", NATIVE[machine], resolve)

    def encode(self) -> bytes:
        return b"".join(self._encoded)

    def _rule(self, rule: dict[str, Any], pointer: str, native: int, resolve: Resolve) -> None:
        wanted = action(rule["action"], rule.get("errnoRet"))
        if wanted == self.default:
            return  # libseccomp takes this for an error
        alternatives = _alternatives(rule.get("args") or [])
        for name in rule["names"]:
            number = resolve(native, name)
            if number != -1:  # a name that this libseccomp does not know: nothing could call it by intent
                for conditions in alternatives:
                    self._add(_RULE, wanted, number, conditions, pointer, f"the rule for '{name}'")

    def _add(
        self, kind: int, value: int, number: int, conditions: list[dict[str, Any]], pointer: str, what: str
    ) -> None:
        encoded = pack("=IIiI", kind, value, number, len(conditions))
        for item in conditions:
            operands = item["value"], item.get("valueTwo") or 0
            encoded += pack("=IIQQ", item["index"], OPERATORS[item["op"]], *operands)
        self._encoded.append(encoded + bytes(24 * (6 - len(conditions))))
        self.origins.append((pointer, what))

    def failed(self, taken: int, errno: int, version: str) -> BoxesError:
        """The error of the compiler, which has taken so many parts."""
        if taken >= len(self.origins):
            text = f"libseccomp {version} cannot make a filter of it: {os.strerror(errno).lower()}"
            return UnsupportedError(text, pointer=POINTER, errno=errno)
        pointer, what = self.origins[taken]
        reason = os.strerror(errno).lower()
        if errno == e.EDOM:
            reason = "its byte order is not that of this machine"
        elif errno == e.EEXIST:
            reason = "an earlier rule says otherwise"
        elif what == "the architecture":
            reason = "unknown"
        return UnsupportedError(f"libseccomp {version} does not take {what}: {reason}", pointer=pointer, errno=errno)


def _tokens(profile: dict[str, Any], machine: str) -> dict[int, str]:
    """The architectures with their pointers, each once. The machine's own is always among them."""
    found = {NATIVE[machine]: POINTER}
    for number, name in enumerate(profile.get("architectures") or ()):
        found.setdefault(ARCHITECTURES[name], f"{POINTER}/architectures/{number}")
    return found


def _alternatives(args: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Conditions that have to hold together. On one argument libseccomp takes one: of several, each is a rule of its
    own, as runc and crun have it."""
    if len({item["index"] for item in args}) == len(args):
        return [args]
    return [[item] for item in args]


def action(name: str, value: int | None) -> int:
    """The number of an action. ERRNO and TRACE carry a value, by default EPERM."""
    number = ACTIONS[name]
    if number in (seccomp_bpf.ERRNO, seccomp_bpf.TRACE):
        number |= e.EPERM if value is None else value
    return number


def unknown_calls(profile: dict[str, Any], machine: str, resolve: Resolve) -> bytes:
    """What comes before the filter, so that calls newer than all that the profile names give ENOSYS; nothing if such
    calls are not denied, or are somebody's else to answer."""
    if profile["defaultAction"] in ("SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE"):
        return b""
    names = {name for rule in profile.get("syscalls") or () for name in rule["names"]}
    newest = {token: max([resolve(token, name) for name in names], default=0) for token in _tokens(profile, machine)}
    return seccomp_bpf.unknown_calls({token: number for token, number in newest.items() if number > 0})


def held(program: bytes, machine: str) -> dict[str, tuple[str, str]]:
    """What the filter does to the calls that inner makes after it, as far as they do not just pass."""
    found = {}
    for purpose in seccomp.CALLS[machine]:
        for name, number in seccomp.calls(purpose, machine).items():
            values = seccomp_bpf.outcomes(program, seccomp_bpf.data_of(NATIVE[machine], number))
            verdict = _verdict({value & seccomp_bpf.ACTION for value in values})
            if verdict:
                found[name] = verdict, " or ".join(sorted(shown(value) for value in values))
    return found


def _verdict(actions: set[int]) -> str:
    good = {seccomp_bpf.ALLOW, seccomp_bpf.LOG, seccomp_bpf.NOTIFY}
    if not actions & good:
        return "denied"
    if actions - good:
        return "maybe"
    return "notify" if seccomp_bpf.NOTIFY in actions else ""


def shown(value: int) -> str:
    """What a filter returns, as a profile has it: ``SCMP_ACT_ERRNO, EPERM``."""
    name = next((name for name, number in ACTIONS.items() if number == value & seccomp_bpf.ACTION), f"{value:#x}")
    if value & seccomp_bpf.ACTION == seccomp_bpf.ERRNO:
        number = value & 0xFFFF
        name += f", {e.errorcode.get(number, number)}"
    return name


def check_length(program: bytes) -> None:
    count = len(program) // 8
    if count > seccomp_bpf.LONGEST:
        text = f"the filter has {count} instructions, and the kernel takes {seccomp_bpf.LONGEST}"
        raise ConfigError(text, pointer=POINTER, hint="fewer architectures or rules on arguments make it shorter")
