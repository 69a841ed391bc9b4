"""Waits for orphans, as conmon or a shim does: an init cannot end while a process that joined its namespace is a zombie.

This process is their subreaper. Children that it started itself are left to `subprocess`.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.support import host

# Wait statuses of orphans that have ended, until a test asks for them.
ended: dict[int, int] = {}
_own: dict[int, subprocess.Popen[Any]] = {}
_paused = 0
_installed = False


class _Popen(subprocess.Popen):
    """Tells the reaper which children are not its business."""

    def __init__(self, *args: Any, **more: Any) -> None:
        with paused():
            super().__init__(*args, **more)
            _own[self.pid] = self


@contextmanager
def paused() -> Iterator[None]:
    """Nobody is waited for in here; nests."""
    global _paused
    _paused += 1
    try:
        yield
    finally:
        _paused -= 1
        reap()


def afresh() -> None:
    """In a fork: nothing is paused here, and the children of before are another's."""
    global _paused
    _paused = 0
    _own.clear()
    ended.clear()


def reap(*_: object) -> None:
    """Wait for the orphans that have ended. Also the handler of SIGCHLD."""
    if _paused or not _installed:
        return
    for pid, process in list(_own.items()):
        if process.returncode is not None:
            _own.pop(pid, None)  # the handler may have come in between
    for pid in host.children() - set(_own):
        try:
            found, status = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            continue
        if found:
            ended[found] = status


def install() -> None:
    """Become the subreaper of all that is started from now on."""
    global _installed
    _installed = True
    host.become_subreaper()
    subprocess.Popen = _Popen  # type: ignore[misc]
    signal.signal(signal.SIGCHLD, reap)
