"""Mounts as /proc/self/mountinfo lists them: proc_pid_mountinfo(5)."""

from __future__ import annotations

import errno

from boxes import system as os
from boxes.linux import syscalls

_ESCAPES = ((b"\\040", b" "), (b"\\011", b"\t"), (b"\\012", b"\n"), (b"\\134", b"\\"))


def text(field: bytes) -> str:
    """A path of mountinfo: blanks and backslashes are octal there."""
    for escape, plain in _ESCAPES:
        field = field.replace(escape, plain)
    return os.fsdecode(field)


def own() -> bytes:
    """The file of this process."""
    return _read("/proc/self/mountinfo")


def below(mount: int) -> list[tuple[int, str]]:
    """The mounts on the one that a descriptor is of, and on these: their ids and where they are, outer ones first."""
    found: dict[int, str] = {}
    within = {mount_id(mount)}
    rows = [line.split(b" ", 5) for line in own().splitlines()]
    grown = True
    while grown:  # the order of rows says nothing of which is on which
        grown = False
        for identifier, parent, _, _, point, _ in rows:
            if int(parent) in within and int(identifier) not in within:
                within.add(int(identifier))
                found[int(identifier)] = text(point)
                grown = True
    return list(found.items())


def open_mount(identifier: int, point: str) -> int:
    """A mount by its place; one that another covers has no name. Such a one could be uncovered by the host later."""
    try:
        fd = os.open(point, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        fd = -1
    if fd >= 0 and mount_id(fd) == identifier:
        return fd
    if fd >= 0:
        os.close(fd)
    why = f"the mount on '{point}' is covered by another, and cannot be changed before Linux 5.12"
    raise syscalls.rendered(OSError(errno.ENOSYS, why), "mount_setattr()")


def mount_id(fd: int) -> int:
    """Of the mount that a descriptor was opened through."""
    for line in _read(f"/proc/self/fdinfo/{fd}").splitlines():
        if line.startswith(b"mnt_id:"):
            return int(line[7:])
    raise LookupError(fd)


def _read(path: str) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read_all(fd, 1 << 26)
    finally:
        os.close(fd)
