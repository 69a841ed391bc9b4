"""`statistics` of v1."""

from __future__ import annotations

from boxes import system as os
from boxes.cgroups.reading import flat, number, read
from boxes.cgroups.statistics import entry, limit, some

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from boxes.cgroups.manager import Manager

KNOBS = (
    "cpu_exclusive mem_hardwall mem_exclusive memory_migrate memory_spread_page memory_spread_slab memory_pressure "
    "sched_load_balance sched_relax_domain_level"
).split()
_TABLES = {
    "io_service_bytes_recursive": "ioServiceBytesRecursive",
    "io_serviced_recursive": "ioServicedRecursive",
    "io_queued_recursive": "ioQueueRecursive",
    "io_service_time_recursive": "ioServiceTimeRecursive",
    "io_wait_time_recursive": "ioWaitTimeRecursive",
    "io_merged_recursive": "ioMergedRecursive",
    "time_recursive": "ioTimeRecursive",
    "sectors_recursive": "sectorsRecursive",
}


def cpu(manager: Manager) -> dict[str, Any]:
    ticks = flat(read(manager, "cpuacct", "cpuacct.stat"))
    stat = flat(read(manager, "cpu", "cpu.stat"))
    each = [line.split() for line in (read(manager, "cpuacct", "cpuacct.usage_all") or "").splitlines()[1:]]
    usage = some(
        total=number(manager, "cpuacct", "cpuacct.usage"),
        percpu=[int(word) for word in (read(manager, "cpuacct", "cpuacct.usage_percpu") or "").split()],
        percpu_kernel=[int(line[2]) for line in each],
        percpu_user=[int(line[1]) for line in each],
    )
    second = os.sysconf("SC_CLK_TCK")
    usage |= {name: ticks.get(key, 0) * 10**9 // second for name, key in (("kernel", "system"), ("user", "user"))}
    throttling = some(
        periods=stat.get("nr_periods"),
        throttledPeriods=stat.get("nr_throttled"),
        throttledTime=stat.get("throttled_time"),
    )
    return {"usage": usage, "throttling": throttling}


def cpuset(manager: Manager) -> dict[str, Any]:
    found = {name: members(read(manager, "cpuset", f"cpuset.{name}")) for name in ("cpus", "mems")}
    return some(**found) | {name: number(manager, "cpuset", f"cpuset.{name}") or 0 for name in KNOBS}


def members(text: str | None) -> list[int]:
    """``0-2,7`` as a list."""
    found: list[int] = []
    for part in (text or "").strip().split(","):
        first, _, last = part.partition("-")
        if first:
            found += range(int(first), int(last or first) + 1)
    return found


def memory(manager: Manager) -> dict[str, Any]:
    stat = flat(read(manager, "memory", "memory.stat"))
    names = {"usage": "memory", "swap": "memory.memsw", "kernel": "memory.kmem", "kernelTCP": "memory.kmem.tcp"}
    entries = {name: _entry(manager, prefix) for name, prefix in names.items()}
    return some(cache=stat.get("cache")) | entries | some(raw=stat)


def _entry(manager: Manager, prefix: str) -> dict[str, Any]:
    return entry(
        limit=limit(read(manager, "memory", f"{prefix}.limit_in_bytes")),
        usage=number(manager, "memory", f"{prefix}.usage_in_bytes") or 0,
        most=number(manager, "memory", f"{prefix}.max_usage_in_bytes") or 0,
        failures=number(manager, "memory", f"{prefix}.failcnt") or 0,
    )


def blkio(manager: Manager) -> dict[str, Any]:
    """BFQ's where devices have that scheduler, else what is throttled."""
    found = _blkio(manager, "blkio.bfq.")
    return found if found.get("ioServicedRecursive") else _blkio(manager, "blkio.throttle.")


def _blkio(manager: Manager, prefix: str) -> dict[str, Any]:
    return some(**{name: _table(read(manager, "blkio", f"{prefix}{file}")) for file, name in _TABLES.items()})


def _table(text: str | None) -> list[dict[str, Any]]:
    """Lines like ``8:0 Read 4096``, or ``8:0 4096``; at the end a total, which is left out."""
    found = []
    for line in (text or "").splitlines():
        device, *words = line.split()
        major, colon, minor = device.partition(":")
        if colon and words:
            operation = words[0] if len(words) > 1 else ""
            found.append(some(major=int(major), minor=int(minor), op=operation, value=int(words[-1])))
    return found


def has_hugetlb(manager: Manager, size: str) -> bool:
    return read(manager, "hugetlb", f"hugetlb.{size}.usage_in_bytes") is not None


def hugetlb(manager: Manager, size: str) -> dict[str, Any]:
    prefix = f"hugetlb.{size}"
    used = number(manager, "hugetlb", f"{prefix}.usage_in_bytes")
    most = number(manager, "hugetlb", f"{prefix}.max_usage_in_bytes")
    return some(usage=used, max=most) | {"failcnt": number(manager, "hugetlb", f"{prefix}.failcnt") or 0}
