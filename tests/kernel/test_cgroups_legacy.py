"""What is particular to cgroup v1, with a v2 hierarchy beside it or without."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from boxes.cgroups.layout import Layout, detect
from boxes.cgroups.manager import Manager, open_manager
from boxes.errors import ConfigError, KernelError, UnsupportedError
from boxes.plan.resources import settings
from tests.kernel.test_cgroups import begin, enter, layout, manager, path, spawn
from tests.support.marks import requires

__all__ = ["layout", "manager", "path", "spawn"]
pytestmark = requires("root", "cgroup1")


@pytest.fixture
def plain(path: str) -> Iterator[Manager]:
    """A manager on a host without a v2 hierarchy beside those of v1."""
    found = detect()
    only = Layout("legacy", [each for each in found.hierarchies if not each.unified])
    plain = open_manager(only, path, "box", rootless=False)
    yield plain
    plain.kill_all(signal.SIGKILL)
    plain.remove(10)


def file_of(manager: Manager, controller: str, file: str) -> Path:
    return Path(next(d.path for d in manager.directories if controller in d.controllers), file)


def needs(manager: Manager, controller: str) -> None:
    if not any(controller in directory.controllers for directory in manager.directories):
        pytest.skip(f"controller '{controller}' is not mounted")


def test_rules_are_listed_in_the_order_of_the_config(manager: Manager) -> None:
    manager.make()
    devices = [
        {"allow": False, "access": "rwm"},
        {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rwm"},
        {"allow": True, "type": "b", "major": 8, "minor": 20, "access": "rw"},
        {"allow": True, "type": "b", "major": 10, "minor": 200, "access": "r"},
    ]

    manager.apply(settings({"devices": devices}, "legacy"))

    assert file_of(manager, "devices", "devices.list").read_text().splitlines()[:4] == [
        "c 10:229 rwm",
        "b 8:20 rw",
        "b 10:200 r",
        "c *:* m",
    ]


def test_a_parent_with_fewer_devices_limits_the_defaults_and_is_told_of_for_others(
    manager: Manager, layout: Layout, path: str
) -> None:
    manager.make()
    for line in ("a", "c 1:3 rwm"):
        file_of(manager, "devices", "devices.deny" if line == "a" else "devices.allow").write_text(line)
    inside = open_manager(layout, f"{path}/inside", "inside", rootless=False)
    inside.make()

    inside.apply(settings(None, "legacy"))
    assert file_of(inside, "devices", "devices.list").read_text() == "c 1:3 rwm\n"
    with pytest.raises(KernelError) as caught:
        inside.apply(settings({"devices": [{"allow": True, "type": "c", "major": 1, "access": "r"}]}, "legacy"))
    assert caught.value.pointer == "/linux/resources/devices"
    inside.remove()


def test_an_exception_from_an_exception_is_refused(manager: Manager) -> None:
    manager.make()
    devices = [
        {"allow": True, "type": "c", "major": 10, "access": "rwm"},
        {"allow": False, "type": "c", "major": 10, "minor": 1, "access": "r"},
    ]

    with pytest.raises(ConfigError) as caught:
        manager.apply(settings({"devices": devices}, "legacy"))
    assert caught.value.pointer == "/linux/resources/devices/1"


def test_memory_values(manager: Manager) -> None:
    manager.make()

    manager.apply(settings({"memory": {"reservation": 8 << 20, "swappiness": 10, "disableOOMKiller": True}}, "legacy"))

    assert file_of(manager, "memory", "memory.soft_limit_in_bytes").read_text() == f"{8 << 20}\n"
    assert file_of(manager, "memory", "memory.swappiness").read_text() == "10\n"
    assert "oom_kill_disable 1" in file_of(manager, "memory", "memory.oom_control").read_text()


def test_block_io_values(manager: Manager) -> None:
    needs(manager, "blkio")
    manager.make()
    disk = Path("/proc/partitions").read_text().split()[4:6]
    throttle = [{"major": int(disk[0]), "minor": int(disk[1]), "rate": 1048576}]

    manager.apply(settings({"blockIO": {"weight": 100, "throttleReadBpsDevice": throttle}}, "legacy"))

    limits = file_of(manager, "blkio", "blkio.throttle.read_bps_device").read_text()
    assert limits == f"{disk[0]}:{disk[1]} 1048576\n"
    with pytest.raises(UnsupportedError) as caught:
        manager.apply(settings({"blockIO": {"leafWeight": 100}}, "legacy"))
    assert caught.value.pointer == "/linux/resources/blockIO/leafWeight"


def test_huge_pages(manager: Manager) -> None:
    needs(manager, "hugetlb")
    manager.make()

    manager.apply(settings({"hugepageLimits": [{"pageSize": "2MB", "limit": 4 << 20}]}, "legacy"))

    assert file_of(manager, "hugetlb", "hugetlb.2MB.limit_in_bytes").read_text() == f"{4 << 20}\n"
    assert file_of(manager, "hugetlb", "hugetlb.2MB.rsvd.limit_in_bytes").read_text() == f"{4 << 20}\n"


def test_a_controller_that_is_not_mounted_is_an_error(manager: Manager) -> None:
    manager.make()

    with pytest.raises(UnsupportedError) as caught:
        manager.apply(settings({"rdma": {"mlx5_0": {"hcaHandles": 1}}}, "legacy"))
    assert caught.value.pointer == "/linux/resources/rdma/mlx5_0"


def test_period_and_quota_change_together(manager: Manager) -> None:
    manager.make()
    for quota, period in ((100000, 100000), (2000, 2000), (500000, 500000), (1000, 100000)):
        manager.apply(settings({"cpu": {"quota": quota, "period": period}}, "legacy"))
        assert file_of(manager, "cpu", "cpu.cfs_quota_us").read_text() == f"{quota}\n"
        assert file_of(manager, "cpu", "cpu.cfs_period_us").read_text() == f"{period}\n"


def test_parents_with_an_empty_cpuset_are_filled(layout: Layout, path: str, manager: Manager) -> None:
    cpuset = next(found for found in layout.hierarchies if "cpuset" in found.controllers)
    parent = Path(cpuset.mount_point, path.split("/")[1])
    parent.mkdir()  # as somebody else left it: without cpus, and without mems
    found = open_manager(layout, path, "box", rootless=False)

    found.make()

    assert (parent / "cpuset.mems").read_text() == Path(cpuset.mount_point, "cpuset.mems").read_text()
    assert (parent / "box" / "cpuset.cpus").read_text() == Path(cpuset.mount_point, "cpuset.cpus").read_text()
    found.remove()
    found.close()
    parent.rmdir()


def test_kill_all_without_v2_beside(plain: Manager, spawn: Callable[..., Any]) -> None:
    plain.make()
    plain.apply(settings({"pids": {"limit": 60}}, "legacy"))
    process = spawn("while True:\n    try:\n        os.fork()\n    except OSError:\n        pass")
    enter(plain, process)
    begin(process)
    while len(plain.processes()) < 40:
        pass

    plain.kill_all(signal.SIGKILL)

    assert process.wait(10) == -signal.SIGKILL
    plain.remove(10)
    assert not plain.is_frozen()


def test_a_process_that_left_one_of_the_cgroups_is_killed_too(manager: Manager, spawn: Callable[..., Any]) -> None:
    manager.make()
    process = spawn("")
    enter(manager, process)
    beside = next((d for d in manager.directories if not d.controllers), None)
    if beside is None:
        pytest.skip("needs a v2 hierarchy beside v1")
    Path(beside.mount_point, "cgroup.procs").write_text(str(process.pid))

    manager.kill_all(signal.SIGKILL)

    assert process.wait(10) == -signal.SIGKILL


def test_a_container_can_mount_each_hierarchy_it_is_in(manager: Manager) -> None:
    manager.make()

    found = {each.options: each for each in manager.mounts_for_container()}

    assert found["memory"].name == "memory" and os.path.isdir(found["memory"].source)
    assert found["none,name=systemd"].name == "systemd" if "none,name=systemd" in found else True
    for each in found.values():
        assert each.unified is (each.options == "")
        assert subprocess.run(["test", "-d", each.source], check=False).returncode == 0
