"""What tests of the zygote need: programs that use the API in a process of their own, and their processes."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

from boxes.api import client
from tests.support import source
from tests.support.runtime import wait_until


def program(text: str, *arguments: object) -> subprocess.Popen[str]:
    """Python that uses the API; it says things on its stdout, line by line."""
    preamble = f"import sys; sys.path.insert(0, {str(source.PACKAGE.parent)!r}); import boxes, os, time\n"
    command = [sys.executable, "-c", preamble + text, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True)


def children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def named(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def keeper_of(pid: int) -> int:
    """The parent of a container's init, once it is nothing but its keeper: a script is not quite there when it says
    that the program has begun."""
    keeper = int(Path(f"/proc/{pid}/status").read_text().split("PPid:")[1].split()[0])
    wait_until(lambda: named(keeper).startswith("box: keeper"), "the keeper")
    return keeper


def maker() -> int:
    """This process's."""
    zygote = client.zygote_pid()
    found: list[int] = []

    def look() -> bool:
        found[:] = [pid for pid in children(zygote) if named(pid) == "box: maker"]
        return bool(found)

    wait_until(look, "the maker", 5.0)
    return found[0]


def gone(pid: int) -> bool:
    """Whether a process has ended: a zombie has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def wait_gone(*pids: int) -> None:
    wait_until(lambda: all(map(gone, pids)), "the end of processes", 5.0)
