"""Mounts that show other owners than their source has: mount_setattr(2) with MOUNT_ATTR_IDMAP, Linux 5.12.

The kernel takes the mapping from a user namespace. One is made for it: by a child that does nothing, and is gone as
soon as the namespace has a descriptor. It takes privileges over the source's filesystem, so it is for the runtime to
do; /proc has the child under the pid it is known by there, too.
"""

from __future__ import annotations

import errno

from boxes import system as os
from boxes.apply import idmap
from boxes.errors import BoxesError, located, refused
from boxes.linux import flags as k
from boxes.linux import syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from boxes.apply.idmap import Mapping
    from boxes.apply.operations import Bind


def change_owners(tree: int, operation: Bind) -> None:
    """Let a detached tree, or its topmost mount, show the owners that the operation wants."""
    uids, gids, recursive = operation.idmap
    try:
        namespace = _user_namespace(uids, gids)
        try:
            syscalls.mount_setattr(tree, set=k.MOUNT_ATTR_IDMAP, userns=namespace, recursive=recursive)
        finally:
            os.close(namespace)
    except OSError as error:
        hint = None
        if error.errno == errno.EINVAL:
            hint = "not every filesystem can do that, nor a mount that is id-mapped already"
        raise refused("cannot map the ids of the mount", error, pointer=operation.pointer, hint=hint) from error
    except BoxesError as error:
        raise located(error, operation.pointer) from None


def _user_namespace(uids: list[Mapping], gids: list[Mapping]) -> int:
    """A descriptor of a new user namespace with these maps."""
    waiting, end = os.pipe2(os.O_CLOEXEC)
    try:
        pid, pidfd = syscalls.clone3(k.CLONE_NEWUSER)
        if pid == 0:
            _wait(waiting, end)
        os.close(pidfd)
        try:
            idmap.write(pid, "gid", gids, privileged=True)
            idmap.write(pid, "uid", uids, privileged=True)
            return os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
        finally:
            os.close(end)
            end = -1
            os.waitpid(pid, 0)
    finally:
        os.close(waiting)
        if end >= 0:
            os.close(end)


def _wait(waiting: int, end: int) -> NoReturn:
    """The child, until its parent has closed the other end or is gone."""
    try:
        os.close(end)
        os.read(waiting, 1)
    finally:
        os._exit(0)
