"""Symbolic links as the source or the target of a bind: the mount options copy-symlink and dest-nofollow."""

from __future__ import annotations

import _stat as stat
import errno

from boxes import system as os
from boxes.linux import path, syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from boxes.apply.root import Root


def copy(root: Root, target: str, tree: int) -> None:
    """Make a link like the one that `tree` is of. One that is there already has to lead to the same place."""
    content = os.readlink("", dir_fd=tree)
    directory, name = path.open_parent(root.fd, target)
    try:
        try:
            os.symlink(content, name, dir_fd=directory)
        except FileExistsError:
            if _content(directory, name) != content:
                text = f"is there already, and no link to '{content}'"
                raise syscalls.rendered(OSError(errno.EEXIST, text), f'symlink("{content}", "{target}")') from None
    finally:
        os.close(directory)


def _content(directory: int, name: str) -> str | None:
    try:
        return str(os.readlink(name, dir_fd=directory))
    except OSError:  # EINVAL: something else than a link
        return None


def target(root: Root, name: str, *, directory: bool) -> int | None:
    """What has this name, be it a link; None if nothing has. `directory`: whether one is to be mounted there."""
    found = path.find(root.fd, name, os.O_PATH | os.O_NOFOLLOW)
    if found is None or not directory or stat.S_ISDIR(os.fstat(found).st_mode):
        return found
    os.close(found)
    raise syscalls.rendered(OSError(errno.ENOTDIR, "is no directory, and the source is one"), f'mount("{name}")')
