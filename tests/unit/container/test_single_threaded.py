"""A process with threads makes no container: setns(2) would refuse it, and its forks have locks that nobody releases."""

from __future__ import annotations

import threading

import pytest

from boxes.container.host import single_threaded
from boxes.errors import InternalError


def test_process_with_a_thread_is_refused() -> None:
    before = threading.active_count()
    end = threading.Event()
    thread = threading.Thread(target=end.wait)
    thread.start()
    try:
        with pytest.raises(InternalError, match="threads"):
            single_threaded()
    finally:
        end.set()
        thread.join()
    assert threading.active_count() == before


def test_process_without_threads_is_not() -> None:
    if threading.active_count() == 1:
        single_threaded()
