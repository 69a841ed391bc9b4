"""`linux.cgroupsPath` and `linux.resources` on cgroup v1: where the process is, and which limits hold."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.bundle import Bundle
from tests.support.host import cgroup_roots, own_cgroup
from tests.support.marks import not_for, requires
from tests.support.runtime import Runtime, wait_until

pytestmark = requires("cgroup1")
MIB = 1 << 20


def path_of(bundle: Bundle, controller: str) -> Path:
    return cgroup_roots()[controller] / str(bundle.linux["cgroupsPath"]).lstrip("/")


def value(bundle: Bundle, controller: str, file: str) -> str:
    return (path_of(bundle, controller) / file).read_text().strip()


class TestPlace:
    @pytest.mark.parametrize(
        "controller", ["memory", "cpu", "cpuset", "pids", "devices", "freezer", "blkio", "cpuacct"]
    )
    def test_of_the_process_is_the_configured_path(self, box: Runtime, bundle: Bundle, controller: str) -> None:
        lines = box.probe(bundle)["cgroup"].splitlines()
        found = [line.split(":", 2)[2] for line in lines if controller in line.split(":", 2)[1].split(",")]
        assert found == [bundle.linux["cgroupsPath"]]

    def test_is_there_before_the_first_instruction(self, box: Runtime, bundle: Bundle) -> None:
        container = box.create(bundle)
        assert value(bundle, "memory", "cgroup.procs") == str(container.pid)
        assert value(bundle, "pids", "cgroup.procs") == str(container.pid)

    def test_may_be_there_already_and_have_been_killed(self, box: Runtime, bundle: Bundle) -> None:
        """A kernel may kill what is born in a cgroup of v2 whose processes were killed at one stroke once."""
        if "" not in cgroup_roots():
            pytest.skip("no cgroup v2 beside v1")
        there = path_of(bundle, "")
        there.mkdir()
        try:
            (there / "cgroup.kill").write_text("1")
            assert box.run(bundle.args("/bin/true")).ok()
        finally:
            there.rmdir()

    def test_holds_for_children(self, box: Runtime, bundle: Bundle) -> None:
        container = box.start(bundle.shell("sleep 1000 & echo up; wait"))
        assert container.readline() == "up"
        assert len(value(bundle, "pids", "cgroup.procs").split()) == 2

    def test_of_the_runtime_is_left_as_it_was(self, box: Runtime, bundle: Bundle) -> None:
        before = Path("/proc/self/cgroup").read_text()
        box.create(bundle)
        assert Path("/proc/self/cgroup").read_text() == before

    def test_empty_path_gives_a_cgroup_named_after_the_container(self, box: Runtime, bundle: Bundle) -> None:
        del bundle.linux["cgroupsPath"]
        line = next(line for line in box.probe(bundle)["cgroup"].splitlines() if ":memory:" in line)
        assert line.endswith(f"/{bundle.id}")

    def test_relative_path_is_below_the_runtimes_own(self, box: Runtime, bundle: Bundle) -> None:
        bundle.linux["cgroupsPath"] = f"rel-{bundle.id}"
        lines = box.probe(bundle)["cgroup"].splitlines()
        found = next(line.split(":", 2)[2] for line in lines if ":memory:" in line)
        assert found == os.path.normpath(f"{own_cgroup('memory')}/rel-{bundle.id}")

    @pytest.mark.parametrize("path", ["/../{}", "../../../../../../{}", "/boxes-test-x/../../{}"])
    def test_path_with_dots_stays_in_the_hierarchy(self, box: Runtime, bundle: Bundle, path: str) -> None:
        relative = str(bundle.linux["cgroupsPath"]).lstrip("/")
        bundle.linux["cgroupsPath"] = path.format(relative)
        result = box.run(bundle.args("/bin/probe"))
        if result.code == 0:
            assert f"/{relative}\n" in result.report()["cgroup"]
        else:
            result.refused()

    def test_is_removed_with_the_container(self, box: Runtime, bundle: Bundle) -> None:
        container = box.start(bundle)
        container.wait()
        container.delete().ok()
        assert not path_of(bundle, "memory").exists()
        assert not path_of(bundle, "pids").exists()

    def test_is_removed_with_cgroups_that_the_container_made(self, box: Runtime, bundle: Bundle) -> None:
        container = box.running_shell(bundle)
        (path_of(bundle, "memory") / "inner/deep").mkdir(parents=True)
        container.delete("--force").ok()
        assert not path_of(bundle, "memory").exists()

    @not_for("runc", "crun", reason="1.1 warns, others share it")
    def test_that_holds_another_container_is_refused(self, box: Runtime, make_bundle: Any) -> None:
        first, second = make_bundle(), make_bundle()
        box.running_shell(first)
        second.linux["cgroupsPath"] = first.linux["cgroupsPath"]
        box.run(second).refused("cgroup")

    def test_that_was_there_empty_is_used(self, box: Runtime, bundle: Bundle) -> None:
        path_of(bundle, "memory").mkdir()
        container = box.create(bundle)
        assert value(bundle, "memory", "cgroup.procs") == str(container.pid)
        container.delete("--force").ok()
        if path_of(bundle, "memory").exists():
            path_of(bundle, "memory").rmdir()


class TestMemory:
    @pytest.mark.parametrize(
        "resources, file, expected",
        [
            ({"limit": 64 * MIB}, "memory.limit_in_bytes", str(64 * MIB)),
            ({"reservation": 32 * MIB}, "memory.soft_limit_in_bytes", str(32 * MIB)),
            ({"limit": -1}, "memory.limit_in_bytes", "9223372036854771712"),
            ({"swappiness": 10}, "memory.swappiness", "10"),
        ],
        ids=lambda item: str(item) if isinstance(item, dict) else "",
    )
    def test_setting_is_written(
        self, box: Runtime, bundle: Bundle, resources: dict[str, Any], file: str, expected: str
    ) -> None:
        bundle.linux["resources"] = {"memory": resources}
        box.create(bundle)
        assert value(bundle, "memory", file) == expected

    def test_limit_with_swap_is_written(self, box: Runtime, bundle: Bundle) -> None:
        file = cgroup_roots()["memory"] / "memory.memsw.limit_in_bytes"
        if not file.exists():
            pytest.skip("this kernel does not account swap")
        bundle.linux["resources"] = {"memory": {"limit": 32 * MIB, "swap": 64 * MIB}}
        box.create(bundle)
        assert value(bundle, "memory", "memory.memsw.limit_in_bytes") == str(64 * MIB)

    def test_limit_holds(self, box: Runtime, bundle: Bundle) -> None:
        bundle.linux["resources"] = {"memory": {"limit": 16 * MIB}}
        # tmpfs pages are charged to who writes them
        bundle.shell("head -c 64m /dev/zero > /dev/shm/x")
        assert box.run(bundle).code in (137, 1)
        bundle.shell("head -c 4m /dev/zero > /dev/shm/x && echo fits")
        assert box.run(bundle).ok().out == "fits\n"

    @not_for("runc", "crun", reason="runc needs 3 to 4 MiB")
    def test_limit_of_256_kib_starts_true(self, box: Runtime, bundle: Bundle) -> None:
        bundle.linux["resources"] = {"memory": {"limit": 256 * 1024}}
        box.run(bundle.args("/bin/true")).ok()


class TestCpu:
    @pytest.mark.parametrize(
        "resources, controller, file, expected",
        [
            ({"shares": 512}, "cpu", "cpu.shares", "512"),
            ({"shares": 2}, "cpu", "cpu.shares", "2"),
            ({"quota": 50000, "period": 100000}, "cpu", "cpu.cfs_quota_us", "50000"),
            ({"quota": 50000, "period": 200000}, "cpu", "cpu.cfs_period_us", "200000"),
            ({"cpus": "0"}, "cpuset", "cpuset.cpus", "0"),
            ({"cpus": "0", "mems": "0"}, "cpuset", "cpuset.mems", "0"),
        ],
        ids=str,
    )
    def test_setting_is_written(
        self, box: Runtime, bundle: Bundle, resources: dict[str, Any], controller: str, file: str, expected: str
    ) -> None:
        bundle.linux["resources"] = {"cpu": resources}
        box.create(bundle)
        assert value(bundle, controller, file) == expected

    def test_cpuset_holds(self, box: Runtime, bundle: Bundle) -> None:
        bundle.linux["resources"] = {"cpu": {"cpus": "0"}}
        assert box.probe(bundle)["cpus"] == 1

    def test_without_a_cpuset_all_cpus_are_there(self, box: Runtime, bundle: Bundle) -> None:
        assert box.probe(bundle)["cpus"] == len(os.sched_getaffinity(0))

    def test_quota_holds(self, box: Runtime, bundle: Bundle) -> None:
        bundle.linux["resources"] = {"cpu": {"quota": 10000, "period": 100000}}
        box.start(bundle.shell("while :; do :; done"))
        wait_until(lambda: "nr_throttled 0" not in value(bundle, "cpu", "cpu.stat").splitlines(), "throttling")

    @pytest.mark.parametrize("cpus", ["9999", "abc", "0-"])
    def test_impossible_cpuset_is_refused_and_named(self, box: Runtime, bundle: Bundle, cpus: str) -> None:
        bundle.linux["resources"] = {"cpu": {"cpus": cpus}}
        box.run(bundle).refused("cpus")


class TestPids:
    def test_limit_is_written(self, box: Runtime, bundle: Bundle) -> None:
        bundle.linux["resources"] = {"pids": {"limit": 7}}
        box.create(bundle)
        assert value(bundle, "pids", "pids.max") == "7"

    @pytest.mark.parametrize("limit", [-1])
    def test_negative_limit_is_none(self, box: Runtime, bundle: Bundle, limit: int) -> None:
        bundle.linux["resources"] = {"pids": {"limit": limit}}
        box.create(bundle)
        assert value(bundle, "pids", "pids.max") == "max"

    def test_limit_holds(self, box: Runtime, bundle: Bundle) -> None:
        bundle.linux["resources"] = {"pids": {"limit": 3}}
        result = box.run(bundle.shell("for i in 1 2 3 4 5; do sleep 1 & done; wait"))
        assert "can't fork" in result.err

    @not_for("runc", "crun", reason="they need more for themselves")
    def test_limit_of_one_starts_true(self, box: Runtime, bundle: Bundle) -> None:
        bundle.linux["resources"] = {"pids": {"limit": 1}}
        box.run(bundle.args("/bin/true")).ok()


class TestDevices:
    def mknod(self, box: Runtime, bundle: Bundle, kind: str, numbers: str) -> str:
        bundle.capabilities("CAP_MKNOD")
        bundle.process["noNewPrivileges"] = False
        return box.run(bundle.shell(f"mknod /tmp/node {kind} {numbers} && /bin/probe --open /tmp/node")).out

    def test_are_denied_by_default(self, box: Runtime, bundle: Bundle) -> None:
        assert self.mknod(box, bundle, "b", "254 0") in ("Operation not permitted\n", "")

    @pytest.mark.parametrize("numbers", ["1 3", "1 5", "1 7", "5 0"])
    def test_default_ones_are_allowed(self, box: Runtime, bundle: Bundle, numbers: str) -> None:
        assert self.mknod(box, bundle, "c", numbers) in ("ok\n", "No such device or address\n")

    def test_allowed_one_can_be_opened(self, box: Runtime, bundle: Bundle) -> None:
        rules = [
            {"allow": False, "access": "rwm"},
            {"allow": True, "type": "c", "major": 1, "minor": 11, "access": "rwm"},
        ]
        bundle.linux["resources"] = {"devices": rules}
        assert self.mknod(box, bundle, "c", "1 11") == "ok\n"

    def test_access_without_write_denies_writing(self, box: Runtime, bundle: Bundle) -> None:
        rules = [
            {"allow": False, "access": "rwm"},
            {"allow": True, "type": "c", "major": 1, "minor": 11, "access": "rm"},
        ]
        bundle.linux["resources"] = {"devices": rules}
        assert self.mknod(box, bundle, "c", "1 11") == "Operation not permitted\n"

    def test_list_is_written(self, box: Runtime, bundle: Bundle) -> None:
        rules = [
            {"allow": False, "access": "rwm"},
            {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rw"},
            {"allow": True, "type": "b", "major": 8, "access": "r"},
        ]
        bundle.linux["resources"] = {"devices": rules}
        box.create(bundle)
        listed = value(bundle, "devices", "devices.list").splitlines()
        assert "a *:* rwm" not in listed
        assert {"c 10:229 rw", "b 8:* r", "c 1:3 rwm"} <= set(listed)

    def test_allow_all_allows_all(self, box: Runtime, bundle: Bundle) -> None:
        bundle.linux["resources"] = {"devices": [{"allow": True, "access": "rwm"}]}
        box.create(bundle)
        assert value(bundle, "devices", "devices.list") == "a *:* rwm"


def test_refused_value_leaves_nothing(box: Runtime, bundle: Bundle) -> None:
    bundle.linux["resources"] = {"cpu": {"quota": 1, "period": 100000}}
    box.run(bundle).refused("cpu.cfs_quota_us" if box.name != "box" else "/linux/resources/cpu/quota")
    assert not path_of(bundle, "memory").exists()


def test_delete_waits_for_the_cgroup_to_empty(box: Runtime, bundle: Bundle) -> None:
    container = box.start(bundle.shell("for i in 1 2 3 4 5 6 7 8; do sleep 1000 & done; echo up; wait"))
    assert container.readline() == "up"
    before = time.monotonic()
    container.delete("--force").ok()
    assert time.monotonic() - before < 5
    assert not path_of(bundle, "pids").exists()
