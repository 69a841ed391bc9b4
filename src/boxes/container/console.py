"""Handing descriptors to whoever asked for them: the master of a terminal, or a pidfd."""

from __future__ import annotations

from boxes.errors import refused
from boxes.linux.sockets import close, connect_stream, send_fd

TYPE_CHECKING = False
if TYPE_CHECKING:
    from boxes.container.options import CreateOptions


def send(path: str, master: int) -> None:
    """One message with one descriptor: what conmon, containerd's go-runc and others wait for on a console socket."""
    _send(path, b"/dev/ptmx", master, "cannot send the terminal")


def send_pidfd(path: str, pidfd: int, *, pointer: str | None = None) -> None:
    _send(path, b"pidfd", pidfd, "cannot send the pidfd", pointer)


def hand_over(options: CreateOptions, receiver: str | None, terminal: int | None, pidfd: int) -> None:
    """What `create` was asked for. `receiver`: a socket that an annotation wants the pidfd sent to."""
    if options.console_socket is not None and terminal is not None:
        send(options.console_socket, terminal)
    if options.pidfd_socket is not None:
        send_pidfd(options.pidfd_socket, pidfd)
    if receiver is not None:
        send_pidfd(receiver, pidfd, pointer="/annotations/run.oci.pidfd_receiver")


def _send(path: str, name: bytes, fd: int, stage: str, pointer: str | None = None) -> None:
    try:
        socket = connect_stream(path)
        try:
            send_fd(socket, name, fd)
        finally:
            close(socket)
    except OSError as error:
        raise refused(stage, error, pointer=pointer) from error


def copy_size(master: int) -> None:
    """Give a terminal the size of the caller's, if there is one."""
    from boxes.container.relay import caller_size

    size = caller_size()
    if size is not None:
        import termios

        termios.tcsetwinsize(master, size)
