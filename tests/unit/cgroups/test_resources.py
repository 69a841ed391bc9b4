"""linux.resources as values for the files of v1 and v2. Expected values are literal: the files' own syntax."""

from __future__ import annotations

from typing import Any

import pytest

from boxes.cgroups.manager import disabled
from boxes.cgroups.settings import MKNOD, DeviceRules, Setting
from boxes.errors import BoxesError, ConfigError, UnsupportedError
from boxes.plan.resources import device_rules, settings, weight


def written(resources: dict[str, Any], kind: str) -> dict[str, str]:
    return {found.file: found.value for found in settings(resources, kind) if isinstance(found, Setting)}


def refused(resources: dict[str, Any], kind: str) -> BoxesError:
    with pytest.raises(BoxesError) as caught:
        settings(resources, kind)
    return caught.value


@pytest.mark.parametrize("kind", ["legacy", "unified"])
def test_without_resources_devices_are_confined_and_nothing_else_is(kind: str) -> None:
    (rules,) = settings(None, kind)

    assert isinstance(rules, DeviceRules) and not rules.allow and rules.rules == [] and rules.pointer is None


def test_memory_and_swap_on_v1() -> None:
    assert written({"memory": {"limit": 1 << 20, "swap": 2 << 20, "reservation": 4096}}, "legacy") == {
        "memory.limit_in_bytes": "1048576",
        "memory.memsw.limit_in_bytes": "2097152",
        "memory.soft_limit_in_bytes": "4096",
    }


def test_v2_counts_swap_apart_from_memory() -> None:
    assert written({"memory": {"limit": 1 << 20, "swap": 3 << 20, "reservation": -1}}, "unified") == {
        "memory.swap.max": "2097152",
        "memory.max": "1048576",
        "memory.low": "max",
    }


def test_the_same_limit_for_memory_and_swap_means_no_swap() -> None:
    found = written({"memory": {"limit": 4096, "swap": 4096}}, "unified")

    assert found == {"memory.swap.max": "0", "memory.max": "4096"}


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("legacy", {"memory.limit_in_bytes": "-1", "memory.memsw.limit_in_bytes": "-1"}),
        ("unified", {"memory.max": "max", "memory.swap.max": "max"}),
    ],
)
def test_unlimited_memory_is_unlimited_swap_too(kind: str, expected: dict[str, str]) -> None:
    assert written({"memory": {"limit": -1}}, kind) == expected


@pytest.mark.parametrize("kind", ["legacy", "unified"])
def test_no_limit_asks_nothing_of_the_host(kind: str) -> None:
    unlimited = {"memory": {"limit": -1, "swap": -1}, "pids": {"limit": -1}, "cpu": {"quota": -1}}

    disabled().apply([found for found in settings(unlimited, kind) if isinstance(found, Setting)])


@pytest.mark.parametrize("kind", ["legacy", "unified"])
def test_zero_is_no_limit_of_memory(kind: str) -> None:
    assert written({"memory": {"limit": 0, "swap": 0, "reservation": 0, "kernel": 0, "kernelTCP": -1}}, kind) == {}


@pytest.mark.parametrize("kind", ["legacy", "unified"])
def test_swap_below_memory_is_refused(kind: str) -> None:
    error = refused({"memory": {"limit": 8192, "swap": 4096}}, kind)

    assert isinstance(error, ConfigError) and error.pointer == "/linux/resources/memory/swap"


def test_other_memory_values_on_v1() -> None:
    memory = {"swappiness": 0, "disableOOMKiller": True, "kernel": 4096, "kernelTCP": 8192, "useHierarchy": True}

    assert written({"memory": memory}, "legacy") == {
        "memory.kmem.limit_in_bytes": "4096",
        "memory.kmem.tcp.limit_in_bytes": "8192",
        "memory.swappiness": "0",
        "memory.oom_control": "1",
        "memory.use_hierarchy": "1",
    }


@pytest.mark.parametrize(
    "memory",
    [{"swappiness": 60}, {"disableOOMKiller": True}, {"kernel": 4096}, {"kernelTCP": 1}, {"useHierarchy": False}],
)
def test_what_v2_lacks_is_an_error_and_not_ignored(memory: dict[str, Any]) -> None:
    error = refused({"memory": memory}, "unified")

    assert isinstance(error, UnsupportedError)
    assert error.pointer == f"/linux/resources/memory/{next(iter(memory))}"


def test_defaults_that_v2_has_anyway_are_accepted() -> None:
    assert written({"memory": {"disableOOMKiller": False, "useHierarchy": True}}, "unified") == {}


def test_check_before_update_compares_with_the_use() -> None:
    *_, limit = settings({"memory": {"limit": 4096, "checkBeforeUpdate": True}}, "unified")

    assert isinstance(limit, Setting) and limit.above == "memory.current"


def test_cpu_on_v1() -> None:
    cpu = {"shares": 512, "quota": 50000, "period": 100000, "burst": 1000, "idle": 0, "cpus": "0-1", "mems": "0"}

    assert written({"cpu": cpu}, "legacy") == {
        "cpu.idle": "0",
        "cpu.shares": "512",
        "cpu.cfs_period_us": "100000",
        "cpu.cfs_burst_us": "1000",
        "cpu.cfs_quota_us": "50000",
        "cpuset.cpus": "0-1",
        "cpuset.mems": "0",
    }


def test_cpu_on_v2() -> None:
    assert written({"cpu": {"shares": 1024, "quota": 50000, "burst": 1000, "cpus": "1"}}, "unified") == {
        "cpu.weight": "100",
        "cpu.max.burst": "1000",
        "cpu.max": "50000 100000",
        "cpuset.cpus": "1",
    }
    assert written({"cpu": {"quota": -1, "period": 20000}}, "unified") == {"cpu.max": "max 20000"}
    assert written({"cpu": {"quota": 0, "period": 0, "shares": 0, "cpus": "", "mems": ""}}, "unified") == {}


def test_realtime_is_v1_only() -> None:
    cpu = {"realtimePeriod": 1000000, "realtimeRuntime": 950000}

    assert written({"cpu": cpu}, "legacy") == {"cpu.rt_period_us": "1000000", "cpu.rt_runtime_us": "950000"}
    assert refused({"cpu": cpu}, "unified").pointer == "/linux/resources/cpu/realtimePeriod"


@pytest.mark.parametrize(
    ("shares", "expected"),
    [
        (1, 1),
        (2, 1),
        (3, 2),
        (100, 17),
        (512, 59),
        (1024, 100),
        (2048, 174),
        (10240, 639),
        (262144, 10000),
        (10**9, 10000),
    ],
)
def test_weights_are_those_of_runc(shares: int, expected: int) -> None:
    assert weight(shares) == expected


@pytest.mark.parametrize(
    ("cpu", "member"), [({"shares": 1}, "shares"), ({"quota": 10, "burst": 11}, "burst"), ({"idle": 2}, "idle")]
)
def test_cpu_values_out_of_range_are_refused(cpu: dict[str, Any], member: str) -> None:
    assert refused({"cpu": cpu}, "legacy").pointer == f"/linux/resources/cpu/{member}"


@pytest.mark.parametrize("kind", ["legacy", "unified"])
@pytest.mark.parametrize(("limit", "expected"), [(0, "0"), (7, "7"), (-1, "max")])
def test_pids(kind: str, limit: int, expected: str) -> None:
    assert written({"pids": {"limit": limit}}, kind) == {"pids.max": expected}


def test_block_io_on_v1() -> None:
    block = {
        "weight": 100,
        "weightDevice": [{"major": 8, "minor": 0, "weight": 500, "leafWeight": 300}],
        "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 600}],
        "throttleWriteIOPSDevice": [{"major": 8, "minor": 16, "rate": 0}],
    }

    assert written({"blockIO": block}, "legacy") == {
        "blkio.weight": "100",
        "blkio.weight_device": "8:0 500",
        "blkio.leaf_weight_device": "8:0 300",
        "blkio.throttle.read_bps_device": "8:0 600",
        "blkio.throttle.write_iops_device": "8:16 0",
    }


def test_block_io_on_v2() -> None:
    block = {
        "weight": 500,
        "weightDevice": [{"major": 8, "minor": 0, "weight": 10}],
        "throttleReadIOPSDevice": [{"major": 8, "minor": 0, "rate": 600}],
        "throttleWriteBpsDevice": [{"major": 8, "minor": 16, "rate": 0}],
    }
    found = [item for item in settings({"blockIO": block}, "unified") if isinstance(item, Setting)]

    assert [(item.file, item.value, item.instead) for item in found] == [
        ("io.bfq.weight", "500", ("io.weight", "4950")),
        ("io.bfq.weight", "8:0 10", ("io.weight", "8:0 1")),
        ("io.max", "8:16 wbps=max", None),
        ("io.max", "8:0 riops=600", None),
    ]
    assert refused({"blockIO": {"leafWeight": 10}}, "unified").pointer == "/linux/resources/blockIO/leafWeight"


def test_huge_pages_limit_use_and_reservation() -> None:
    pages = [{"pageSize": "2MB", "limit": 4194304}]

    assert written({"hugepageLimits": pages}, "legacy") == {
        "hugetlb.2MB.limit_in_bytes": "4194304",
        "hugetlb.2MB.rsvd.limit_in_bytes": "4194304",
    }
    assert written({"hugepageLimits": pages}, "unified") == {
        "hugetlb.2MB.max": "4194304",
        "hugetlb.2MB.rsvd.max": "4194304",
    }


@pytest.mark.parametrize("size", ["", "2", "MB", "2M", "2mb", "2MBB", "2KMB", "../2MB", "2MB.x", "٢MB"])
def test_page_sizes_are_no_other_file_names(size: str) -> None:
    error = refused({"hugepageLimits": [{"pageSize": size, "limit": 1}]}, "legacy")

    assert error.pointer == "/linux/resources/hugepageLimits/0/pageSize"


def test_network() -> None:
    network = {"classID": 1048577, "priorities": [{"name": "eth0", "priority": 500}]}

    assert written({"network": network}, "legacy") == {"net_cls.classid": "1048577", "net_prio.ifpriomap": "eth0 500"}
    assert refused({"network": network}, "unified").pointer == "/linux/resources/network"


@pytest.mark.parametrize("kind", ["legacy", "unified"])
def test_rdma(kind: str) -> None:
    assert written({"rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 10000}}}, kind) == {
        "rdma.max": "mlx5_1 hca_handle=3 hca_object=10000"
    }
    assert refused({"rdma": {"a b": {"hcaHandles": 1}}}, kind).pointer == "/linux/resources/rdma/a b"
    assert refused({"rdma": {"a/b": {}}}, kind).pointer == "/linux/resources/rdma/a~1b"


def test_unified_files_are_written_as_they_are() -> None:
    files = {"memory.high": "1G", "io.max": "259:0 rbps=1\n253:0 rbps=2", "new_controller.some.file": "x"}

    assert written({"unified": files}, "unified") == files
    assert refused({"unified": files}, "legacy").pointer == "/linux/resources/unified/memory.high"


@pytest.mark.parametrize("file", ["memory", ".max", "memory.", "../memory.max", "cgroup.procs", "cgroup.kill", "a/b.c"])
def test_unified_names_files_that_are_limits(file: str) -> None:
    assert isinstance(refused({"unified": {file: "1"}}, "unified"), ConfigError)


def test_to_deny_all_leaves_the_default_devices() -> None:
    rules = device_rules([{"allow": False, "access": "rwm"}])

    assert (rules.allow, rules.rules, rules.pointer) == (False, [], "/linux/resources/devices")
    assert [rule.line(rule.access) for rule in rules.base] == [
        "c *:* m", "b *:* m", "c 1:3 rwm", "c 1:5 rwm", "c 1:7 rwm", "c 1:8 rwm", "c 1:9 rwm",
        "c 5:0 rwm", "c 5:2 rwm", "c 136:* rwm", "c 10:200 rwm",
    ]  # fmt: skip


def test_to_allow_all_is_the_default_for_the_rules_after_it() -> None:
    rules = device_rules(
        [
            {"allow": True, "type": "c", "major": 1, "minor": 1, "access": "r"},
            {"allow": True, "type": "a", "major": -1, "minor": -1, "access": "rwm"},
            {"allow": False, "type": "b", "major": 8, "access": "rwm"},
        ]
    )

    assert rules.allow and rules.base == []
    assert repr(rules) == "allow all, deny b 8:* rwm"


def test_a_rule_for_all_types_with_a_number_is_not_a_rule_for_everything() -> None:
    # The kernel of v1 reads "a 10:200 r" as everything.
    rules = device_rules([{"allow": True, "type": "a", "major": 10, "minor": 200, "access": "r"}])

    assert not rules.allow
    assert [rule.line(rule.access) for rule in rules.rules] == ["b 10:200 r", "c 10:200 r"]
    assert [rule.line(rule.access) for rule in device_rules([{"allow": True, "access": "m"}]).rules] == [
        "b *:* m",
        "c *:* m",
    ]
    assert all(rule.access == MKNOD for rule in device_rules([{"allow": False, "access": "m"}]).rules)


@pytest.mark.parametrize(
    ("entry", "member"),
    [
        ({"allow": True, "type": "c", "major": 1}, "access"),
        ({"allow": True, "type": "c", "access": "rx"}, "access"),
        ({"allow": True, "type": "p", "access": "r"}, "type"),
        ({"allow": True, "type": "c", "major": -2, "access": "r"}, "major"),
        ({"allow": True, "type": "c", "major": 1, "minor": 1 << 32, "access": "r"}, "minor"),
    ],
)
def test_rules_that_make_no_sense_are_refused_with_their_place(entry: dict[str, Any], member: str) -> None:
    with pytest.raises(ConfigError) as caught:
        device_rules([{"allow": False, "access": "rwm"}, entry])
    assert caught.value.pointer == f"/linux/resources/devices/1/{member}"
