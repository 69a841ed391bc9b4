"""Limits without cgroups: what resource limits of processes, getrlimit(2), can stand in for.

They are weaker. Each process has its own address space under RLIMIT_AS, and RLIMIT_NPROC counts all processes of the
user in the user namespace. CPU time is shared as the host does it.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def without_cgroups(given: dict[str, Any]) -> dict[str, Any]:
    """A request to run a container, without its cgroups: limits of memory and processes become resource limits."""
    config = dict(given["config"])
    linux = dict(config.get("linux") or {})
    resources = linux.pop("resources", None) or {}
    process = dict(config.get("process") or {})
    wanted = {
        "RLIMIT_AS": (resources.get("memory") or {}).get("limit"),
        "RLIMIT_NPROC": (resources.get("pids") or {}).get("limit"),
    }
    kept = [each for each in process.get("rlimits") or () if each["type"] not in wanted]
    new = [{"type": name, "soft": value, "hard": value} for name, value in wanted.items() if value and value > 0]
    config["process"] = process | {"rlimits": kept + new}
    config["linux"] = linux
    return given | {"config": config, "cgroup_manager": "disabled"}
