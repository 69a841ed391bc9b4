"""`wait`: how a container ends, or has ended (docs/adr/0006-outcome.md)."""

from __future__ import annotations

import select

from boxes import system as os
from boxes.container import keeper, outcome, status
from boxes.errors import NotFoundError, StateError
from boxes.linux import exits, procfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from boxes.container.store import Store

_TOLD = ("exit_code", "signal", "cpu_usec", "memory_peak", "ended")
_CREATING = "nobody can say how a container ends that is not created yet"
_UNRECORDED = "it had ended already, and nobody recorded it: see --record-exit of 'box create' and 'box run'"
_REAPED = "its parent was quicker, and this kernel (before Linux 6.15) keeps nothing for others"


def wait(store: Store, id: str, *, timeout: float | None = None) -> dict[str, Any]:
    """The outcome of a container, when it has ended. What nobody knows is None, and if that is how the process ended,
    `reason` says why. StateError if it does not end within `timeout` seconds."""
    with store.open(id) as place:
        journal = place.load()
        found = status.of(place, journal)
        if found == status.CREATING:
            raise StateError(_CREATING)
        pidfd = None if found == status.STOPPED else procfs.open_process(journal["pid"], journal["started"])
        record = outcome.open_record(place)
        if pidfd is not None and not journal.get("watched"):
            journal["watched"] = True
            place.save(journal)
    try:
        if pidfd is None:
            facts, reason = _unreaped(journal), _UNRECORDED
        else:
            _wait_for(pidfd, timeout)
            facts, reason = _ended(journal, pidfd), _REAPED
        return _outcome(store, id, journal, record, facts, reason)
    finally:
        os.close(record)
        if pidfd is not None:
            os.close(pidfd)


def _wait_for(pidfd: int, timeout: float | None) -> None:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    if not poll.poll(None if timeout is None else timeout * 1000):
        raise StateError(f"the container has not ended within {timeout:g} s")


def _unreaped(journal: dict[str, Any]) -> dict[str, Any]:
    """What the process tells as long as its parent has not asked for it; but not when it ended."""
    if not journal.get("started") or journal["boot"] != procfs.boot_id():
        return {}
    found = exits.unreaped(journal["pid"], journal["started"])
    return {} if found is None else outcome.ended(found, None)


def _ended(journal: dict[str, Any], pidfd: int) -> dict[str, Any]:
    found = exits.status(journal["pid"], journal["started"], pidfd)
    return {} if found is None else outcome.ended(found, outcome.now())


def _outcome(
    store: Store, id: str, journal: dict[str, Any], record: int, facts: dict[str, Any], reason: str
) -> dict[str, Any]:
    """Everybody's knowledge together; what was noted first stays, as it was noted nearest to the end."""
    used = outcome.usage(journal)
    if facts.get("ended") is None:
        try:
            with store.peek(id) as place:
                facts |= keeper.read(place, journal)
        except NotFoundError:
            pass  # deleted as soon as it ended; who did that has noted what there was
    known = outcome.note(record, used | facts)
    kills = known.get("oom_kills")
    result = {"id": journal["id"]} | {name: known.get(name) for name in _TOLD}
    result["oom_killed"] = None if kills is None else kills > 0
    if result["exit_code"] is None and result["signal"] is None:
        result["reason"] = reason
    return result
