"""Unix sockets at paths, and descriptors sent over them. Apart from the rest, since `start` needs no more of it."""

from __future__ import annotations

import _socket

from boxes import system as os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def close(socket: _socket.socket) -> None:
    """As `system.close`: `socket.close` would raise what close(2) says. One that is closed stays so."""
    fd = socket.detach()
    if fd >= 0:
        os.close(fd)


def send_fd(socket: _socket.socket, message: bytes, fd: int) -> None:
    """One message with exactly one descriptor: what console sockets and pidfd sockets want."""
    socket.sendmsg([message], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, fd.to_bytes(4, "little", signed=True))])


def connect_stream(path: str) -> _socket.socket:
    """A stream socket connected to a path of any length: over 108 bytes it goes through its directory's descriptor."""
    socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    try:
        with_short_path(path, socket.connect)
    except OSError as error:
        close(socket)
        from boxes.linux.syscalls import rendered

        raise rendered(error, f'connect("{path}")') from None
    return socket


def with_short_path(path: str, action: Callable[[str], object]) -> None:
    """Call `action` with a name of at most 108 bytes for a socket's path: sun_path of unix(7)."""
    if len(os.fsencode(path)) < 108:
        action(path)
        return
    parent, _, name = path.rpartition("/")
    directory = os.open(parent or ".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        action(f"/proc/self/fd/{directory}/{name}")
    finally:
        os.close(directory)
