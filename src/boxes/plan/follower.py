"""The steps of a follower: inner's plan for a process that ends another when a container has ended."""

from __future__ import annotations

from _struct import pack

from boxes.plan.inner import Steps

_PR_SET_NAME = 15
_POLLIN = 1
_SIGTERM = 15
_ESRCH = 3


def follower(pidfd: int, other: int) -> Steps:
    """`pidfd` is the container's init, `other` the one that goes with it."""
    steps = Steps()
    steps.call("prctl", _PR_SET_NAME, b"box: follower\0")
    steps.call("setsid")
    steps.call("chdir", b"/\0")
    steps.call("ppoll", pack("=ihh", pidfd, _POLLIN, 0), 1, 0, 0, 0)
    steps.call("pidfd_send_signal", other, _SIGTERM, 0, 0, ignore=_ESRCH)
    steps.call("exit_group", 0)
    return steps
