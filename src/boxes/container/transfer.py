"""Files into a container and out of it, by descriptors below its root: no program of the container takes part, and no
link of it leads outside."""

from __future__ import annotations

import os
import select
import stat

from boxes.errors import KernelError, StateError, UsageError, refused
from boxes.linux import flags as k
from boxes.linux import syscalls
from boxes.linux.path import make_directory, open_in_root, parts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_CHUNK = 1 << 20
# statfs(2): procfs, sysfs, both cgroups, debugfs, tracefs, securityfs, configfs, bpf, binfmt_misc, pstore, efivarfs,
# selinuxfs.
_OF_THE_KERNEL = {
    k.PROC_SUPER_MAGIC, k.SYSFS_MAGIC, 0x27E0EB, 0x63677270, 0x64626720, 0x74726163, 0x73636673, 0x62656570, 0xCAFE4A11,
    0x42494E4D, 0x6165676C, 0xDE5E81E4, 0xF97CFF8C,
}  # fmt: skip
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Inside:
    """The root of a container's process, with what is mounted there."""

    def __init__(self, pid: int, pidfd: int) -> None:
        self.root = -1
        try:
            self.root = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise refused("cannot reach the container's root", error) from error
        if _ended(pidfd):  # then the pid may have been another's already
            raise StateError("the container has ended")

    def __enter__(self) -> Inside:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        root, self.root = self.root, -1
        if root >= 0:
            os.close(root)

    def __del__(self) -> None:
        self.close()  # where what was prepared was never done

    def copy_in(self, source: str, target: str, owner: tuple[int, int] | None) -> None:
        """A file, or a directory with all that is in it, to be `target`; files that are there are replaced. Links are
        copied as links; what is neither file, directory nor link is an error."""
        names = parts(target)
        if not names:
            raise UsageError("the root itself cannot be the target of a copy")
        try:
            parent = make_directory(self.root, "/".join(names[:-1]))
            try:
                fd = os.open(os.path.dirname(os.path.abspath(source)), _DIRECTORY & ~os.O_NOFOLLOW)
                try:
                    _copy(fd, os.path.basename(os.path.abspath(source)), parent, names[-1], owner, follow=True)
                finally:
                    os.close(fd)
            finally:
                os.close(parent)
        except OSError as error:
            raise refused(f"cannot copy '{source}' into the container", error) from error

    def copy_out(self, source: str, target: str) -> None:
        """The same in the other direction: `target` is a path of the host, the files are the caller's."""
        try:
            names = parts(source)
            parent = open_in_root(self.root, "/".join(names[:-1]), os.O_RDONLY | os.O_DIRECTORY)
            try:
                place = os.open(os.path.dirname(os.path.abspath(target)), _DIRECTORY & ~os.O_NOFOLLOW)
                try:
                    name = names[-1] if names else "."
                    _copy(parent, name, place, os.path.basename(os.path.abspath(target)), None, follow=False)
                finally:
                    os.close(place)
            finally:
                os.close(parent)
        except OSError as error:
            raise refused(f"cannot copy '{source}' out of the container", error) from error

    def read(self, path: str, most: int) -> bytes:
        """A file's content. Raises KernelError if it is no file, or has more than `most` bytes."""
        try:
            found = open_in_root(self.root, path, os.O_PATH)
            try:
                fd = _reopen(found)
            finally:
                os.close(found)
            with open(fd, "rb") as file:
                content = file.read(most + 1)
        except OSError as error:
            raise refused(f"cannot read '{path}' of the container", error) from error
        if len(content) > most:
            raise KernelError(f"'{path}' has more than {most} bytes", path=path)
        return content

    def write(self, path: str, content: bytes, mode: int, owner: tuple[int, int] | None) -> None:
        """A file with this content; one that is there is replaced, not written to."""
        names = parts(path)
        if not names:
            raise UsageError("the root is no file")
        try:
            parent = make_directory(self.root, "/".join(names[:-1]))
            try:
                fd = _new_file(parent, names[-1], mode, owner)
                with open(fd, "wb") as file:
                    file.write(content)
            finally:
                os.close(parent)
        except OSError as error:
            raise refused(f"cannot write '{path}' of the container", error) from error


def _ended(pidfd: int) -> bool:
    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    return bool(poller.poll(0))


def _reopen(found: int) -> int:
    """For reading, what an O_PATH descriptor refers to, if that is a file: to open a device or FIFO does things. So may
    to read what looks like one, but is the kernel's: with the caller's rights, and it may wait, as /proc/kmsg does."""
    if not stat.S_ISREG(os.fstat(found).st_mode):
        raise OSError(22, "it is not a regular file")
    if syscalls.filesystem(found) in _OF_THE_KERNEL:
        raise OSError(22, "it is not a file, but the kernel's")
    return os.open(f"/proc/self/fd/{found}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)


def _new_file(parent: int, name: str, mode: int, owner: tuple[int, int] | None) -> int:
    _remove_file(parent, name)
    made = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    fd = syscalls.openat2(parent, name, made, mode=0o600, resolve=k.RESOLVE_BENEATH)
    try:
        if owner is not None:
            os.fchown(fd, *owner)
        os.fchmod(fd, mode)
    except OSError:
        os.close(fd)
        raise
    return fd


def _remove_file(parent: int, name: str) -> None:
    try:
        if not stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
            os.unlink(name, dir_fd=parent)
    except FileNotFoundError:
        pass


def _copy(source: int, name: str, target: int, new: str, owner: tuple[int, int] | None, *, follow: bool) -> None:
    """One entry of a directory, with what is below it. `follow` holds for the entry itself."""
    facts = os.stat(name, dir_fd=source, follow_symlinks=follow)
    if stat.S_ISLNK(facts.st_mode):
        _remove_file(target, new)
        os.symlink(os.readlink(name, dir_fd=source), new, dir_fd=target)
        if owner is not None:
            os.chown(new, *owner, dir_fd=target, follow_symlinks=False)
    elif stat.S_ISDIR(facts.st_mode):
        _copy_directory(source, name, target, new, owner, stat.S_IMODE(facts.st_mode))
    elif stat.S_ISREG(facts.st_mode):
        fd = _opened(source, name, follow=follow)
        try:
            _copy_content(fd, _new_file(target, new, stat.S_IMODE(facts.st_mode) & 0o777, owner))
        finally:
            os.close(fd)
    else:
        raise OSError(22, "it is neither file, directory nor link", name)


def _opened(source: int, name: str, *, follow: bool) -> int:
    """A file; it may be another by now than it was."""
    found = os.open(name, os.O_PATH | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW), dir_fd=source)
    try:
        return _reopen(found)
    finally:
        os.close(found)


def _copy_directory(source: int, name: str, target: int, new: str, owner: tuple[int, int] | None, mode: int) -> None:
    try:
        os.mkdir(new, 0o700, dir_fd=target)
    except FileExistsError:
        pass
    below = syscalls.openat2(target, new, _DIRECTORY, resolve=k.RESOLVE_BENEATH | k.RESOLVE_NO_SYMLINKS)
    try:
        for fd, entry in _entries(source, name):
            _copy(fd, entry, below, entry, owner, follow=False)
        if owner is not None:
            os.fchown(below, *owner)
        os.fchmod(below, mode & 0o777)
    finally:
        os.close(below)


def _entries(parent: int, name: str) -> Iterator[tuple[int, str]]:
    fd = os.open(name, _DIRECTORY & ~os.O_NOFOLLOW if name == "." else _DIRECTORY, dir_fd=parent)
    try:
        for entry in os.listdir(fd):
            yield fd, entry
    finally:
        os.close(fd)


def _copy_content(source: int, target: int) -> None:
    with open(target, "wb", buffering=0) as file:
        while part := os.read(source, _CHUNK):
            view = memoryview(part)
            while view:
                view = view[file.write(view) :]
