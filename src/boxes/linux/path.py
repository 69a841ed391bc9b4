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
_LINKS = 40  # MAXSYMLINKS of Linux

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


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
    """Open a directory below `root`, making what is missing of it; a link that dangles is followed to what is to be
    made, inside of the root.

    Each component is made in the directory that was opened, so that renames in a shared volume cannot lead the next
    one elsewhere (CVE-2024-45310).
    """
    found = find(root, path, os.O_PATH)
    if found is None:
        return _made(root, path, lambda directory, name: _new_directory(directory, name, mode), mode)
    if stat.S_ISDIR(os.fstat(found).st_mode):
        return found
    os.close(found)
    raise syscalls.rendered(OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)), f'mkdir("{path}")')


def make_file(root: int, path: str, mode: int = 0o644) -> int:
    """An O_PATH descriptor of a file below `root`; an empty one is made, with its directories, if there is none."""
    found = find(root, path)
    if found is not None:
        return found
    return _made(root, path, lambda directory, name: _new_file(directory, name, mode))


def _made(root: int, path: str, make: Callable[[int, str], int], mode: int = 0o755) -> int:
    walk = _Walk(root, path, mode)
    try:
        return walk.to_the_end(make)
    finally:
        walk.close()


class _Walk:
    """From a root along a path, as the kernel goes with RESOLVE_IN_ROOT, but making what is missing.

    Each step is from a descriptor to one name in it. The directories that were passed are kept, so that ``..`` leads to
    the one that this came from, wherever it has been moved meanwhile, and never above the root.
    """

    def __init__(self, root: int, path: str, mode: int) -> None:
        self._path = path
        self._mode = mode
        self._ahead = parts(path)[::-1]
        self._links = 0
        self._passed = [open_in_root(root, ".", os.O_PATH | os.O_DIRECTORY)]

    def to_the_end(self, make: Callable[[int, str], int]) -> int:
        """What is there, or was made by `make(directory, name)`."""
        while self._ahead:
            name = self._ahead.pop()
            if name == "..":
                self._back_to(max(len(self._passed) - 1, 1))
                continue
            found = self._look(name)
            if found is None:
                here = self._passed[-1]
                found = _new_directory(here, name, self._mode) if self._ahead else make(here, name)
            elif stat.S_ISLNK(os.fstat(found).st_mode):
                self._follow(found, name)
                continue
            self._passed.append(found)
            if len(self._passed) > _DEPTH:
                raise self._wrong(errno.ENAMETOOLONG)
        return self._passed.pop()

    def _look(self, name: str) -> int | None:
        """The object itself, be it a link."""
        try:
            return syscalls.openat2(self._passed[-1], name, os.O_PATH | os.O_NOFOLLOW, resolve=k.RESOLVE_BENEATH)
        except FileNotFoundError:
            return None

    def _follow(self, link: int, name: str) -> None:
        try:
            self._links += 1
            if self._links > _LINKS or _is_magic(self._passed[-1], name, link):
                raise self._wrong(errno.ELOOP)
            target = os.readlink("", dir_fd=link)
        finally:
            os.close(link)
        if target.startswith("/"):
            self._back_to(1)
        self._ahead += [part for part in reversed(target.split("/")) if part not in ("", ".")]

    def _back_to(self, count: int) -> None:
        while len(self._passed) > count:
            os.close(self._passed.pop())

    def _wrong(self, number: int) -> OSError:
        return syscalls.rendered(OSError(number, os.strerror(number)), f'following "{self._path}" inside the root')

    def close(self) -> None:
        self._back_to(0)


def _is_magic(directory: int, name: str, link: int) -> bool:
    """Whether a link leads past names, to what a process has: those of procfs do, but for some."""
    if syscalls.filesystem(link) != k.PROC_SUPER_MAGIC:
        return False
    try:
        found = find(directory, name)
    except OSError as error:
        return error.errno == errno.ELOOP
    if found is not None:
        os.close(found)
    return False


def _new_directory(directory: int, name: str, mode: int) -> int:
    made = True
    try:
        os.mkdir(name, mode, dir_fd=directory)
    except FileExistsError:
        made = False  # by another meanwhile: the open below tells whether it is a directory
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


def _new_file(directory: int, name: str, mode: int) -> int:
    made = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW
    os.close(syscalls.openat2(directory, name, made, mode=mode, resolve=k.RESOLVE_BENEATH))
    return syscalls.openat2(directory, name, os.O_PATH | os.O_NOFOLLOW, resolve=k.RESOLVE_BENEATH)


def open_parent(root: int, path: str) -> tuple[int, str]:
    """The directory of a name to be made, making what is missing of it, and the name."""
    names = parts(path)
    if not names:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), path)
    return make_directory(root, "/".join(names[:-1])), names[-1]
