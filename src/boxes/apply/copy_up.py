"""Copy what is in a directory into a filesystem mounted on it: the mount option tmpcopyup.

Both are known by descriptors, and every name is opened in the directory it was found in, without following a link: the
source is the image's, and a volume in it may be shared with another container.
"""

from __future__ import annotations

import errno
import stat

from boxes import system as os
from boxes.linux import flags as k
from boxes.linux import syscalls

_CHUNK = 1 << 26  # bytes asked of one sendfile(2)
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_INSIDE = k.RESOLVE_BENEATH | k.RESOLVE_NO_SYMLINKS


def copy_up(source: int, target: int) -> None:
    """Copy files of every kind with owner, mode, times and extended attributes; of the topmost directory the content
    alone. `source` and `target` are directories. Not by recursion: an image may be deeper than Python's stack."""
    open_directories = [(_opened(source, "."), _opened(target, "."))]
    names = [os.listdir(open_directories[0][0])]
    try:
        while open_directories:
            there, here = open_directories[-1]
            if names[-1]:
                name = names[-1].pop()
                if stat.S_ISDIR(os.stat(name, dir_fd=there, follow_symlinks=False).st_mode):
                    open_directories.append(_made_directory(there, here, name))
                    names.append(os.listdir(open_directories[-1][0]))
                else:
                    _copy(there, here, name)
                continue
            if len(open_directories) > 1:
                _adopt(there, here)  # last, since what is made in it changes its times, and its mode may forbid it
            _close(open_directories.pop())
            names.pop()
    finally:
        while open_directories:
            _close(open_directories.pop())


def _opened(directory: int, name: str) -> int:
    return syscalls.openat2(directory, name, _DIRECTORY, resolve=_INSIDE)


def _close(pair: tuple[int, int]) -> None:
    for fd in pair:
        os.close(fd)


def _made_directory(there: int, here: int, name: str) -> tuple[int, int]:
    source = _opened(there, name)
    try:
        os.mkdir(name, 0o700, dir_fd=here)
        return source, _opened(here, name)
    except OSError as error:
        os.close(source)
        raise syscalls.rendered(error, f"mkdirat({syscalls.described(here, name)})") from None


def _copy(there: int, here: int, name: str) -> None:
    """Anything but a directory."""
    facts = os.stat(name, dir_fd=there, follow_symlinks=False)
    try:
        if stat.S_ISREG(facts.st_mode):
            _copy_file(there, here, name)
            return
        if stat.S_ISLNK(facts.st_mode):
            os.symlink(os.readlink(name, dir_fd=there), name, dir_fd=here)
        else:
            os.mknod(name, facts.st_mode, facts.st_rdev, dir_fd=here)
        os.chown(name, facts.st_uid, facts.st_gid, dir_fd=here, follow_symlinks=False)
        times = (facts.st_atime_ns, facts.st_mtime_ns)
        os.utime(name, ns=times, dir_fd=here, follow_symlinks=False)
    except OSError as error:
        if not getattr(error, "call", None):
            syscalls.rendered(error, f"copy({syscalls.described(there, name)})")
        raise


def _copy_file(there: int, here: int, name: str) -> None:
    # O_NONBLOCK: should it have become a FIFO meanwhile, nobody waits for a writer.
    source = syscalls.openat2(there, name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, resolve=_INSIDE)
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        target = syscalls.openat2(here, name, flags, mode=0o600, resolve=_INSIDE)
        try:
            _copy_content(source, target)
            _adopt(source, target)
        finally:
            os.close(target)
    finally:
        os.close(source)


def _copy_content(source: int, target: int) -> None:
    """Without the holes: an image's sparse file may be larger than memory."""
    size, offset = os.fstat(source).st_size, 0
    while offset < size:
        try:
            offset = os.lseek(source, offset, os.SEEK_DATA)
            end = os.lseek(source, offset, os.SEEK_HOLE)
        except OSError as error:
            if error.errno != errno.ENXIO:  # nothing but a hole is left
                raise
            break
        os.lseek(target, offset, os.SEEK_SET)
        while offset < end and (copied := os.sendfile(target, source, offset, min(_CHUNK, end - offset))):
            offset += copied
        if offset < end:
            break  # it was made shorter meanwhile
    os.ftruncate(target, size)


def _adopt(source: int, target: int) -> None:
    """Owner first: changing it takes set-user-ID bits and file capabilities away."""
    facts = os.fstat(source)
    os.chown(target, facts.st_uid, facts.st_gid)
    os.chmod(target, stat.S_IMODE(facts.st_mode))
    for name in os.listxattr(source):
        if name == "security.selinux":
            continue  # that is the mount's
        try:
            os.setxattr(target, name, os.getxattr(source, name))
        except OSError as error:
            if error.errno not in (errno.ENOTSUP, errno.EPERM):  # tmpfs has user.* since Linux 6.6
                raise
    os.utime(target, ns=(facts.st_atime_ns, facts.st_mtime_ns))
