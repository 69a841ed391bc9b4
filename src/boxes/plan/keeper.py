"""The steps of a keeper: inner's plan for a process that waits for a container's end and notes it.

There is no program of its own for that: inner carries out system calls, and these write their results into a file that
is mapped, so that nothing has to be decided. Whoever reads the file knows where each put what.
"""

from __future__ import annotations

from _struct import pack

from boxes.linux.exits import INFO_EXIT, PIDFD_GET_INFO, UNANSWERED
from boxes.plan.inner import Steps

SIZE = 4096
STAT_AT, STAT_SIZE, TIME_AT, INFO_AT = 0, 2048, 2048, 3072  # what of the kernel's is where in the file
_PLACE = 0x10000000  # where the file is mapped: nothing else is that low
_PROT_READ_WRITE, _MAP_SHARED_FIXED = 3, 0x11
_PR_SET_NAME = 15
_POLLIN = 1
_ESRCH, _ENOTTY = 3, 25


def blank() -> bytes:
    """The file as it is before: zeros, and the question that the last call asks."""
    return bytes(INFO_AT) + pack("=Q", INFO_EXIT | UNANSWERED) + bytes(SIZE - INFO_AT - 8)


def keeper(pidfd: int, file: int, stat: int) -> Steps:
    """`pidfd` is the container's init, `file` where it is noted, `stat` the open /proc/PID/stat of the init."""
    steps = Steps()
    steps.call("prctl", _PR_SET_NAME, b"box: keeper\0")
    steps.call("setsid")
    steps.call("chdir", b"/\0")
    steps.call("mmap", _PLACE, SIZE, _PROT_READ_WRITE, _MAP_SHARED_FIXED, file, 0)
    steps.call("ppoll", pack("=ihh", pidfd, _POLLIN, 0), 1, 0, 0, 0)
    # As long as it is not reaped the first one tells, and the second one from then on: see linux/exits.py.
    steps.call("read", stat, _PLACE + STAT_AT, STAT_SIZE, ignore=_ESRCH)
    steps.call("clock_gettime", 0, _PLACE + TIME_AT)
    steps.call("ioctl", pidfd, PIDFD_GET_INFO, _PLACE + INFO_AT, ignore=_ENOTTY)
    steps.call("exit_group", 0)
    return steps
