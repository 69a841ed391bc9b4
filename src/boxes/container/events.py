"""`events`: what happens to containers, as it happens, and what they use from time to time.

An event is a dictionary with `type` and `id`. Of one container there are "stats" and "oom", in the form of `runc
events`. Of all there are besides, with a `time`: "state" for those that are there at the beginning, "created",
"started", "paused", "resumed", "exited" and "deleted".
"""

from __future__ import annotations

import select
import time
from _struct import unpack_from

from boxes import log
from boxes import system as os
from boxes.cgroups import oom
from boxes.cgroups.statistics import collect
from boxes.container import outcome, status
from boxes.container.status import cgroups_of
from boxes.errors import BoxesError, NotFoundError, StateError, refused
from boxes.linux import exits, procfs, syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from boxes.container.store import Store

    Event = dict[str, Any]

# <sys/inotify.h>
_CLOSE_WRITE, _MOVED_TO, _ATTRIB, _CREATE, _DELETE = 0x8, 0x80, 0x4, 0x100, 0x200
_ONLYDIR, _Q_OVERFLOW, _IGNORED = 0x1000000, 0x4000, 0x8000
_OF_CONTAINER = _CLOSE_WRITE | _MOVED_TO | _ATTRIB | _ONLYDIR
_OF_STORE = _CREATE | _MOVED_TO | _DELETE | _ONLYDIR


class Watched:
    """A container that is looked at: its journal, a pidfd of its init while that lives, its alarm."""

    def __init__(self, store: Store, id: str) -> None:
        self.id = id
        with store.peek(id) as place:
            self.journal = place.load()
            self.status = status.of(place, self.journal)
        self.pidfd: int | None = None
        self.cgroups = cgroups_of(self.journal)
        self.alarm = oom.Alarm()
        if self.status not in (status.STOPPED, status.CREATING):
            self.pidfd = procfs.open_process(self.journal["pid"], self.journal["started"])
            self.alarm = oom.alarm(self.cgroups)

    @property
    def lives(self) -> bool:
        return self.pidfd is not None

    def look(self, store: Store) -> str:
        with store.peek(self.id) as place:
            self.journal = place.load()
            self.status = status.of(place, self.journal)
        return self.status

    def stats(self) -> Event:
        return {"type": "stats", "id": self.id, "data": collect(self.cgroups)}

    def end(self) -> dict[str, Any]:
        """How its init ended; nothing is listened to any more."""
        if self.pidfd is None:
            return {}
        found = exits.status(self.journal["pid"], self.journal["started"], self.pidfd)
        self.close()
        if found is None:
            return {"exit_code": None, "signal": None}
        facts = outcome.ended(found, None)
        return {name: facts[name] for name in ("exit_code", "signal")}

    def close(self) -> None:
        self.alarm.close()
        self.cgroups.close()
        if self.pidfd is not None:
            os.close(self.pidfd)
            self.pidfd = None


def stats(store: Store, id: str) -> Event:
    """What a container uses now."""
    watched = _running(store, id)
    try:
        return watched.stats()
    finally:
        watched.close()


def stats_of_all(store: Store) -> Iterator[Event]:
    """The same of all that run. One that ends meanwhile is left out."""
    for id in store.ids():
        try:
            yield stats(store, id)
        except (NotFoundError, StateError):
            continue


def of_one(store: Store, id: str, interval: float) -> Iterator[Event]:
    """Its statistics every `interval` seconds, and when it was out of memory; until it ends."""
    watched = _running(store, id)
    try:
        poll = select.poll()
        poll.register(watched.pidfd, select.POLLIN)  # type: ignore[arg-type]
        if watched.alarm.fd >= 0:
            poll.register(watched.alarm.fd, watched.alarm.events)
        due = time.monotonic() + interval
        while True:
            ready = dict(poll.poll(_milliseconds(due)))
            if watched.alarm.fd in ready and watched.alarm.rang():
                yield {"type": "oom", "id": id}
            elif watched.pidfd in ready:
                return
            if time.monotonic() >= due:
                due = time.monotonic() + interval
                yield watched.stats()
    finally:
        watched.close()


def _running(store: Store, id: str) -> Watched:
    watched = Watched(store, id)
    if not watched.lives:
        watched.close()
        raise StateError(f"container not running: it is {watched.status}")
    return watched


def _milliseconds(due: float) -> float:
    return max(0.0, (due - time.monotonic()) * 1000)


def of_all(store: Store, interval: float) -> Iterator[Event]:
    """What happens to all containers of a store. Never ends by itself."""
    stream = _Stream(store)
    try:
        yield from stream.begin()
        due = time.monotonic() + interval
        while True:
            yield from stream.turn(_milliseconds(due))
            if time.monotonic() >= due:
                due = time.monotonic() + interval
                yield from stream.stats()
    finally:
        stream.close()


class _Stream:
    """All containers of a store, and the inotify descriptor by which their directories tell of changes.

    What a change was is not asked of inotify: the container is looked at again, and what is new is an event. So nothing
    is lost when events of the kernel are joined, or lost.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.containers: dict[str, Watched] = {}
        self.watches: dict[int, str] = {}
        try:
            os.makedirs(store.runtime, mode=0o700, exist_ok=True)
            self.inotify = syscalls.inotify_init(os.O_CLOEXEC | os.O_NONBLOCK)
            self.root = syscalls.inotify_add_watch(self.inotify, store.runtime, _OF_STORE)
        except OSError as error:
            raise refused("cannot watch the containers", error) from error

    def close(self) -> None:
        for watched in self.containers.values():
            watched.close()
        os.close(self.inotify)

    def begin(self) -> list[Event]:
        found = []
        for id in self.store.ids():
            if self._appear(id) and self.containers[id].status != status.CREATING:
                found.append(_event("state", id, status=self.containers[id].status))
        return found

    def stats(self) -> Iterator[Event]:
        for watched in self.containers.values():
            if watched.lives:
                yield watched.stats()

    def turn(self, milliseconds: float) -> Iterator[Event]:
        """Wait for something to happen, and tell what."""
        poll = select.poll()
        poll.register(self.inotify, select.POLLIN)
        for watched in self.containers.values():
            if watched.pidfd is not None:
                poll.register(watched.pidfd, select.POLLIN)
            if watched.alarm.fd >= 0:
                poll.register(watched.alarm.fd, watched.alarm.events)
        ready = dict(poll.poll(milliseconds))
        for watched in list(self.containers.values()):
            if watched.alarm.fd in ready and watched.alarm.rang():
                yield {"type": "oom", "id": watched.id, "time": outcome.now()}
        changed = self._changed() if self.inotify in ready else []
        for id, watched in list(self.containers.items()):
            if id in changed or watched.pidfd in ready:
                yield from self._look(watched)
        for id in changed:
            if id not in self.containers and self._appear(id):
                yield from self._since(self.containers[id], None)

    def _changed(self) -> list[str]:
        """The containers of which the kernel tells something; all, if it could not tell everything."""
        data = os.read(self.inotify, 1 << 16)
        found: dict[str, None] = {}
        at = 0
        while at < len(data):
            watch, mask, _, size = unpack_from("=iIII", data, at)
            name = os.fsdecode(data[at + 16 : at + 16 + size].rstrip(b"\0"))
            at += 16 + size
            if mask & _Q_OVERFLOW:
                found |= dict.fromkeys([*self.containers, *self.store.ids()])
            elif mask & _IGNORED:
                self.watches.pop(watch, None)
            elif watch == self.root:
                found[name] = None
            elif watch in self.watches:
                found[self.watches[watch]] = None
        return list(found)

    def _appear(self, id: str) -> bool:
        """Begin to watch a container; the directory first, so that nothing is missed."""
        try:
            with self.store.peek(id) as place:
                for path in {place.path, place.state}:
                    self.watches[syscalls.inotify_add_watch(self.inotify, path, _OF_CONTAINER)] = id
            self.containers[id] = Watched(self.store, id)
        except (BoxesError, OSError) as error:  # it has just begun to be, or has gone
            log.debug(f"ignoring '{id}': {error}")
            return False
        return True

    def _look(self, watched: Watched) -> Iterator[Event]:
        before, created = watched.status, watched.journal["created"]
        try:
            watched.look(self.store)
        except NotFoundError:
            yield from self._gone(watched, before)
            return
        except BoxesError as error:
            log.debug(f"ignoring '{watched.id}': {error}")
            return
        if watched.journal["created"] != created:  # another one, of the same name
            yield from self._gone(watched, before)
            if self._appear(watched.id):
                yield from self._since(self.containers[watched.id], None)
            return
        if before == status.CREATING and watched.status != status.CREATING:
            watched.close()
            watched = self.containers[watched.id] = Watched(self.store, watched.id)
        yield from self._since(watched, before)

    def _gone(self, watched: Watched, before: str) -> Iterator[Event]:
        ended = watched.end()
        if before not in (status.STOPPED, status.CREATING):
            yield _event("exited", watched.id, **ended)
        watched.close()
        del self.containers[watched.id]
        if before != status.CREATING:
            yield _event("deleted", watched.id)

    def _since(self, watched: Watched, before: str | None) -> Iterator[Event]:
        """What must have happened since the container was last looked at, when it was `before` (None: not there)."""
        now = watched.status
        if now in (before, status.CREATING):
            return
        if before in (None, status.CREATING):
            yield _event("created", watched.id)
            before = status.CREATED
        if before == status.CREATED and now in (status.RUNNING, status.PAUSED):
            yield _event("started", watched.id)
            before = status.RUNNING
        if now == status.STOPPED:
            yield _event("exited", watched.id, **watched.end())
        elif now != before:
            yield _event("paused" if now == status.PAUSED else "resumed", watched.id)


def _event(kind: str, id: str, **data: object) -> Event:
    event = {"type": kind, "id": id, "time": outcome.now()}
    return event | {"data": data} if data else event
