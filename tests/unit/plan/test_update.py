"""Changed limits: what is asked for over what there is, and what of it is written."""

from __future__ import annotations

from typing import Any

import pytest

from boxes.cgroups.settings import DeviceRules, Setting
from boxes.plan.update import changes, merged


def written(old: dict[str, Any], given: dict[str, Any], kind: str = "legacy") -> dict[str, str]:
    found = changes(old, merged(old, given), given, kind)
    return {each.file: each.value for each in found if isinstance(each, Setting)}


def test_what_is_not_given_stays() -> None:
    old = {"memory": {"limit": 10}, "cpu": {"quota": 5, "period": 7}}
    assert merged(old, {"cpu": {"period": 9}}) == {"memory": {"limit": 10}, "cpu": {"quota": 5, "period": 9}}
    assert old == {"memory": {"limit": 10}, "cpu": {"quota": 5, "period": 7}}


@pytest.mark.parametrize(
    "given", [{"memory": {"limit": 0, "swap": 0}}, {"cpu": {"shares": 0, "cpus": ""}}, {"blockIO": {"weight": 0}}]
)
def test_zero_says_as_it_is(given: dict[str, Any]) -> None:
    old = {"memory": {"limit": 10, "swap": 20}, "cpu": {"shares": 3, "cpus": "0"}, "blockIO": {"weight": 100}}
    assert merged(old, given) == old


@pytest.mark.parametrize(
    ("section", "member"), [("cpu", "idle"), ("cpu", "burst"), ("memory", "swappiness"), ("pids", "limit")]
)
def test_zero_is_a_value_where_it_means_something(section: str, member: str) -> None:
    assert merged({section: {member: 1}}, {section: {member: 0}}) == {section: {member: 0}}


def test_only_sections_that_are_given_are_written() -> None:
    assert written({"memory": {"limit": 4096}, "pids": {"limit": 5}}, {"pids": {"limit": 6}}) == {"pids.max": "6"}


def test_a_period_alone_brings_the_quota_with_it() -> None:
    old = {"cpu": {"quota": 50000, "period": 100000}}
    assert written(old, {"cpu": {"period": 200000}}, "unified") == {"cpu.max": "50000 200000"}


def test_a_limit_of_memory_alone_leaves_swap_what_it_was_together() -> None:
    old = {"memory": {"limit": 4096, "swap": 12288}}
    assert written(old, {"memory": {"limit": 8192}}, "unified") == {"memory.max": "8192", "memory.swap.max": "4096"}


def test_no_limit_of_memory_is_none_with_swap() -> None:
    old = {"memory": {"limit": 4096, "swap": 12288}}
    assert merged(old, {"memory": {"limit": -1}})["memory"] == {"limit": -1, "swap": -1}


def test_throttles_of_other_devices_stay() -> None:
    old = {"blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": n, "rate": 1} for n in (0, 16)]}}
    new = merged(old, {"blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": 16, "rate": 9}]}})
    assert new["blockIO"]["throttleReadBpsDevice"] == [
        {"major": 8, "minor": 0, "rate": 1},
        {"major": 8, "minor": 16, "rate": 9},
    ]


def test_huge_pages_of_another_size_stay() -> None:
    old = {"hugepageLimits": [{"pageSize": "2MB", "limit": 1}]}
    new = merged(old, {"hugepageLimits": [{"pageSize": "1GB", "limit": 2}]})
    assert [entry["pageSize"] for entry in new["hugepageLimits"]] == ["2MB", "1GB"]


RULES = [{"allow": True, "type": "c", "major": 1, "minor": 11, "access": "r"}]


class TestDevices:
    def rewritten(self, old: dict[str, Any], given: dict[str, Any]) -> bool:
        return any(isinstance(each, DeviceRules) for each in changes(old, merged(old, given), given, "legacy"))

    def test_rules_that_are_the_same_are_not_written_again(self) -> None:
        assert not self.rewritten({"devices": RULES}, {"devices": RULES, "pids": {"limit": 5}})

    def test_none_given_are_none_changed(self) -> None:
        assert not self.rewritten({"devices": RULES}, {"devices": []})
        assert not self.rewritten({"devices": RULES}, {"pids": {"limit": 5}})

    def test_other_rules_replace_all(self) -> None:
        assert self.rewritten({"devices": RULES}, {"devices": [{"allow": False}]})
        assert merged({"devices": RULES}, {"devices": [{"allow": False}]}) == {"devices": [{"allow": False}]}
