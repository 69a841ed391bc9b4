"""Paths below a root that is not trusted.

A name is resolved once, by the kernel, with the root as the limit of every symbolic link and every ``..``
(openat2(2) with RESOLVE_IN_ROOT), and what was found is used as a descriptor from then on. Nothing here joins strings
to a path of the host.
"""

from __future__ import annotations

import _stat as stat
import errno

from boxes import system as os
from boxes.linux import _syscalls as native
from boxes.linux import flags as k
from boxes.linux import syscalls

_RESOLVE = k.RESOLVE_IN_ROOT | k.RESOLVE_NO_MAGICLINKS
_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW
_DEPTH = 255


def parts(path: str) -> list[str]:
    """The components of a path: ``/a//./b/`` gives a, b; ``..`` takes one away, as in a tree without links."""
    found: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del found[-1:]
        elif part not in ("", "."):
            found.append(part)
    return found


def open_in_root(root: int, path: str, flags: int = os.O_PATH) -> int:
    """What `path` is, below `root`; links are followed inside. A magic link (/proc/1/root) is refused with ELOOP."""
    return syscalls.openat2(root, path.lstrip("/") or ".", flags, resolve=_RESOLVE)


def find(root: int, path: str, flags: int = os.O_PATH) -> int | None:
    """The same, or None where there is nothing."""
    try:
        return native.openat2(root, path.lstrip("/") or ".", flags | os.O_CLOEXEC, 0, _RESOLVE)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:
        return open_in_root(root, path, flags)  # EAGAIN, or an error that is worth its words


def make_directory(root: int, path: str, mode: int = 0o755) -> int:
    """Open a directory below `root`, making what is missing of it; a link that dangles is an error, not a place to
    make.

    Each component is made in the directory that was opened, so that renames in a shared volume cannot lead the next
    one elsewhere (CVE-2024-45310).
    """
    found = find(root, path, os.O_PATH)
    if found is not None:
        if stat.S_ISDIR(os.fstat(found).st_mode):
            return found
        os.close(found)
        raise syscalls.rendered(OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)), f'mkdir("{path}")')
    names = parts(path)
    prefix, directory = _deepest(root, names)
    for name in names[prefix:]:
        below = _enter(directory, name, mode)
        os.close(directory)
        directory = below
    return directory


def _deepest(root: int, names: list[str]) -> tuple[int, int]:
    """The longest prefix of `names` that is there, not counting all of them: how many, and its directory."""
    if len(names) > _DEPTH:
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
    for count in range(len(names) - 1, 0, -1):
        found = find(root, "/".join(names[:count]), os.O_PATH | os.O_DIRECTORY)
        if found is not None:
            return count, found
    return 0, open_in_root(root, ".", os.O_PATH | os.O_DIRECTORY)


def _enter(directory: int, name: str, mode: int) -> int:
    made = True
    try:
        os.mkdir(name, mode, dir_fd=directory)
    except FileExistsError:
        made = False  # by another meanwhile, or it is a link that dangles: the open below tells them apart
    except OSError as error:
        raise syscalls.rendered(error, f"mkdirat({syscalls.described(directory, name)})") from None
    fd = syscalls.openat2(directory, name, _DIRECTORY, resolve=k.RESOLVE_BENEATH)
    if made:
        _set_mode(fd, mode)
    return fd


def _set_mode(fd: int, mode: int) -> None:
    """The umask took its part of a new object's mode; through the descriptor nobody can swap the object."""
    if stat.S_IMODE(os.fstat(fd).st_mode) != mode:
        os.chmod(f"/proc/self/fd/{fd}", mode)


def make_file(root: int, path: str, mode: int = 0o644) -> int:
    """An O_PATH descriptor of a file below `root`; an empty one is made, with its directories, if there is none."""
    found = find(root, path)
    if found is not None:
        return found
    names = parts(path)
    parent = make_directory(root, "/".join(names[:-1]))
    try:
        made = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW
        os.close(syscalls.openat2(parent, names[-1], made, mode=mode, resolve=k.RESOLVE_BENEATH))
        return syscalls.openat2(parent, names[-1], os.O_PATH | os.O_NOFOLLOW, resolve=k.RESOLVE_BENEATH)
    finally:
        os.close(parent)


def open_parent(root: int, path: str) -> tuple[int, str]:
    """The directory of a name to be made, making what is missing of it, and the name."""
    names = parts(path)
    if not names:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), path)
    return make_directory(root, "/".join(names[:-1])), names[-1]
