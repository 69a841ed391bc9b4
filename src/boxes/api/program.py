"""`Popen`: a program in a container of its own, or in one that is there, with streams while it runs."""

from __future__ import annotations

import time

from boxes.api import process
from boxes.api.flow import awaitable, blocking
from boxes.api.pipes import AsyncReader, AsyncWriter, Reader, Writer
from boxes.api.streams import MAX_OUTPUT, Exchange
from boxes.spec import given as check

TYPE_CHECKING = False
if TYPE_CHECKING:
    from boxes.api.flow import Flow
    from boxes.api.process import Running
    from boxes.api.result import Result
    from boxes.api.streams import Streams


class Program:
    """A program that was started. Leaving its block, or losing the object, ends it."""

    stdin: Writer | AsyncWriter | None
    stdout: Reader | AsyncReader | None
    stderr: Reader | AsyncReader | None

    def __init__(self, running: Running, streams: Streams) -> None:
        self._running = running
        self.args = running.args

    @property
    def pid(self) -> int:
        """Of its first process, as the host sees it."""
        return self._running.pid

    @property
    def limits(self) -> str:
        """What holds its limits: "cgroups", "rlimits" or "none"."""
        return self._running.limits

    def send_signal(self, number: int) -> None:
        """Send a signal to its first process; nothing happens if that has ended."""
        self._running.send_signal(check.signal("number", number))

    def kill(self) -> None:
        """End it, and all processes of its container if it is the container's own."""
        self._running.kill()

    def poll(self) -> int | None:
        """Its exit status, or the negative number of the signal that ended it; None while it runs."""
        self._running.take_reports()
        ended = self._running.ended
        if ended is None:
            return None
        code: int | None = ended["exit_code"]
        return -ended["signal"] if code is None else code

    def _wait(self, timeout: float | None = None) -> Flow[Result]:
        """How it ended, without output. Raises TimeoutError if it has not within `timeout` seconds."""
        check.seconds("timeout", timeout)
        deadline = None if timeout is None else time.monotonic() + timeout
        running = self._running
        if (yield from running.end(deadline)) is None:
            raise TimeoutError(f"'{self.args[0]}' has not ended within {timeout:g} s")
        ended = yield from running.finish()
        return process.result(running, ended, None, timed_out=False)

    def _communicate(
        self, input: bytes | str | None = None, timeout: float | None = None, max_output: int = MAX_OUTPUT
    ) -> Flow[Result]:
        """Write `input`, read all output, and wait for the end; after `timeout` seconds it is ended."""
        check.data("input", input)
        check.seconds("timeout", timeout)
        check.size("max_output", max_output)
        deadline = None if timeout is None else time.monotonic() + timeout
        content = input.encode() if isinstance(input, str) else input
        exchange = Exchange(_taken(self.stdin, self.stdout, self.stderr), content or b"", max_output)
        try:
            return (yield from process.communicate(self._running, exchange, deadline))
        finally:
            exchange.close()

    def close(self) -> None:
        """End it if it runs still, and close its streams."""
        self._running.close()
        for end in (self.stdin, self.stdout, self.stderr):
            if end is not None:
                end.close()


class Popen(Program):
    """`stdin`, `stdout`, `stderr`: the caller's ends of those that were asked for as PIPE, else None."""

    def __init__(self, running: Running, streams: Streams) -> None:
        super().__init__(running, streams)
        stdin, stdout, stderr = streams.ours
        self.stdin: Writer | None = Writer(stdin) if stdin >= 0 else None
        self.stdout: Reader | None = Reader(stdout) if stdout >= 0 else None
        self.stderr: Reader | None = Reader(stderr) if stderr >= 0 else None

    wait = blocking(Program._wait)
    communicate = blocking(Program._communicate)

    def __enter__(self) -> Popen:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncPopen(Program):
    """`stdin`, `stdout`, `stderr`: the caller's ends of those that were asked for as PIPE, else None."""

    def __init__(self, running: Running, streams: Streams) -> None:
        super().__init__(running, streams)
        stdin, stdout, stderr = streams.ours
        self.stdin: AsyncWriter | None = AsyncWriter(stdin) if stdin >= 0 else None
        self.stdout: AsyncReader | None = AsyncReader(stdout) if stdout >= 0 else None
        self.stderr: AsyncReader | None = AsyncReader(stderr) if stderr >= 0 else None

    wait = awaitable(Program._wait)
    communicate = awaitable(Program._communicate)

    async def __aenter__(self) -> AsyncPopen:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()


def _taken(*ends: Reader | Writer | AsyncReader | AsyncWriter | None) -> list[int]:
    """The descriptors, for who reads and writes all of them at once."""
    return [-1 if end is None or end.closed else end.release() for end in ends]
