"""A cgroup that somebody else has made is neither changed nor removed, and its processes are not killed, whenever it
appears under the name that a container is to have."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.bundle import Bundle
from tests.support.host import cgroup_roots
from tests.support.marks import not_for, requires
from tests.support.runtime import ENVIRONMENT, Runtime, wait_until

pytestmark = [requires("cgroup1"), not_for("runc", "crun", reason="they enter and remove what is there")]


class Stranger:
    """A process in v1 cgroups of a container's name."""

    def __init__(self, path: str) -> None:
        roots = sorted({root for name, root in cgroup_roots().items() if name in ("memory", "pids", "freezer")})
        self.directories = [Path(f"{root}{path}") for root in roots]
        self.process: subprocess.Popen[bytes] | None = None

    def come(self) -> None:
        self.process = subprocess.Popen(["sleep", "100"])
        for directory in self.directories:
            directory.mkdir()
            (directory / "cgroup.procs").write_text(str(self.process.pid))

    def is_well(self) -> bool:
        assert self.process is not None
        inside = [(directory / "cgroup.procs").read_text().split() for directory in self.directories]
        return self.process.poll() is None and all(pids == [str(self.process.pid)] for pids in inside)

    def go(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        for directory in self.directories:
            if directory.exists():
                wait_until(lambda found=directory: not (found / "cgroup.procs").read_text(), "the stranger's end")
                directory.rmdir()


@pytest.fixture
def stranger(bundle: Bundle) -> Iterator[Stranger]:
    found = Stranger(bundle.linux["cgroupsPath"])
    yield found
    found.go()


def held_up(box: Runtime, bundle: Bundle) -> subprocess.Popen[bytes]:
    """A `create` that waits before it makes its process: on v1 it makes most of its cgroups only afterwards."""
    trace = ["strace", "-qq", "-o", "/dev/null", "-e", "trace=clone3", "-e", "inject=clone3:delay_enter=1s:when=1"]
    command = [*trace, *box.command("create", *box.bundle_args(bundle))]
    process = subprocess.Popen(command, env=ENVIRONMENT, stdin=-3, stdout=-3, stderr=subprocess.PIPE)
    box.running.append(process)
    wait_until(lambda: (box.root / bundle.id / "start").exists(), "the start socket")
    return process


@requires("strace")
def test_cgroups_that_appear_during_create_are_left_alone(box: Runtime, bundle: Bundle, stranger: Stranger) -> None:
    process = held_up(box, bundle)
    stranger.come()
    assert process.wait(20) == 1
    assert process.stderr is not None
    error = process.stderr.read().decode()
    assert error.startswith("box: ") and error.count("\n") == 1
    assert stranger.is_well()
    assert not (box.root / bundle.id).exists()


@requires("strace")
def test_delete_after_a_killed_create_leaves_them_alone(box: Runtime, bundle: Bundle, stranger: Stranger) -> None:
    process = held_up(box, bundle)
    stranger.come()
    maker = next(int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split())
    os.kill(maker, 9)
    process.wait(20)
    box("delete", "--force", bundle.id).ok()
    assert stranger.is_well()
    assert not (box.root / bundle.id).exists()


def test_frozen_cgroup_stays_frozen(box: Runtime, bundle: Bundle) -> None:
    freezer = Path(f"{cgroup_roots()['freezer']}{bundle.linux['cgroupsPath']}")
    freezer.mkdir()
    try:
        (freezer / "freezer.state").write_text("FROZEN")
        box.run(bundle).refused("is frozen")
        assert (freezer / "freezer.state").read_text() == "FROZEN\n"
    finally:
        freezer.rmdir()
