"""Each limit of `linux.resources`, by its effect on a program; of the values there is enough elsewhere.

The same tests for all managers: cgroupfs, on v1 or v2, whichever the host has, and systemd. `scripts/test-vm` runs them
where the host has v2 and systemd.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.bundle import Bundle
from tests.support.cgroup import Cgroup
from tests.support.host import cgroup_roots, lacks
from tests.support.marks import not_for, requires
from tests.support.runtime import Container, Runtime, wait_until

MIB = 1 << 20
BUSY = "while :; do :; done"
# Pages of a tmpfs are charged to who writes them.
FILL = "head -c {}m /dev/zero > /dev/shm/x && echo all"
# Memory of the process itself, which is free when it has been killed.
EAT = 'awk \'BEGIN {{ s = "x"; while (length(s) < {} * 1048576) s = s s; print "all" }}\''


@pytest.fixture(autouse=True, params=["cgroupfs", "systemd"])
def manager(request: pytest.FixtureRequest, box: Runtime, make_bundle: Callable[[], Bundle]) -> str:
    """Who makes the cgroup: an option of every command, and the form of cgroupsPath."""
    name = str(request.param)
    if name == "systemd":
        reason = lacks("systemd")
        if reason is not None:
            pytest.skip(reason)
        box.globals = ("--systemd-cgroup",)
    return name


@pytest.fixture
def bundles(manager: str, make_bundle: Callable[[], Bundle]) -> Callable[..., Bundle]:
    """A function that makes bundles with these resources."""

    def make(**resources: Any) -> Bundle:
        bundle = make_bundle()
        if manager == "systemd":
            bundle.linux["cgroupsPath"] = f"system.slice:boxes-test-{os.getpid()}:{bundle.id}"
        bundle.linux["resources"] = resources
        return bundle

    return make


def used(container: Container, cgroup: Cgroup) -> float:
    """Seconds of CPU time."""
    if cgroup.unified:
        text = (cgroup.path("cpu") / "cpu.stat").read_text()
        return int(text.split()[1]) / 1e6
    return int((cgroup.path("cpuacct") / "cpuacct.usage").read_text()) / 1e9


def share(*containers: Container, seconds: float = 1.5) -> list[float]:
    """CPU time over wall time of each, measured at once."""
    cgroups = [Cgroup(container.pid) for container in containers]
    began = time.monotonic()
    before = [used(*pair) for pair in zip(containers, cgroups, strict=True)]
    time.sleep(seconds)
    after = [used(*pair) for pair in zip(containers, cgroups, strict=True)]
    wall = time.monotonic() - began
    return [(late - early) / wall for early, late in zip(before, after, strict=True)]


def busy(box: Runtime, bundle: Bundle) -> Container:
    container = box.start(bundle.shell(f"echo up; {BUSY}"))
    assert container.readline() == "up"
    return container


class TestMemory:
    def test_who_allocates_past_the_limit_is_killed(self, box: Runtime, bundles: Callable[..., Bundle]) -> None:
        bundle = bundles(memory={"limit": 16 * MIB})
        result = box.run(bundle.shell(FILL.format(64)))
        assert result.code in (1, 137)
        assert "all" not in result.out

    def test_who_stays_below_it_is_not(self, box: Runtime, bundles: Callable[..., Bundle]) -> None:
        assert box.run(bundles(memory={"limit": 16 * MIB}).shell(FILL.format(4))).ok().out == "all\n"

    @not_for("runc", "crun", reason="they say that something was killed, or nothing")
    def test_too_little_to_start_is_named(self, box: Runtime, bundles: Callable[..., Bundle]) -> None:
        result = box.run(bundles(memory={"limit": 4096}).args("/bin/true"))
        result.refused("/linux/resources/memory/limit: 4096 bytes", "too little")

    def test_no_swap_beyond_the_limit(self, box: Runtime, bundles: Callable[..., Bundle]) -> None:
        bundle = bundles(memory={"limit": 16 * MIB, "swap": 16 * MIB})
        assert box.run(bundle.shell(FILL.format(64))).code in (1, 137)

    def test_minus_one_is_none(self, box: Runtime, bundles: Callable[..., Bundle]) -> None:
        assert box.run(bundles(memory={"limit": -1}).shell(FILL.format(32))).ok().out == "all\n"

    def test_update_holds(self, box: Runtime, bundles: Callable[..., Bundle]) -> None:
        container = box.start(bundles(memory={"limit": 256 * MIB}).shell("sleep 1000"))
        box("update", "--memory", "16M", "--memory-swap", "16M", container.id).ok()
        result = container.exec("/bin/sh", "-c", EAT.format(64))
        assert result.code in (1, 137), result
        box("update", "--memory", "256M", "--memory-swap", "256M", container.id).ok()
        assert container.exec("/bin/sh", "-c", EAT.format(48)).ok().out == "all\n"

    def test_kill_hits_only_inside(self, box: Runtime, bundles: Callable[..., Bundle]) -> None:
        """Neither the neighbour, nor the runtime, nor this test."""
        neighbour = box.start(bundles(memory={"limit": 64 * MIB}).shell("echo up; sleep 1000"))
        assert neighbour.readline() == "up"
        for _ in range(3):
            assert box.run(bundles(memory={"limit": 8 * MIB}).shell(FILL.format(64))).code in (1, 137)
        assert neighbour.status == "running"
        assert neighbour.exec("/bin/true").ok()

    def test_one_child_may_be_killed_and_the_init_goes_on(self, box: Runtime, bundles: Callable[..., Bundle]) -> None:
        bundle = bundles(memory={"limit": 16 * MIB}).shell(f"({EAT.format(64)}); echo goes on")
        result = box.run(bundle)
        assert (result.code, result.out.split("\n")[-2:]) == (0, ["goes on", ""])


class TestPids:
    def test_fork_bomb_stops(self, box: Runtime, bundles: Callable[..., Bundle]) -> None:
        container = box.start(
            bundles(pids={"limit": 20}).shell("bomb() { bomb | bomb & }; bomb 2>/dev/null; sleep 1000")
        )
        cgroup = Cgroup(container.pid)
        wait_until(lambda: "max 0" not in (cgroup.path("pids") / "pids.events").read_text(), "the bomb does not go off")
        for _ in range(20):
            assert int(cgroup.read("pids in use")) <= 20
        container.delete("--force").ok()

    def test_limit_is_of_all_processes(self, box: Runtime, bundles: Callable[..., Bundle]) -> None:
        result = box.run(bundles(pids={"limit": 10}).shell("for i in 1 2 3 4 5 6 7 8 9 10; do sleep 1 & done; wait"))
        assert "can't fork" in result.err

    @pytest.mark.parametrize(
        "limit", [-1, 1 << 22, pytest.param(1 << 40, marks=not_for("runc", "crun", reason="the kernel refuses it"))]
    )
    def test_none_lets_more_be(self, box: Runtime, bundles: Callable[..., Bundle], limit: int) -> None:
        result = box.run(
            bundles(pids={"limit": limit}).shell("for i in 1 2 3 4 5 6 7 8 9 10; do sleep 0.1 & done; wait")
        )
        assert "can't fork" not in result.ok().err

    @not_for("runc", reason="its own threads are too many to enter")
    def test_update_holds(self, box: Runtime, bundles: Callable[..., Bundle]) -> None:
        container = box.start(bundles(pids={"limit": 100}).shell("sleep 1000"))
        box("update", "--pids-limit", "5", container.id).ok()
        script = "for i in 1 2 3 4 5 6 7 8 9 10; do sleep 0.1 & done; wait"
        assert "can't fork" in container.exec("/bin/sh", "-c", script).err


class TestCpu:
    def test_quota_throttles(self, box: Runtime, bundles: Callable[..., Bundle]) -> None:
        container = busy(box, bundles(cpu={"quota": 20000, "period": 100000}))
        assert share(container)[0] == pytest.approx(0.2, abs=0.08)

    def test_quota_is_of_all_processes_together(self, box: Runtime, bundles: Callable[..., Bundle]) -> None:
        bundle = bundles(cpu={"quota": 30000, "period": 100000})
        container = box.start(bundle.shell(f"({BUSY}) & ({BUSY}) & echo up; {BUSY}"))
        assert container.readline() == "up"
        assert 0.1 < share(container)[0] < 0.45  # three that want all would have 2 and more

    def test_update_of_the_quota_holds(self, box: Runtime, bundles: Callable[..., Bundle]) -> None:
        container = busy(box, bundles(cpu={"quota": 20000, "period": 100000}))
        box("update", "--cpu-quota", "60000", container.id).ok()
        time.sleep(0.2)
        first = share(container)[0]
        box("update", "--cpu-quota", "10000", container.id).ok()
        time.sleep(0.2)
        second = share(container)[0]
        assert second < 0.2 < first < 0.75

    def test_shares_divide(self, box: Runtime, bundles: Callable[..., Bundle]) -> None:
        many = busy(box, bundles(cpu={"shares": 4096, "cpus": "0"}))
        few = busy(box, bundles(cpu={"shares": 256, "cpus": "0"}))
        more, less = share(many, few)
        assert more > 3 * less

    @not_for("runc", "crun", reason="the stable ones do not have it")
    def test_idle_yields_to_others(self, box: Runtime, bundles: Callable[..., Bundle]) -> None:
        idle = busy(box, bundles(cpu={"idle": 1, "cpus": "0"}))
        other = busy(box, bundles(cpu={"cpus": "0"}))
        less, more = share(idle, other)
        assert more > 10 * less

    @not_for("runc", "crun", reason="the stable ones do not have it")
    def test_burst_is_set(self, box: Runtime, bundles: Callable[..., Bundle]) -> None:
        container = box.create(bundles(cpu={"quota": 50000, "period": 100000, "burst": 25000}))
        assert Cgroup(container.pid).read("burst") == "25000"

    def test_cpus_confine(self, box: Runtime, bundles: Callable[..., Bundle]) -> None:
        script = "grep -E '^(Cpus|Mems)_allowed_list' /proc/self/status"
        out = box.run(bundles(cpu={"cpus": "0", "mems": "0"}).shell(script)).ok().out
        assert out.split() == ["Cpus_allowed_list:", "0", "Mems_allowed_list:", "0"]

    def test_update_of_cpus_moves_what_runs(self, box: Runtime, bundles: Callable[..., Bundle]) -> None:
        container = busy(box, bundles())
        last = max(os.sched_getaffinity(0))
        box("update", "--cpuset-cpus", str(last), container.id).ok()
        assert os.sched_getaffinity(container.pid) == {last}


class TestDevices:
    def opened(self, box: Runtime, bundle: Bundle, kind: str, numbers: str) -> str:
        bundle.capabilities("CAP_MKNOD").process["noNewPrivileges"] = False
        return box.run(bundle.shell(f"mknod /tmp/node {kind} {numbers} && /bin/probe --open /tmp/node")).out

    def test_are_denied_by_default(self, box: Runtime, bundles: Callable[..., Bundle]) -> None:
        assert self.opened(box, bundles(), "c", "1 11") == "Operation not permitted\n"
        assert self.opened(box, bundles(), "b", "254 0") in ("Operation not permitted\n", "")

    def test_are_opened_where_a_rule_allows(self, box: Runtime, bundles: Callable[..., Bundle]) -> None:
        rules = [
            {"allow": False, "access": "rwm"},
            {"allow": True, "type": "c", "major": 1, "minor": 11, "access": "rwm"},
        ]
        assert self.opened(box, bundles(devices=rules), "c", "1 11") == "ok\n"

    def test_may_be_read_but_not_written(self, box: Runtime, bundles: Callable[..., Bundle]) -> None:
        rules = [
            {"allow": False, "access": "rwm"},
            {"allow": True, "type": "c", "major": 1, "minor": 11, "access": "rm"},
        ]
        bundle = bundles(devices=rules).capabilities("CAP_MKNOD", "CAP_SYSLOG")
        bundle.process["noNewPrivileges"] = False
        script = (
            "mknod /tmp/k c 1 11; (: < /tmp/k) 2>/dev/null && echo read; (: > /tmp/k) 2>/dev/null && echo written; true"
        )
        assert box.run(bundle.shell(script)).ok().out == "read\n"

    def test_usual_ones_are_there(self, box: Runtime, bundles: Callable[..., Bundle]) -> None:
        script = "head -c 4 /dev/urandom | wc -c; echo x > /dev/null && echo fine"
        assert box.run(bundles().shell(script)).ok().out.split() == ["4", "fine"]


def _disk() -> tuple[int, int] | None:
    """The disk that the tests' directory is on: throttles are of whole disks."""
    number = os.stat("/tmp").st_dev
    path = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}")
    if not path.exists():
        return None
    if (path / "partition").exists():
        path = path.resolve().parent
    major, minor = (path / "dev").read_text().strip().split(":")
    return int(major), int(minor)


class TestBlockIo:
    @pytest.fixture
    def device(self) -> dict[str, int]:
        disk = _disk()
        if disk is None:
            pytest.skip("/tmp is on no block device")
        if not ({"blkio", "io"} & set(cgroup_roots())) and "io" not in _controllers():
            pytest.skip("no controller of block I/O")
        return {"major": disk[0], "minor": disk[1]}

    @pytest.fixture
    def data(self, directory: Path) -> str:
        """Where in a container 4 MiB are that no cache has."""
        file = directory / "data"
        file.write_bytes(os.urandom(4 * MIB))
        fd = os.open(file, os.O_RDONLY)
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)
        return str(file)

    # By the container's own clock: to start one takes seconds on an emulated machine.
    READ = "read a _ < /proc/uptime; cat /mnt/data > /dev/null; read b _ < /proc/uptime; echo $a $b"

    def seconds(self, told: str) -> float:
        began, ended = told.split()
        return float(ended) - float(began)

    def test_read_is_throttled(
        self, box: Runtime, bundles: Callable[..., Bundle], device: dict[str, int], data: str
    ) -> None:
        bundle = bundles(blockIO={"throttleReadBpsDevice": [{**device, "rate": 2 * MIB}]})
        bundle.mount("/mnt", "bind", str(Path(data).parent), "rbind", "ro")
        assert self.seconds(box.run(bundle.shell(self.READ)).ok().out) > 1.2

    def test_read_without_a_limit_is_not(self, box: Runtime, bundles: Callable[..., Bundle], data: str) -> None:
        bundle = bundles().mount("/mnt", "bind", str(Path(data).parent), "rbind", "ro")
        assert self.seconds(box.run(bundle.shell(self.READ)).ok().out) < 1.2

    @not_for("runc", reason="of block I/O it updates the weight alone")
    def test_rate_of_zero_takes_the_limit_away(
        self, box: Runtime, bundles: Callable[..., Bundle], device: dict[str, int], data: str
    ) -> None:
        bundle = bundles(blockIO={"throttleReadBpsDevice": [{**device, "rate": MIB}]})
        bundle.mount("/mnt", "bind", str(Path(data).parent), "rbind", "ro")
        container = box.start(bundle.shell("sleep 1000"))
        document = {"blockIO": {"throttleReadBpsDevice": [{**device, "rate": 0}]}}
        box("update", "--resources", "-", container.id, input=json.dumps(document)).ok()
        assert self.seconds(container.exec("/bin/sh", "-c", self.READ).ok().out) < 1.2


def _controllers() -> set[str]:
    file = Path("/sys/fs/cgroup/cgroup.controllers")
    return set(file.read_text().split()) if file.exists() else set()


class TestHugePages:
    @pytest.fixture
    def size(self) -> str:
        found = re.search(r"HugePages_Free: +(\d+)", Path("/proc/meminfo").read_text())
        if found is None or int(found[1]) < 4:
            pytest.skip("this machine has no four free huge pages")
        if "hugetlb" not in cgroup_roots() and "hugetlb" not in _controllers():
            pytest.skip("no controller of huge pages")
        return "2MB"

    @pytest.mark.parametrize("pages, fits", [(1, True), (3, False)])
    def test_limit_holds(self, box: Runtime, bundles: Callable[..., Bundle], size: str, pages: int, fits: bool) -> None:
        bundle = bundles(hugepageLimits=[{"pageSize": size, "limit": 4 * MIB}])
        bundle.mount("/mnt", "hugetlbfs", "hugetlbfs", f"pagesize={size[:-1]}")
        result = box.run(bundle.shell(f"busybox fallocate -l {pages * 2 * MIB} /mnt/x && echo all"))
        assert ("all" in result.out) is fits


@requires("cgroup2")
class TestUnified:
    def test_pids_max(self, box: Runtime, bundles: Callable[..., Bundle]) -> None:
        result = box.run(bundles(unified={"pids.max": "5"}).shell("for i in 1 2 3 4 5 6 7; do sleep 1 & done; wait"))
        assert "can't fork" in result.err

    def test_cpu_max(self, box: Runtime, bundles: Callable[..., Bundle]) -> None:
        container = busy(box, bundles(unified={"cpu.max": "20000 100000"}))
        assert share(container)[0] == pytest.approx(0.2, abs=0.08)

    def test_memory_max(self, box: Runtime, bundles: Callable[..., Bundle]) -> None:
        result = box.run(bundles(unified={"memory.max": str(16 * MIB)}).shell(FILL.format(64)))
        assert result.code in (1, 137)

    def test_unknown_file_is_refused(self, box: Runtime, bundles: Callable[..., Bundle]) -> None:
        box.run(bundles(unified={"memory.nonsense": "1"})).refused("memory.nonsense")
