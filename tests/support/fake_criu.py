"""A stand-in for criu, for what can be told without it: `criu swrk 3` that answers, and notes what it was asked.

It is put into a directory as a program, with its rules beside it in `rules.json`:
    version   what it says it is, [major, minor]
    fail      requests of these types fail, with this list of lines in the log
    die       it ends at this moment, or "request"
    hang      at this moment it makes a file `hanging`, and goes on when that is gone
    moments   the notifications of a restore, in their order
Each request is appended to `requests.json`, one a line, decoded by the runtime's own tables. A restore starts
`sleep` as its process, a child of the runtime's, as CRIU does.
"""

from __future__ import annotations

import ctypes
import json
import os
import socket
import stat
import sys
import time
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).parents[2] / "src"


class FakeCriu:
    """The program in `directory`; `path` is a $PATH that has it first."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir()
        program = directory / "criu"
        program.write_text(
            f'#!/bin/sh\nexec {sys.executable} -I -c \'import sys; sys.path[:0] = ["{SOURCE}", "{SOURCE.parent}"]\n'
            f'from tests.support.fake_criu import serve; serve("{directory}")\'\n'
        )
        program.chmod(0o755)
        self.rules()

    @property
    def path(self) -> str:
        return f"{self.directory}:/usr/sbin:/usr/bin:/sbin:/bin"

    def rules(self, **rules: Any) -> None:
        (self.directory / "rules.json").write_text(json.dumps(rules))

    def requests(self, kind: int | None = None) -> list[dict[str, Any]]:
        path = self.directory / "requests.json"
        found = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        return [request for request in found if kind in (None, request["type"])]


def _repeated(table: dict[str, Any], data: bytes) -> dict[str, Any]:
    """As `messages.decode`, but repeated fields are lists."""
    from boxes.criu import messages

    names = {number: (name, kind) for name, (number, kind) in table.items()}
    found: dict[str, Any] = {}
    at = 0
    while at < len(data):
        tag, at = messages._read_varint(data, at)
        value, at = messages._read_value(data, at, tag & 7)
        name, kind = names[tag >> 3]
        if isinstance(kind, dict):
            assert isinstance(value, bytes)
            typed = _repeated(kind, value)
        else:
            typed = messages._typed(kind, value)
        if name in ("cgroup_roots", "inherit_fds", "external", "join_namespaces"):
            found.setdefault(name, []).append(typed)
        else:
            found[name] = typed
    return found


class _Server:
    def __init__(self, directory: Path) -> None:
        from boxes.criu import messages

        self.messages = messages
        self.directory = directory
        self.rules: dict[str, Any] = json.loads((directory / "rules.json").read_text())
        self.socket = socket.socket(fileno=3)

    def send(self, response: dict[str, Any], *fds: int) -> None:
        socket.send_fds(self.socket, [self.messages.encode(self.messages.RESPONSE, response)], fds)

    def notify(self, moment: str, pid: int, *fds: int) -> bool:
        if self.rules.get("die") == moment:
            os._exit(1)
        if self.rules.get("hang") == moment:
            (self.directory / "hanging").touch()
            while (self.directory / "hanging").exists():
                time.sleep(0.01)
        self.send({"type": self.messages.NOTIFY, "success": True, "notify": {"script": moment, "pid": pid}}, *fds)
        return bool(_repeated(self.messages.REQUEST, self.socket.recv(1 << 20)).get("notify_success"))

    def answer(self) -> None:
        request = _repeated(self.messages.REQUEST, self.socket.recv(1 << 20))
        with open(self.directory / "requests.json", "a") as file:
            file.write(json.dumps(request | {"fds": _descriptors()}) + "\n")
        kind = request["type"]
        if self.rules.get("die") == "request" and kind in (1, 2, 4):
            print("cannot open shared object file", file=sys.stderr)
            sys.exit(127)
        if kind == self.messages.VERSION:
            major, minor = self.rules.get("version", [3, 19])
            self.send({"type": kind, "success": True, "version": {"major": major, "minor": minor}})
        elif kind == self.messages.FEATURE_CHECK:
            self.send({"type": kind, "success": True, "features": self.rules.get("features", {})})
        elif "fail" in self.rules:
            options = request["options"]
            log = Path(f"/proc/{os.getppid()}/fd/{options['work_dir_fd']}") / options["log_file"]
            log.write_text("\n".join(self.rules["fail"]) + "\n")
            self.send({"type": kind, "success": False})
        elif kind == self.messages.RESTORE:
            self.restore(kind)
        else:
            self.send({"type": kind, "success": True})

    def restore(self, kind: int) -> None:
        pid = _sibling()
        for moment in self.rules.get("moments", ["setup-namespaces", "post-restore"]):
            if not self.notify(moment, pid):
                os.kill(pid, 9)
                self.send({"type": kind, "success": False})
                return
        self.send({"type": kind, "success": True, "restored": {"pid": pid}})


def _descriptors() -> dict[str, str]:
    """What each descriptor from 4 is."""
    found = {}
    for name in sorted(os.listdir("/proc/self/fd")):
        try:
            if int(name) > 3 and not stat.S_ISDIR(os.stat(f"/proc/self/fd/{name}").st_mode):
                found[name] = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue
    return found


def _sibling() -> int:
    """A process that is a child of the runtime's: clone(2) with CLONE_PARENT and SIGCHLD."""
    pid = int(ctypes.CDLL(None, use_errno=True).syscall(56, 0x8000 | 17, 0, 0, 0, 0))
    if pid == 0:
        os.close(3)
        os.execv("/bin/sleep", ["sleep", "1000"])
    return pid


def serve(directory: str) -> None:
    _Server(Path(directory)).answer()
