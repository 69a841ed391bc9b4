"""The two ways in which a root becomes that of a process take as many steps: an error is told by its number, from a plan
that is made anew, by who knows not which way was taken (container/planning.py)."""

from __future__ import annotations

from boxes.plan.container import Plan, enter_root
from boxes.plan.descriptors import Descriptors
from boxes.plan.facts import Facts
from boxes.plan.inner import Steps
from boxes.plan.namespaces import Namespaces


def shown(bare: int) -> list[str]:
    config = {"root": {"path": "rootfs"}, "linux": {"namespaces": [{"type": "mount"}]}}
    facts = Facts(id="a", bundle="/b", rootfs="/b/rootfs", namespaces=Namespaces(config))
    steps = Steps()
    enter_root(steps, facts, Plan(config, facts), Descriptors(10, 11, 12, 13, bare=bare))
    return steps.text


def test_what_follows_has_the_same_number_either_way() -> None:
    pivoted, bare = shown(-1), shown(14)
    assert len(pivoted) == len(bare)
    differ = [number for number, (one, other) in enumerate(zip(pivoted, bare, strict=True)) if one != other]
    assert differ == list(range(5)), (pivoted, bare)
