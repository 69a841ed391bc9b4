"""An engine's side of a console socket, for commands that may end before they have sent anything."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path


class Console:
    """Takes what comes, until it is closed; the last terminal stays open, for a container lives no longer than it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen()
        self._master = -1
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                self._take(connection)

    def _take(self, connection: socket.socket) -> None:
        while True:
            data, descriptors, _, _ = socket.recv_fds(connection, 4096, 1)
            for fd in descriptors:
                if self._master >= 0:
                    os.close(self._master)
                self._master = fd
            if not data:
                return

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()
        if self._master >= 0:
            os.close(self._master)
