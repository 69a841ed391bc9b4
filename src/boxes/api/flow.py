"""One core for two faces: what the API does is written once, as generators, and driven by poll(2) or by asyncio.

A *flow* yields what it waits for (`Wait`) and is sent what is ready. `run` drives one in the calling thread; `arun` in
the running event loop, where others go on meanwhile. Closed early, by an exception, a signal or a cancellation, a flow
takes back what it has begun: that is what its `finally` is for.
"""

from __future__ import annotations

import asyncio
import functools
import os
import select
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator
    from typing import Any, ParamSpec, TypeVar

    T = TypeVar("T")
    S = TypeVar("S")
    P = ParamSpec("P")
    Ready = dict[int, int]
    Flow = Generator["Wait", Ready, T]

READ, WRITE = select.POLLIN, select.POLLOUT
LONGEST = 1e6  # seconds of one poll(2)


class Wait:
    """`fds`: events of poll(2) by descriptor; `deadline`: a time.monotonic() at which nothing is ready, or None."""

    __slots__ = ("deadline", "fds")

    def __init__(self, fds: dict[int, int], deadline: float | None = None) -> None:
        self.fds = fds
        self.deadline = deadline

    def left(self) -> float | None:
        """Seconds until the deadline."""
        return None if self.deadline is None else max(0.0, self.deadline - time.monotonic())


def run(flow: Flow[T]) -> T:
    """The flow's value; other threads run while it waits."""
    try:
        wait = next(flow)
        while True:
            wait = flow.send(_polled(wait))
    except StopIteration as end:
        value: T = end.value
        return value
    finally:
        flow.close()


def _polled(wait: Wait) -> Ready:
    poller = select.poll()
    for fd, events in wait.fds.items():
        poller.register(fd, events)
    left = wait.left()
    return dict(poller.poll(None if left is None else int(min(left, LONGEST) * 1000) + 1))


async def arun(flow: Flow[T]) -> T:
    """The flow's value, in the running loop."""
    try:
        wait = next(flow)
        while True:
            wait = flow.send(await _awaited(wait))
    except StopIteration as end:
        value: T = end.value
        return value
    finally:
        flow.close()


async def _awaited(wait: Wait) -> Ready:
    """A loop has one watch of each descriptor, and several tasks may wait for the same: each watches a duplicate. What
    is at its end or in error is reported by either kind of watch."""
    loop = asyncio.get_running_loop()
    woken: asyncio.Future[None] = loop.create_future()
    ready: Ready = {}
    watched: list[int] = []

    def noted(fd: int, event: int) -> None:
        ready[fd] = ready.get(fd, 0) | event
        if not woken.done():
            woken.set_result(None)

    try:
        for fd, events in wait.fds.items():
            watched.append(os.dup(fd))
            if events & WRITE:
                loop.add_writer(watched[-1], noted, fd, WRITE)
            if events & READ:
                loop.add_reader(watched[-1], noted, fd, READ)
        left = wait.left()
        await asyncio.wait_for(woken, None if left is None else min(left, LONGEST))
    except TimeoutError:
        pass
    finally:
        for fd in watched:
            loop.remove_writer(fd)
            loop.remove_reader(fd)
            os.close(fd)
    return ready


def blocking(flow: Callable[P, Flow[T]]) -> Callable[P, T]:
    """The synchronous face of a function or method that makes flows."""

    @functools.wraps(flow)
    def face(*args: P.args, **kwargs: P.kwargs) -> T:
        return run(flow(*args, **kwargs))

    return face


def awaitable(flow: Callable[P, Flow[T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """The asynchronous one."""

    @functools.wraps(flow)
    async def face(*args: P.args, **kwargs: P.kwargs) -> T:
        return await arun(flow(*args, **kwargs))

    return face
