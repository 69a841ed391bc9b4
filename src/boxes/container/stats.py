"""What containers use, as numbers to compare: samples at a moment, and what two of them say together."""

from __future__ import annotations

import time

from boxes.cgroups import oom
from boxes.cgroups.reading import directory_of
from boxes.container.events import Watched
from boxes.errors import NotFoundError, StateError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from boxes.container.store import Store

_CONTROLLERS = ("cpu", "memory", "pids", "blkio")  # in v1's words; with v2 one cgroup is that of all
_NAMES = (
    "cpu_percent",
    "cpu_usec",
    "memory",
    "working_set",
    "memory_limit",
    "memory_percent",
    "pids",
    "pids_limit",
    "io_read",
    "io_write",
)
_NO_LIMIT = 1 << 62  # what is above is what v1 or runc say for "none"


class Sample:
    """`data` is that of a "stats" event, where what nobody counts is zero; `counted` has the controllers that do. `at`
    is of a clock that only goes on, in seconds."""

    def __init__(self, watched: Watched) -> None:
        self.id = watched.id
        self.status = watched.status
        self.at = time.monotonic()
        self.data: dict[str, Any] = watched.stats()["data"]
        self.oom_kills = oom.kills(watched.cgroups)
        self.counted = {name for name in _CONTROLLERS if directory_of(watched.cgroups, name) is not None}

    @property
    def cpu(self) -> float:
        """Seconds of CPU time."""
        return float(self.data["cpu"]["usage"].get("total", 0)) / 1e9

    @property
    def memory_limit(self) -> int | None:
        return self.limit(self.data["memory"]["usage"]["limit"])

    @staticmethod
    def limit(value: int) -> int | None:
        return value if 0 < value < _NO_LIMIT else None

    def moved(self, table: str, operation: str) -> int:
        """What block devices have read or written, in `table` of `data`'s blkio."""
        entries = self.data["blkio"].get(table, [])
        return sum(entry.get("value", 0) for entry in entries if entry.get("op") == operation)


def samples(store: Store, ids: list[str]) -> list[Sample]:
    """Of these containers, which must run, or of all that do."""
    found = []
    for id in ids or store.ids():
        try:
            found.append(_sample(store, id))
        except (NotFoundError, StateError):
            if ids:
                raise
    return found


def _sample(store: Store, id: str) -> Sample:
    watched = Watched(store, id)
    try:
        if not watched.lives:
            raise StateError(f"container '{id}' not running: it is {watched.status}")
        return Sample(watched)
    finally:
        watched.close()


def summary(now: Sample, before: Sample | None) -> dict[str, Any]:
    """The numbers that people look at first; None for what nobody counts. `cpu_percent` is of one CPU, since
    `before`."""
    found: dict[str, Any] = dict.fromkeys(_NAMES)
    parts = {"cpu": _cpu, "memory": _memory, "pids": _pids, "blkio": _io}
    for controller, part in parts.items():
        if controller in now.counted:
            found |= part(now, before)
    return {"id": now.id, "status": now.status} | found | {"oom_kills": now.oom_kills}


def _cpu(now: Sample, before: Sample | None) -> dict[str, Any]:
    percent = None
    if before is not None and now.at > before.at:
        percent = round(100 * max(0.0, now.cpu - before.cpu) / (now.at - before.at), 2)
    return {"cpu_percent": percent, "cpu_usec": round(now.cpu * 1e6)}


def _memory(now: Sample, _: Sample | None) -> dict[str, Any]:
    memory = now.data["memory"]
    used = int(memory["usage"].get("usage", 0))
    raw = memory.get("raw", {})
    limit = now.memory_limit
    return {
        "memory": used,
        # without the pages of files that nobody has used lately: those are given back when there is need
        "working_set": max(0, used - int(raw.get("total_inactive_file", raw.get("inactive_file", 0)))),
        "memory_limit": limit,
        "memory_percent": None if limit is None else round(100 * used / limit, 2),
    }


def _pids(now: Sample, _: Sample | None) -> dict[str, Any]:
    return {"pids": now.data["pids"].get("current", 0), "pids_limit": now.data["pids"].get("limit")}


def _io(now: Sample, _: Sample | None) -> dict[str, Any]:
    return {
        "io_read": now.moved("ioServiceBytesRecursive", "Read"),
        "io_write": now.moved("ioServiceBytesRecursive", "Write"),
    }
