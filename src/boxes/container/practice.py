"""What a worker does while it waits: it plans a container that nobody makes.

A fork shares its parent's pages until it touches them, and each first touch costs some 4 µs: 2 ms of the way from a
request to a container. Touched before, by the same code on a config of ours, they cost nothing then.
"""

from __future__ import annotations

from boxes import system as os
from boxes.container import host, seccomp
from boxes.container.options import CreateOptions
from boxes.container.store import Store
from boxes.container.undivided import Undivided
from boxes.errors import BoxesError
from boxes.plan import exec as planned
from boxes.plan.descriptors import Descriptors
from boxes.spec.default import default
from boxes.spec.document import dump
from boxes.spec.filter import profile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_NOWHERE = "/proc/nowhere"  # nothing is kept


def config() -> bytes:
    """One with what most configs have, for `plan`. Its filter is compiled once for all."""
    made: Any = default()
    made["process"]["terminal"] = False
    made["root"]["path"] = "/"
    made["linux"]["seccomp"] = profile(os.uname().machine)
    made["linux"]["resources"] |= {"memory": {"limit": 1 << 26, "swap": 1 << 26}, "pids": {"limit": 64}}
    made["mounts"] = [mount for mount in made["mounts"] if mount["type"] not in ("mqueue", "cgroup")]
    made["mounts"].append({"destination": "/x", "type": "none", "source": "/", "options": ["rbind", "rro"]})
    seccomp.remember(made["linux"]["seccomp"])
    return dump(made).encode()


def plan(raw: bytes) -> None:
    """The steps of a creation that change nothing on the host. Where not even these succeed, practice ends there."""
    try:
        making = Undivided(Store(_NOWHERE, _NOWHERE), "practice", CreateOptions("/", config=raw))
        making.read()
        making.survey()
        making.plan_cgroup()
        making.numbers = Descriptors(3, 4, 5, 6, -1, proc=-1)
        making.planned.steps.encode()
        _plan_exec(making)
    except BoxesError:
        pass


def _plan_exec(making: Undivided) -> None:
    """The same for another process in a container."""
    process = dict(making.config["process"])
    given = host.confinement(making.facts, making.capabilities, groups_allowed=True, no_new_keyring=False)
    given.filter = making.filter
    planned.exec_steps(process, making.facts, given, planned.Joined(3, -1, [4, 5], -1, [], -1)).encode()
