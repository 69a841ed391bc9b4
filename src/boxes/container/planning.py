"""The plan of a container, from its config and the facts: the same function at `create`, and again to name a step of
inner that failed at `start`."""

from __future__ import annotations

from boxes.container import host, joins
from boxes.plan.container import Plan, init_steps
from boxes.plan.descriptors import Descriptors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from boxes.plan.facts import Facts
    from boxes.plan.inner import Steps
    from boxes.plan.process import Confinement
    from boxes.plan.seccomp import Filter


class Planned:
    """What the builder does, what inner does, and what both are given."""

    def __init__(self, plan: Plan, steps: Steps, confinement: Confinement) -> None:
        self.plan = plan
        self.steps = steps
        self.confinement = confinement


def plan(
    config: dict[str, Any],
    facts: Facts,
    numbers: Descriptors,
    capabilities: int,
    *,
    groups_allowed: bool,
    no_new_keyring: bool,
    filter: Filter | None = None,
) -> Planned:
    made = Plan(config, facts)
    given = host.confinement(facts, capabilities, groups_allowed=groups_allowed, no_new_keyring=no_new_keyring)
    given.filter = filter
    given.labels = host.labels(config.get("process") or {})
    given.linux = config.get("linux") or {}
    given.keep_groups = host.keeps_groups(config)
    return Planned(made, init_steps(config, facts, made, given, numbers), given)


def again(journal: dict[str, Any], config: dict[str, Any]) -> Steps:
    """Inner's steps of a container that exists. The numbers of its descriptors are not those of then, but the steps
    have the same order and the same words."""
    options = journal["options"]
    facts = joins.facts_of(journal, config, no_pivot=options["no_pivot"], preserve=options["preserve"])
    numbers = Descriptors(0, 0, 0, 0, 0 if facts.namespaces.joined("mount") else -1, proc=0)
    filter = None
    if (config.get("linux") or {}).get("seccomp"):
        from boxes.container import seccomp

        filter = seccomp.like()
    capabilities = host.capabilities()
    return plan(
        config,
        facts,
        numbers,
        capabilities,
        groups_allowed=host.groups_allowed(facts.namespaces, capabilities),
        no_new_keyring=options["no_new_keyring"],
        filter=filter,
    ).steps
