"""`Container`: the verbs of the OCI runtime specification, on containers of this program, and of everybody else's."""

from __future__ import annotations

import os
import time

from boxes.api import client, configs, place, process
from boxes.api.flow import LONGEST, awaitable, blocking
from boxes.api.streams import DEVNULL, MAX_OUTPUT, PIPE, Streams
from boxes.container import lifecycle, query
from boxes.errors import StateError, UsageError
from boxes.spec import given as check

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from boxes.api.flow import Flow
    from boxes.api.process import Running
    from boxes.api.result import Result
    from boxes.spec.sandbox import Config, Limits


class _Events:
    """What happens to a container, as it happens: dictionaries with `type` ("stats" or "oom"), `id` and `data`. It ends
    with the container."""

    def __init__(self, where: dict[str, Any], interval: float) -> None:
        self._given = {**where, "interval": interval}
        self._link: client.Link | None = None

    def _next(self) -> Flow[dict[str, Any]]:
        """The next event; nothing at the end."""
        if self._link is None:
            self._link = yield from client.request("events", self._given)
        event, _ = yield from client.answer(self._link)
        if not event:
            self.close()
        return event

    def close(self) -> None:
        if self._link is not None:
            self._link.close()


class Events(_Events):
    __doc__ = _Events.__doc__

    _now = blocking(_Events._next)

    def __iter__(self) -> Events:
        return self

    def __next__(self) -> dict[str, Any]:
        event = self._now()
        if not event:
            raise StopIteration
        return event

    def __enter__(self) -> Events:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncEvents(_Events):
    __doc__ = _Events.__doc__

    _now = awaitable(_Events._next)

    def __aiter__(self) -> AsyncEvents:
        return self

    async def __anext__(self) -> dict[str, Any]:
        event = await self._now()
        if not event:
            raise StopAsyncIteration
        return event

    async def __aenter__(self) -> AsyncEvents:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()


class _Container:
    """A container by its id: one that `create` has made, or any that is there, made by whomever.

    `root`: where containers are kept, as --root of the command line. As a block it is deleted at the end, by force.
    """

    def __init__(self, id: str, *, root: str | os.PathLike[str] | None = None) -> None:
        self.id = id
        self._store = place.store(root)
        self._where = place.given(self._store, id)
        self._running: Running | None = None

    def _create(
        self,
        *,
        bundle: str | os.PathLike[str] | None = None,
        config: Config | Mapping[str, Any] | None = None,
        stdin: object = DEVNULL,
        stdout: object = DEVNULL,
        stderr: object = DEVNULL,
        detach: bool = False,
    ) -> Flow[None]:
        """Make it, of a bundle (a directory with config.json) or of a config. Its program waits for `start`.

        It ends with this process, unless it is to `detach`: then a small process notes how it ends, for `wait`. The
        streams are DEVNULL, descriptors, or objects with fileno(). Raises ExistsError, ConfigError and others.
        """
        if (bundle is None) == (config is None):
            raise UsageError("a container is made of a bundle or of a config")
        document = None if config is None else configs.document(config)
        directory = "/" if bundle is None else check.path("bundle", bundle)
        given = {**self._where, "bundle": os.path.abspath(directory), "record_exit": detach, "until_deleted": True}
        if document is not None:
            given["config"] = document
        if PIPE in (stdin, stdout, stderr):
            raise UsageError("a container's stream is no PIPE: give the end of one, or use Popen")
        streams = Streams(stdin, stdout, stderr)
        if detach:
            yield from self._detached(given, streams)
        else:
            self._running = yield from process.begin("create", given, [self.id], streams, {})

    def _detached(self, given: dict[str, Any], streams: Streams) -> Flow[None]:
        try:
            link = yield from client.request("detach", given, streams.theirs)
        finally:
            streams.hand_over()
        try:
            yield from client.answer(link)
        finally:
            link.close()

    def _start(self) -> Flow[None]:
        """Let its program begin. Raises the error of its execve."""
        yield from client.call("start", self._where)

    def _kill(self, signal: int = 15, *, all: bool = False) -> Flow[None]:
        """Send a signal to its first process, or to all. Raises StateError if it does not run."""
        yield from client.call("kill", {**self._where, "signal": check.signal("signal", signal), "all": all})

    def _delete(self, *, force: bool = False) -> Flow[None]:
        """Give back what it holds. One that runs is an error, or, by force, killed; by force one that does not exist is
        none."""
        running, self._running = self._running, None
        try:
            yield from client.call("delete", {**self._where, "force": force})
        except BaseException:
            self._running = running
            raise
        if running is not None:
            running.close()

    def _wait(self, timeout: float | None = None) -> Flow[dict[str, Any]]:
        """How it ends or has ended: exit_code, signal, oom_killed, cpu_usec, memory_peak, ended; what nobody knows is
        None, and then there is a `reason`. Raises StateError if it does not end within `timeout` seconds."""
        check.seconds("timeout", timeout)
        if self._running is None:
            lasting = timeout is not None and timeout < LONGEST
            return (yield from client.call("wait", {**self._where, "timeout": timeout if lasting else None}))
        ended = yield from self._running.end(None if timeout is None else time.monotonic() + timeout)
        if ended is None:
            raise StateError(f"the container has not ended within {timeout:g} s")
        return _told(self.id, ended)

    def _pause(self) -> Flow[None]:
        """Stop all its processes where they are."""
        yield from client.call("pause", self._where)

    def _resume(self) -> Flow[None]:
        """Let them go on."""
        yield from client.call("resume", self._where)

    def _update(self, limits: Limits | Mapping[str, Any]) -> Flow[None]:
        """Other limits, or other `linux.resources`; what they do not name stays as it is."""
        yield from client.call("update", {**self._where, "resources": configs.changed_limits(limits)})

    def _stats(self) -> Flow[dict[str, Any]]:
        """What it uses, as `box stats --format json` has it."""
        return (yield from client.call("stats", self._where))

    def _exec(
        self,
        args: Sequence[str],
        *,
        input: bytes | str | None = None,
        timeout: float | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        user: tuple[int, int] | None = None,
        max_output: int = MAX_OUTPUT,
    ) -> Flow[Result]:
        """Run a program in it to its end; after `timeout` seconds the program is killed."""
        given = process.asked(self._where, args, env, cwd, user)
        return (
            yield from process.complete("exec", given, args, {}, input=input, timeout=timeout, max_output=max_output)
        )

    # These look, and do nothing: no worker is asked.

    def state(self) -> dict[str, Any]:
        """Its state document: ociVersion, id, status, pid, bundle, annotations and more. Raises NotFoundError."""
        return lifecycle.state(self._store, self.id)

    @property
    def status(self) -> str:
        """ "creating", "created", "running", "paused" or "stopped"."""
        return str(self.state()["status"])

    @property
    def pid(self) -> int:
        """Of its first process, as the host sees it; 0 when it is stopped."""
        return int(self.state()["pid"])

    def processes(self) -> list[int]:
        """The pids of all its processes, as the host sees them. Raises StateError if it does not run."""
        return query.processes(self._store, self.id)


def _told(id: str, ended: dict[str, Any]) -> dict[str, Any]:
    """What a keeper has reported, as `box wait` says it."""
    kills = ended["oom_kills"]
    names = ("exit_code", "signal", "cpu_usec", "memory_peak", "ended")
    return {"id": id} | {name: ended[name] for name in names} | {"oom_killed": None if kills is None else kills > 0}


class Container(_Container):
    __doc__ = _Container.__doc__

    create = blocking(_Container._create)
    start = blocking(_Container._start)
    kill = blocking(_Container._kill)
    delete = blocking(_Container._delete)
    wait = blocking(_Container._wait)
    pause = blocking(_Container._pause)
    resume = blocking(_Container._resume)
    update = blocking(_Container._update)
    stats = blocking(_Container._stats)
    exec = blocking(_Container._exec)

    def events(self, interval: float = 5.0) -> Events:
        """What happens to it: its use every `interval` seconds, and each time it is out of memory. To be iterated."""
        return Events(self._where, interval)

    def __enter__(self) -> Container:
        return self

    def __exit__(self, *_: object) -> None:
        self.delete(force=True)


class AsyncContainer(_Container):
    __doc__ = _Container.__doc__

    create = awaitable(_Container._create)
    start = awaitable(_Container._start)
    kill = awaitable(_Container._kill)
    delete = awaitable(_Container._delete)
    wait = awaitable(_Container._wait)
    pause = awaitable(_Container._pause)
    resume = awaitable(_Container._resume)
    update = awaitable(_Container._update)
    stats = awaitable(_Container._stats)
    exec = awaitable(_Container._exec)

    def events(self, interval: float = 5.0) -> AsyncEvents:
        """What happens to it: its use every `interval` seconds, and each time it is out of memory. To be iterated."""
        return AsyncEvents(self._where, interval)

    async def __aenter__(self) -> AsyncContainer:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.delete(force=True)


def containers(root: str | os.PathLike[str] | None = None) -> list[str]:
    """The ids of all that there are."""
    return place.store(root).ids()
