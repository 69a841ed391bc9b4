"""`Pool`: sandboxes made ahead, so that to get one takes no time."""

from __future__ import annotations

import asyncio
import collections
import threading
import time
from contextlib import suppress

from boxes.api.sandbox import AsyncSandbox, Sandbox, Settings
from boxes.errors import BoxesError, StateError, UsageError
from boxes.spec import given as check

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from typing import Unpack

    from boxes.api.sandbox import Given

_AGAIN = 1.0  # seconds until a failed attempt to make one is repeated
_LEISURE = 0.02  # seconds for who has got one to use it first, as long as others wait


def _checked(size: int) -> int:
    check.instance("size", size, int)
    if size < 1:
        raise UsageError(f"a pool has at least one sandbox, not {size}")
    return size


def _leisure(acquired: float) -> float:
    """Seconds that are left of it."""
    return acquired + _LEISURE - time.monotonic()


class Pool:
    """`size` sandboxes that wait, all of the same settings (see `Sandbox`). Whoever acquires one closes it; none is
    used twice. Another is made in its place by a thread of the pool."""

    def __init__(self, rootfs: str | os.PathLike[str], size: int = 4, **settings: Unpack[Given]) -> None:
        self._size = _checked(size)
        self._rootfs = rootfs
        self._settings = settings
        Settings(rootfs, **settings)  # what is wrong with them is said here
        self._ready: collections.deque[Sandbox] = collections.deque()
        self._changed = threading.Condition()
        self._closed = False
        self._failure: BoxesError | None = None
        self._acquired = 0.0  # when the last was
        self._filler = threading.Thread(target=self._fill, name="boxes.Pool", daemon=True)
        self._filler.start()

    def acquire(self, timeout: float | None = None) -> Sandbox:
        """One that waits, or the next that is made. Raises TimeoutError, and what has kept the pool from making one."""
        check.seconds("timeout", timeout)
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            with self._changed:
                left = None if deadline is None else min(max(0.0, deadline - time.monotonic()), threading.TIMEOUT_MAX)
                if not self._ready and not self._changed.wait_for(self._decided, left):
                    raise TimeoutError(f"no sandbox within {timeout} s")
                if self._closed:
                    raise StateError("the pool is closed")
                if not self._ready and self._failure is not None:
                    raise self._failure
                sandbox = self._ready.popleft()
                self._acquired = time.monotonic()
                self._changed.notify_all()
            if sandbox.is_alive():
                return sandbox
            sandbox.close()  # it was killed as it waited

    def _decided(self) -> bool:
        return bool(self._ready) or self._closed or self._failure is not None

    def __len__(self) -> int:
        """How many wait now."""
        return len(self._ready)

    def _fill(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or len(self._ready) < self._size)
                if self._ready and (leisure := _leisure(self._acquired)) > 0:
                    self._changed.wait(leisure)
                if self._closed:
                    return
            self._add()

    def _add(self) -> None:
        made: Sandbox | None = None
        failure: BoxesError | None = None
        try:
            made = Sandbox(self._rootfs, **self._settings)
        except BoxesError as error:
            failure = error
        with self._changed:
            self._failure = failure
            if made is not None and not self._closed:
                self._ready.append(made)
                made = None
            self._changed.notify_all()
            if failure is not None:
                self._changed.wait_for(lambda: self._closed, _AGAIN)
        if made is not None:
            made.close()

    def close(self) -> None:
        """Close those that wait. Those that were acquired are their users'."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._filler.join()
        while self._ready:
            self._ready.popleft().close()

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncPool:
    """`size` sandboxes that wait, all of the same settings (see `Sandbox`). Whoever acquires one closes it; none is
    used twice. Another is made in its place by a task. To be used as a block."""

    def __init__(self, rootfs: str | os.PathLike[str], size: int = 4, **settings: Unpack[Given]) -> None:
        self._size = _checked(size)
        self._rootfs = rootfs
        self._settings = settings
        Settings(rootfs, **settings)
        self._ready: collections.deque[AsyncSandbox] = collections.deque()
        self._waiting: collections.deque[asyncio.Future[AsyncSandbox]] = collections.deque()
        self._acquired = 0.0  # when the last was
        self._wanted = asyncio.Event()
        self._closing = asyncio.Event()
        self._filler: asyncio.Task[None] | None = None

    async def acquire(self) -> AsyncSandbox:
        """One that waits, or the next that is made. Raises what has kept the pool from making one."""
        if self._filler is None:
            raise StateError("the pool is not open")
        self._acquired = time.monotonic()
        self._wanted.set()
        while self._ready:
            sandbox = self._ready.popleft()
            if sandbox.is_alive():
                return sandbox
            await sandbox.close()  # it was killed as it waited
        waiting: asyncio.Future[AsyncSandbox] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        return await waiting

    def __len__(self) -> int:
        """How many wait now."""
        return len(self._ready)

    async def _fill(self) -> None:
        """Never cancelled: a sandbox half made has no owner."""
        while not self._closing.is_set():
            if len(self._ready) >= self._size and not self._waiting:
                self._wanted.clear()
                await self._wanted.wait()
                continue
            if self._ready and (leisure := _leisure(self._acquired)) > 0:
                self._wanted.clear()
                with suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._wanted.wait(), leisure)
                continue
            sandbox = AsyncSandbox(self._rootfs, **self._settings)
            try:
                await sandbox.open()
            except BoxesError as error:
                self._fail(error)
                with suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._closing.wait(), _AGAIN)
                continue
            self._give(sandbox)

    def _give(self, sandbox: AsyncSandbox) -> None:
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_result(sandbox)
                return
        self._ready.append(sandbox)

    def _fail(self, error: BoxesError) -> None:
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_exception(error)

    async def __aenter__(self) -> AsyncPool:
        self._filler = asyncio.get_running_loop().create_task(self._fill())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close those that wait. Those that were acquired are their users'."""
        filler, self._filler = self._filler, None
        if filler is not None:
            self._closing.set()
            self._wanted.set()
            await asyncio.gather(filler, return_exceptions=True)
        self._fail(StateError("the pool is closed"))
        while self._ready:
            await self._ready.popleft().close()
