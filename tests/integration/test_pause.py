"""`pause` and `resume`: the processes stand still, and go on; what other verbs make of a container that is paused."""

from __future__ import annotations

import time

import pytest

from tests.support.bundle import Bundle
from tests.support.cgroup import Cgroup
from tests.support.marks import not_for
from tests.support.runtime import Container, Runtime

TICKS = "while :; do echo tick; sleep 0.02; done"


@pytest.fixture
def ticking(box: Runtime, bundle: Bundle) -> Container:
    """A container that says something all the time."""
    container = box.start(bundle.shell(TICKS))
    assert container.readline() == "tick"
    return container


def is_still(container: Container) -> bool:
    """Whether nothing more comes, once what was written before has been read."""
    deadline = time.monotonic() + 5
    try:
        while time.monotonic() < deadline:
            container.readline(0.3)
    except TimeoutError:
        return True
    return False


def test_paused_container_stands_still_and_resumed_goes_on(box: Runtime, ticking: Container) -> None:
    box("pause", ticking.id).ok()
    assert ticking.status == "paused"
    assert is_still(ticking)
    box("resume", ticking.id).ok()
    assert ticking.status == "running"
    assert ticking.readline() == "tick"


def test_children_stand_still_too(box: Runtime, bundle: Bundle) -> None:
    container = box.start(bundle.shell(f"({TICKS}) & wait"))
    assert container.readline() == "tick"
    box("pause", container.id).ok()
    assert is_still(container)


def test_pause_of_a_paused_container_is_an_error(box: Runtime, ticking: Container) -> None:
    box("pause", ticking.id).ok()
    box("pause", ticking.id).refused("container not running" if box.name != "crun" else "paused")
    assert ticking.status == "paused"


def test_resume_of_a_running_container_is_an_error(box: Runtime, ticking: Container) -> None:
    box("resume", ticking.id).refused("container not paused" if box.name != "crun" else "not paused")


@pytest.mark.parametrize("verb", ["pause", "resume"])
def test_stopped_container_is_refused(box: Runtime, bundle: Bundle, verb: str) -> None:
    container = box.start(bundle)
    container.wait()
    box(verb, container.id).refused("not running" if verb == "pause" else "not paused")


@pytest.mark.parametrize("verb", ["pause", "resume"])
def test_missing_container_is_refused(box: Runtime, verb: str) -> None:
    box(verb, "nobody").refused("does not exist")


@not_for("runc", "crun", reason="they pause what has not started")
def test_created_container_is_not_paused(box: Runtime, bundle: Bundle) -> None:
    container = box.create(bundle)
    box("pause", container.id).refused("container not running")
    container.start().ok()


class TestExec:
    def test_is_refused(self, box: Runtime, ticking: Container) -> None:
        box("pause", ticking.id).ok()
        ticking.exec("/bin/true").refused("paused", code=255 if box.name != "crun" else 1)

    @not_for("crun", reason="it has no --ignore-paused")
    def test_ignoring_it_runs_when_the_container_is_resumed(self, box: Runtime, ticking: Container) -> None:
        box("pause", ticking.id).ok()
        waiting = box.popen("exec", "--ignore-paused", ticking.id, "/bin/true")
        time.sleep(0.2)
        assert waiting.poll() is None
        box("resume", ticking.id).ok()
        assert waiting.wait(10) == 0


class TestEnd:
    def test_sigkill_ends_it(self, box: Runtime, ticking: Container) -> None:
        box("pause", ticking.id).ok()
        ticking.kill("KILL").ok()
        assert ticking.wait() == 137
        assert ticking.status == "stopped"
        ticking.delete().ok()

    def test_sigkill_to_all_ends_it(self, box: Runtime, ticking: Container) -> None:
        box("pause", ticking.id).ok()
        ticking.kill("KILL", flags=("--all",)).ok()
        assert ticking.wait() == 137

    def test_sigterm_waits_for_resume(self, box: Runtime, bundle: Bundle) -> None:
        container = box.start(bundle.shell("trap 'echo term; exit 3' TERM; echo up; while :; do sleep 0.05; done"))
        assert container.readline() == "up"
        box("pause", container.id).ok()
        container.kill("TERM").ok()
        time.sleep(0.1)
        assert container.status == "paused"
        box("resume", container.id).ok()
        assert container.readline() == "term"
        assert container.wait() == 3

    def test_delete_is_refused_and_by_force_works(self, box: Runtime, ticking: Container) -> None:
        cgroup = Cgroup(ticking.pid)
        box("pause", ticking.id).ok()
        ticking.delete().refused("paused" if box.name != "crun" else "")
        ticking.delete("--force").ok()
        assert ticking.wait() == 137
        assert not cgroup.path("pids").exists()
