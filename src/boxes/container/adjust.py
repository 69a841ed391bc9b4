"""What the runtime sets on the container's process from outside, since inside nobody may."""

from __future__ import annotations

from boxes import system as os
from boxes.errors import refused
from boxes.linux import syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def oom_score(pid: int, process: dict[str, Any]) -> None:
    """/process/oomScoreAdj"""
    score = process.get("oomScoreAdj")
    if score is None:
        return
    path = f"/proc/{pid}/oom_score_adj"
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            if int(os.read(fd, 16)) != score:
                os.write(fd, str(score).encode())
        finally:
            os.close(fd)
    except OSError as error:
        error.filename = path
        hint = "a lower value than the caller's needs CAP_SYS_RESOURCE"
        raise refused(f"cannot set it to {score}", error, pointer="/process/oomScoreAdj", hint=hint) from error


def raise_rlimits(pid: int, process: dict[str, Any]) -> None:
    """Hard limits of /process/rlimits above the process's own, which it could not raise in a user namespace. With pid 0
    our own, to be inherited."""
    if not process.get("rlimits"):
        return
    from boxes.plan.rlimits import raised_rlimits

    for resource, hard, pointer in raised_rlimits(process):
        try:
            soft, has = syscalls.prlimit(pid, resource)
            if hard > has:
                syscalls.prlimit(pid, resource, (soft, hard))
        except OSError as error:
            hint = "raising a hard limit needs CAP_SYS_RESOURCE"
            raise refused("cannot raise the hard limit", error, pointer=pointer, hint=hint) from error
