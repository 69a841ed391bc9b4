"""`Sandbox`: a container that stays, for many programs one after another or side by side."""

from __future__ import annotations

import os
from dataclasses import replace

from boxes.api import client, place, process, scripted
from boxes.api.flow import awaitable, blocking
from boxes.api.program import AsyncPopen, Popen
from boxes.api.scripted import Joined
from boxes.api.streams import DEVNULL, MAX_OUTPUT, PIPE, Streams
from boxes.container.layers import Layer
from boxes.container.transfer import Inside
from boxes.errors import StateError
from boxes.spec import given as check
from boxes.spec.sandbox import Config, Limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, TypedDict, Unpack

    from boxes.api.flow import Flow
    from boxes.api.process import Running
    from boxes.api.result import Result
    from boxes.container.store import Store
    from boxes.spec.sandbox import Bind

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
        config: Mapping[str, Any] | None
        root: str | os.PathLike[str] | None


_IDLE = ["/proc/self/exe"]  # never started: inner waits as the container's init, and is that
_LARGEST = 64 << 20  # bytes that `read_file` reads, by default


class Settings:
    """What a sandbox is made of, for one or for many.

    `rootfs`: the directory that is its root, which is never written to; `layers`: directories that `commit` has made,
    the uppermost first, to lie above it; `layered`: whether what programs write goes to an overlay of its own, or the
    root is read-only; `scratch`: where overlays are kept, by default beside the containers' state (in memory for root);
    `limits`, `env`, `cwd`, `user`, `binds`, `network`: as in `boxes.spec.Config`; `config`: a whole config instead;
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
        config: Mapping[str, Any] | None = None,
        root: str | os.PathLike[str] | None = None,
    ) -> None:
        self.layers = [os.path.abspath(each) for each in layers]
        self.layered = layered or bool(layers)
        self.scratch = None if scratch is None else os.path.abspath(scratch)
        self.store: Store = place.store(root)
        if config is None:
            made = Config(
                args=_IDLE,
                rootfs=rootfs,
                env=env or {},
                cwd=cwd,
                user=user,
                binds=binds,
                network=network,
                limits=limits or Limits(),
            )
            self.config: Mapping[str, Any] = replace(made, writable=self.layered).document()
        else:
            self.config = config
        self.shape = scripted.shape(dict(self.config))


class _Sandbox:
    """A container that stays until it is closed, or until its maker ends.

    Programs run in it by `exec` and `popen`; `copy_in`, `copy_out`, `read_file` and `write_file` reach its files
    without a program of it. Its `id` is known to the command line too: `box exec ID`, `box ps ID`.
    """

    def __init__(self, settings: Settings) -> None:
        self.id = place.new_id("sandbox")
        self._settings = settings
        self._layer: Layer | None = None
        self._running: Running | None = None

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
        except BaseException:
            self._drop_layer()
            raise

    def _close(self) -> Flow[None]:
        """End all that runs in it, and give it back. Closing it again does nothing."""
        try:
            yield from self._end()
        finally:
            self._drop_layer()

    def _end(self) -> Flow[None]:
        running, self._running = self._running, None
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
        goes on, until the sandbox is closed. `cpu_time` and `memory_peak` are the program's own."""
        joined = self._joined()
        given = process.asked(self._where, args, env, cwd, user)
        return (
            yield from process.complete(
                "exec",
                given,
                args,
                {},
                input=input,
                timeout=timeout,
                max_output=max_output,
                joined=joined,
            )
        )

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
        except BaseException:
            streams.close()
            raise
        return running, streams

    # ---- files ----

    def _inside(self) -> Inside:
        running = self._alive()
        return Inside(running.pid, running.pidfd)

    def _owner(self) -> tuple[int, int] | None:
        """Whom files are given that come from outside; the caller's, if ids are mapped."""
        linux = self._settings.config.get("linux") or {}
        if any(each["type"] == "user" for each in linux.get("namespaces") or ()):
            return None
        user = (self._settings.config.get("process") or {}).get("user") or {}
        return user.get("uid", 0), user.get("gid", 0)

    def copy_in(self, source: str | os.PathLike[str], target: str) -> None:
        """Copy a file or directory of the host to be `target` in the sandbox, owned by its user. Links in a directory
        stay links. Raises KernelError."""
        with self._inside() as inside:
            inside.copy_in(os.fspath(source), target, self._owner())

    def copy_out(self, source: str, target: str | os.PathLike[str]) -> None:
        """Copy a file or directory of the sandbox to be `target` on the host. Links stay links: take care what follows
        them."""
        with self._inside() as inside:
            inside.copy_out(source, os.fspath(target))

    def read_file(self, path: str, *, most: int = _LARGEST) -> bytes:
        """What a file of the sandbox holds. Raises KernelError, also if it is more than `most` bytes."""
        with self._inside() as inside:
            return inside.read(path, most)

    def write_file(self, path: str, content: bytes | str, *, mode: int = 0o644) -> None:
        """Make a file in the sandbox, with the directories on the way."""
        check.data("content", content)
        data = content.encode() if isinstance(content, str) else content
        with self._inside() as inside:
            inside.write(path, data, mode, self._owner())

    # ---- its layer ----

    def _own_layer(self) -> Layer:
        if self._layer is None:
            raise StateError("the sandbox has no layer of its own: see 'layered'")
        return self._layer

    def diff(self) -> list[tuple[str, str]]:
        """(kind, path) of what its programs have changed of its root: "changed", "deleted", or "replaced" for a
        directory of which nothing below is left."""
        return list(self._own_layer().changes())

    def _discard(self) -> Flow[None]:
        """Forget all changes: everything in it is ended, and it begins again from its root."""
        layer = self._own_layer()
        yield from self._end()
        layer.empty()
        yield from self._open()

    def _commit(self, target: str | os.PathLike[str]) -> Flow[str]:
        """Keep the changes as the directory `target`, on the filesystem of `scratch`: one of the `layers` of this
        sandbox from now on, and of others as you like. Everything in it is ended. Gives the absolute path."""
        layer, kept = self._own_layer(), os.path.abspath(target)
        yield from self._end()
        layer.move_to(kept)
        self._settings = _above(self._settings, kept)
        yield from self._open()
        return kept

    # ---- its limits, and what it uses ----

    def _update(self, limits: Limits) -> Flow[None]:
        """Other limits of memory, CPU and processes, from now on; what is None stays as it is."""
        running = self._alive()
        if running.limits != "cgroups":
            raise StateError("without cgroups limits cannot be changed")
        yield from client.call("update", {**self._where, "resources": dict(limits.resources())})

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
