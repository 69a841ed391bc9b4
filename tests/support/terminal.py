"""Terminals: the receiving side of a console socket, and a pty for a command's own standard streams."""

from __future__ import annotations

import array
import os
import select
import socket
import time
from pathlib import Path


class ConsoleSocket:
    """Listens as an engine does, and takes one message with one descriptor: the master of a pty."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen(1)
        self._listener.settimeout(10)
        self.messages: list[tuple[bytes, int]] = []

    def receive(self) -> int:
        """The master. `messages` then holds each message's text and its number of descriptors, until the sender closed."""
        connection, _ = self._listener.accept()
        master = -1
        with connection:
            connection.settimeout(10)
            while True:
                fds = array.array("i")
                data, ancillary, _, _ = connection.recvmsg(4096, socket.CMSG_SPACE(16 * fds.itemsize))
                for level, kind, payload in ancillary:
                    assert (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS)
                    fds.frombytes(payload[: len(payload) - len(payload) % fds.itemsize])
                if not data:
                    return master
                self.messages.append((data, len(fds)))
                master = fds[0]

    def close(self) -> None:
        self._listener.close()


def read_all(master: int, timeout: float = 10) -> bytes:
    """What the other side of a pty writes, until it is closed there."""
    data = b""
    deadline = time.monotonic() + timeout
    while True:
        ready, _, _ = select.select([master], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            raise TimeoutError(f"pty still open; so far {data!r}")
        try:
            part = os.read(master, 65536)
        except OSError:  # EIO: no process has the other side open any more
            return data
        if not part:
            return data
        data += part


def read_until(master: int, text: bytes, timeout: float = 10) -> bytes:
    """What the other side of a pty writes, up to and including `text`."""
    data = b""
    deadline = time.monotonic() + timeout
    while text not in data:
        ready, _, _ = select.select([master], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            raise TimeoutError(f"no {text!r}; so far {data!r}")
        data += os.read(master, 65536)
    return data
