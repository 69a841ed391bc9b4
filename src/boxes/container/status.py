"""What a container is doing: found out, not remembered."""

from __future__ import annotations

import errno
import fcntl
from _struct import pack, unpack

from boxes import system as os
from boxes.errors import refused
from boxes.linux import procfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from boxes.cgroups.manager import Manager
    from boxes.container.store import Place

CREATING, CREATED, RUNNING, PAUSED, STOPPED = "creating", "created", "running", "paused", "stopped"
_WAITING = "waiting"  # the file whose lock inner holds
F_OFD_GETLK, F_OFD_SETLK = 36, 37  # <linux/fcntl.h>
_FLOCK = "=hhiqqi4x"  # struct flock


def hold(place: Place) -> int:
    """The lock that says "created": on an open file description that the builder and inner inherit, so that it goes
    with the execve of the container's program, or with the last of them. fcntl(2), F_OFD_SETLK."""
    fd = os.open(f"{place.path}/{_WAITING}", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    fcntl.fcntl(fd, F_OFD_SETLK, pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0, 0))
    return fd


def _waits(place: Place) -> bool:
    try:
        # Read only: who watches the directory (`box events`) is told when a writer closes it, which is inner.
        fd = os.open(f"{place.path}/{_WAITING}", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        found = fcntl.fcntl(fd, F_OFD_GETLK, pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0, 0))
        return bool(unpack(_FLOCK, found)[0] != fcntl.F_UNLCK)
    finally:
        os.close(fd)


def of(place: Place, journal: dict[str, Any]) -> str:
    """The status of a container, by its process and its lock."""
    if not alive(journal):
        return CREATING if journal["status"] == CREATING and _maker_lives(journal) else STOPPED
    if journal["status"] == CREATING:
        return CREATING if _maker_lives(journal) else STOPPED
    if _waits(place):
        return CREATED
    return PAUSED if _frozen(journal) else RUNNING


def alive(journal: dict[str, Any]) -> bool:
    """Whether the process is the one that was recorded: not one with its pid, and not one before a reboot."""
    pid, started = journal.get("pid"), journal.get("started")
    if pid is None or started is None or journal["boot"] != procfs.boot_id():
        return False
    return bool(procfs.start_time(pid) == started)


def _maker_lives(journal: dict[str, Any]) -> bool:
    pid, started = journal["maker"]
    return bool(journal["boot"] == procfs.boot_id() and procfs.start_time(pid) == started)


def _frozen(journal: dict[str, Any]) -> bool:
    """By the file that was noted at creation: to load what manages cgroups would double the time this takes."""
    sign = journal.get("frozen_sign")
    if not sign:
        return False
    try:
        fd = os.open(sign[0], os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.read(fd, 16) == os.fsencode(sign[1])
        finally:
            os.close(fd)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENODEV, errno.EACCES):  # the cgroup has gone, or is not shown here
            return False
        raise refused("cannot tell whether the container is paused", error) from error


def cgroups_of(journal: dict[str, Any]) -> Manager:
    """The cgroups a journal tells of; none, if creation was cut short before they were planned."""
    from boxes.cgroups import manager

    if not journal["cgroups"]:
        return manager.disabled()
    found = manager.from_record(journal["cgroups"])
    # One without an inode may never have been made by us: its processes may be somebody else's.
    made = found.needs_process or all(directory.inode for directory in found.directories)
    found.shared = found.shared or not made
    return found


def oci(journal: dict[str, Any], name: str) -> dict[str, Any]:
    """The state document as hooks and seccomp agents are given it: runtime.md, "State"."""
    from boxes.spec.state import oci_state

    pid = None if name == STOPPED else journal.get("pid")
    return oci_state(journal["id"], name, pid, journal["bundle"], journal["annotations"])
