"""The first entry of a container's journal: what it is, and who is making it."""

from __future__ import annotations

import time

from boxes import system as os
from boxes.container import status
from boxes.container.store import VERSION
from boxes.linux import procfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from boxes.container.options import CreateOptions
    from boxes.plan.facts import Facts


def begin(facts: Facts, config: dict[str, Any], options: CreateOptions) -> dict[str, Any]:
    own = os.getpid()
    return {
        "version": VERSION,
        "id": facts.id,
        "bundle": facts.bundle,
        "rootfs": facts.rootfs,
        "annotations": config.get("annotations") or {},
        "created": now(),
        "owner": os.geteuid(),
        "boot": procfs.boot_id(),
        "maker": [own, procfs.start_time(own)],
        "status": status.CREATING,
        "options": {
            "no_pivot": options.no_pivot,
            "no_new_keyring": options.no_new_keyring,
            "preserve": facts.preserve,
        },
        "own_pids": "pid" in facts.namespaces.new,  # then all processes end with the init
        "poststop": bool((config.get("hooks") or {}).get("poststop")),
        "cgroups": None,
    }


def now() -> str:
    """RFC 3339 with nanoseconds."""
    seconds, fraction = divmod(time.time_ns(), 10**9)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{fraction:09d}Z"
