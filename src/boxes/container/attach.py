"""A process of `exec` that may not enter its cgroup by itself: systemd puts it there.

Moving a process takes write access to the cgroup above both, the old one and the new. A user has none from a login
session to the scope of a container: systemd moves it, with the rights of the system's. inner waits for that at a lock,
and then writes itself where it is already; so should the runtime die, and the lock with it, inner fails, and nothing
runs outside.
"""

from __future__ import annotations

import fcntl

from boxes import system as os
from boxes.cgroups import layout as layouts
from boxes.container import status
from boxes.linux.fd import memory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from boxes.linux.fd import Fds


class Gate:
    """A lock that inner waits for: `fd` is its end of it."""

    def __init__(self, journal: dict[str, Any], below: str, fds: Fds) -> None:
        self.journal = journal
        self.below = below
        self._held = fds.add(memory("gate"))
        # A lock belongs to an open file description: this is another.
        self.fd = fds.add(os.open(f"/proc/self/fd/{self._held}", os.O_RDONLY | os.O_CLOEXEC))
        fcntl.flock(self._held, fcntl.LOCK_EX)

    def open(self, pid: int) -> None:
        """Have `pid` moved, and let it go on. Raises ServiceError."""
        from boxes.cgroups import scope

        with status.cgroups_of(self.journal) as manager:
            if isinstance(manager, scope.Scope):
                manager.attach(pid, self.below)
        fcntl.flock(self._held, fcntl.LOCK_UN)


def gate(journal: dict[str, Any], cgroup: str, fds: Fds) -> Gate | None:
    """A gate before the cgroup at this path, or None if a process may enter it by itself."""
    scope = journal["cgroups"]["scope"]
    hierarchy = layouts.detect().hierarchies[0]
    names = cgroup[len(hierarchy.mount_point) :].split("/")[1:]
    above = hierarchy.mount_point
    for name, own in zip(names, hierarchy.own, strict=False):
        if name != own:
            break
        above = f"{above}/{name}"
    if scope["unit"] not in names or os.access(f"{above}/cgroup.procs", os.W_OK):
        return None
    below = names[names.index(scope["unit"]) + 1 :]
    return Gate(journal, "".join(f"/{name}" for name in below), fds)
