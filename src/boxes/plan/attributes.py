"""/process/scheduler, ioPriority and execCPUAffinity, /linux/personality and memoryPolicy: one system call each.

They are set with the rights the process has before any are given up, and early enough that a refusal is `create`'s.
"""

from __future__ import annotations

import errno as e
from _struct import pack

from boxes.errors import ConfigError
from boxes.plan import failures

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from boxes.plan.inner import Steps

# <linux/sched.h>, <linux/sched/types.h>
_POLICIES = ("OTHER", "FIFO", "RR", "BATCH", "ISO", "IDLE", "DEADLINE")
_SCHEDULER_FLAGS = {
    "RESET_ON_FORK": 0x01,
    "RECLAIM": 0x02,
    "DL_OVERRUN": 0x04,
    "KEEP_POLICY": 0x08,
    "KEEP_PARAMS": 0x10,
    "UTIL_CLAMP_MIN": 0x20,
    "UTIL_CLAMP_MAX": 0x40,
}
_UTIL_CLAMP = 0x60  # has two more fields, for which the specification has no names: 0
_ALL_CPUS = 8192  # the largest CONFIG_NR_CPUS there is

# <linux/ioprio.h>
_IO_CLASSES = {"IOPRIO_CLASS_RT": 1, "IOPRIO_CLASS_BE": 2, "IOPRIO_CLASS_IDLE": 3}
_IO_CLASS_SHIFT, _IO_PROCESS = 13, 1

# <linux/personality.h>; personality(2)
_DOMAINS = {"LINUX": 0x0000, "LINUX32": 0x0008}
_PERSONALITY_FLAGS = {
    "UNAME26": 0x0020000,
    "ADDR_NO_RANDOMIZE": 0x0040000,
    "FDPIC_FUNCPTRS": 0x0080000,
    "MMAP_PAGE_ZERO": 0x0100000,
    "ADDR_COMPAT_LAYOUT": 0x0200000,
    "READ_IMPLIES_EXEC": 0x0400000,
    "ADDR_LIMIT_32BIT": 0x0800000,
    "SHORT_INODE": 0x1000000,
    "WHOLE_SECONDS": 0x2000000,
    "STICKY_TIMEOUTS": 0x4000000,
    "ADDR_LIMIT_3GB": 0x8000000,
}

# <linux/mempolicy.h>
MODES = ("DEFAULT", "PREFERRED", "BIND", "INTERLEAVE", "LOCAL", "PREFERRED_MANY", "WEIGHTED_INTERLEAVE")
MODE_FLAGS = {"MPOL_F_NUMA_BALANCING": 1 << 13, "MPOL_F_RELATIVE_NODES": 1 << 14, "MPOL_F_STATIC_NODES": 1 << 15}
_ALL_NODES = 1024  # MAX_NUMNODES at its largest


def apply(steps: Steps, process: dict[str, Any], linux: dict[str, Any]) -> None:
    """All but the affinity, which is for `exec` alone."""
    if linux.get("personality"):
        _personality(steps, linux["personality"])
    if linux.get("memoryPolicy"):
        _memory_policy(steps, linux["memoryPolicy"])
    if process.get("ioPriority"):
        _io_priority(steps, process["ioPriority"])
    if process.get("scheduler"):
        _scheduler(steps, process["scheduler"])


def cannot_fork(process: dict[str, Any]) -> bool:
    """Whether its policy lets a process make no other: sched(7)."""
    scheduler = process.get("scheduler") or {}
    flags = scheduler.get("flags") or ()
    return scheduler.get("policy") == "SCHED_DEADLINE" and "SCHED_FLAG_RESET_ON_FORK" not in flags


def _scheduler(steps: Steps, scheduler: dict[str, Any]) -> None:
    """struct sched_attr: sched_setattr(2)"""
    policy = scheduler["policy"]
    flags = sum(_SCHEDULER_FLAGS[name.removeprefix("SCHED_FLAG_")] for name in set(scheduler.get("flags") or ()))
    times = [scheduler.get(name, 0) for name in ("runtime", "deadline", "period")]
    nice, priority = scheduler.get("nice", 0), scheduler.get("priority", 0)
    size = 56 if flags & _UTIL_CLAMP else 48
    number = _POLICIES.index(policy.removeprefix("SCHED_"))
    data = pack("=IIQiIQQQ", size, number, flags, nice, priority, *times) + bytes(size - 48)
    shown = f"sched_setattr({policy}, {flags:#x}, nice={nice}, priority={priority}, times={times})"
    pointer = "/process/scheduler"
    hints = {
        e.EPERM: "it needs CAP_SYS_NICE on the host, and in cgroup v1 perhaps a share of real-time",
        e.EINVAL: "does this kernel know the policy and the flags, and are runtime, deadline and period in order?",
        e.EBUSY: "the CPUs have not that much time left for deadlines",
    }
    explain = failures.of_call("cannot set the scheduling policy", shown, pointer, hints)
    steps.call("sched_setattr", 0, data, 0, pointer=pointer, shown=shown, explain=explain)


def _io_priority(steps: Steps, priority: dict[str, Any]) -> None:
    """ioprio_set(2)"""
    value = _IO_CLASSES[priority["class"]] << _IO_CLASS_SHIFT | priority["priority"]
    shown = f"ioprio_set(IOPRIO_WHO_PROCESS, 0, {priority['class']}, {priority['priority']})"
    pointer = "/process/ioPriority"
    hints = {e.EPERM: "IOPRIO_CLASS_RT needs CAP_SYS_NICE on the host"}
    explain = failures.of_call("cannot set the I/O priority", shown, pointer, hints)
    steps.call("ioprio_set", _IO_PROCESS, 0, value, pointer=pointer, shown=shown, explain=explain)


def _personality(steps: Steps, personality: dict[str, Any]) -> None:
    """The specification leaves the flags' names open: they are those of personality(2)."""
    pointer = "/linux/personality"
    value = _DOMAINS[personality["domain"]]
    for number, name in enumerate(personality.get("flags") or ()):
        if name not in _PERSONALITY_FLAGS:
            known = ", ".join(_PERSONALITY_FLAGS)
            raise ConfigError(f"unknown flag '{name}'", pointer=f"{pointer}/flags/{number}", hint=f"one of {known}")
        value |= _PERSONALITY_FLAGS[name]
    shown = f"personality({value:#x})"
    hints = {e.EINVAL: "this machine cannot run 32-bit programs"}
    explain = failures.of_call("cannot set the personality", shown, pointer, hints)
    steps.call("personality", value, pointer=pointer, shown=shown, explain=explain)


def _memory_policy(steps: Steps, policy: dict[str, Any]) -> None:
    """set_mempolicy(2)"""
    pointer = "/linux/memoryPolicy"
    mode = policy["mode"]
    value = MODES.index(mode.removeprefix("MPOL_"))
    for name in policy.get("flags") or ():
        value |= MODE_FLAGS[name]
    nodes = _nodes(policy)
    shown = f"set_mempolicy({mode}, flags={value & ~7:#x}, nodes='{policy.get('nodes') or ''}')"
    hints = {
        e.EINVAL: "are the nodes there, do they belong to the container's cpuset, and does this kernel know the mode?",
        e.ENOSYS: "this kernel is built without NUMA",
    }
    explain = failures.of_call("cannot set the memory policy", shown, pointer, hints)
    # The kernel takes one bit less than it is told.
    size = len(nodes) * 8 + 1 if nodes else 0
    steps.call("set_mempolicy", value, nodes or 0, size, pointer=pointer, shown=shown, explain=explain)


def nodes(policy: dict[str, Any]) -> int:
    """The memory nodes of a policy, as a mask."""
    return int.from_bytes(_nodes(policy), "little")


def _nodes(policy: dict[str, Any]) -> bytes:
    pointer = "/linux/memoryPolicy/nodes"
    return _mask(policy.get("nodes") or "", pointer, "a list of memory nodes, such as '0-1,3'", _ALL_NODES)


def initial_affinity(steps: Steps, process: dict[str, Any]) -> None:
    """Before the process enters the container's cgroup."""
    _affinity(steps, process, "initial")


def final_affinity(steps: Steps, process: dict[str, Any]) -> None:
    """In the container's cgroup. Without a final one the cpuset alone decides: since Linux 6.2 what was set before
    would outlast the entry, so it is taken back."""
    affinity = process["execCPUAffinity"]
    if (affinity.get("final") or "").strip(" "):
        _affinity(steps, process, "final")
    elif (affinity.get("initial") or "").strip(" "):
        mask = b"\xff" * (_ALL_CPUS // 8)
        pointer = "/process/execCPUAffinity/final"
        steps.call("sched_setaffinity", 0, len(mask), mask, pointer=pointer, shown="sched_setaffinity(all)")


def _affinity(steps: Steps, process: dict[str, Any], when: str) -> None:
    """sched_setaffinity(2)"""
    listed = (process["execCPUAffinity"].get(when) or "").strip(" ")
    if not listed:
        return
    pointer = f"/process/execCPUAffinity/{when}"
    mask = _mask(listed, pointer, "a list of CPUs, such as '0-3,7'", _ALL_CPUS)
    shown = f"sched_setaffinity('{listed}')"
    hints = {e.EINVAL: "none of these CPUs is online and in the cpuset"}
    explain = failures.of_call("cannot set the affinity", shown, pointer, hints)
    steps.call("sched_setaffinity", 0, len(mask), mask, pointer=pointer, shown=shown, explain=explain)


def _mask(listed: str, pointer: str, wanted: str, limit: int) -> bytes:
    """The bits of a list such as ``0-3,7``, in whole words; empty if it has none."""
    bits = 0
    for part in listed.split(",") if listed.strip(" ") else ():
        first, dash, last = (word.strip(" ") for word in part.partition("-"))
        numbers = [first, last] if dash else [first, first]
        if not all(number.isascii() and number.isdigit() and len(number) < 8 for number in numbers):
            raise ConfigError(f"expected {wanted}, not '{listed}'", pointer=pointer)
        low, high = map(int, numbers)
        if low > high or high >= limit:
            text = f"{high} is more than any kernel has" if low <= high else f"'{part}' is the wrong way round"
            raise ConfigError(f"expected {wanted}: {text}", pointer=pointer)
        bits |= (1 << high + 1) - (1 << low)
    return bits.to_bytes((bits.bit_length() + 63) // 64 * 8, "little")
