"""A systemd that tests make up: it listens on a Unix socket, speaks D-Bus by jeepney, and answers what it is told to."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jeepney import DBusAddress, Message, MessageType, Parser  # type: ignore[import-untyped]  # it has no types
from jeepney.low_level import HeaderFields  # type: ignore[import-untyped]  # it has no types
from jeepney.wrappers import new_error, new_method_return, new_signal  # type: ignore[import-untyped]  # it has no types

MANAGER = DBusAddress("/org/freedesktop/systemd1", interface="org.freedesktop.systemd1.Manager")
JOB = "/org/freedesktop/systemd1/job/7"


def job_removed(result: str = "done", job: str = JOB) -> bytes:
    return serialised(new_signal(MANAGER, "JobRemoved", "uoss", (7, job, "x.scope", result)))


def serialised(message: Message, serial: int = 1000) -> bytes:
    return bytes(message.serialise(serial=serial))


class FakeSystemd:
    """Serves one connection after another. `answers` gives for a method what to send: bytes, or a function of the
    message that gives some. What it does not name is answered with nothing in it. `calls` is what was asked."""

    def __init__(self, path: Path) -> None:
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        self.answers: dict[str, bytes | Callable[[Message], bytes]] = {
            "StartTransientUnit": lambda call: job_removed() + serialised(new_method_return(call, "o", (JOB,))),
            "StopUnit": lambda call: serialised(new_method_return(call, "o", (JOB,))) + job_removed(),
            "Get": lambda call: serialised(new_method_return(call, "v", (("s", ""),))),
        }
        self.welcome = b"DATA\r\nOK 0123456789abcdef0123456789abcdef\r\n"
        self.hang_up_after: str | None = None
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)

    def names(self) -> list[str]:
        return [name for name, _ in self.calls]

    def refuse(self, method: str, name: str, text: str, times: int = 1 << 30) -> None:
        """Answer with an error, so many times; then as before."""
        before = self.answers.get(method)
        left = [times]

        def answer(call: Message) -> bytes:
            left[0] -= 1
            if left[0] >= 0:
                return serialised(new_error(call, name, "s", (text,)))
            assert callable(before)
            return before(call)

        self.answers[method] = answer

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                try:
                    self._talk(connection)
                except OSError:
                    continue

    def _talk(self, connection: socket.socket) -> None:
        heard = b""
        while b"BEGIN\r\n" not in heard:
            data = connection.recv(4096)
            if not data:
                return
            heard += data
        connection.sendall(self.welcome)
        parser = Parser()
        parser.add_data(heard.partition(b"BEGIN\r\n")[2])
        while True:
            message = parser.get_next_message()
            if message is not None:
                if not self._answer(connection, message):
                    return
                continue
            data = connection.recv(4096)
            if not data:
                return
            parser.add_data(data)

    def _answer(self, connection: socket.socket, message: Message) -> bool:
        assert message.header.message_type is MessageType.method_call
        name = str(message.header.fields[HeaderFields.member])
        self.calls.append((name, message.body))
        if name == self.hang_up_after:
            return False
        given = self.answers.get(name)
        if given is None:
            given = serialised(new_method_return(message))
        connection.sendall(given(message) if callable(given) else given)
        return True
