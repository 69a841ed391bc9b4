"""Runtimes that are killed: what must be gone afterwards, and system calls to kill them at, by strace(1).

Each run tries a sample, by a seed that it prints; BOXES_SEED repeats one, and with BOXES_SWEEP set all are tried. The
general sweep over all tasks is tests/sweeps; this is for what has its own surroundings, as networks have.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.bundle import Bundle
from tests.support.leaks import CgroupParent, differences, snapshot
from tests.support.runtime import ENVIRONMENT, Result, Runtime, wait_until

SEED = int(os.environ.get("BOXES_SEED") or 1)  # another one tries other moments
SWEEP = bool(os.environ.get("BOXES_SWEEP"))
# A system call of a run: its name, and which of those of this name it is.
Point = tuple[str, int]


class Scene:
    """A bundle, what the host looked like before it was used, and a runtime that is killed."""

    def __init__(self, box: Runtime, bundle: Bundle, parent: CgroupParent) -> None:
        self.box, self.bundle, self.parent = box, bundle, parent
        self.before = snapshot(parent)
        self.seen: set[str] = set()
        self.failures: list[str] = []

    def left(self) -> list[str]:
        """What there is that was not there before."""
        found = differences(self.before, snapshot(self.parent))
        return found + [f"state: left behind: {path}" for path in self.box.root.glob("[!.]*")]

    def settled(self) -> list[str]:
        """The same, when the kernel has had time to tear down what has ended."""
        try:
            wait_until(lambda: not self.left(), "leak", 2.0)
        except TimeoutError:
            return self.left()
        return []

    def check(self, what: str) -> None:
        """`delete --force` takes away what the kill left, and the id can be used again."""
        self.seen |= {line.split(":")[0] for line in self.left()}
        self.expect(what, self.box("delete", "--force", self.bundle.id))
        self.expect(f"{what}, after delete", self.create())
        self.expect(f"{what}, after create", self.box("delete", "--force", self.bundle.id))

    def create(self) -> Result:
        result, reader, _ = self.box.spawn("create", self.bundle)
        os.close(reader)
        return result

    def expect(self, what: str, result: Result) -> None:
        if result.code != 0:
            self.failures.append(f"{what}: {result.command[3]}: {result.err}")
        if result.command[3] != "create":
            self.failures += [f"{what}: {line}" for line in self.settled()]

    def verdict(self, *seen: str) -> None:
        """Nothing was left; and, since else nothing was tested, the kills did leave these things before."""
        assert not self.failures, "\n".join(self.failures)
        assert self.seen >= set(seen), f"kills left only {self.seen}"


@pytest.fixture
def chance() -> random.Random:
    print(f"BOXES_SEED={SEED}")
    return random.Random(SEED)


@contextmanager
def patience(seconds: int) -> Iterator[None]:
    """A whole sweep takes longer than a test may."""
    if SWEEP:
        signal.alarm(seconds)
    yield


def points(log: Path, first: str = "") -> list[Point]:
    """The calls that strace wrote down: from the first whose line begins so, to the last."""
    found: list[Point] = []
    numbers: Counter[str] = Counter()
    wanted = False
    for line in log.read_text().splitlines():
        name, paren, _ = line.partition("(")
        if not paren or not name.isidentifier():
            continue  # a signal's arrival, the process's end
        numbers[name] += 1
        wanted = wanted or line.startswith(first)
        if wanted:
            found.append((name, numbers[name]))
    return found


def sample(chance: random.Random, found: list[Point], count: int) -> list[Point]:
    return found if SWEEP else chance.sample(found, min(count, len(found)))


def at(point: Point, name: str = "KILL") -> list[str]:
    """What makes strace send a signal with this call. SIGKILL comes before it is carried out, others after."""
    call, number = point
    return ["-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={call}:signal={name}:when={number}"]


def strace(box: Runtime, bundle: Bundle, *options: str) -> list[str]:
    """The command that creates a container, with the runtime traced, but not its children."""
    return ["strace", "-qq", *options, *box.command("create", *box.bundle_args(bundle))]


def calls(scene: Scene, first: str) -> list[Point]:
    """The system calls of the runtime, from the one that strace shows so on."""
    log = scene.box.directory / "calls"
    command = strace(scene.box, scene.bundle, "-o", str(log))
    subprocess.run(command, env=ENVIRONMENT, stdin=-3, stdout=-3, stderr=-3, check=True, timeout=20)
    scene.box("delete", "--force", scene.bundle.id).ok()
    return points(log, first)
