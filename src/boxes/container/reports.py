"""What inner reports, on the builder's socket and on the start socket."""

from __future__ import annotations

import _socket
from _struct import unpack_from

from boxes import system as os
from boxes.container import channel
from boxes.errors import InternalError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from boxes.plan.inner import Steps

# native/inner.c has the same.
REPORT_READY, REPORT_EXECUTING, REPORT_ERROR, REPORT_CONSOLE, REPORT_LISTENER, REPORT_ENDED = range(1, 7)
REPORT_SIZE = 16 + 4096
_CMSG_CLOEXEC = 0x40000000  # MSG_CMSG_CLOEXEC
_HINT = "was it killed?"


class Report:
    """One message of inner: `kind`, and for an error the step's number, errno and what it says besides."""

    def __init__(self, message: bytes) -> None:
        if len(message) < 16:
            raise InternalError("the container's init ended without a word")
        self.kind, self.step, self.errno, size = unpack_from("=IIiI", message)
        self.data = message[16 : 16 + size]


class Reports:
    """Reads one socket. `steps` gives the steps that are being reported on, should one of them fail."""

    def __init__(self, socket: _socket.socket, steps: Callable[[], Steps]) -> None:
        self.socket = socket
        self.steps = steps
        # What is done with the listener of a filter: its number in the sender, descriptors that came with the report,
        # and the sender if it is known. inner waits for it.
        self.listener: Callable[[int, list[int], int], None] | None = None
        self.sender = 0

    def until_ready(self) -> int | None:
        """Wait for "ready": the master of the terminal, if there was one."""
        terminal = None
        while True:
            report, fds = self._next()
            if report.kind == REPORT_CONSOLE and fds:
                terminal = fds.pop()
            for fd in fds:
                os.close(fd)
            if report.kind == REPORT_READY:
                return terminal

    def until_executed(self) -> int | None:
        """Wait until the program has replaced inner, which closes the socket; the master of its terminal, if any."""
        terminal = None
        executing = False
        while True:
            message, fds = self._receive()
            if not message and executing:
                return terminal
            report = self._report(message)
            if report.kind == REPORT_CONSOLE and fds:
                terminal = fds.pop()
            if report.kind == REPORT_LISTENER and self.listener is not None:
                self.listener(unpack_from("=i", report.data)[0], fds, self.sender)
                self.socket.send(b"+", _socket.MSG_NOSIGNAL)
            executing = executing or report.kind == REPORT_EXECUTING

    def _next(self) -> tuple[Report, list[int]]:
        message, fds = self._receive()
        return self._report(message), fds

    def _report(self, message: bytes) -> Report:
        if not message:
            raise InternalError("the container's init ended before its program began", hint=_HINT)
        channel.heard(message)  # the builder's last word may be an error
        report = Report(message)
        if report.kind == REPORT_ERROR:
            raise self.steps().failed(report.step, report.errno, report.data)
        return report

    def _receive(self) -> tuple[bytes, list[int]]:
        """One message, its descriptors (close-on-exec) and its sender's pid."""
        space = _socket.CMSG_SPACE(4) + _socket.CMSG_SPACE(12)
        for _attempt in range(2):
            try:
                message, ancillary, *_ = self.socket.recvmsg(REPORT_SIZE, space, _CMSG_CLOEXEC)
                break
            except ConnectionResetError:
                message, ancillary = b"", []  # its last words come after: see channel.receive
        fds: list[int] = []
        for level, kind, data in ancillary:
            if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
                fds += unpack_from(f"={len(data) // 4}i", data)
            elif level == _socket.SOL_SOCKET and kind == _socket.SCM_CREDENTIALS:
                self.sender = unpack_from("=i", data)[0]
        return message, fds
