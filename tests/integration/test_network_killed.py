"""Killed at whatever system call, `create` and `delete` leave nothing of a network that `delete --force` does not take
away, and an address and ports that can be had again. See test_killed.py for how calls are chosen."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Iterator

import pytest

from tests.support import lan as lans
from tests.support.bundle import Bundle
from tests.support.killing import Point, at, patience, points, sample
from tests.support.killing import chance as chance
from tests.support.lan import Lan, listening
from tests.support.marks import not_for, requires
from tests.support.runtime import ENVIRONMENT, Runtime

pytestmark = [requires("root", "nft", "strace"), not_for("runc", "crun", reason="they make no networks")]

FLAGS = ("--network", "bridge", "--publish", "8080:80", "--publish", "127.0.0.1:5300:53/udp")


class Scene:
    """A host, and a container on a network that is made and deleted again and again."""

    def __init__(self, lan: Lan, box: Runtime, bundle: Bundle) -> None:
        self.lan, self.box, self.bundle = lan, box, bundle.namespace("network").args("/bin/sleep", "100")
        self.create_command = box.command("create", *box.bundle_args(bundle, *FLAGS))
        self.delete_command = box.command("delete", "--force", bundle.id)
        self.killed = 0

    def traced(self, command: list[str], *options: str) -> int:
        full = ["strace", "-qq", *options, *command]
        return subprocess.run(full, env=ENVIRONMENT, stdin=-3, stdout=-3, stderr=-3, timeout=30).returncode

    def run(self, command: list[str]) -> None:
        subprocess.run(command, env=ENVIRONMENT, stdin=-3, stdout=-3, check=True, timeout=30)

    def calls(self, command: list[str], first: str) -> list[Point]:
        log = self.box.directory / "calls"
        assert self.traced(command, "-o", str(log)) == 0
        return points(log, first)

    def check(self) -> None:
        """After a kill: another container can have the same ports, and all goes with `delete --force`."""
        self.run(self.delete_command)
        self.run(self.create_command)
        state = self.box.state(self.bundle.id)
        with listening(80, state["pid"]) as listener:
            assert listener.met("127.0.0.1", 8080)
        self.run(self.delete_command)
        self.lan.settle()


@pytest.fixture
def scene(box: Runtime, bundle: Bundle) -> Iterator[Scene]:
    with lans.made() as lan:
        yield Scene(lan, box, bundle)
        box.close()


@pytest.mark.takes(120)
def test_create_killed_at_any_call_leaves_no_network(scene: Scene, chance: random.Random) -> None:
    scene.run(scene.create_command)
    scene.run(scene.delete_command)
    found = scene.calls(scene.create_command, f'mkdir("{scene.box.root}/')
    scene.run(scene.delete_command)
    kinds = set()
    with patience(3600):
        for point in sample(chance, found, 12):
            scene.killed += scene.traced(scene.create_command, *at(point)) == -9
            kinds |= {line.split(":")[0] for line in scene.lan.left()}
            scene.check()
    assert scene.killed >= 8
    assert kinds >= {"state", "device"}, "else nothing was tested"


@pytest.mark.takes(120)
def test_delete_killed_at_any_call_leaves_no_network(scene: Scene, chance: random.Random) -> None:
    scene.run(scene.create_command)
    found = scene.calls(scene.delete_command, "flock")
    with patience(3600):
        for point in sample(chance, found, 12):
            scene.run(scene.create_command)
            scene.killed += scene.traced(scene.delete_command, *at(point)) == -9
            scene.check()
    assert scene.killed >= 8


@pytest.mark.takes(120)
def test_what_is_killed_with_its_children_leaves_no_network(scene: Scene, chance: random.Random) -> None:
    """nft(8), and the process that removes what nobody uses, by the calls that they make first."""
    with patience(600):
        for call, number in sample(chance, [("sendto", n) for n in range(1, 12)] + [("flock", 1), ("flock", 2)], 8):
            for command in (scene.create_command, scene.delete_command):
                scene.traced(command, "-f", *at((call, number)))
                if command is scene.create_command:
                    scene.check()
                    scene.run(scene.create_command)
            scene.check()
