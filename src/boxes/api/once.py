"""`run` and `popen`: a program in a container of its own."""

from __future__ import annotations

from boxes.api import place, process
from boxes.api.streams import DEVNULL, MAX_OUTPUT, PIPE, Streams
from boxes.errors import UsageError
from boxes.spec.sandbox import Config, Limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence
    from typing import Any

    from boxes.api.flow import Flow
    from boxes.api.process import Running
    from boxes.api.result import Result
    from boxes.spec.sandbox import Bind


def run(
    args: Sequence[str],
    *,
    rootfs: str | os.PathLike[str] | None = None,
    input: bytes | str | None = None,
    timeout: float | None = None,
    limits: Limits | None = None,
    env: Mapping[str, str] | None = None,
    cwd: str = "/",
    user: tuple[int, int] | None = None,
    binds: Sequence[Bind] = (),
    writable: bool = False,
    network: str = "none",
    config: Mapping[str, Any] | None = None,
    max_output: int = MAX_OUTPUT,
    root: str | os.PathLike[str] | None = None,
) -> Flow[Result]:
    """Run a program in a new container, and give the container back.

    `args`: program and arguments; `rootfs`: the directory that is its root, read-only unless `writable`; `input`: what
    it reads (a text as UTF-8); `timeout`: seconds after which all of it is killed; `limits`, `env`, `cwd`, `user`,
    `binds`, `network`: as in `boxes.spec.Config`; `config`: a whole config to use in the place of these, such as
    `Config(...).document()` with changes; `max_output`: bytes of stdout and of stderr to keep; `root`: where containers
    are kept, as --root of the command line.

    A program that fails is no error here (`Result.check` makes it one); raises BoxesError if it could not be begun:
    ConfigError, KernelError, UnsupportedError and others.
    """
    if config is None:
        config = _config(args, rootfs, limits, env, cwd, user, binds, writable, network)
    where = place.given(place.store(root), place.new_id("run"))
    return process.complete(
        "run",
        {**where, "config": config, "fall_back": True},
        args,
        where,
        input=input,
        timeout=timeout,
        max_output=max_output,
    )


def start(
    args: Sequence[str],
    *,
    rootfs: str | os.PathLike[str] | None = None,
    stdin: object = DEVNULL,
    stdout: object = PIPE,
    stderr: object = PIPE,
    limits: Limits | None = None,
    env: Mapping[str, str] | None = None,
    cwd: str = "/",
    user: tuple[int, int] | None = None,
    binds: Sequence[Bind] = (),
    writable: bool = False,
    network: str = "none",
    config: Mapping[str, Any] | None = None,
    root: str | os.PathLike[str] | None = None,
) -> Flow[tuple[Running, Streams]]:
    """Start a program in a new container, with streams while it runs: `stdin`, `stdout` and `stderr` are PIPE, DEVNULL,
    a descriptor or an object with fileno(), or for the last STDOUT. The rest is as for `run`. What it gives is to be
    used as a block, at whose end the container is ended and given back."""
    if config is None:
        config = _config(args, rootfs, limits, env, cwd, user, binds, writable, network)
    where = place.given(place.store(root), place.new_id("run"))
    streams = Streams(stdin, stdout, stderr)
    try:
        running = yield from process.begin("run", {**where, "config": config, "fall_back": True}, args, streams, where)
    except BaseException:
        streams.close()
        raise
    return running, streams


def _config(
    args: Sequence[str],
    rootfs: str | os.PathLike[str] | None,
    limits: Limits | None,
    env: Mapping[str, str] | None,
    cwd: str,
    user: tuple[int, int] | None,
    binds: Sequence[Bind],
    writable: bool,
    network: str,
) -> Mapping[str, Any]:
    if rootfs is None:
        raise UsageError("it takes 'rootfs', or a whole 'config'")
    return Config(
        args=args,
        rootfs=rootfs,
        env={} if env is None else env,
        cwd=cwd,
        user=user,
        binds=binds,
        writable=writable,
        network=network,
        limits=Limits() if limits is None else limits,
    ).document()
