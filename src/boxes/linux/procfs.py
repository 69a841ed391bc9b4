"""What /proc tells of processes and namespaces.

Only the host's procfs is read here, before anything of a container is in reach.
"""

from __future__ import annotations

import errno

from boxes import system as os
from boxes.linux import syscalls

_PF_EXITING = 0x4  # <linux/sched.h>, of the flags in /proc/PID/stat
_SIGKILL = 1 << 8  # in a mask of signals
INITIAL_MAP = b"         0          0 4294967295"


def start_time(pid: int, proc: str = "/proc") -> int | None:
    """When a process began, in clock ticks since boot (field 22 of /proc/PID/stat), or None if it has ended.

    A zombie has ended: its state is Z or X.
    """
    try:
        fd = os.open(f"{proc}/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, ProcessLookupError):
        return None
    try:
        text = os.read(fd, 4096)
    except ProcessLookupError:
        return None
    finally:
        os.close(fd)
    fields = text[text.rindex(b")") + 2 :].split()
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


def open_process(pid: int, started: int) -> int | None:
    """A pidfd of the process that began at `started`, or None if it has ended or the pid is another's by now."""
    try:
        fd = syscalls.pidfd_open(pid)
    except OSError as error:
        if error.errno in (errno.ESRCH, errno.EINVAL):
            return None
        raise
    # The order matters: once the pidfd is open, the start time read is that of its process or of nobody.
    if start_time(pid) == started:
        return fd
    os.close(fd)
    return None


def is_ending(pid: int, *, pending: bool) -> bool:
    """Whether a process has begun to exit, or has a SIGKILL to take yet; with `pending` any signal counts."""
    try:
        status = _read(f"/proc/{pid}/status")
        flags = int(_read(f"/proc/{pid}/stat").rpartition(b") ")[2].split()[6])
    except (FileNotFoundError, ProcessLookupError):
        return True
    waiting = 0
    for line in status.splitlines():
        if line.startswith((b"SigPnd:", b"ShdPnd:")):
            waiting |= int(line[7:], 16)
    return bool(flags & _PF_EXITING or waiting & _SIGKILL or (pending and waiting))


def boot_id() -> str:
    """A name of this boot of the machine."""
    return _read("/proc/sys/kernel/random/boot_id").decode().strip()


def in_initial_user_namespace() -> bool:
    """Whether ids mean here what they mean to the kernel."""
    try:
        return _read("/proc/self/uid_map").strip() == INITIAL_MAP.strip()
    except FileNotFoundError:
        return True  # a kernel without user namespaces


def threads() -> int:
    """How many threads this process has."""
    return len(os.listdir("/proc/self/task"))


def close_range(first: int, last: int = 0xFFFFFFFF) -> None:
    """close_range(2); one by one below seccomp filters that do not know it."""
    try:
        syscalls.close_range(first, last)
    except OSError:
        for name in os.listdir("/proc/self/fd"):
            if first <= int(name) <= last:
                try:
                    os.close(int(name))
                except OSError:
                    pass  # the descriptor of the listing itself


def _read(path: str) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, 4096)
    finally:
        os.close(fd)


def has_ended(pidfd: int, seconds: float) -> bool:
    """Whether the process ends within that time: pidfd_open(2), poll."""
    import select

    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def has_network(inode: int) -> bool:
    """Whether a process is in the network namespace of this inode number."""
    for name in os.listdir("/proc"):
        if name.isdecimal():
            try:
                if os.stat(f"/proc/{name}/ns/net").st_ino == inode:
                    return True
            except OSError:
                continue  # it has ended
    return False
