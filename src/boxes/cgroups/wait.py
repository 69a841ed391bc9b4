"""Waiting for what the kernel does in its own time: the exit of killed processes, the freezing of others."""

from __future__ import annotations

import select
import time

from boxes import system as os
from boxes.linux.syscalls import pidfd_open

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

# Where the kernel has no event to wait for, the seconds between two looks: they double up to the last. To freeze a few
# processes takes some ten microseconds.
_SHORTEST, _LONGEST = 0.00005, 0.032


def left(deadline: float) -> int:
    """Milliseconds until `deadline` (of time.monotonic()), at least 0."""
    return max(0, int((deadline - time.monotonic()) * 1000 + 0.999))


def until(done: Callable[[], bool], deadline: float) -> bool:
    """Whether `done` became true before `deadline`, for a state that has no event."""
    pause = _SHORTEST
    while not done():
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            return False
        select.select((), (), (), min(pause, remaining))
        pause = min(pause * 2, _LONGEST)
    return True


def event(path: str, key: str, value: str, deadline: float) -> bool:
    """Whether `key` of a v2 cgroup.events (``populated``, ``frozen``) became `value` before `deadline`."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return True  # the cgroup is gone, and with it what was waited for
    try:
        poll = select.poll()
        poll.register(fd, select.POLLPRI)
        while f"{key} {value}" not in os.pread(fd, 4096, 0).decode().splitlines():
            remaining = left(deadline)
            if remaining == 0:
                return False
            poll.poll(remaining)
    except OSError:
        return True
    finally:
        os.close(fd)
    return True


def exits(pids: Iterable[int], deadline: float) -> bool:
    """Whether all these processes have ended before `deadline`."""
    fds = []
    try:
        for pid in pids:
            try:
                fds.append(pidfd_open(pid))
            except ProcessLookupError:
                continue  # it has ended
        poll = select.poll()
        for fd in fds:
            poll.register(fd, select.POLLIN)
        pending = len(fds)
        while pending:
            remaining = left(deadline)
            if remaining == 0:
                return False
            for fd, _ in poll.poll(remaining):
                poll.unregister(fd)
                pending -= 1
        return True
    finally:
        for fd in fds:
            os.close(fd)
