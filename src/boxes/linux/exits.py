"""How a process ended, for who is not its parent: a pidfd that was open before its end tells.

Linux 6.15 keeps that in the pidfd, after the parent has reaped the process (<linux/pidfd.h>, PIDFD_INFO_EXIT). Until
then, and on older kernels only until then, /proc/PID/stat has it (field 52, proc(5)). What both tell is a wait status.
"""

from __future__ import annotations

import fcntl
from _struct import pack_into, unpack_from

from boxes import system as os

INFO_SIZE = 64  # PIDFD_INFO_SIZE_VER0
PIDFD_GET_INFO = 3 << 30 | INFO_SIZE << 16 | 0xFF << 8 | 11  # _IOWR(PIDFS_IOCTL_MAGIC, 11, struct pidfd_info)
INFO_EXIT = 1 << 3
UNANSWERED = 1 << 63  # of a mask that is asked with: no answer has this bit
_STATUS_AT = 60  # of exit_code in struct pidfd_info


def status(pid: int, started: int, pidfd: int) -> int | None:
    """The wait status of a process that has ended, or None if nobody can tell any more."""
    # The order matters: while it is a zombie the first one tells, and the second one from the end of that on.
    found = of_zombie(_stat(pid), started)
    return of_pidfd(pidfd) if found is None else found


def unreaped(pid: int, started: int) -> int | None:
    """The wait status of a process that has ended, without a pidfd: as long as its parent has not asked for it."""
    return of_zombie(_stat(pid), started)


def of_zombie(stat: bytes, started: int) -> int | None:
    """By the text of /proc/PID/stat, if that is of the process which began at `started`. Whoever may not trace the
    process reads a 0; who made a container may."""
    fields = stat[stat.rfind(b")") + 2 :].split()
    if len(fields) < 50 or fields[0] not in (b"Z", b"X") or int(fields[19]) != started:
        return None
    return int(fields[49])


def of_pidfd(pidfd: int) -> int | None:
    info = bytearray(INFO_SIZE)
    pack_into("=Q", info, 0, INFO_EXIT | UNANSWERED)
    try:
        fcntl.ioctl(pidfd, PIDFD_GET_INFO, info)
    except OSError:  # COMPAT(linux<6.13): there is no such call
        return None
    return of_info(info)


def of_info(info: bytes | bytearray) -> int | None:
    """By a struct pidfd_info."""
    mask = unpack_from("=Q", info)[0]
    told = mask & INFO_EXIT and not mask & UNANSWERED
    return int(unpack_from("=i", info, _STATUS_AT)[0]) if told else None


def _stat(pid: int) -> bytes:
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.read(fd, 4096)
    except ProcessLookupError:
        return b""
    finally:
        os.close(fd)
