"""File descriptors: owners, and sealed images."""

from __future__ import annotations

import fcntl

from boxes import system as os
from boxes.linux import flags as k
from boxes.linux.syscalls import rendered

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

_SEALS = k.F_SEAL_SEAL | k.F_SEAL_SHRINK | k.F_SEAL_GROW | k.F_SEAL_WRITE


class Fds:
    """Descriptors with one owner: closed together when the block ends, in the reverse order."""

    def __init__(self) -> None:
        self._open: list[int] = []

    def add(self, fd: int) -> int:
        self._open.append(fd)
        return fd

    def close_one(self, fd: int) -> None:
        self._open.remove(fd)
        os.close(fd)

    def disown(self) -> None:
        """Leave them open: they have another owner now."""
        self._open.clear()

    def close(self) -> None:
        while self._open:
            os.close(self._open.pop())

    def __enter__(self) -> Fds:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def memory(name: str) -> int:
    """A file that is nowhere but in memory: memfd_create(2)."""
    try:
        return os.memfd_create(name, k.MFD_CLOEXEC)
    except OSError as error:
        raise rendered(error, f'memfd_create("{name}")') from None


def sealed(name: str, content: bytes, *, executable: bool = False) -> int:
    """A memfd with `content` that nobody can change any more: memfd_create(2), Linux 3.17.

    Where the kernel tells executable from other ones (Linux 6.3), ask for what is meant, so that a host with
    vm.memfd_noexec=1 can run the one and an attacker not the other.
    """
    kind = k.MFD_EXEC if executable else k.MFD_NOEXEC_SEAL
    try:
        fd = os.memfd_create(name, k.MFD_CLOEXEC | k.MFD_ALLOW_SEALING | kind)
    except OSError as error:
        if error.errno != 22:  # EINVAL: COMPAT(linux<6.3): no such flags
            raise rendered(error, f'memfd_create("{name}")') from None
        fd = os.memfd_create(name, k.MFD_CLOEXEC | k.MFD_ALLOW_SEALING)
    try:
        os.write_all(fd, content)
        os.lseek(fd, 0, os.SEEK_SET)
        os.fchmod(fd, 0o555 if executable else 0o444)
        fcntl.fcntl(fd, k.F_ADD_SEALS, _SEALS)
    except OSError:
        os.close(fd)
        raise
    return fd


def inherit(*fds: int) -> None:
    """Let these survive the next execve."""
    for fd in fds:
        os.set_inheritable(fd, True)
