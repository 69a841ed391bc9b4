"""`run` and `popen`: a program in a container of its own."""

from __future__ import annotations

from boxes.api import configs, place, process
from boxes.api.streams import DEVNULL, MAX_OUTPUT, PIPE, Streams

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence
    from typing import Any

    from boxes.api.flow import Flow
    from boxes.api.process import Running
    from boxes.api.result import Result
    from boxes.spec.sandbox import Bind, Config, Limits


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
    config: Config | Mapping[str, Any] | None = None,
    max_output: int = MAX_OUTPUT,
    root: str | os.PathLike[str] | None = None,
) -> Flow[Result]:
    """Run a program in a new container, and give the container back.

    `args`: program and arguments; `rootfs`: the directory that is its root, read-only unless `writable`; `input`: what
    it reads (a text as UTF-8); `timeout`: seconds after which all of it is killed; `limits`, `env`, `cwd`, `user`,
    `binds`, `network`: as in `boxes.spec.Config`; `config`: a whole config in the place of these, such as
    `Config(...).document()` with changes, of which `args` and, if it is given, `rootfs` are exchanged; `max_output`:
    bytes of stdout and of stderr to keep; `root`: where containers are kept, as --root of the command line.

    A program that fails is no error here (`Result.check` makes it one); raises BoxesError if it could not be begun:
    ConfigError, KernelError, UnsupportedError and others.
    """
    document = configs.made(
        args,
        rootfs,
        config=config,
        limits=limits,
        env=env,
        cwd=cwd,
        user=user,
        binds=binds,
        network=network,
        writable=writable,
    )
    where = place.given(place.store(root), place.new_id("run"))
    return process.complete(
        "run",
        {**where, "config": document, "fall_back": True},
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
    config: Config | Mapping[str, Any] | None = None,
    root: str | os.PathLike[str] | None = None,
) -> Flow[tuple[Running, Streams]]:
    """Start a program in a new container, with streams while it runs: `stdin`, `stdout` and `stderr` are PIPE, DEVNULL,
    a descriptor or an object with fileno(), or for the last STDOUT. The rest is as for `run`. What it gives is to be
    used as a block, at whose end the container is ended and given back."""
    document = configs.made(
        args,
        rootfs,
        config=config,
        limits=limits,
        env=env,
        cwd=cwd,
        user=user,
        binds=binds,
        network=network,
        writable=writable,
    )
    where = place.given(place.store(root), place.new_id("run"))
    streams = Streams(stdin, stdout, stderr)
    try:
        running = yield from process.begin(
            "run", {**where, "config": document, "fall_back": True}, args, streams, where
        )
    except BaseException:
        streams.close()
        raise
    return running, streams
