"""A program that runs in a container, at its caller's end: waiting, signals, streams. For both faces (flow.py)."""

from __future__ import annotations

import os
import time

from boxes.api import client, scripted
from boxes.api.flow import READ, Wait
from boxes.api.result import Result
from boxes.api.streams import DEVNULL, PIPE, Exchange, Streams
from boxes.container.attached import EVERYTHING, REMOVED, outcome
from boxes.container.outcome import now
from boxes.container.reports import REPORT_ENDED, Report
from boxes.errors import InternalError
from boxes.spec import given as check

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from boxes.api.client import Link
    from boxes.api.flow import Flow
    from boxes.api.scripted import Begun, Joined

_GRACE = 2.0  # seconds for output to end after the program, should a process outside hold its other end
_LOST = "the process that kept it was killed, so nobody knows how it ended"


class Running:
    """One with a keeper. `ended`: what the keeper has reported of the end, once it is known."""

    pidfd = -1

    def __init__(self, args: Sequence[str], link: Link, facts: dict[str, Any], fds: list[int], delete: dict[str, Any]):
        self.args = tuple(args)
        self.link = link
        self.pid: int = facts["pid"]
        self.pidfd = fds[0]
        self.limits: str = facts.get("limits", "none")
        self.ended: dict[str, Any] | None = None
        self.finished = False  # the keeper has gone, and with it what it had to remove
        self._files: list[str] = facts.get("files", [])
        self._delete = delete  # how to ask for the removal of what is left, if it comes to that
        self._dirty = False
        self._removed = False  # the keeper has said that it has removed everything

    def kill(self) -> None:
        """End all of it at once."""
        self.link.send(EVERYTHING)

    def send_signal(self, number: int) -> None:
        if number > 0:
            self.link.send(bytes([number]))

    def take_reports(self) -> None:
        """Hear what the keeper has said by now."""
        while not self.finished:
            try:
                message, _ = self.link.receive_now()
            except BlockingIOError:
                return
            if not message:
                self.finished = True
                self._dirty = not self._removed
            elif message == REMOVED:
                self._removed = True
            elif not client.is_error(message):
                report = Report(message)
                if report.kind == REPORT_ENDED:
                    self.ended = outcome(report.data, self._files) | {"ended": now()}

    def end(self, deadline: float | None) -> Flow[dict[str, Any] | None]:
        """How it ended, as soon as that is known; None at the deadline. Raises InternalError if nobody can say."""
        self.take_reports()
        while self.ended is None:
            if self.finished:
                return (yield from self.finish())
            ready = yield Wait({self.link.fileno(): READ}, deadline)
            self.take_reports()
            if not ready and deadline is not None and time.monotonic() >= deadline:
                break
        return self.ended

    def finish(self) -> Flow[dict[str, Any]]:
        """How it ended, once it has and what it held is given back. Raises InternalError if nobody can say."""
        while not self.finished:
            self.take_reports()
            if not self.finished:
                yield Wait({self.link.fileno(): READ})
        yield from self._clean()
        if self.ended is None:
            raise InternalError(f"the end of process {self.pid} was missed: {_LOST}")
        return self.ended

    def _clean(self) -> Flow[None]:
        if self._dirty and self._delete:
            self._dirty = False
            yield from client.call("delete", {**self._delete, "ended": self.ended})

    def close(self) -> None:
        """Let go of it: what still runs is ended by its keeper."""
        self.link.close()
        pidfd, self.pidfd = self.pidfd, -1  # never twice, whatever comes between
        if pidfd >= 0:
            os.close(pidfd)

    def __del__(self) -> None:
        self.close()


def communicate(running: Running, exchange: Exchange, deadline: float | None) -> Flow[Result]:
    """Feed and read a program until its end; at the deadline, end it."""
    timed_out = False
    give_up: float | None = None
    while not running.finished or exchange.fds():
        if running.finished:
            give_up = give_up or time.monotonic() + _GRACE
            limit: float | None = give_up
        else:
            limit = None if timed_out else deadline
        fds = exchange.fds()
        if not running.finished:
            fds[running.link.fileno()] = READ
        ready = yield Wait(fds, limit)
        exchange.handle(ready)
        running.take_reports()
        if limit is not None and not ready and time.monotonic() >= limit:
            if running.finished:
                break
            timed_out = True
            running.kill()
    ended = yield from running.finish()
    exchange.drain()
    return result(running, ended, exchange, timed_out=timed_out)


def result(running: Running, ended: dict[str, Any], exchange: Exchange | None, *, timed_out: bool) -> Result:
    outputs = exchange.outputs if exchange is not None else None
    kills = ended["oom_kills"]
    return Result(
        args=running.args,
        exit_code=ended["exit_code"],
        signal=ended["signal"],
        stdout=bytes(outputs[0].kept) if outputs else b"",
        stderr=bytes(outputs[1].kept) if outputs else b"",
        stdout_dropped=outputs[0].dropped if outputs else 0,
        stderr_dropped=outputs[1].dropped if outputs else 0,
        timed_out=timed_out,
        oom_killed=None if kills is None else kills > 0,
        cpu_time=ended["cpu_usec"] / 1e6,
        memory_peak=ended["memory_peak"],
        limits=running.limits,
    )


def begin(
    verb: str,
    given: dict[str, Any],
    args: Sequence[str],
    streams: Streams,
    delete: dict[str, Any],
    joined: Joined | None = None,
) -> Flow[Running]:
    """Start a program whose streams are these; `joined`: what is known of the container it is to be in."""
    by_script: Begun | None = None
    if verb == "run":
        by_script = yield from scripted.run(given, streams.theirs)
    elif joined is not None:
        by_script = yield from scripted.execute(given, streams.theirs, joined)
    if by_script is not None:
        streams.hand_over()
        link, facts, fds = by_script
        return Running(args, link, facts, fds, delete)
    try:
        link = yield from client.request(verb, given, streams.theirs)
    finally:
        streams.hand_over()
    try:
        facts, fds = yield from client.answer(link)
        return Running(args, link, facts, fds, delete)
    except BaseException:
        link.close()
        raise


def asked(
    where: dict[str, Any],
    args: Sequence[str],
    env: Mapping[str, str] | None,
    cwd: str | None,
    user: tuple[int, int] | None,
) -> dict[str, Any]:
    """What "exec" is given: a program in the container that `where` names. Raises UsageError."""
    check.arguments("args", args)
    check.environment("env", env or {})
    if user is not None:
        check.ids("user", user)
    if cwd is not None:
        check.instance("cwd", cwd, str)
    variables = [f"{name}={value}" for name, value in (env or {}).items()]
    return {**where, "args": [os.fspath(each) for each in args], "env": variables, "cwd": cwd, "user": user}


def complete(
    verb: str,
    given: dict[str, Any],
    args: Sequence[str],
    delete: dict[str, Any],
    *,
    input: bytes | str | None,
    timeout: float | None,
    max_output: int,
    joined: Joined | None = None,
) -> Flow[Result]:
    """Start a program, and see it through to its end. The time counts from here. Raises UsageError."""
    check.data("input", input)
    check.seconds("timeout", timeout)
    check.size("max_output", max_output)
    content = input.encode() if isinstance(input, str) else input
    streams = Streams(DEVNULL if content is None else PIPE, PIPE, PIPE)
    deadline = None if timeout is None else time.monotonic() + timeout
    try:
        running = yield from begin(verb, given, args, streams, delete, joined)
    except BaseException:
        streams.close()
        raise
    exchange = Exchange(streams.take(), content or b"", max_output)
    try:
        return (yield from communicate(running, exchange, deadline))
    finally:
        exchange.close()
        running.close()
