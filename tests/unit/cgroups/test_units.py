"""What systemd is told of the limits that are written."""

from __future__ import annotations

from typing import Any

import pytest

from boxes.cgroups import scope, units
from boxes.cgroups.dbus import Variant
from boxes.cgroups.settings import Setting
from boxes.errors import UnsupportedError
from boxes.plan.resources import settings

NONE = 2**64 - 1
MIB = 2**20
Told = list[tuple[str, object]]


def told(
    resources: dict[str, Any], *, unified: bool = True, bfq: bool = False, devices: bool = False, **held: str
) -> Told:
    """`held`: what files hold, with _ for a dot in their names."""
    limits = settings(resources, "unified" if unified else "legacy")

    def read(controller: str, file: str) -> str:
        return held.get(file.replace(".", "_"), "")

    found = units.properties(limits if devices else limits[1:], unified=unified, bfq=bfq, held=read)
    return [(name, variant.value) for name, variant in found]


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ({"memory": {"limit": 64 * MIB}}, [("MemoryMax", 64 * MIB)]),
        ({"memory": {"limit": -1}}, [("MemorySwapMax", NONE), ("MemoryMax", NONE)]),
        ({"memory": {"limit": MIB, "swap": 3 * MIB}}, [("MemorySwapMax", 2 * MIB), ("MemoryMax", MIB)]),
        ({"memory": {"reservation": MIB}}, [("MemoryLow", MIB)]),
        ({"cpu": {"shares": 1024}}, [("CPUWeight", 100)]),
        ({"cpu": {"quota": 50000, "period": 100000}}, [("CPUQuotaPeriodUSec", 100000), ("CPUQuotaPerSecUSec", 500000)]),
        ({"cpu": {"quota": 50000}}, [("CPUQuotaPeriodUSec", 100000), ("CPUQuotaPerSecUSec", 500000)]),
        # 12.345 % of a CPU: whole per cents are what systemd keeps, and no less than was asked for
        ({"cpu": {"quota": 12345, "period": 100000}}, [("CPUQuotaPeriodUSec", 100000), ("CPUQuotaPerSecUSec", 130000)]),
        ({"cpu": {"quota": -1, "period": 1000}}, [("CPUQuotaPeriodUSec", 1000), ("CPUQuotaPerSecUSec", NONE)]),
        ({"cpu": {"idle": 1}}, [("CPUWeight", 0)]),
        ({"cpu": {"idle": 1, "shares": 1024}}, [("CPUWeight", 0)]),
        ({"cpu": {"idle": 0}}, []),
        ({"cpu": {"cpus": "0-2,9"}}, [("AllowedCPUs", b"\x07\x02")]),
        ({"cpu": {"cpus": "0", "mems": "0"}}, [("AllowedCPUs", b"\x01"), ("AllowedMemoryNodes", b"\x01")]),
        ({"pids": {"limit": 7}}, [("TasksMax", 7)]),
        ({"pids": {"limit": -1}}, [("TasksMax", NONE)]),
        ({"blockIO": {"weight": 10}}, [("IOWeight", 1)]),
        ({"blockIO": {"weight": 1000}}, [("IOWeight", 10000)]),
        (
            {"blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 5}]}},
            [("IOReadBandwidthMax", [("/dev/block/8:0", 5)])],
        ),
        (
            {"blockIO": {"weightDevice": [{"major": 8, "minor": 0, "weight": 1000}]}},
            [("IODeviceWeight", [("/dev/block/8:0", 10000)])],
        ),
        ({"unified": {"memory.high": "8M", "memory.min": "4096"}}, [("MemoryHigh", 8 * MIB), ("MemoryMin", 4096)]),
        ({"unified": {"memory.max": "max"}}, [("MemoryMax", NONE)]),
        ({"unified": {"cpu.max": "max"}}, [("CPUQuotaPeriodUSec", 100000), ("CPUQuotaPerSecUSec", NONE)]),
        (
            {"unified": {"io.weight": "default 200\n8:0 300"}},
            [("IOWeight", 200), ("IODeviceWeight", [("/dev/block/8:0", 300)])],
        ),
        (
            {"unified": {"io.max": "8:0 rbps=5 wiops=max"}},
            [("IOReadBandwidthMax", [("/dev/block/8:0", 5)]), ("IOWriteIOPSMax", [("/dev/block/8:0", NONE)])],
        ),
        ({"unified": {"memory.oom.group": "1"}}, []),
        ({"hugepageLimits": [{"pageSize": "2MB", "limit": 5}]}, []),
        # nonsense is for the kernel to refuse
        ({"unified": {"memory.max": "many", "pids.max": "", "cpu.max": "x y", "io.max": "8:0"}}, []),
        ({"cpu": {"cpus": "9999"}}, []),
        ({"cpu": {"cpus": "3-1"}}, []),
        ({"cpu": {"cpus": "abc"}}, []),
    ],
    ids=str,
)
def test_properties_on_v2(resources: dict[str, Any], expected: Told) -> None:
    assert told(resources) == expected


@pytest.mark.parametrize(("weight", "expected"), [(10, 10), (100, 100), (500, 4500), (1000, 10000)])
def test_weights_of_bfq_are_those_that_systemd_maps_to_them(weight: int, expected: int) -> None:
    assert told({"blockIO": {"weight": weight}}, bfq=True) == [("IOWeight", expected)]


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ({"memory": {"limit": MIB}}, [("MemoryLimit", MIB)]),
        ({"cpu": {"shares": 512}}, [("CPUShares", 512)]),
        ({"cpu": {"quota": 5000, "period": 10000}}, [("CPUQuotaPeriodUSec", 10000), ("CPUQuotaPerSecUSec", 500000)]),
        ({"cpu": {"quota": 5000}}, [("CPUQuotaPeriodUSec", 100000), ("CPUQuotaPerSecUSec", 50000)]),
        ({"cpu": {"cpus": "0"}}, []),
        ({"pids": {"limit": 7}}, [("TasksMax", 7)]),
        ({"blockIO": {"weight": 500}}, [("BlockIOWeight", 500)]),
        (
            {"blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 0}]}},
            [("BlockIOReadBandwidth", [("/dev/block/8:0", NONE)])],
        ),
    ],
    ids=str,
)
def test_properties_on_v1(resources: dict[str, Any], expected: Told) -> None:
    assert told(resources, unified=False) == expected


def test_on_v1_quota_and_period_may_come_alone() -> None:
    assert told({"cpu": {"quota": 5000}}, unified=False, cpu_cfs_period_us="50000") == [
        ("CPUQuotaPeriodUSec", 50000),
        ("CPUQuotaPerSecUSec", 100000),
    ]
    assert told({"cpu": {"period": 50000}}, unified=False, cpu_cfs_quota_us="-1") == [
        ("CPUQuotaPeriodUSec", 50000),
        ("CPUQuotaPerSecUSec", NONE),
    ]
    assert told({"cpu": {"period": 50000}}, unified=False) == []


def test_idleness_ends() -> None:
    assert told({"cpu": {"idle": 0}}, cpu_idle="1") == [("CPUWeight", NONE)]
    assert told({"cpu": {"idle": 0}}, cpu_idle="0") == []
    assert told({"cpu": {"idle": 0, "shares": 1024}}, cpu_idle="1") == [("CPUWeight", 100)]


def test_cpus_that_were_not_set_are_not_again() -> None:
    setting = Setting("cpuset", "cpuset.cpus", "\n", "")
    assert units.properties([setting], unified=True, bfq=False, held=lambda *_: "") == [
        ("AllowedCPUs", Variant("ay", b""))
    ]


DENY = {"allow": False, "access": "rwm"}
ALLOW = {"allow": True, "access": "rwm"}


def devices(*rules: dict[str, Any], unified: bool = True) -> tuple[object, list[tuple[str, str]]]:
    """The policy, and the devices that are added to the default ones."""
    found = told({"devices": list(rules)}, unified=unified, devices=True)
    assert found[1] == ("DeviceAllow", [])
    base = [("/dev/char/1:3", "rwm"), ("char-136", "rwm"), ("char-*", "m"), ("block-*", "m")]
    given = [entry for name, value in found[2:] for entry in value]  # type: ignore[attr-defined]
    if found[0][1] == "strict":
        assert set(base) <= set(given)
    default = told({}, unified=unified, devices=True)[2][1]
    return found[0][1], [entry for entry in given if entry not in default]  # type: ignore[operator]


@pytest.mark.parametrize("unified", [True, False])
class TestDevices:
    def test_the_default_is_strict(self, unified: bool) -> None:
        assert devices(unified=unified) == ("strict", [])

    def test_rules_that_allow_are_told(self, unified: bool) -> None:
        rules = [
            DENY,
            {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rw"},
            {"allow": True, "type": "b", "major": 8, "access": "r"},
        ]
        assert devices(*rules, unified=unified) == ("strict", [("/dev/char/10:229", "rw"), ("block-8", "r")])

    def test_all_is_all(self, unified: bool) -> None:
        assert devices(DENY, ALLOW, unified=unified) == ("auto", [])


def test_on_v2_what_cannot_be_said_is_wider_than_our_own_program() -> None:
    one = {"allow": False, "type": "c", "major": 10, "minor": 229, "access": "rwm"}
    assert devices(ALLOW, one) == ("auto", [])
    assert devices(DENY, {"allow": True, "type": "c", "minor": 5, "access": "r"}) == ("strict", [("char-*", "r")])


@pytest.mark.parametrize(
    "rules",
    [
        [ALLOW, {"allow": False, "type": "c", "major": 10, "minor": 229, "access": "rwm"}],
        [DENY, {"allow": True, "type": "c", "minor": 5, "access": "r"}],
    ],
)
def test_on_v1_it_is_an_error(rules: list[dict[str, Any]]) -> None:
    with pytest.raises(UnsupportedError) as caught:
        devices(*rules, unified=False)
    assert caught.value.pointer == "/linux/resources/devices"


def test_on_v1_what_is_taken_away_is_not_told() -> None:
    null = {"allow": False, "type": "c", "major": 1, "minor": 3, "access": "rwm"}
    found = told({"devices": [DENY, null]}, unified=False, devices=True)
    assert ("/dev/char/1:3", "rwm") not in found[2][1]  # type: ignore[operator]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("system.slice", ["system.slice"]),
        ("a-b-c.slice", ["a.slice", "a-b.slice", "a-b-c.slice"]),
        ("-.slice", []),
    ],
)
def test_slices_lie_in_each_other(name: str, expected: list[str]) -> None:
    assert scope.slice_path(name) == expected


def test_types_are_what_systemd_wants() -> None:
    resources = {"cpu": {"cpus": "0", "quota": 5000}, "blockIO": {"weight": 10}}
    found = units.properties(settings(resources, "unified"), unified=True, bfq=False, held=lambda *_: "")
    kinds = {name: variant.signature for name, variant in found if isinstance(variant, Variant)}
    assert kinds == {
        "DevicePolicy": "s",
        "DeviceAllow": "a(ss)",
        "AllowedCPUs": "ay",
        "CPUQuotaPeriodUSec": "t",
        "CPUQuotaPerSecUSec": "t",
        "IOWeight": "t",
    }
