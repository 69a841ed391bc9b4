"""How a container ended, and what it used: kept beside its journal, by whoever knows it, for `box wait`.

The parent of a container's init knows its exit status: `run` in the foreground, or an engine. For others there is the
pidfd of one who waits, or a keeper (docs/adr/0006-outcome.md). What the container used its cgroups know, as long as
they are there.
"""

from __future__ import annotations

import fcntl
import time

from boxes import system as os
from boxes.cgroups import oom
from boxes.cgroups.reading import flat, number, read
from boxes.container.status import cgroups_of
from boxes.errors import ConfigError, NotFoundError
from boxes.spec.document import dump, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from boxes.cgroups.manager import Manager
    from boxes.container.store import Place, Store

FILE = "outcome"  # in a container's directory
_LIMIT = 1 << 16


def open_record(place: Place) -> int:
    """The file of what is known; made if it is not there. It can be read through this after the container is gone."""
    return os.open(f"{place.path}/{FILE}", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def known(record: int) -> dict[str, Any]:
    try:
        found = parse(os.pread(record, _LIMIT, 0), source=FILE)
    except ConfigError:  # nothing was written yet
        return {}
    return found if isinstance(found, dict) else {}


def note(record: int, facts: dict[str, Any]) -> dict[str, Any]:
    """Add facts to what is known, which stays; all of it."""
    fcntl.flock(record, fcntl.LOCK_EX)
    try:
        found = facts | known(record)
        content = dump(found).encode()
        os.pwrite(record, content, 0)
        os.ftruncate(record, len(content))
    finally:
        fcntl.flock(record, fcntl.LOCK_UN)
    return found


def ended(wait_status: int, at: str | None) -> dict[str, Any]:
    """Facts of a wait status. `exit_code` is the program's own, or None if a signal ended it."""
    code = os.waitstatus_to_exitcode(wait_status)
    return {
        "exit_code": None if code < 0 else code,
        "signal": -code if code < 0 else None,
        "ended": at,
    }


def usage(journal: dict[str, Any]) -> dict[str, Any]:
    """Facts that the cgroups tell; none if they are gone. CPU time in microseconds, memory in bytes."""
    with cgroups_of(journal) as cgroups:
        kills = oom.kills(cgroups)
        found = {"oom_kills": kills, "cpu_usec": _cpu(cgroups), "memory_peak": _peak(cgroups)}
    return {name: value for name, value in found.items() if value is not None}


def _cpu(cgroups: Manager) -> int | None:
    if cgroups.kind == "unified":
        return flat(read(cgroups, "cpu", "cpu.stat")).get("usage_usec")
    used = number(cgroups, "cpuacct", "cpuacct.usage")
    return None if used is None else used // 1000


def _peak(cgroups: Manager) -> int | None:
    file = "memory.peak" if cgroups.kind == "unified" else "memory.max_usage_in_bytes"
    return number(cgroups, "memory", file)


def keep(place: Place, journal: dict[str, Any], wait_status: int | None = None) -> None:
    """Note what there is to know: the parent has the status, and after `delete` nobody has the rest."""
    record = open_record(place)
    try:
        note(record, usage(journal) | ({} if wait_status is None else ended(wait_status, now())))
    finally:
        os.close(record)


def keep_all(store: Store, id: str, wait_statuses: Sequence[int]) -> None:
    """The same by id; a container that was deleted meanwhile needs nothing."""
    try:
        with store.peek(id) as place:
            keep(place, place.load(), *wait_statuses)
    except NotFoundError:
        pass


def now() -> str:
    return stamp(time.time_ns())


def stamp(nanoseconds: int) -> str:
    """RFC 3339."""
    seconds, fraction = divmod(nanoseconds, 10**9)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{fraction:09d}Z"
