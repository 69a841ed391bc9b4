"""A runtime that is killed, at whatever moment, leaves nothing that `delete --force` does not take away, and no id that
cannot be used again. At each of its system calls: test_sweeps.py.

The moments are chosen by a seed, which is printed; BOXES_SEED repeats one, and with BOXES_SWEEP set there are more.
"""

from __future__ import annotations

import random
import time
from typing import Any

import pytest

from tests.support.bundle import Bundle
from tests.support.killing import SWEEP, Scene, patience
from tests.support.killing import chance as chance  # a fixture
from tests.support.leaks import CgroupParent
from tests.support.marks import not_for
from tests.support.runtime import Runtime

pytestmark = not_for("runc", "crun", reason="they leave some of it, and their threads cannot be killed at a point")


@pytest.fixture
def scene(box: Runtime, bundle: Bundle, cgroup_parent: CgroupParent) -> Scene:
    bundle.args("/bin/sleep", "100")
    return Scene(box, bundle, cgroup_parent)


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
