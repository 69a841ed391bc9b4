"""Device nodes and links below the container's root."""

from __future__ import annotations

import _stat as stat
import errno

from boxes import system as os
from boxes.linux import flags as k
from boxes.linux import path, syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from boxes.apply import operations as op
    from boxes.apply.root import Root


def device(root: Root, operation: op.Device) -> None:
    parent, name = path.open_parent(root.fd, operation.target)
    try:
        try:
            syscalls.make_device(parent, name, operation.mode, operation.device)
        except FileExistsError:
            _check_same(parent, name, operation)
            return
        _own(parent, name, operation)
    finally:
        os.close(parent)


def _check_same(parent: int, name: str, operation: op.Device) -> None:
    """What is there already must be what is asked for; it is neither opened nor replaced."""
    facts = os.stat(name, dir_fd=parent, follow_symlinks=False)
    same = stat.S_IFMT(facts.st_mode) == stat.S_IFMT(operation.mode)
    if same and not stat.S_ISFIFO(operation.mode):
        same = facts.st_rdev == operation.device
    if not same:
        text = f"'{operation.target}' is there already and is another kind of file"
        raise syscalls.rendered(OSError(errno.EEXIST, text), f'mknod("{operation.target}")')


def _own(parent: int, name: str, operation: op.Device) -> None:
    """Owner and permissions, as the umask took part of them; by descriptor, so that nobody can swap the node."""
    fd = syscalls.openat2(parent, name, os.O_PATH | os.O_NOFOLLOW, resolve=k.RESOLVE_BENEATH)
    try:
        itself = f"/proc/self/fd/{fd}"
        if operation.uid or operation.gid:
            os.chown(itself, operation.uid, operation.gid)
        os.chmod(itself, stat.S_IMODE(operation.mode))
    finally:
        os.close(fd)


def symlink(root: Root, operation: op.Symlink) -> None:
    parent, name = path.open_parent(root.fd, operation.target)
    try:
        try:
            os.symlink(operation.content, name, dir_fd=parent)
        except FileExistsError:
            if not operation.replace or _is_link(parent, name, operation.content):
                return
            os.unlink(name, dir_fd=parent)
            os.symlink(operation.content, name, dir_fd=parent)
    except OSError as error:
        raise syscalls.rendered(error, f'symlinkat("{operation.content}", {operation.target})') from None
    finally:
        os.close(parent)


def _is_link(parent: int, name: str, content: str) -> bool:
    try:
        return os.readlink(name, dir_fd=parent) == content
    except OSError:
        return False


def make_file(root: Root, operation: op.MakeFile) -> None:
    os.close(path.make_file(root.fd, operation.target))


def make_directory(root: Root, operation: op.MakeDirectory) -> None:
    os.close(path.make_directory(root.fd, operation.target, operation.mode))
