"""Taking back what a creation that failed has made, in the reverse order."""

from __future__ import annotations

import _signal

from boxes import log
from boxes import system as os
from boxes.container import status
from boxes.container.store import forget_pid
from boxes.errors import BoxesError
from boxes.spec.state import oci_state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from boxes.cgroups.manager import Manager
    from boxes.container.creation import Creation

_PATIENCE = 10.0  # seconds for its processes to end


def end_builder(pid: int) -> None:
    try:
        os.kill(pid, _signal.SIGKILL)  # our child, not reaped yet
        os.waitpid(pid, 0)
    except OSError:
        pass  # it has ended


def take_back(making: Creation) -> None:
    """What cannot be is logged, and left to `delete --force`. No other error: that one would hide why it failed."""
    if making.lent is not None:
        making.lent.bring_back()
    if making.options.pid_file is not None and making.pid:
        forget_pid(making.options.pid_file, making.pid)
    try:
        if making.cgroup_begun:
            _remove(making.cgroups, populated=making.pid != 0 or making.entered)
        if "network" in making.journal:
            from boxes.container import networking

            networking.release(making.journal)
        if "resctrl" in making.journal:
            from boxes.container import lent

            lent.release(making.journal)
        if making.hooked:
            from boxes.container import hooks

            state = oci_state(making.id, status.STOPPED, None, making.bundle, making.config.get("annotations"))
            hooks.run_all(making.config, "poststop", state)
        if making.claimed:
            making.place.remove()
    except (BoxesError, OSError) as error:
        log.warning(f"ignoring: {error}")


def _remove(cgroups: Manager, *, populated: bool) -> None:
    if populated and not cgroups.shared and all(directory.inode for directory in cgroups.directories):
        cgroups.kill_all(_signal.SIGKILL)
    cgroups.remove(timeout=_PATIENCE)
