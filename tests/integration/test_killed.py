"""A runtime that is killed, at whatever moment, leaves nothing that `delete --force` does not take away, and no id that
cannot be used again; and a runtime whose builder is killed takes everything back by itself.

strace(1) kills before the N-th system call. Each run tries a sample, by a seed that it prints; BOXES_SEED repeats one,
and with BOXES_SWEEP set all calls are tried.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support import host
from tests.support.bundle import Bundle
from tests.support.leaks import CgroupParent, differences, snapshot
from tests.support.marks import requires
from tests.support.runtime import ENVIRONMENT, Result, Runtime, wait_until

SEED = int(os.environ.get("BOXES_SEED") or random.SystemRandom().randrange(1 << 32))
SWEEP = bool(os.environ.get("BOXES_SWEEP"))
KILL = "inject=all:signal=KILL:when={}"


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


def sample(chance: random.Random, points: range, count: int) -> list[int]:
    return list(points) if SWEEP else sorted(chance.sample(points, min(count, len(points))))


# ---- at a system call of the runtime's ----


def plain(bundle: Bundle) -> None:
    """One clone3 makes the builder; all processes end with the container's init."""


def staged(bundle: Bundle) -> None:
    """A process comes between runtime and builder; id maps are written."""
    bundle.user_namespace().namespace("time").namespace("cgroup")
    bundle.linux["timeOffsets"] = {"monotonic": {"secs": 5}}


def shared(bundle: Bundle) -> None:
    """Without a pid namespace processes outlive the init."""
    bundle.without_namespace("pid").without_mount("/proc", "/sys")


def limited(bundle: Bundle) -> None:
    """Limits and a hook."""
    bundle.linux["resources"] = {"memory": {"limit": 64 << 20}, "pids": {"limit": 50}}
    bundle.hook("createRuntime", "/bin/true")


SHAPES = [plain, staged, shared, limited]


def strace(box: Runtime, bundle: Bundle, log: str, *options: str) -> list[str]:
    """The command that creates a container, with the runtime traced, but not its children."""
    return ["strace", "-qq", "-o", log, *options, *box.command("create", *box.bundle_args(bundle))]


def calls(scene: Scene) -> range:
    """The numbers of the system calls from the first that leaves something on."""
    log = scene.box.directory / "calls"
    command = strace(scene.box, scene.bundle, str(log))
    subprocess.run(command, env=ENVIRONMENT, stdin=-3, stdout=-3, stderr=-3, check=True, timeout=20)
    scene.box("delete", "--force", scene.bundle.id).ok()
    lines = log.read_text().splitlines()
    first = next(n for n, line in enumerate(lines, 1) if line.startswith(f'mkdir("{scene.box.root}/'))
    return range(first, len(lines) + 1)


@requires("strace")
@pytest.mark.parametrize("shape", SHAPES)
def test_create_killed_at_any_call_leaves_nothing(
    scene: Scene, chance: random.Random, shape: Callable[[Bundle], None]
) -> None:
    shape(scene.bundle)
    scene.create().ok()  # what is only made once is made now
    scene.box("delete", "--force", scene.bundle.id).ok()
    points = calls(scene)
    with patience(900):
        for number in sample(chance, points, 30):
            command = strace(scene.box, scene.bundle, "/dev/null", "-e", KILL.format(number))
            killed = subprocess.run(command, env=ENVIRONMENT, stdin=-3, stdout=-3, stderr=-3, timeout=20).returncode
            if killed == 0 and number > points[-1] - 20:
                continue  # this run had a call less
            assert killed == -signal.SIGKILL
            scene.check(f"call {number}")
    scene.verdict("state", "cgroups")


# ---- at a system call of the builder's ----


def builder_of(runtime: int) -> int:
    """The child of the runtime's that is in namespaces of its own; 0 if there is none yet."""
    own = os.stat("/proc/self/ns/mnt").st_ino
    for pid in host.children(runtime):
        try:
            if os.stat(f"/proc/{pid}/ns/mnt").st_ino != own:
                return pid
        except OSError:
            continue  # it is a zombie
    return 0


def only_child(pid: int) -> int:
    return next(iter(host.children(pid)), 0)


def attached(pid: int) -> bool:
    return "TracerPid:\t0\n" not in Path(f"/proc/{pid}/status").read_text()


def create_with_builder_killed(scene: Scene, number: int) -> Result:
    """`create`, whose builder is killed before its `number`-th call. The runtime is stopped while it is not traced."""
    command = strace(scene.box, scene.bundle, "/dev/null", "-e", "trace=clone3", "-e", "inject=clone3:signal=STOP")
    errors = scene.box.directory / "errors"
    with errors.open("w") as file:
        tracer = subprocess.Popen(command, env=ENVIRONMENT, stdin=-3, stdout=-3, stderr=file)
    try:
        wait_until(lambda: only_child(tracer.pid) and builder_of(only_child(tracer.pid)), "a builder")
        runtime = only_child(tracer.pid)
        builder = builder_of(runtime)
        killer = subprocess.Popen(
            ["strace", "-qq", "-o", "/dev/null", "-e", KILL.format(number), "-p", str(builder)],
            stdin=-3, stdout=-3, stderr=-3,
        )  # fmt: skip
        scene.box.running.append(killer)
        wait_until(lambda: attached(builder), "strace")
        os.kill(runtime, signal.SIGCONT)
        return Result(["", "", "", "create"], tracer.wait(20), "", errors.read_text())
    finally:
        if tracer.poll() is None:
            tracer.kill()
            tracer.wait()


@requires("strace")
@pytest.mark.parametrize("shape", [plain, shared, limited])
def test_create_whose_builder_is_killed_says_so_and_leaves_nothing(
    scene: Scene, chance: random.Random, shape: Callable[[Bundle], None]
) -> None:
    shape(scene.bundle)
    outcomes = set()
    with patience(900):
        for number in sample(chance, range(1, 400), 15):
            result = create_with_builder_killed(scene, number)
            outcomes.add(result.code)
            if result.code == 0:  # it was waiting to be started already
                scene.expect(f"call {number}", scene.box("delete", "--force", scene.bundle.id))
                if not SWEEP:
                    continue
                break
            if result.code != 1 or result.err.count("\n") != 1 or not result.err.startswith("box: "):
                scene.failures.append(f"call {number}: {result.code}: {result.err}")
            scene.failures += [f"call {number}: {line}" for line in scene.settled()]
            assert len(scene.failures) < 20, "\n".join(scene.failures)
    scene.verdict()
    assert 1 in outcomes


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
    with patience(600):
        for _ in range(200 if SWEEP else 12):
            if verb in ("start", "exec", "delete"):
                scene.create().ok()
            if verb == "exec":
                scene.box("start", scene.bundle.id).ok()
            seconds = chance.uniform(0, 0.05)
            kill_after(scene.box, seconds, verb, *arguments.get(verb, (scene.bundle.id,)))
            scene.check(f"{verb}, killed after {seconds:.6f} s")
    scene.verdict("state")
