"""The steps of a container's init once more, from its journal: to name the one that failed at `start`."""

from __future__ import annotations

from boxes.container import host
from boxes.container.creation import confinement
from boxes.plan.container import Descriptors, Plan, init_steps
from boxes.plan.facts import Facts
from boxes.plan.namespaces import Namespaces

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from boxes.plan.inner import Steps


def steps_of(journal: dict[str, Any], config: dict[str, Any]) -> Steps:
    """The plan is a pure function of these, so what is planned now has the numbers of what was planned then."""
    options = journal["options"]
    facts = Facts(
        id=journal["id"],
        bundle=journal["bundle"],
        rootfs=journal["rootfs"],
        namespaces=Namespaces(config),
        no_pivot=options["no_pivot"],
        preserve=options["preserve"],
    )
    plan = Plan(config, facts)
    given = confinement(config, facts, host.capabilities(), options["no_new_keyring"])
    joined = 0 if facts.namespaces.joined("mount") else -1
    return init_steps(config, facts, plan, given, Descriptors(0, 0, 0, joined))
