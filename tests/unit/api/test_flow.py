"""Flows: one core, driven by poll and by a loop."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from boxes.api.flow import READ, Wait, arun, run

if TYPE_CHECKING:
    from boxes.api.flow import Flow

Drive = Callable[["Flow[Any]"], Any]
BOTH = [run, lambda flow: asyncio.run(arun(flow))]


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for fd in ends:
        os.close(fd)


def reads(fd: int, deadline: float | None = None) -> Flow[bytes]:
    ready = yield Wait({fd: READ}, deadline)
    return os.read(fd, 100) if fd in ready else b"late"


@pytest.mark.parametrize("drive", BOTH)
def test_flow_is_told_what_is_ready(drive: Drive, pipe: tuple[int, int]) -> None:
    os.write(pipe[1], b"here")
    assert drive(reads(pipe[0])) == b"here"


@pytest.mark.parametrize("drive", BOTH)
def test_deadline_ends_a_wait(drive: Drive, pipe: tuple[int, int]) -> None:
    assert drive(reads(pipe[0], time.monotonic() + 0.05)) == b"late"


@pytest.mark.parametrize("drive", BOTH)
def test_end_of_a_pipe_is_ready(drive: Drive) -> None:
    read, write = os.pipe()
    os.close(write)
    assert drive(reads(read)) == b""
    os.close(read)


@pytest.mark.parametrize("drive", BOTH)
def test_errors_come_through_and_take_back(drive: Drive) -> None:
    undone = []

    def fails() -> Flow[None]:
        try:
            yield Wait({}, time.monotonic())
            raise LookupError("why")
        finally:
            undone.append(True)

    with pytest.raises(LookupError, match="why"):
        drive(fails())
    assert undone == [True]


def test_cancelled_flow_takes_back(pipe: tuple[int, int]) -> None:
    undone = []

    def waits() -> Flow[None]:
        try:
            yield Wait({pipe[0]: READ})
        finally:
            undone.append(True)

    async def main() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(arun(waits()), 0.05)

    asyncio.run(main())
    assert undone == [True]


def test_tasks_may_wait_for_the_same(pipe: tuple[int, int]) -> None:
    def sees() -> Flow[bool]:
        return pipe[0] in (yield Wait({pipe[0]: READ}, time.monotonic() + 5))

    async def main() -> list[bool]:
        asyncio.get_running_loop().call_later(0.05, os.write, pipe[1], b"x")
        return await asyncio.gather(*(arun(sees()) for _ in range(5)))

    assert asyncio.run(main()) == [True] * 5
