"""A runtime that is killed, at whatever moment, leaves nothing that `delete --force` does not take away, and no id that
cannot be used again. At each of its system calls: test_sweeps.py.

The moments are chosen by a seed, which is printed; BOXES_SEED repeats one, and with BOXES_SWEEP set there are more.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.support.bundle import Bundle
from tests.support.leaks import CgroupParent, differences, snapshot
from tests.support.marks import not_for
from tests.support.runtime import Result, Runtime, wait_until

pytestmark = not_for("runc", "crun", reason="they leave some of it, and their threads cannot be killed at a point")

SEED = int(os.environ.get("BOXES_SEED") or 1)  # another one tries other moments
SWEEP = bool(os.environ.get("BOXES_SWEEP"))


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
def scene(box: Runtime, bundle: Bundle, cgroup_parent: CgroupParent) -> Scene:
    bundle.args("/bin/sleep", "100")
    return Scene(box, bundle, cgroup_parent)


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


# ---- at some moment ----


def kill_after(box: Runtime, seconds: float, *args: str, **more: Any) -> None:
    process = box.popen(*args, stdin=-3, stdout=-3, stderr=-3, **more)
    time.sleep(seconds)
    process.kill()
    process.wait(20)


@pytest.mark.parametrize("verb", ["create", "run", "start", "exec", "delete"])
def test_verb_killed_at_any_moment_leaves_nothing(scene: Scene, chance: random.Random, verb: str) -> None:
    arguments = {
        "create": scene.box.bundle_args(scene.bundle),
        "run": scene.box.bundle_args(scene.bundle),
        "exec": (scene.bundle.id, "/bin/sleep", "100"),
        "delete": ("--force", scene.bundle.id),
    }
    begun = time.monotonic()
    scene.create().ok()
    longest = 1.5 * (time.monotonic() - begun)  # machines differ, and are busy
    scene.box("delete", "--force", scene.bundle.id).ok()
    with patience(600):
        for _ in range(200 if SWEEP else 12):
            if verb in ("start", "exec", "delete"):
                scene.create().ok()
            if verb == "exec":
                scene.box("start", scene.bundle.id).ok()
            seconds = chance.uniform(0, longest)
            kill_after(scene.box, seconds, verb, *arguments.get(verb, (scene.bundle.id,)))
            scene.check(f"{verb}, killed after {seconds:.6f} s")
    scene.verdict("state")
