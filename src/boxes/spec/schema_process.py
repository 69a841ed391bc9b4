"""The `process` object (runtime-spec config.md, "Process")."""

from __future__ import annotations

from boxes.errors import ConfigError
from boxes.spec.kinds import (
    Findings,
    absolute,
    choice,
    flag,
    int32,
    integer,
    line,
    list_of,
    matching,
    record,
    strings,
    text,
    uint16,
    uint64,
    user_id,
    wrong,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

RLIMITS = (
    "RLIMIT_AS",
    "RLIMIT_CORE",
    "RLIMIT_CPU",
    "RLIMIT_DATA",
    "RLIMIT_FSIZE",
    "RLIMIT_LOCKS",
    "RLIMIT_MEMLOCK",
    "RLIMIT_MSGQUEUE",
    "RLIMIT_NICE",
    "RLIMIT_NOFILE",
    "RLIMIT_NPROC",
    "RLIMIT_RSS",
    "RLIMIT_RTPRIO",
    "RLIMIT_RTTIME",
    "RLIMIT_SIGPENDING",
    "RLIMIT_STACK",
)

POLICIES = (
    "SCHED_OTHER",
    "SCHED_FIFO",
    "SCHED_RR",
    "SCHED_BATCH",
    "SCHED_ISO",
    "SCHED_IDLE",
    "SCHED_DEADLINE",
)

SCHEDULER_FLAGS = (
    "SCHED_FLAG_RESET_ON_FORK",
    "SCHED_FLAG_RECLAIM",
    "SCHED_FLAG_DL_OVERRUN",
    "SCHED_FLAG_KEEP_POLICY",
    "SCHED_FLAG_KEEP_PARAMS",
    "SCHED_FLAG_UTIL_CLAMP_MIN",
    "SCHED_FLAG_UTIL_CLAMP_MAX",
)

CAPABILITY_LETTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")


def arguments(value: object, where: str, findings: Findings) -> None:
    """`args`: at least one entry, and the first names the program."""
    strings(value, where, findings)
    if not value:
        raise wrong(where, "at least one string, the program to run", value)
    if type(value) is list and not value[0]:
        raise wrong(f"{where}/0", "the name of the program to run", value[0])


def environment(value: object, where: str, findings: Findings) -> None:
    """`env`: NAME=VALUE each. An entry is never shown, since it may be a secret."""
    strings(value, where, findings)
    if type(value) is list:
        for index, entry in enumerate(value):
            if entry.find("=") < 1:
                raise ConfigError("expected NAME=VALUE with a non-empty name", pointer=f"{where}/{index}")


def _fits_capability(name: str) -> bool:
    return name[:4] == "CAP_" and len(name) > 4 and CAPABILITY_LETTERS.issuperset(name)


def _fits_cpus(cpus: str) -> bool:
    for part in cpus.split(","):
        first, dash, last = part.strip(" ").partition("-")
        numbers = [first.strip(" "), last.strip(" ")] if dash else [first]
        if not all(number.isdigit() and len(number) < 8 for number in numbers):
            return False
        if int(numbers[0]) > int(numbers[-1]):
            return False
    return True


# Names that are well-formed but unknown are no error: the specification wants a warning, once the kernel was asked.
capabilities = list_of(matching(_fits_capability, "the name of a capability, such as 'CAP_KILL'"))
cpu_list = matching(
    lambda cpus: not cpus.strip(" ") or (cpus.isascii() and _fits_cpus(cpus)), "a list of CPUs, such as '0-3,7'"
)


def _limit_order(limit: Any, where: str, findings: Findings) -> None:
    if limit["soft"] > limit["hard"]:
        raise ConfigError(
            f"expected at most the hard limit, {limit['hard']}, not {limit['soft']}", pointer=f"{where}/soft"
        )


def _scheduler(scheduler: Any, where: str, findings: Findings) -> None:
    """Refuse what a policy has no use for. A nice value is no such thing: it stays for a change of policy."""
    policy = scheduler["policy"]
    fixed = policy in ("SCHED_FIFO", "SCHED_RR")
    for key, allowed in (
        ("priority", fixed),
        ("runtime", policy == "SCHED_DEADLINE"),
        ("deadline", policy == "SCHED_DEADLINE"),
        ("period", policy == "SCHED_DEADLINE"),
    ):
        if scheduler.get(key) and not allowed:
            raise ConfigError(f"has no meaning with the policy '{policy}'", pointer=f"{where}/{key}")
    if fixed and not 1 <= scheduler.get("priority", 0) <= 99:
        raise wrong(f"{where}/priority", f"a priority (1 to 99) with '{policy}'", scheduler.get("priority", 0))


PROCESS = record(
    {
        "terminal": flag,
        "consoleSize": record({"height": uint16, "width": uint16}, required=("height", "width")),
        "cwd": absolute,
        "env": environment,
        "args": arguments,
        "commandLine": text,  # Windows only
        "user": record(
            {
                "uid": user_id,
                "gid": user_id,
                "umask": integer(0, 0o777, "a umask in decimal"),
                "additionalGids": list_of(user_id),
                "username": text,  # Windows only
            },
            required=("uid", "gid"),
        ),
        "rlimits": list_of(
            record(
                {
                    "type": choice(RLIMITS, "the name of a resource limit, such as 'RLIMIT_NOFILE'"),
                    "soft": uint64,
                    "hard": uint64,
                },
                required=("type", "soft", "hard"),
                rule=_limit_order,
            ),
            unique="type",
        ),
        "capabilities": record(
            {
                "bounding": capabilities,
                "effective": capabilities,
                "inheritable": capabilities,
                "permitted": capabilities,
                "ambient": capabilities,
            }
        ),
        "noNewPrivileges": flag,
        "apparmorProfile": line,
        "selinuxLabel": line,
        "oomScoreAdj": integer(-1000, 1000),
        "scheduler": record(
            {
                "policy": choice(POLICIES),
                "nice": integer(-20, 19, "a nice value"),
                "priority": int32,
                "flags": list_of(choice(SCHEDULER_FLAGS)),
                "runtime": uint64,
                "deadline": uint64,
                "period": uint64,
            },
            required=("policy",),
            rule=_scheduler,
        ),
        "ioPriority": record(
            {
                "class": choice(("IOPRIO_CLASS_RT", "IOPRIO_CLASS_BE", "IOPRIO_CLASS_IDLE")),
                "priority": integer(0, 7),
            },
            required=("class", "priority"),
        ),
        "execCPUAffinity": record({"initial": cpu_list, "final": cpu_list}),
    },
    required=("cwd", "args"),
)
