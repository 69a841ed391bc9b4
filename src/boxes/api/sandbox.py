"""`Sandbox`: a container that stays, for many programs one after another or side by side."""

from __future__ import annotations

import os
import threading
from dataclasses import replace

from boxes.api import client, configs, place, process, scripted
from boxes.api.files import Reached, at_once, in_thread
from boxes.api.flow import awaitable, blocking
from boxes.api.program import AsyncPopen, Popen
from boxes.api.scripted import Joined
from boxes.api.streams import DEVNULL, MAX_OUTPUT, PIPE, Streams
from boxes.container.layers import Layer
from boxes.errors import BoxesError, StateError
from boxes.spec import given as check

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, TypedDict, Unpack

    from boxes.api.flow import Flow
    from boxes.api.process import Running
    from boxes.api.result import Result
    from boxes.container.store import Store
    from boxes.spec.sandbox import Bind, Config, Limits

    class Given(TypedDict, total=False):
        """The arguments of Settings, by name."""

        layers: Sequence[str | os.PathLike[str]]
        layered: bool
        scratch: str | os.PathLike[str] | None
        limits: Limits | None
        env: Mapping[str, str] | None
        cwd: str
        user: tuple[int, int] | None
        binds: Sequence[Bind]
        network: str
        config: Config | Mapping[str, Any] | None
        root: str | os.PathLike[str] | None


KILLED = 9  # SIGKILL
_MOMENT = 2.0  # seconds
_IDLE = ["/proc/self/exe"]  # never started: inner waits as the container's init, and is that


class Settings:
    """What a sandbox is made of, for one or for many.

    `rootfs`: the directory that is its root, which is never written to; `layers`: directories that `commit` has made,
    the uppermost first, to lie above it; `layered`: whether what programs write goes to an overlay of its own, or the
    root is read-only; `scratch`: where overlays are kept, by default beside the containers' state (in memory for root);
    `limits`, `env`, `cwd`, `user`, `binds`, `network`: as in `boxes.spec.Config`; `config`: a whole config instead, of
    which `rootfs` is exchanged;
    `root`: where containers are kept, as --root of the command line.
    """

    def __init__(
        self,
        rootfs: str | os.PathLike[str],
        *,
        layers: Sequence[str | os.PathLike[str]] = (),
        layered: bool = True,
        scratch: str | os.PathLike[str] | None = None,
        limits: Limits | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str = "/",
        user: tuple[int, int] | None = None,
        binds: Sequence[Bind] = (),
        network: str = "none",
        config: Config | Mapping[str, Any] | None = None,
        root: str | os.PathLike[str] | None = None,
    ) -> None:
        self.layers = [os.path.abspath(each) for each in check.paths("layers", layers)]
        self.layered = layered or bool(layers)
        self.scratch = None if scratch is None else os.path.abspath(check.path("scratch", scratch))
        self.store: Store = place.store(root)
        self.config = configs.made(
            _IDLE,
            rootfs,
            config=config,
            limits=limits,
            env=env,
            cwd=cwd,
            user=user,
            binds=binds,
            network=network,
            writable=self.layered and config is None,
        )
        self.shape = scripted.shape(dict(self.config))


class _Sandbox(Reached):
    """A container that stays until it is closed, or until its maker ends.

    Programs run in it by `exec` and `popen`; `copy_in`, `copy_out`, `read_file` and `write_file` reach its files
    without a program of it. Its `id` is known to the command line too: `box exec ID`, `box ps ID`.
    """

    def __init__(self, settings: Settings) -> None:
        self.id = place.new_id("sandbox")
        self._settings = settings
        self._layer: Layer | None = None
        self._running: Running | None = None
        self._updates: dict[str, Any] = {}  # of its limits
        self._oom_kills = 0  # that were told of

    # ---- its life ----

    def _open(self) -> Flow[None]:
        """Make the container. A sandbox that is used as a block does so at its beginning."""
        if self._running is not None:
            return
        settings = self._settings
        if settings.layered and self._layer is None:
            self._layer = Layer(settings.store, self.id, settings.scratch)
        given = {**self._where, "config": settings.config, "fall_back": True}
        if self._layer is not None:
            given["layer"] = [self._layer.upper, self._layer.work, *settings.layers]
        try:
            streams = Streams(DEVNULL, DEVNULL, DEVNULL)
            self._running = yield from process.begin("create", given, _IDLE, streams, self._where)
        except BoxesError:
            self._drop_layer()
            raise
        except BaseException:  # what was asked for goes on for a moment, until it is seen that nobody wants it
            layer, self._layer = self._layer, None
            if layer is not None:
                threading.Thread(target=layer.close, args=(_MOMENT,), name="boxes.Sandbox").start()
            raise

    def _close(self) -> Flow[None]:
        """End all that runs in it, and give it back. Closing it again does nothing."""
        try:
            yield from self._end()
        finally:
            self._drop_layer()

    def _end(self) -> Flow[None]:
        running, self._running = self._running, None
        self._oom_kills = 0
        if running is not None:
            try:
                running.kill()
                yield from running.finish()
            finally:
                running.close()

    def _drop_layer(self) -> None:
        layer, self._layer = self._layer, None
        if layer is not None:
            layer.close()

    @property
    def _where(self) -> dict[str, Any]:
        return place.given(self._settings.store, self.id)

    def _alive(self) -> Running:
        if self._running is None:
            raise StateError(f"sandbox '{self.id}' is not open")
        self._running.take_reports()
        if self._running.ended is not None or self._running.finished:
            raise StateError(f"sandbox '{self.id}' has ended: it was killed from outside")
        return self._running

    def is_alive(self) -> bool:
        """Whether it is open, and nobody has killed it."""
        try:
            return self._alive() is not None
        except StateError:
            return False

    @property
    def pid(self) -> int:
        """Of its init, as the host sees it."""
        return self._alive().pid

    @property
    def limits(self) -> str:
        """What holds its limits: "cgroups", "rlimits" or "none"."""
        return self._alive().limits

    # ---- programs ----

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
        """Run a program in it to its end. After `timeout` seconds the program is killed; what it has started and left
        goes on, until the sandbox is closed, but its output is heard for two seconds more at most. `cpu_time` and
        `memory_peak` are the program's own; `oom_killed`: whether it, or what it waited for, was killed for the
        sandbox's memory."""
        joined = self._joined()
        given = process.asked(self._where, args, env, cwd, user)
        limits = self._alive().limits
        found = yield from process.complete(
            "exec",
            given,
            args,
            {},
            input=input,
            timeout=timeout,
            max_output=max_output,
            joined=joined,
        )
        return replace(found, limits=limits, oom_killed=(yield from self._out_of_memory(found, limits)))

    def _out_of_memory(self, found: Result, limits: str) -> Flow[bool | None]:
        """Whether a program was killed because the sandbox had no memory left. None if nobody knows."""
        if limits != "cgroups" or KILLED not in (found.signal, (found.exit_code or 0) - 128):
            return False if limits == "cgroups" else None
        try:
            kills = (yield from client.call("stats", self._where))["oom_kills"]
        except BoxesError:  # it is being closed
            return None
        before, self._oom_kills = self._oom_kills, kills or 0
        return None if kills is None else kills > before

    def _joined(self) -> Joined | None:
        running, shape = self._alive(), self._settings.shape
        return None if shape is None else Joined(running.pid, running.pidfd, f"{running.limits}\0{shape}")

    def _start(
        self,
        args: Sequence[str],
        stdin: object,
        stdout: object,
        stderr: object,
        env: Mapping[str, str] | None,
        cwd: str | None,
        user: tuple[int, int] | None,
    ) -> Flow[tuple[Running, Streams]]:
        joined = self._joined()
        streams = Streams(stdin, stdout, stderr)
        try:
            given = process.asked(self._where, args, env, cwd, user)
            running = yield from process.begin("exec", given, args, streams, {}, joined)
            running.limits = self._alive().limits
        except BaseException:
            streams.close()
            raise
        return running, streams

    # ---- its layer ----

    def _own_layer(self) -> Layer:
        if not self._settings.layered:
            raise StateError("the sandbox has no layer of its own: see 'layered'")
        if self._layer is None:
            raise StateError(f"sandbox '{self.id}' is not open")
        return self._layer

    def _whole_config(self) -> Mapping[str, Any]:
        return self._settings.config

    def _discard(self) -> Flow[None]:
        """Forget all changes: everything in it is ended, and it begins again from its root."""
        layer = self._own_layer()
        yield from self._end()
        layer.empty()
        yield from self._again()

    def _again(self) -> Flow[None]:
        """Make the container anew, with the limits it had."""
        yield from self._open()
        if self._updates:
            yield from client.call("update", {**self._where, "resources": self._updates})

    def _commit(self, target: str | os.PathLike[str]) -> Flow[str]:
        """Keep the changes as the directory `target`, on the filesystem of `scratch`: one of the `layers` of this
        sandbox from now on, and of others as you like. Everything in it is ended. Gives the absolute path."""
        layer, kept = self._own_layer(), os.path.abspath(check.path("target", target))
        layer.check_target(kept)
        yield from self._end()
        try:
            layer.move_to(kept)
        except BoxesError:
            yield from self._again()
            raise
        self._settings = _above(self._settings, kept)
        yield from self._again()
        return kept

    # ---- its limits, and what it uses ----

    def _update(self, limits: Limits | Mapping[str, Any]) -> Flow[None]:
        """Other limits of memory, CPU and processes (or `linux.resources`), from now on; what they do not name stays as
        it is."""
        running, resources = self._alive(), configs.changed_limits(limits)
        if running.limits != "cgroups":
            raise StateError("without cgroups limits cannot be changed")
        yield from client.call("update", {**self._where, "resources": resources})
        for name, values in resources.items():
            self._updates[name] = {**self._updates.get(name, {}), **values}

    def _stats(self) -> Flow[dict[str, Any]]:
        """What it uses, as `box stats --format json` has it: cpu_usec, memory, pids and more."""
        self._alive()
        return (yield from client.call("stats", self._where))


def _above(settings: Settings, layer: str) -> Settings:
    """The same with one more layer, on top of the others."""
    made = Settings.__new__(Settings)
    made.__dict__.update(settings.__dict__, layers=[layer, *settings.layers])
    return made


class Sandbox(_Sandbox):
    __doc__ = f"{_Sandbox.__doc__}\n    {Settings.__doc__}"

    def __init__(self, rootfs: str | os.PathLike[str], **settings: Unpack[Given]) -> None:
        super().__init__(Settings(rootfs, **settings))
        self.open()

    open = blocking(_Sandbox._open)
    close = blocking(_Sandbox._close)
    exec = blocking(_Sandbox._exec)
    discard = blocking(_Sandbox._discard)
    commit = blocking(_Sandbox._commit)
    update = blocking(_Sandbox._update)
    stats = blocking(_Sandbox._stats)
    copy_in = at_once(_Sandbox._copy_in)
    copy_out = at_once(_Sandbox._copy_out)
    read_file = at_once(_Sandbox._read_file)
    write_file = at_once(_Sandbox._write_file)
    diff = at_once(_Sandbox._diff)

    def popen(
        self,
        args: Sequence[str],
        *,
        stdin: object = DEVNULL,
        stdout: object = PIPE,
        stderr: object = PIPE,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        user: tuple[int, int] | None = None,
    ) -> Popen:
        """Start a program in it, with streams while it runs."""
        return Popen(*blocking(self._start)(args, stdin, stdout, stderr, env, cwd, user))

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncSandbox(_Sandbox):
    __doc__ = f"{_Sandbox.__doc__}\n    {Settings.__doc__}"

    def __init__(self, rootfs: str | os.PathLike[str], **settings: Unpack[Given]) -> None:
        super().__init__(Settings(rootfs, **settings))

    open = awaitable(_Sandbox._open)
    close = awaitable(_Sandbox._close)
    exec = awaitable(_Sandbox._exec)
    discard = awaitable(_Sandbox._discard)
    commit = awaitable(_Sandbox._commit)
    update = awaitable(_Sandbox._update)
    stats = awaitable(_Sandbox._stats)
    copy_in = in_thread(_Sandbox._copy_in)
    copy_out = in_thread(_Sandbox._copy_out)
    read_file = in_thread(_Sandbox._read_file)
    write_file = in_thread(_Sandbox._write_file)
    diff = in_thread(_Sandbox._diff)

    async def popen(
        self,
        args: Sequence[str],
        *,
        stdin: object = DEVNULL,
        stdout: object = PIPE,
        stderr: object = PIPE,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        user: tuple[int, int] | None = None,
    ) -> AsyncPopen:
        """Start a program in it, with streams while it runs."""
        return AsyncPopen(*await awaitable(self._start)(args, stdin, stdout, stderr, env, cwd, user))

    async def __aenter__(self) -> AsyncSandbox:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
