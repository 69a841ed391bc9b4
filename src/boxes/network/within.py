"""Doing something in the network namespace of another process."""

from __future__ import annotations

import array
import os
import socket

from boxes.errors import ServiceError, refused
from boxes.linux import flags as k
from boxes.linux import syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_MOST = 8
_LONGEST = 4096


def descriptors(pid: int, body: Callable[[], list[int]]) -> list[int]:
    """Open descriptors there, and use them here: sockets stay in the namespace that they were made in.

    `body` runs in a child, which is lost to it. Its exceptions become ServiceError with their text.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        child = os.fork()
        if child == 0:
            ours.close()
            _give(pid, body, theirs)
        theirs.close()
        try:
            text, found, _, _ = socket.recv_fds(ours, _LONGEST, _MOST, socket.MSG_CMSG_CLOEXEC)
        finally:
            os.waitpid(child, 0)
    if text != b"+":
        raise ServiceError(text.decode("utf-8", "replace") or "the network namespace has gone")
    return found


def _give(pid: int, body: Callable[[], list[int]], theirs: socket.socket) -> None:
    try:
        enter(pid)
        found = body()
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", found))] if found else []
        theirs.sendmsg([b"+"], rights)
    except BaseException as error:  # noqa: BLE001 - nothing may unwind into the caller's frames
        theirs.send((str(error) or type(error).__name__).encode()[:_LONGEST])
    finally:
        os._exit(0)


def enter(pid: int) -> None:
    """Go there for good. Root can as it is; for the owner of a user namespace the way to have rights in it is to join
    it first, and to be its root, so that what is executed has them too."""
    try:
        net = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            syscalls.setns(net, k.CLONE_NEWNET)
        except PermissionError:
            _join_user_namespace(pid)
            syscalls.setns(net, k.CLONE_NEWNET)
        os.close(net)
    except OSError as error:
        raise refused("cannot enter the network namespace", error) from error


def _join_user_namespace(pid: int) -> None:
    user = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    syscalls.setns(user, k.CLONE_NEWUSER)
    os.close(user)
    try:
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
    except OSError:
        pass  # it has no root: what needs no program can be done all the same
