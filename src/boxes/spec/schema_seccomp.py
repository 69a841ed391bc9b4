"""`linux.seccomp` (runtime-spec config-linux.md, "Seccomp"). Imported only for configs that have it."""

from __future__ import annotations

from boxes.errors import ConfigError
from boxes.spec.kinds import Findings, choice, integer, list_of, record, strings, text, uint64, wrong

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ACTIONS = (
    "SCMP_ACT_KILL",
    "SCMP_ACT_KILL_PROCESS",
    "SCMP_ACT_KILL_THREAD",
    "SCMP_ACT_TRAP",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_TRACE",
    "SCMP_ACT_ALLOW",
    "SCMP_ACT_LOG",
    "SCMP_ACT_NOTIFY",
)

ARCHITECTURES = (
    "SCMP_ARCH_X86",
    "SCMP_ARCH_X86_64",
    "SCMP_ARCH_X32",
    "SCMP_ARCH_ARM",
    "SCMP_ARCH_AARCH64",
    "SCMP_ARCH_LOONGARCH64",
    "SCMP_ARCH_M68K",
    "SCMP_ARCH_MIPS",
    "SCMP_ARCH_MIPS64",
    "SCMP_ARCH_MIPS64N32",
    "SCMP_ARCH_MIPSEL",
    "SCMP_ARCH_MIPSEL64",
    "SCMP_ARCH_MIPSEL64N32",
    "SCMP_ARCH_PARISC",
    "SCMP_ARCH_PARISC64",
    "SCMP_ARCH_PPC",
    "SCMP_ARCH_PPC64",
    "SCMP_ARCH_PPC64LE",
    "SCMP_ARCH_RISCV64",
    "SCMP_ARCH_S390",
    "SCMP_ARCH_S390X",
    "SCMP_ARCH_SH",
    "SCMP_ARCH_SHEB",
)

OPERATORS = (
    "SCMP_CMP_NE",
    "SCMP_CMP_LT",
    "SCMP_CMP_LE",
    "SCMP_CMP_EQ",
    "SCMP_CMP_GE",
    "SCMP_CMP_GT",
    "SCMP_CMP_MASKED_EQ",
)

FLAGS = (
    "SECCOMP_FILTER_FLAG_TSYNC",
    "SECCOMP_FILTER_FLAG_LOG",
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
)

action = choice(ACTIONS, "a seccomp action, such as 'SCMP_ACT_ALLOW' or 'SCMP_ACT_ERRNO'")

# A filter has 16 bits for it: more would be cut off, and 65536 become success.
errno = integer(0, 2**16 - 1, "the number of an error")


def names(value: object, where: str, findings: Findings) -> None:
    strings(value, where, findings)
    if not value:
        raise wrong(where, "at least one name of a system call", value)


def _errno_fits(holder: Any, action: str, key: str, where: str) -> None:
    if key in holder:
        if holder[action] not in ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE"):
            raise ConfigError(f"has no meaning with the action '{holder[action]}'", pointer=f"{where}/{key}")
        if holder[action] == "SCMP_ACT_ERRNO" and holder[key] > 4095:
            raise wrong(f"{where}/{key}", "the number of an error (0 to 4095)", holder[key])


def _rule(rule: Any, where: str, findings: Findings) -> None:
    if "errnoRet" in rule:
        _errno_fits(rule, "action", "errnoRet", where)


def _seccomp(seccomp: Any, where: str, findings: Findings) -> None:
    _errno_fits(seccomp, "defaultAction", "defaultErrnoRet", where)
    if seccomp.get("listenerMetadata") and not seccomp.get("listenerPath"):
        raise ConfigError("has no meaning without 'listenerPath'", pointer=f"{where}/listenerMetadata")


SECCOMP = record(
    {
        "defaultAction": action,
        "defaultErrnoRet": errno,
        "architectures": list_of(choice(ARCHITECTURES, "a seccomp architecture, such as 'SCMP_ARCH_X86_64'")),
        "flags": list_of(choice(FLAGS)),
        "listenerPath": text,
        "listenerMetadata": text,
        "syscalls": list_of(
            record(
                {
                    "names": names,
                    "action": action,
                    "errnoRet": errno,
                    "args": list_of(
                        record(
                            {
                                "index": integer(0, 5, "the index of an argument"),
                                "value": uint64,
                                "valueTwo": uint64,
                                "op": choice(OPERATORS),
                            },
                            required=("index", "value", "op"),
                        )
                    ),
                },
                required=("names", "action"),
                rule=_rule,
            )
        ),
    },
    required=("defaultAction",),
    rule=_seccomp,
)
