"""What a container uses, read from its cgroups: one dictionary for v1 and v2.

Its form is that of `runc events`, which other programs parse: nanoseconds, bytes, v1's names. What is zero is left out
where runc leaves it out. What v2 counts otherwise is converted as runc does.
"""

from __future__ import annotations

from boxes import system as os
from boxes.cgroups.reading import number, read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from boxes.cgroups.manager import Manager

    Numbers = dict[str, Any]

_UNLIMITED = 2**64 - 1  # as runc says "max"


def collect(manager: Manager) -> dict[str, Any]:
    """All of it. What has no controller here is zero."""
    if manager.kind == "unified":
        from boxes.cgroups import statistics_unified as of
    else:
        from boxes.cgroups import statistics_legacy as of  # type: ignore[no-redef]
    return {
        "cpu": of.cpu(manager) | _pressure(manager, "cpu"),
        "cpuset": of.cpuset(manager),
        "memory": of.memory(manager) | _pressure(manager, "memory"),
        "pids": some(
            current=number(manager, "pids", "pids.current"),
            limit=number(manager, "pids", "pids.max"),
        ),
        "blkio": of.blkio(manager) | _pressure(manager, "io"),
        "hugetlb": {size: of.hugetlb(manager, size) for size in _page_sizes() if of.has_hugetlb(manager, size)},
        "intel_rdt": {},
        "network_interfaces": None,
    }


def some(**numbers: Any) -> Numbers:
    """Those that are not zero, nor empty."""
    return {name: value for name, value in numbers.items() if value}


def entry(*, limit: int, usage: int, most: int, failures: int) -> Numbers:
    return {"limit": limit, **some(usage=usage, max=most), "failcnt": failures}


def limit(text: str | None) -> int:
    """What a limit's file says; the largest number for none, as runc has it."""
    if text is None:
        return 0
    return _UNLIMITED if text.startswith("max") else int(text)


def _pressure(manager: Manager, name: str) -> dict[str, Any]:
    """Pressure stall information (Linux 4.20): of v2, also where that is mounted beside v1."""
    beside = next((each for each in manager.directories if not each.controllers), None)
    if beside is None:
        text = read(manager, name, f"{name}.pressure")
    else:
        try:
            text = beside.read(f"{name}.pressure")
        except OSError:  # a kernel without it, or where it is turned off
            text = None
    found: dict[str, dict[str, float]] = {}
    for line in (text or "").splitlines():
        kind, *pairs = line.split()
        values = dict(pair.split("=", 1) for pair in pairs)
        found[kind] = {"avg10": 0, "avg60": 0, "avg300": 0, "total": int(values.pop("total", 0))} | {
            key: _short(float(value)) for key, value in values.items()
        }
    return {"psi": found} if found else {}


def _short(value: float) -> float:
    """A whole number is written as one, as Go does."""
    return int(value) if value == int(value) else value


def _page_sizes() -> list[str]:
    """Sizes of huge pages, as the files of the controller are named: ``2MB``."""
    try:
        names = os.listdir("/sys/kernel/mm/hugepages")
    except OSError:
        return []
    sizes = []
    for name in names:
        kib = int(name.removeprefix("hugepages-").removesuffix("kB"))
        exponent = 2 if kib >= 1 << 20 else 1 if kib >= 1 << 10 else 0
        sizes.append(f"{kib >> 10 * exponent}{('KB', 'MB', 'GB')[exponent]}")
    return sorted(sizes)
