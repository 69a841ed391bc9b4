"""What a forwarder of DNS has refused: kept in a file, as JSON, which is written again at most once a second."""

from __future__ import annotations

import json
import os
import threading
import time

_NAMES = 256  # of each kind; the rest is counted only
_PAUSE = 1.0  # seconds between two versions of the file
_LONGEST = 253


class Notes:
    """`path` is replaced whole; it goes with the directory that it is in."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._counts: dict[str, int] = {"refused": 0, "withheld": 0, "malformed": 0, "failed": 0}
        self._refused: dict[str, int] = {}
        self._withheld: dict[str, str] = {}
        self._failure = ""
        self._written = 0.0
        self._due: threading.Timer | None = None

    def refused(self, name: str) -> None:
        """A name that is not allowed."""
        with self._lock:
            if name in self._refused or len(self._refused) < _NAMES:
                self._refused[name[:_LONGEST]] = self._refused.get(name, 0) + 1
            self._count("refused")

    def withheld(self, name: str, address: str) -> None:
        """An address that a name has but may not have."""
        with self._lock:
            if name in self._withheld or len(self._withheld) < _NAMES:
                self._withheld[name] = address
            self._count("withheld")

    def malformed(self) -> None:
        with self._lock:
            self._count("malformed")

    def failed(self, reason: str) -> None:
        """A server that could not be asked, or a set that is full."""
        with self._lock:
            self._failure = reason
            self._count("failed")

    def _count(self, what: str) -> None:
        self._counts[what] += 1
        if self._due is None:
            wait = max(0.0, self._written + _PAUSE - time.monotonic())
            self._due = threading.Timer(wait, self._write)
            self._due.daemon = True
            self._due.start()

    def _write(self) -> None:
        with self._lock:
            self._due, self._written = None, time.monotonic()
            found = {
                "counts": self._counts,
                "refused": self._refused,
                "withheld": self._withheld,
                "failure": self._failure,
            }
            text = json.dumps(found)
        try:
            with open(f"{self._path}.new", "w", encoding="utf-8") as stream:
                stream.write(text)
            os.rename(f"{self._path}.new", self._path)
        except OSError:
            pass  # the container is being deleted


def read(path: str) -> dict[str, object]:
    """What has been noted; nothing as long as nothing has been refused."""
    try:
        with open(path, encoding="utf-8") as stream:
            found = json.load(stream)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
