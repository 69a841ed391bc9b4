"""`events`: what a container uses and suffers, in the form of runc; all containers in one stream."""

from __future__ import annotations

import json
import select
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support import reaper
from tests.support.bundle import Bundle
from tests.support.cgroup import Cgroup
from tests.support.marks import not_for
from tests.support.runtime import DEADLINE, Runtime

MIB = 1 << 20
# Fills a tmpfs, whose pages are charged to who writes them, beyond the limit of memory.
GREEDY = "read go; (head -c 64m /dev/zero > /dev/shm/x); echo survived; sleep 1000"


class Stream:
    """What `box events` says, line by line."""

    def __init__(self, box: Runtime, *args: str) -> None:
        self.process = box.popen("events", *args, stdout=subprocess.PIPE)
        self._buffer = b""

    def next(self, timeout: float = DEADLINE) -> dict[str, Any]:
        """The next event; EOFError at the end."""
        assert self.process.stdout is not None
        deadline = time.monotonic() + timeout
        while b"\n" not in self._buffer:
            ready, _, _ = select.select([self.process.stdout], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise TimeoutError(f"no event; so far {self._buffer!r}")
            data = self.process.stdout.read(65536)
            if not data:
                raise EOFError
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        event: dict[str, Any] = json.loads(line)
        return event

    def until(self, kind: str) -> dict[str, Any]:
        """The next event of a kind."""
        while (event := self.next())["type"] != kind:
            pass
        return event

    def ends(self) -> None:
        """It must, whatever it has to say before."""
        try:
            while True:
                self.next()
        except EOFError:
            return

    def kinds(self, last: str, but: tuple[str, ...] = ("stats",)) -> list[tuple[str, str]]:
        """The kinds and ids of what comes, up to a kind."""
        found = []
        while True:
            event = self.next()
            if event["type"] not in but:
                found.append((event["type"], event["id"]))
            if event["type"] == last:
                return found


class TestStats:
    @pytest.fixture
    def data(self, box: Runtime, bundle: Bundle) -> dict[str, Any]:
        bundle.linux["resources"] = {"memory": {"limit": 64 * MIB}, "pids": {"limit": 50}, "cpu": {"cpus": "0"}}
        container = box.start(bundle.shell("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; echo up; sleep 1000"))
        assert container.readline() == "up"
        event = box("events", "--stats", container.id).json()
        assert (event["type"], event["id"]) == ("stats", container.id)
        found: dict[str, Any] = event["data"]
        return found

    def test_have_the_members_of_runc(self, data: dict[str, Any]) -> None:
        members = {"cpu", "cpuset", "memory", "pids", "blkio", "hugetlb", "intel_rdt", "network_interfaces"}
        assert set(data) == members

    def test_of_cpu(self, data: dict[str, Any]) -> None:
        assert 10**6 < data["cpu"]["usage"]["total"] < 60 * 10**9
        assert {"kernel", "user"} <= set(data["cpu"]["usage"])

    def test_of_memory(self, data: dict[str, Any]) -> None:
        usage = data["memory"]["usage"]
        assert usage["limit"] == 64 * MIB
        assert 0 < usage["usage"] <= 64 * MIB
        assert {"failcnt", "limit"} <= set(data["memory"]["swap"])
        assert data["memory"]["raw"]["pgfault"] > 0

    def test_of_pids(self, data: dict[str, Any]) -> None:
        assert data["pids"]["limit"] == 50
        assert data["pids"]["current"] in (1, 2)  # the shell may have become the last command

    @not_for("runc", reason="1.1 tells none with v2")
    def test_of_cpuset(self, data: dict[str, Any]) -> None:
        assert data["cpuset"]["cpus"] == [0]
        assert data["cpuset"]["mems"][0] == 0

    @not_for("runc", reason="1.1 has none")
    def test_of_pressure(self, data: dict[str, Any]) -> None:
        for place in ("cpu", "memory", "blkio"):
            some = data[place]["psi"]["some"]
            assert set(some) == {"avg10", "avg60", "avg300", "total"}

    def test_of_throttling(self, box: Runtime, bundle: Bundle) -> None:
        bundle.linux["resources"] = {"cpu": {"quota": 10000, "period": 100000}}
        container = box.start(bundle.shell("echo up; while :; do :; done"))
        assert container.readline() == "up"
        time.sleep(0.5)
        throttling = box("events", "--stats", container.id).json()["data"]["cpu"]["throttling"]
        assert throttling["throttledPeriods"] > 0
        assert throttling["throttledTime"] > 10**6


class TestStream:
    def test_tells_statistics_again_and_again(self, box: Runtime, bundle: Bundle) -> None:
        stream = Stream(box, "--interval", "100ms" if box.name == "box" else "1s", box.running_shell(bundle).id)
        assert [stream.next()["type"] for _ in range(3)] == ["stats"] * 3

    def test_tells_an_oom_kill(self, box: Runtime, bundle: Bundle) -> None:
        bundle.linux["resources"] = {"memory": {"limit": 16 * MIB}}
        container = box.start(bundle.shell("while [ ! -e /tmp/go ]; do sleep 0.05; done; " + GREEDY[9:]))
        stream = Stream(box, "--interval", "1s", container.id)
        stream.until("stats")
        container.exec("/bin/touch", "/tmp/go").ok()
        assert stream.until("oom") == {"type": "oom", "id": container.id}

    @not_for("runc", reason="1.1 ends with the cgroup of v1, by `delete`")
    def test_ends_with_the_container(self, box: Runtime, bundle: Bundle) -> None:
        container = box.running_shell(bundle)
        stream = Stream(box, "--interval", "1s", container.id)
        stream.next()
        container.kill("KILL").ok()
        container.wait()
        stream.ends()
        assert stream.process.wait(10) == 0

    def test_interval_of_engines_is_understood(self, box: Runtime, bundle: Bundle) -> None:
        stream = Stream(box, "--interval=1s", box.running_shell(bundle).id)
        assert stream.next()["type"] == "stats"

    @pytest.mark.parametrize("interval", ["0s", "-1s", "soon"])
    def test_interval_that_is_none_is_refused(self, box: Runtime, bundle: Bundle, interval: str) -> None:
        result = box("events", f"--interval={interval}", box.running_shell(bundle).id)
        assert result.code == 1
        assert "interval" in result.err or box.name != "box"

    def test_of_a_stopped_container_is_refused(self, box: Runtime, bundle: Bundle) -> None:
        container = box.start(bundle)
        container.wait()
        box("events", container.id).refused("not running")
        box("events", "--stats", container.id).refused("not running")

    def test_reader_that_goes_ends_it(self, box: Runtime, bundle: Bundle) -> None:
        stream = Stream(box, "--interval", "100ms" if box.name == "box" else "1s", box.running_shell(bundle).id)
        stream.next()
        assert stream.process.stdout is not None
        stream.process.stdout.close()
        stream.process.wait(10)


@not_for("runc", "crun", reason="they tell of one container only")
class TestAll:
    def test_life_of_a_container(self, box: Runtime, bundle: Bundle) -> None:
        stream = Stream(box, "--all")
        self.until_it_watches(box, stream)
        container = box.create(bundle.args("/bin/probe", "--catch"))
        container.start().ok()
        assert container.readline() == "ready"
        box("pause", container.id).ok()
        box("resume", container.id).ok()
        container.kill("KILL").ok()
        container.wait()
        container.delete().ok()
        kinds = ["created", "started", "paused", "resumed", "exited", "deleted"]
        assert stream.kinds("deleted") == [(kind, container.id) for kind in kinds]

    def until_it_watches(self, box: Runtime, stream: Stream) -> None:
        """The stream tells nothing at the beginning: wait until it does, by a directory that is no container's."""
        assert stream.process.poll() is None
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            for entry in Path(f"/proc/{stream.process.pid}/fdinfo").iterdir():
                if entry.exists() and "inotify wd:" in entry.read_text():
                    return
            time.sleep(0.01)
        raise TimeoutError("it does not watch")

    def test_exit_is_told_with_its_status(self, box: Runtime, bundle: Bundle) -> None:
        container = box.create(bundle.shell("exit 3"))
        stream = Stream(box)
        assert stream.next() | {"time": ""} == {
            "type": "state",
            "id": container.id,
            "time": "",
            "data": {"status": "created"},
        }
        with reaper.paused():  # before Linux 6.15 only who is quicker than the parent learns it
            container.start().ok()
            assert stream.until("exited")["data"] == {"exit_code": 3, "signal": None}

    def test_statistics_of_all_that_run(self, box: Runtime, make_bundle: Callable[[], Bundle]) -> None:
        ids = {box.running_shell(make_bundle()).id for _ in range(2)}
        stream = Stream(box, "--interval", "200ms")
        found = {event["id"] for event in (stream.next() for _ in range(6)) if event["type"] == "stats"}
        assert found == ids
        lines = box("events", "--stats").ok().out.splitlines()
        assert {json.loads(line)["id"] for line in lines} == ids

    def test_oom_of_one_is_told(self, box: Runtime, make_bundle: Callable[[], Bundle]) -> None:
        box.running_shell(make_bundle())
        bundle = make_bundle()
        bundle.linux["resources"] = {"memory": {"limit": 16 * MIB}}
        container = box.create(bundle.shell(GREEDY[9:]))
        stream = Stream(box)
        stream.until("state")
        container.start().ok()
        assert stream.until("oom")["id"] == container.id

    def test_many_short_ones_are_all_told(self, box: Runtime, make_bundle: Callable[[], Bundle]) -> None:
        first = box.running_shell(make_bundle())
        stream = Stream(box)
        assert stream.next()["id"] == first.id
        ids = []
        for _ in range(10):
            bundle = make_bundle()
            ids.append(bundle.id)
            box.run(bundle).ok()
        first.delete("--force").ok()
        told = stream.kinds("deleted")
        while ("deleted", first.id) not in told:
            told += stream.kinds("deleted")
        for id in ids:
            mine = [kind for kind, other in told if other == id]
            # what lived for less than a look is told by its end alone
            assert mine in (["created", "started", "exited", "deleted"], ["created", "exited", "deleted"]), told

    def test_id_and_all_are_refused(self, box: Runtime, bundle: Bundle) -> None:
        box("events", "--all", bundle.id).refused("--all")


def test_missing_container_is_refused(box: Runtime) -> None:
    box("events", "--stats", "nobody").refused("does not exist")


def test_watching_leaves_the_container_alone(box: Runtime, bundle: Bundle) -> None:
    container = box.running_shell(bundle)
    before = Cgroup(container.pid).snapshot()
    box("events", "--stats", container.id).ok()
    assert Cgroup(container.pid).snapshot() == before
