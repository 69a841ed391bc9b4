"""`statistics` of v2."""

from __future__ import annotations

from boxes.cgroups.reading import flat, number, read
from boxes.cgroups.statistics import entry, limit, some

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from boxes.cgroups.manager import Manager

_IO = {
    "rbytes": ("ioServiceBytesRecursive", "Read"),
    "wbytes": ("ioServiceBytesRecursive", "Write"),
    "rios": ("ioServicedRecursive", "Read"),
    "wios": ("ioServicedRecursive", "Write"),
}


def cpu(manager: Manager) -> dict[str, Any]:
    stat = {name: value * 1000 for name, value in flat(read(manager, "cpu", "cpu.stat")).items()}
    usage = some(total=stat.get("usage_usec")) | {
        "kernel": stat.get("system_usec", 0),
        "user": stat.get("user_usec", 0),
    }
    throttling = some(
        periods=stat.get("nr_periods", 0) // 1000,
        throttledPeriods=stat.get("nr_throttled", 0) // 1000,
        throttledTime=stat.get("throttled_usec"),
    )
    return {"usage": usage, "throttling": throttling}


def cpuset(manager: Manager) -> dict[str, Any]:
    """v1's knobs, which v2 does not have, are zero with runc; what CPUs and nodes there are is told nevertheless."""
    from boxes.cgroups.statistics_legacy import KNOBS, members

    found = {name: members(read(manager, "cpuset", f"cpuset.{name}.effective")) for name in ("cpus", "mems")}
    return some(**found) | dict.fromkeys(KNOBS, 0)


def memory(manager: Manager) -> dict[str, Any]:
    stat = flat(read(manager, "memory", "memory.stat"))
    events = flat(read(manager, "memory", "memory.events"))
    own = _entry(manager, "memory", events.get("max", 0))
    swap = _entry(manager, "memory.swap", flat(read(manager, "memory", "memory.swap.events")).get("fail", 0))
    both = {name: own.get(name, 0) + swap.get(name, 0) for name in ("limit", "usage")}
    total = entry(
        limit=min(both["limit"], 2**64 - 1), usage=both["usage"], most=swap.get("max", 0), failures=swap["failcnt"]
    )
    none = entry(limit=0, usage=0, most=0, failures=0)
    kernel = none | some(usage=stat.get("kernel"))
    return some(cache=stat.get("file")) | {
        "usage": own,
        "swap": total if swap["limit"] else none,
        "kernel": kernel,
        "kernelTCP": none | some(usage=stat.get("sock")),
        "raw": stat,
    }


def _entry(manager: Manager, name: str, failures: int) -> dict[str, Any]:
    """`name` is "memory" or "memory.swap"; Linux 5.19 and 6.5 have the most there ever was."""
    return entry(
        limit=limit(read(manager, "memory", f"{name}.max")),
        usage=number(manager, "memory", f"{name}.current") or 0,
        most=number(manager, "memory", f"{name}.peak") or 0,
        failures=failures,
    )


def blkio(manager: Manager) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for line in (read(manager, "io", "io.stat") or "").splitlines():
        device, *pairs = line.split()
        major, colon, minor = device.partition(":")
        if not colon or not major.isdecimal():
            continue
        for pair in pairs:
            name, _, value = pair.partition("=")
            if name in _IO:
                table, operation = _IO[name]
                one = some(major=int(major), minor=int(minor), op=operation, value=int(value))
                found.setdefault(table, []).append(one)
    return found


def has_hugetlb(manager: Manager, size: str) -> bool:
    return read(manager, "hugetlb", f"hugetlb.{size}.current") is not None


def hugetlb(manager: Manager, size: str) -> dict[str, Any]:
    events = flat(read(manager, "hugetlb", f"hugetlb.{size}.events"))
    return some(usage=number(manager, "hugetlb", f"hugetlb.{size}.current")) | {"failcnt": events.get("max", 0)}
