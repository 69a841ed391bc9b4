"""Which class of service `linux.intelRdt` asks for: runtime-spec, config-linux.md#intelrdt."""

from __future__ import annotations

from typing import Any

import pytest

from boxes.plan.network import moves
from boxes.plan.resctrl import group

L3, MB, MORE = "L3:0=f", "MB:0=20", ["L2:0=f", "MB:1=30"]
SCHEMATA = [
    (L3, "/linux/intelRdt/l3CacheSchema"),
    (MB, "/linux/intelRdt/memBwSchema"),
    ("L2:0=f\nMB:1=30", "/linux/intelRdt/schemata"),
]


@pytest.mark.parametrize("rdt", [{}, {"closID": ""}, {"l3CacheSchema": "", "memBwSchema": "", "schemata": []}])
def test_without_a_name_the_class_is_the_containers_own(rdt: dict[str, Any]) -> None:
    found = group(rdt, "id")
    assert (found.name, found.lasting, found.makes, found.schemata) == ("id", False, True, [])
    assert (found.matching, found.monitor, found.pointer) == ([], None, "/linux/intelRdt")


def test_a_class_that_is_only_named_must_be_there() -> None:
    found = group({"closID": "gold", "enableMonitoring": False}, "id")
    assert (found.name, found.lasting, found.makes, found.monitor) == ("gold", True, False, None)
    assert found.pointer == "/linux/intelRdt/closID"


@pytest.mark.parametrize("rdt", [{"l3CacheSchema": L3}, {"memBwSchema": MB}, {"schemata": MORE}])
def test_a_class_with_a_schema_may_be_made(rdt: dict[str, Any]) -> None:
    found = group({"closID": "gold", **rdt}, "id")
    assert (found.name, found.lasting, found.makes) == ("gold", True, True)


def test_schemata_come_last_and_are_not_compared() -> None:
    found = group({"closID": "gold", "schemata": MORE, "memBwSchema": MB, "l3CacheSchema": L3}, "id")
    assert found.schemata == SCHEMATA
    assert found.matching == SCHEMATA[:2]


def test_a_class_of_its_own_is_compared_with_nothing() -> None:
    assert group({"l3CacheSchema": L3}, "id").matching == []


def test_a_slash_is_the_root() -> None:
    found = group({"closID": "/", "enableMonitoring": True}, "id")
    assert (found.name, found.lasting, found.makes, found.monitor) == (
        "",
        True,
        False,
        ("id", "/linux/intelRdt/enableMonitoring"),
    )


def test_devices_are_in_the_configs_order_with_their_places() -> None:
    found = moves({"eth1": {"name": "e%d"}, "a~b": {}, "eth0": {"name": ""}})
    assert [(move.name, move.new_name, move.pointer) for move in found] == [
        ("eth1", "e%d", "/linux/netDevices/eth1"),
        ("a~b", "", "/linux/netDevices/a~0b"),
        ("eth0", "", "/linux/netDevices/eth0"),
    ]
