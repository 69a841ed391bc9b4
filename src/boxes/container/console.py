"""Handing descriptors to whoever asked for them: the master of a terminal, or a pidfd."""

from __future__ import annotations

from boxes.errors import refused
from boxes.linux.sockets import connect_stream, send_fd


def send(path: str, master: int) -> None:
    """One message with one descriptor: what conmon, containerd's go-runc and others wait for on a console socket."""
    _send(path, b"/dev/ptmx", master, "cannot send the terminal")


def send_pidfd(path: str, pidfd: int) -> None:
    _send(path, b"pidfd", pidfd, "cannot send the pidfd")


def _send(path: str, name: bytes, fd: int, stage: str) -> None:
    try:
        socket = connect_stream(path)
        try:
            send_fd(socket, name, fd)
        finally:
            socket.close()
    except OSError as error:
        raise refused(stage, error) from error


def copy_size(master: int) -> None:
    """Give a terminal the size of the caller's, if there is one."""
    from boxes.container.relay import caller_size

    size = caller_size()
    if size is not None:
        import termios

        termios.tcsetwinsize(master, size)
