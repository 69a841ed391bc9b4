"""Which security modules of the kernel are at work."""

from __future__ import annotations

from boxes import system as os
from boxes.linux import flags as k
from boxes.linux import privateproc, syscalls

_READ_ONLY = 1  # ST_RDONLY of statvfs(3)


def apparmor() -> bool:
    try:
        fd = os.open("/sys/module/apparmor/parameters/enabled", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return os.read(fd, 1) == b"Y"
    finally:
        os.close(fd)


def selinux() -> bool:
    """As libselinux has it: where its filesystem is mounted read-only it is not for us to use, as in a container."""
    try:
        fd = os.open("/sys/fs/selinux", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return syscalls.filesystem(fd) == k.SELINUX_MAGIC and not os.fstatvfs(fd).f_flag & _READ_ONLY
    finally:
        os.close(fd)


def open_attributes() -> int:
    """A procfs to write a process's own labels through: one that nobody else can reach and nothing can be mounted over,
    or the host's where the kernel refuses to make one, as in a user namespace that shares the pid namespace."""
    try:
        return privateproc.private(subset=True)
    except OSError:
        fd = os.open("/proc", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        if syscalls.filesystem(fd) == k.PROC_SUPER_MAGIC:
            return fd
        os.close(fd)
        raise
