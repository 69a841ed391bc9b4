"""The system calls of a command, each a point at which something can be made to happen: tests/support/inject.c."""

from __future__ import annotations

import errno
import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from tests.support.rootfs import probe_program
from tests.support.runtime import ENVIRONMENT

_HEADERS = ("/usr/include/x86_64-linux-gnu/asm/unistd_64.h", "/usr/include/asm/unistd_64.h")
# They do not come back, or always succeed (set_tid_address(2)); what libc gives to arch_prctl(2) cannot be wrong.
NEVER_FAIL = {"exit", "exit_group", "rt_sigreturn", "restart_syscall", "set_tid_address", "arch_prctl"}
# What a call fails with, where it is not EIO: what the kernel would say on a bad day, and the callers do not expect.
_ERRORS = {
    "EMFILE": "open openat openat2 dup dup2 dup3 fcntl pipe2 socket socketpair memfd_create epoll_create1 pidfd_open open_tree",
    "ENOMEM": "mmap mprotect munmap brk mremap clone clone3 vfork fork execve execveat poll waitid wait4 mount fsopen fsmount",
    "ENOSPC": "write mkdir mkdirat rename renameat2 symlink symlinkat mknodat link",
    "EPERM": "unshare setns prctl capset setuid setgid setresuid setresgid setgroups prlimit64 seccomp chown fchown "
    "fchownat chmod fchmod fchmodat sethostname setdomainname pidfd_send_signal kill move_mount mount_setattr pivot_root",
}
_ERROR_OF = {call: name for name, calls in _ERRORS.items() for call in calls.split()}


PATIENCE = 0.5  # seconds for what is said a moment later


class Point(NamedTuple):
    """The `number`-th `call` of a process or thread; `task` counts these in the order of their birth, -1 is any."""

    task: int
    call: str
    number: int

    def __str__(self) -> str:
        return f"{self.call}#{self.number} of {'any' if self.task < 0 else self.task}"


@cache
def _numbers() -> dict[str, int]:
    header = next(Path(path) for path in _HEADERS if Path(path).exists())
    return {name: int(value) for name, value in re.findall(r"#define __NR_(\w+) (\d+)", header.read_text())}


@cache
def _names() -> dict[int, str]:
    return {number: name for name, number in _numbers().items()}


def number_of(call: str) -> int:
    return _numbers()[call]


def error_of(call: str) -> str:
    return _ERROR_OF.get(call, "EIO")


def failing(point: Point, error: str = "") -> list[str]:
    """The arguments of `inject` to let the call fail; close(2) has closed all the same."""
    kind = "late" if point.call == "close" else "error"
    return [*_where(point), f"{kind}={getattr(errno, error or error_of(point.call))}"]


def lacking(point: Point, error: str = "") -> list[str]:
    """To let all such calls of all processes fail, from the first on."""
    return [*_where(point), f"always={getattr(errno, error or error_of(point.call))}"]


def killing(point: Point) -> list[str]:
    """To end the process instead of the call."""
    return [*_where(point), f"signal={int(signal.SIGKILL)}"]


def _where(point: Point) -> list[str]:
    return [str(point.task), str(_numbers()[point.call]), str(point.number)]


class Traced(NamedTuple):
    """A command that was run: `code` as a shell reports it, `reached`: whether the point came."""

    code: int
    err: str
    reached: bool


def words(directory: Path, patience: float = 0) -> str:
    """What the last command has said. One that failed may be spoken for a moment later, if its interpreter could not
    start: a file has no end to wait for, as the pipes of engines have."""
    deadline = time.monotonic() + patience
    while not (found := (directory / "errors").read_text("utf-8", "replace")) and time.monotonic() < deadline:
        time.sleep(0.002)
    return found


def run(command: list[str], what: list[str], directory: Path, timeout: float, **more: Any) -> Traced:
    """Run a command, with something happening to it. Raises subprocess.TimeoutExpired, and leaves all running. Keywords go
    to Popen."""
    log, errors = directory / "inject.log", directory / "errors"
    with errors.open("w") as file:
        full = [_injector(directory), str(log), *what, *command]
        process = subprocess.Popen(full, env=ENVIRONMENT, stdin=-3, stdout=-3, stderr=file, **more)
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
    return Traced(code, words(directory), log.read_text().startswith("done"))


def _injector(directory: Path) -> str:
    """In the directory, where any user can execute it."""
    place = directory / "inject"
    if not place.exists():
        shutil.copy(probe_program("inject"), place)
    return str(place)


class Recorded(NamedTuple):
    """The calls of a command in their order, and its exit status."""

    code: int
    points: list[Point]


def record(command: list[str], directory: Path, **more: Any) -> Recorded:
    """Run a command untouched."""
    done = run(command, ["-1", "0", "0", "record"], directory, 60, **more)
    assert not done.err, done.err
    counts: Counter[tuple[int, str]] = Counter()
    found: list[Point] = []
    for line in (directory / "inject.log").read_text("utf-8", "replace").splitlines():
        task, number = line.split()
        place = (int(task), _names()[int(number)])
        counts[place] += 1
        found.append(Point(*place, counts[place]))
    return Recorded(done.code, found)


def of_any_task(found: Iterable[Point]) -> list[Point]:
    """The same as strace(1) sees them, which cannot tell tasks apart: for runtimes whose threads have no order."""
    most: Counter[str] = Counter()
    for point in found:
        most[point.call] = max(most[point.call], point.number)
    return [Point(-1, call, number) for call, count in most.items() for number in range(1, count + 1)]
