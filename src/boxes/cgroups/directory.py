"""One cgroup: a directory of one hierarchy.

It is reached by a descriptor, opened beneath the mount point without following links, and its files relative to that.
"""

from __future__ import annotations

import _stat as stat
import errno

from boxes import system as os
from boxes.linux import flags as k
from boxes.linux.syscalls import openat2, rendered

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LISTING = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_BENEATH = k.RESOLVE_BENEATH | k.RESOLVE_NO_SYMLINKS | k.RESOLVE_NO_XDEV
_GONE = (errno.ENOENT, errno.ENODEV)


class Directory:
    """A cgroup at `names` below `mount_point`, in the hierarchy of `controllers`.

    `existing` of the names were there before: the others are made, and removed, here. `inode` is what was made: the
    number is never given again until the next boot, so a stranger's cgroup of the same name is told apart.
    """

    __slots__ = ("_fd", "controllers", "existing", "inode", "mount_point", "names", "pristine")

    def __init__(
        self, mount_point: str, names: list[str], controllers: tuple[str, ...], existing: int, inode: int = 0
    ) -> None:
        self.mount_point = mount_point
        self.names = names
        self.controllers = controllers
        self.existing = existing
        self.inode = inode
        self.pristine = False  # made by this process, and nothing was done to it yet
        self._fd = -1

    @classmethod
    def planned(cls, mount_point: str, names: list[str], controllers: tuple[str, ...]) -> Directory:
        """Look which of the names are there already; nothing is made yet."""
        path = mount_point
        for existing, name in enumerate(names):
            path = f"{path}/{name}"
            if not _exists(path):
                return cls(mount_point, names, controllers, existing)
        return cls(mount_point, names, controllers, len(names))

    @classmethod
    def from_record(cls, record: list[Any]) -> Directory:
        mount_point, path, controllers, existing, inode = record
        return cls(mount_point, path.split("/"), tuple(controllers.split(",")) if controllers else (), existing, inode)

    def record(self) -> list[object]:
        return [self.mount_point, "/".join(self.names), ",".join(self.controllers), self.existing, self.inode]

    @property
    def path(self) -> str:
        return f"{self.mount_point}/{'/'.join(self.names)}"

    @property
    def ours(self) -> bool:
        """Whether the cgroup itself was made here, not found."""
        return self.existing < len(self.names)

    @property
    def fd(self) -> int:
        """A descriptor (O_PATH) of the cgroup; ENOENT if it is gone, or if what is there now is another one."""
        if self._fd < 0:
            root = os.open(self.mount_point, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                fd = openat2(root, "/".join(self.names), _DIRECTORY, resolve=_BENEATH)
            finally:
                os.close(root)
            if self.inode and os.fstat(fd).st_ino != self.inode:
                os.close(fd)
                raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), self.path)
            self._fd = fd
        return self._fd

    def __enter__(self) -> Directory:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def make(self) -> None:
        """Make what is missing. A parent that another container's end takes away meanwhile is made again."""
        for attempt in range(8):
            try:
                self._make()
                return
            except FileNotFoundError:
                if attempt == 7:
                    raise
                # Such a parent was made by another container, for itself: it is ours now as much as its.
                self.existing = Directory.planned(self.mount_point, self.names, ()).existing

    def _make(self) -> None:
        fd = os.open(self.mount_point, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if self.existing:
                fd = _replaced(fd, openat2(fd, "/".join(self.names[: self.existing]), _DIRECTORY, resolve=_BENEATH))
            for depth, name in enumerate(self.names[self.existing :], self.existing + 1):
                try:
                    os.mkdir(name, 0o755, dir_fd=fd)
                except OSError as error:
                    # A parent may be made by another container meanwhile, but the cgroup itself was to be ours.
                    if error.errno != errno.EEXIST or depth == len(self.names):
                        error.filename = self.path
                        raise rendered(error, f'mkdir("{self.path}")') from None
                    self.existing = depth
                fd = _replaced(fd, openat2(fd, name, _DIRECTORY, resolve=_BENEATH))
        except BaseException:
            os.close(fd)
            raise
        self.close()
        self._fd = fd
        self.pristine = self.ours
        self.inode = os.fstat(fd).st_ino

    def write(self, file: str, *values: str) -> None:
        """Write each value with a write of its own, as cgroup files want it."""
        fd = self.open(file)
        try:
            for value in values:
                try:
                    os.write(fd, value.encode())
                except OSError as error:
                    error.filename = f"{self.path}/{file}"
                    raise rendered(error, f'write("{error.filename}", "{value}")') from None
        finally:
            os.close(fd)

    def open(self, file: str) -> int:
        """A descriptor to write one of its files by."""
        return os.open(file, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=self.fd)

    def read(self, file: str) -> str:
        fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=self.fd)
        try:
            return _read_all(fd).decode()
        finally:
            os.close(fd)

    def own(self, uid: int, gid: int, files: tuple[str, ...]) -> None:
        """Give the cgroup, and those of the files which it has, to somebody."""
        os.chown(f"/proc/self/fd/{self.fd}", uid, gid)
        for file in files:
            try:
                os.chown(file, uid, gid, dir_fd=self.fd, follow_symlinks=False)
            except FileNotFoundError:
                continue

    def processes(self) -> list[int]:
        """The processes in the cgroup and in those below it; 0 stands for one of a pid namespace not below ours."""
        try:
            if os.fstat(self.fd).st_nlink == 2:  # there are no cgroups below
                return _processes(self.fd)
            return [pid for fd, _ in self.walk() for pid in _processes(fd)]
        except OSError as error:
            if error.errno in _GONE:
                return []
            raise

    def walk(self) -> Iterator[tuple[int, list[str]]]:
        """Each cgroup of the tree, the deepest first: a descriptor, good until the next one, and the names below it.

        One descriptor at a time, and neither paths nor recursion: a container which has its cgroup to itself may
        have made a tree of any depth.
        """
        fd = os.open(".", _LISTING, dir_fd=self.fd)
        try:
            found = [_below(fd)]
            todo = [list(found[0])]
            while todo:
                if not todo[-1]:
                    todo.pop()
                    yield fd, found.pop()
                    if todo:
                        fd = _replaced(fd, os.open("..", _LISTING, dir_fd=fd))
                    continue
                try:
                    fd = _replaced(fd, openat2(fd, todo[-1].pop(), _LISTING, resolve=_BENEATH))
                except FileNotFoundError:
                    continue
                found.append(_below(fd))
                todo.append(list(found[-1]))
        finally:
            os.close(fd)

    def remove(self) -> None:
        """Remove what was made here, with all cgroups below: once, without waiting. EBUSY if there are processes."""
        if not self.ours:
            return
        try:
            self._check_identity()
            if self.inode:
                self._remove_tree()
            else:
                os.rmdir(self.path)
        except (FileNotFoundError, NotADirectoryError):
            pass  # gone, or never made
        for count in range(len(self.names) - 1, self.existing, -1):
            try:
                os.rmdir(f"{self.mount_point}/{'/'.join(self.names[:count])}")
            except OSError:
                break  # others have cgroups in this parent by now, or it is gone

    def _check_identity(self) -> None:
        if self.inode and os.stat(self.path, follow_symlinks=False).st_ino != self.inode:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self.path)

    def _remove_tree(self) -> None:
        try:
            os.rmdir(self.path)
            return
        except OSError as error:
            if error.errno not in (errno.EBUSY, errno.ENOTEMPTY):
                raise rendered(error, f'rmdir("{self.path}")') from None
        for fd, names in self.walk():
            for name in names:
                try:
                    os.rmdir(name, dir_fd=fd)
                except FileNotFoundError:
                    continue
        os.rmdir(self.path)


def _exists(path: str) -> bool:
    try:
        return stat.S_ISDIR(os.stat(path, follow_symlinks=False).st_mode)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return False


def _replaced(old: int, new: int) -> int:
    os.close(old)
    return new


def _below(fd: int) -> list[str]:
    try:
        with os.scandir(fd) as entries:
            return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []


def _processes(directory: int) -> list[int]:
    try:
        fd = os.open("cgroup.procs", os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory)
    except FileNotFoundError:
        return []
    try:
        return [int(line) for line in _read_all(fd).split()]
    except OSError as error:
        # A threaded cgroup cannot tell (EOPNOTSUPP): its processes are those of the domain above it.
        if error.errno in (errno.EOPNOTSUPP, *_GONE):
            return []
        raise
    finally:
        os.close(fd)


def _read_all(fd: int) -> bytes:
    chunks = []
    while chunk := os.read(fd, 1 << 16):
        chunks.append(chunk)
    return b"".join(chunks)
