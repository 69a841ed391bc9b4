"""Descriptors are closed also where close_range(2) is forbidden, or not known."""

from __future__ import annotations

import fcntl
import os

import pytest

from boxes.linux import procfs, syscalls


@pytest.mark.parametrize("forbidden", [False, True])
def test_descriptors_of_the_range_are_closed_and_no_others(forbidden: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    null = os.open("/dev/null", os.O_RDONLY)
    first, middle, last = (fcntl.fcntl(null, fcntl.F_DUPFD_CLOEXEC, number) for number in (700, 701, 703))
    with monkeypatch.context() as patch:
        if forbidden:
            patch.setattr(syscalls, "close_range", refused)
        procfs.close_range(middle, last)
    for fd in (middle, last):
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)
    os.close(first)
    os.close(null)


def refused(first: int, last: int) -> None:
    raise PermissionError
