"""A pid that is a thread's by now, as numbers are given again: it is no process that could be waited for or ended."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from boxes.cgroups import wait
from boxes.linux import procfs, syscalls


@pytest.fixture
def thread() -> Iterator[int]:
    done = threading.Event()
    found = threading.Thread(target=done.wait)
    found.start()
    assert found.native_id is not None
    yield found.native_id
    done.set()
    found.join()


def test_thread_is_no_process(thread: int) -> None:
    with pytest.raises(ProcessLookupError):
        syscalls.pidfd_open(thread)
    started = procfs.start_time(thread)
    assert started is not None
    assert procfs.open_process(thread, started) is None


def test_nobody_waits_for_a_thread(thread: int) -> None:
    assert wait.exits([thread], time.monotonic() + 5)
