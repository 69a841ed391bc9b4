"""/process/rlimits: names and numbers."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# <asm-generic/resource.h>
RLIMITS = ("CPU FSIZE DATA STACK CORE RSS NPROC NOFILE MEMLOCK AS LOCKS SIGPENDING MSGQUEUE NICE RTPRIO RTTIME").split()


def raised_rlimits(process: dict[str, Any]) -> list[tuple[int, int, str]]:
    """(resource, hard limit, pointer) of each: what a process in a user namespace could not raise by itself."""
    limits = enumerate(process.get("rlimits") or ())
    return [
        (RLIMITS.index(limit["type"].removeprefix("RLIMIT_")), limit["hard"], f"/process/rlimits/{number}")
        for number, limit in limits
    ]
