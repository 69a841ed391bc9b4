"""`wait`: how a container ended, and what it used, for who is not its parent."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support import host, reaper
from tests.support.bundle import Bundle
from tests.support.marks import not_for
from tests.support.runtime import Container, Runtime, wait_until

pytestmark = not_for("runc", "crun", reason="nobody else has it")
MIB = 1 << 20
# Linux 6.15 tells those that have a pidfd how the process ended, also after its parent has asked.
TELLS = tuple(int(part) for part in os.uname().release.split("-")[0].split(".")[:2]) >= (6, 15)


def outcome(box: Runtime, id: str) -> dict[str, Any]:
    found: dict[str, Any] = box("wait", "--format", "json", id).json()
    return found


def how(found: dict[str, Any]) -> tuple[int | None, int | None]:
    return found["exit_code"], found["signal"]


def end(container: Container) -> None:
    """Let it end and be reaped, as by an engine."""
    container.wait()


class TestWhileItRuns:
    @pytest.mark.parametrize(
        "script, expected", [("exit 7", (7, None)), ("kill -9 $$", (None, 9)), ("exit 0", (0, None))]
    )
    def test_end_is_waited_for(self, box: Runtime, bundle: Bundle, script: str, expected: tuple[int, int]) -> None:
        bundle.without_namespace("pid")  # a pid 1 cannot end itself by a signal
        container = box.start(bundle.shell(f"while [ ! -e /tmp/go ]; do sleep 0.05; done; {script}"))
        waiting = box.popen("wait", "-f", "json", container.id, stdout=subprocess.PIPE)
        wait_until(lambda: (box.root / container.id / "outcome").exists(), "nobody waits")
        with reaper.paused():
            container.exec("/bin/touch", "/tmp/go").ok()
            found = json.loads(waiting.communicate(timeout=10)[0])
        assert how(found) == expected
        assert found["ended"].startswith("20")

    def test_end_by_delete_is_told_with_what_was_used(self, box: Runtime, bundle: Bundle) -> None:
        container = box.running_shell(bundle)
        waiting = box.popen("wait", "-f", "json", container.id, stdout=subprocess.PIPE)
        wait_until(lambda: (box.root / container.id / "outcome").exists(), "nobody waits")
        container.delete("--force").ok()
        found = json.loads(waiting.communicate(timeout=10)[0])
        assert found["cpu_usec"] > 0
        assert found["oom_killed"] is False
        if TELLS:
            assert how(found) == (None, 9)

    def test_several_may_wait(self, box: Runtime, bundle: Bundle) -> None:
        container = box.running_shell(bundle)
        waiting = [box.popen("wait", "--exit-status", container.id, stdout=subprocess.PIPE) for _ in range(3)]
        wait_until(lambda: (box.root / container.id / "outcome").exists(), "nobody waits")
        time.sleep(0.2)
        with reaper.paused():
            container.kill("KILL").ok()
            assert [process.wait(10) for process in waiting] == [137] * 3

    def test_timeout(self, box: Runtime, bundle: Bundle) -> None:
        container = box.running_shell(bundle)
        box("wait", "--timeout", "100ms", container.id).refused("has not ended within 0.1 s")
        assert container.status == "running"

    def test_created_container_is_waited_for(self, box: Runtime, bundle: Bundle) -> None:
        container = box.create(bundle)
        box("wait", "--timeout", "100ms", container.id).refused("has not ended")
        container.start().ok()
        box("wait", container.id).ok()


class TestRecorded:
    """By a keeper, before anybody asks."""

    @pytest.mark.parametrize("asked", ["option", "annotation"])
    @pytest.mark.parametrize("script, expected", [("exit 7", (7, None)), ("kill -9 $$", (None, 9))])
    def test_end_long_ago_is_told(
        self, box: Runtime, bundle: Bundle, script: str, expected: tuple[int, int], asked: str
    ) -> None:
        bundle.without_namespace("pid")
        if asked == "annotation":
            bundle.config["annotations"] = {"boxes.record-exit": "true"}
        container = box.start(bundle.shell(script), *(["--record-exit"] if asked == "option" else []))
        end(container)
        time.sleep(0.2)
        found = outcome(box, container.id)
        if TELLS:
            assert how(found) == expected
        else:
            assert how(found) == expected or "reason" in found
        assert found["ended"].startswith("20")
        assert outcome(box, container.id) == found

    def test_time_is_told_also_of_one_whose_parent_has_not_asked(self, box: Runtime, bundle: Bundle) -> None:
        with reaper.paused():
            container = box.start(bundle.shell("exit 3"), "--record-exit")
            wait_until(lambda: container.status == "stopped", "it does not end")
            found = outcome(box, container.id)
        assert how(found) == (3, None)
        assert found["ended"].startswith("20")

    def test_detached_run(self, box: Runtime, bundle: Bundle) -> None:
        bundle.shell("while [ ! -e /tmp/go ]; do sleep 0.05; done; exit 5")
        container = box.create(bundle, "--detach", "--record-exit", verb="run")
        container.exec("/bin/touch", "/tmp/go")
        end(container)
        found = outcome(box, container.id)
        assert how(found) == (5, None) or not TELLS

    def test_keeper_ends_with_the_container_and_holds_nothing_of_the_caller(self, box: Runtime, bundle: Bundle) -> None:
        before = host.children()
        container = box.start(bundle.shell("sleep 1000"), "--record-exit")
        keeper = next(pid for pid in host.children() - before - {container.pid})
        assert Path(f"/proc/{keeper}/comm").read_text() == "box: keeper\n"
        opened = [os.readlink(entry) for entry in Path(f"/proc/{keeper}/fd").iterdir()]
        assert [path for path in opened if path.startswith(("pipe:", "socket:"))] == []
        assert os.readlink(f"/proc/{keeper}/cwd") == "/"
        assert os.getsid(keeper) == keeper
        container.kill("KILL").ok()
        container.wait()
        wait_until(lambda: keeper not in host.children(), "the keeper goes on")

    def test_keeper_is_outside_of_the_container(self, box: Runtime, bundle: Bundle) -> None:
        container = box.start(bundle.shell("sleep 1000"), "--record-exit")
        assert len(box("ps", "--format", "json", container.id).json()) == 1

    @pytest.mark.parametrize("value", ["yes", "", "1"])
    def test_annotation_that_says_neither_is_refused(self, box: Runtime, bundle: Bundle, value: str) -> None:
        bundle.config["annotations"] = {"boxes.record-exit": value}
        result, reader, _ = box.spawn("create", bundle)
        os.close(reader)
        result.refused("/annotations/boxes.record-exit")

    def test_without_there_is_no_keeper(self, box: Runtime, bundle: Bundle) -> None:
        before = host.children()
        container = box.start(bundle.shell("sleep 1000"))
        assert host.children() - before == {container.pid}
        assert not (box.root / container.id / "exit").exists()


class TestKept:
    """`run --keep` is the parent, and knows."""

    @pytest.mark.parametrize("script, expected", [("exit 7", (7, None)), ("kill -9 $$", (None, 9))])
    def test_outcome_is_told(self, box: Runtime, bundle: Bundle, script: str, expected: tuple[int, int]) -> None:
        bundle.without_namespace("pid")
        box.run(bundle.shell(script), "--keep")
        found = outcome(box, bundle.id)
        assert how(found) == expected
        assert found["cpu_usec"] > 0
        assert found["oom_killed"] is False


class TestUse:
    def test_oom_kill_is_told(self, box: Runtime, bundle: Bundle) -> None:
        bundle.linux["resources"] = {"memory": {"limit": 16 * MIB}}
        box.run(bundle.shell("head -c 64m /dev/zero > /dev/shm/x"), "--keep")
        found = outcome(box, bundle.id)
        assert found["oom_killed"] is True
        if found["memory_peak"] is not None:
            assert 12 * MIB < found["memory_peak"] <= 16 * MIB

    def test_cpu_time_is_near_what_was_used(self, box: Runtime, bundle: Bundle) -> None:
        script = "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; cat /proc/self/../1/stat"
        told = box.run(bundle.shell(script), "--keep").ok().out.rpartition(")")[2].split()
        used = (int(told[11]) + int(told[12])) / os.sysconf("SC_CLK_TCK")
        assert outcome(box, bundle.id)["cpu_usec"] / 1e6 == pytest.approx(used, abs=0.15, rel=0.3)


class TestUnknown:
    def test_status_that_nobody_recorded_is_null_with_a_reason(self, box: Runtime, bundle: Bundle) -> None:
        container = box.start(bundle.shell("exit 7"))
        end(container)
        found = outcome(box, container.id)
        assert how(found) == (None, None)
        assert "--record-exit" in found["reason"]
        assert found["cpu_usec"] > 0
        assert box("wait", "--exit-status", container.id).code == 255
        assert box("wait", container.id).ok().out.startswith("exit code:    -\n")

    def test_before_it_is_reaped_the_kernel_knows(self, box: Runtime, bundle: Bundle) -> None:
        with reaper.paused():
            container = box.start(bundle.shell("exit 7"))
            wait_until(lambda: container.status == "stopped", "it does not end")
            assert how(outcome(box, container.id)) == (7, None)


class TestStatus:
    def test_of_wait_itself_is_zero(self, box: Runtime, bundle: Bundle) -> None:
        box.run(bundle.shell("exit 7"), "--keep")
        assert box("wait", bundle.id).ok().out.startswith("exit code:    7\n")

    def test_is_the_containers_if_asked_for(self, box: Runtime, bundle: Bundle) -> None:
        box.run(bundle.shell("exit 7"), "--keep")
        assert box("wait", "--exit-status", bundle.id).code == 7


def test_missing_container_is_refused(box: Runtime) -> None:
    box("wait", "nobody").refused("does not exist")


@pytest.mark.parametrize("kept", [0, 1, 7])
def test_keeper_starts_whatever_is_open(box: Runtime, bundle: Bundle, kept: int) -> None:
    """Its descriptors have numbers of their own: none of the runtime's is in the way."""
    fds = [os.dup(1) for _ in range(kept)]
    container = box.start(bundle.shell("sleep 0.5; exit 4"), "--record-exit", pass_fds=fds)
    for fd in fds:
        os.close(fd)
    container.wait()
    time.sleep(0.1)
    assert outcome(box, container.id)["ended"] is not None
