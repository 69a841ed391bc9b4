"""`linux.resources` (runtime-spec config-linux.md, "Control groups")."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

THROTTLE = [{"major": 8, "minor": 16, "rate": 18446744073709551615}]

FULL: dict[str, Any] = {
    "devices": [
        {"allow": False, "access": "rwm"},
        {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rw"},
        {"allow": True, "type": "b", "major": -1, "minor": -1, "access": ""},
        {"allow": False, "type": "a"},
        {"allow": False, "type": ""},
    ],
    "memory": {
        "limit": 536870912,
        "reservation": -1,
        "swap": 9223372036854775807,
        "kernel": -1,
        "kernelTCP": -1,
        "swappiness": 100,
        "disableOOMKiller": False,
        "useHierarchy": False,
        "checkBeforeUpdate": True,
    },
    "cpu": {
        "shares": 1024,
        "quota": 1000000,
        "burst": 1000000,
        "period": 500000,
        "realtimeRuntime": 950000,
        "realtimePeriod": 1000000,
        "cpus": "2-3",
        "mems": "0-7",
        "idle": 1,
    },
    "pids": {"limit": 0},
    "blockIO": {
        "weight": 10,
        "leafWeight": 65535,
        "weightDevice": [
            {"major": 8, "minor": 0, "weight": 500, "leafWeight": 300},
            {"major": 8, "minor": 16, "leafWeight": 500},
        ],
        "throttleReadBpsDevice": THROTTLE,
        "throttleWriteBpsDevice": THROTTLE,
        "throttleReadIOPSDevice": THROTTLE,
        "throttleWriteIOPSDevice": THROTTLE,
    },
    "hugepageLimits": [{"pageSize": "2MB", "limit": 209715200}, {"pageSize": "64KB", "limit": 0}],
    "network": {"classID": 1048577, "priorities": [{"name": "eth0", "priority": 500}]},
    "rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 10000}, "rxe3": {"hcaObjects": 10000}},
    "unified": {"io.max": "259:0 rbps=2097152 wiops=120\n253:0 rbps=2097152 wiops=120", "memory.min": ""},
}


def test_every_field_is_accepted(warnings_of: Callable[[str, Any], list[str]]) -> None:
    assert warnings_of("/linux/resources", FULL) == []


def test_a_quota_that_is_no_limit_bounds_no_burst(warnings_of: Callable[[str, Any], list[str]]) -> None:
    assert warnings_of("/linux/resources/cpu", {"quota": -1, "burst": 5}) == []
    assert warnings_of("/linux/resources/pids", {}) == []


LIMIT = "expected a whole number (-1 to 9223372036854775807), not"
UINT64 = "expected an unsigned 64-bit integer (0 to 18446744073709551615), not"
FILE = "expected the name of a file of the control group, not"


@pytest.mark.parametrize(
    ("pointer", "value", "text"),
    [
        ("", [], ": expected an object, not an empty list"),
        ("/devices", [{"type": "a"}], "/devices/0/allow: is required"),
        ("/devices", [{"allow": 1}], "/devices/0/allow: expected true or false, not 1"),
        ("/devices", [{"allow": True, "type": "p"}], "/devices/0/type: expected 'a', 'c', 'b' or '', not 'p'"),
        (
            "/devices",
            [{"allow": True, "access": "rx"}],
            "/devices/0/access: expected a composition of 'r', 'w' and 'm', not 'rx'",
        ),
        (
            "/devices",
            [{"allow": True, "major": 4096}],
            "/devices/0/major: expected a major device number (-1 to 4095), not 4096",
        ),
        (
            "/devices",
            [{"allow": True, "minor": -2}],
            "/devices/0/minor: expected a minor device number (-1 to 1048575), not -2",
        ),
        ("/memory/limit", -2, f"/memory/limit: {LIMIT} -2"),
        ("/memory/limit", 9223372036854775808, f"/memory/limit: {LIMIT} 9223372036854775808"),
        ("/memory/limit", "100M", f"/memory/limit: {LIMIT} '100M'"),
        ("/memory/reservation", True, f"/memory/reservation: {LIMIT} true"),
        ("/memory/swap", 1.0, f"/memory/swap: {LIMIT} 1.0"),
        ("/memory/kernel", [], f"/memory/kernel: {LIMIT} an empty list"),
        ("/memory/kernelTCP", {}, f"/memory/kernelTCP: {LIMIT} an object"),
        ("/memory/swappiness", 101, "/memory/swappiness: expected a whole number (0 to 100), not 101"),
        ("/memory/disableOOMKiller", 0, "/memory/disableOOMKiller: expected true or false, not 0"),
        ("/memory/useHierarchy", 0, "/memory/useHierarchy: expected true or false, not 0"),
        ("/memory/checkBeforeUpdate", "", "/memory/checkBeforeUpdate: expected true or false, not ''"),
        ("/cpu/shares", -1, f"/cpu/shares: {UINT64} -1"),
        ("/cpu/period", 18446744073709551616, f"/cpu/period: {UINT64} 18446744073709551616"),
        ("/cpu/realtimePeriod", False, f"/cpu/realtimePeriod: {UINT64} false"),
        ("/cpu/idle", 2, "/cpu/idle: expected a whole number (0 to 1), not 2"),
        ("/cpu/cpus", 1, "/cpu/cpus: expected a string of one line, not 1"),
        ("/cpu/mems", "0\n1", "/cpu/mems: expected a string of one line, not '0\\n1'"),
        ("/cpu", {"quota": 5, "burst": 6}, "/cpu/burst: expected at most the quota, 5, not 6"),
        ("/pids/limit", -2, f"/pids/limit: {LIMIT} -2"),
        ("/blockIO/weight", 65536, "/blockIO/weight: expected an unsigned 16-bit integer (0 to 65535), not 65536"),
        (
            "/blockIO/weightDevice",
            [{"major": 8, "minor": 0}],
            "/blockIO/weightDevice/0: expected 'weight', 'leafWeight' or both",
        ),
        ("/blockIO/weightDevice", [{"weight": 1, "minor": 0}], "/blockIO/weightDevice/0/major: is required"),
        (
            "/blockIO/throttleReadBpsDevice",
            [{"major": 8, "minor": 0}],
            "/blockIO/throttleReadBpsDevice/0/rate: is required",
        ),
        ("/blockIO/throttleWriteBpsDevice", [5], "/blockIO/throttleWriteBpsDevice/0: expected an object, not 5"),
        (
            "/blockIO/throttleReadIOPSDevice",
            [{"major": 8, "minor": 0, "rate": -1}],
            f"/blockIO/throttleReadIOPSDevice/0/rate: {UINT64} -1",
        ),
        ("/blockIO/throttleWriteIOPSDevice", {}, "/blockIO/throttleWriteIOPSDevice: expected a list, not an object"),
        ("/hugepageLimits", [{"pageSize": "2MB"}], "/hugepageLimits/0/limit: is required"),
        (
            "/network/classID",
            4294967296,
            "/network/classID: expected an unsigned 32-bit integer (0 to 4294967295), not 4294967296",
        ),
        ("/network/priorities", [{"name": "eth0"}], "/network/priorities/0/priority: is required"),
        (
            "/network/priorities",
            [{"name": "eth0 1\nlo", "priority": 1}],
            (
                "/network/priorities/0/name: expected the name of a network interface (at most 15 bytes), "
                "not 'eth0 1\\nlo'"
            ),
        ),
        ("/rdma", {"mlx5_1": {}}, "/rdma/mlx5_1: expected 'hcaHandles', 'hcaObjects' or both"),
        ("/rdma", {"a b": {"hcaHandles": 1}}, "/rdma/a b: expected the name of a device, not 'a b'"),
        (
            "/rdma",
            {"a": {"hcaHandles": "1"}},
            "/rdma/a/hcaHandles: expected an unsigned 32-bit integer (0 to 4294967295), not '1'",
        ),
        ("/unified", {"../memory.max": "1"}, f"/unified/..~1memory.max: {FILE} '../memory.max'"),
        ("/unified", {"..": "1"}, f"/unified/..: {FILE} '..'"),
        ("/unified", {"memory.max": 1}, "/unified/memory.max: expected a string, not 1"),
    ],
)
def test_a_wrong_value_is_refused_at_its_place(
    refusal: Callable[[str, Any], str], pointer: str, value: object, text: str
) -> None:
    assert refusal(f"/linux/resources{pointer}", value) == f"/linux/resources{text}"


@pytest.mark.parametrize("size", ["64kB", "2M", "0MB", "02MB", "MB", "", "\uff12MB", "2TB", "-2MB"])
def test_what_is_no_page_size_is_refused(refusal: Callable[[str, Any], str], size: str) -> None:
    assert refusal("/linux/resources/hugepageLimits", [{"pageSize": size, "limit": 1}]) == (
        f"/linux/resources/hugepageLimits/0/pageSize: expected the size of a page, such as '2MB', not '{size}'"
    )
