"""How a container is ended and what it held is given back: the parts of `kill` and `delete`."""

from __future__ import annotations

import _signal
import errno

from boxes import log
from boxes import system as os
from boxes.container import status
from boxes.container.status import cgroups_of
from boxes.errors import BoxesError, StateError, refused
from boxes.linux import procfs, syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from boxes.container.store import Place

_DYING = 1.0  # seconds that `delete` grants a process that is ending already
_FORCED = 10.0  # seconds until `delete --force` gives up on a process that does not die


def stop(journal: dict[str, Any]) -> None:
    """End a container whose start failed, and wait until it has ended."""
    pidfd = procfs.open_process(journal["pid"], journal["started"])
    if pidfd is None:
        return
    try:
        syscalls.pidfd_send_signal(pidfd, _signal.SIGKILL)
    except ProcessLookupError:
        pass
    procfs.has_ended(pidfd, _FORCED)
    os.close(pidfd)


def kill_all(journal: dict[str, Any], signal: int) -> None:
    cgroups = cgroups_of(journal)
    try:
        cgroups.kill_all(signal)
    except StateError as error:
        log.debug(str(error))
    finally:
        cgroups.close()


def release(place: Place, journal: dict[str, Any]) -> None:
    cgroups = cgroups_of(journal)
    try:
        # Others may have outlived the init, or been made by who was to make it.
        unknown = not journal["own_pids"] or journal["status"] == status.CREATING
        if unknown and not cgroups.shared and cgroups.processes():
            cgroups.kill_all(_signal.SIGKILL)
        cgroups.remove(timeout=_FORCED)
    finally:
        cgroups.close()
    if "network" in journal:
        from boxes.container import networking

        networking.release(journal)
    if "resctrl" in journal:
        from boxes.container import lent

        lent.release(journal)
    if journal["poststop"] and journal["status"] == status.CREATED:
        _run_poststop(place, journal)
    place.remove()


def sweep_networks() -> None:
    """Whoever deletes by force what is gone wants to be sure that nothing is left of it: the process that removes what
    nobody uses any more may have been killed too."""
    if os.geteuid() == 0 and os.exists("/run/boxes/.networks"):
        from boxes.container import network_cleanup

        network_cleanup.sweep_if_needed()


def _run_poststop(place: Place, journal: dict[str, Any]) -> None:
    from boxes.container import hooks

    try:
        config = place.config()
    except (OSError, BoxesError) as error:  # it cannot be had back, and the container is to go all the same
        log.warning(f"ignoring: no hooks are run: {error}", pointer="/hooks/poststop")
        return
    hooks.run_all(config, "poststop", status.oci(journal, status.STOPPED))


def destroy_processes(journal: dict[str, Any]) -> None:
    kill_all(journal, _signal.SIGKILL)
    pid, started = journal.get("pid"), journal.get("started")
    pidfd = None if pid is None or started is None else procfs.open_process(pid, started)
    if pidfd is None:
        return
    try:
        syscalls.pidfd_send_signal(pidfd, _signal.SIGKILL)
    except OSError as error:
        if error.errno != errno.ESRCH:
            raise refused("cannot kill the container", error) from error
    try:
        if not procfs.has_ended(pidfd, _FORCED):
            raise StateError(f"process {pid} of the container does not end", hint="it may hang in the kernel (state D)")
    finally:
        os.close(pidfd)


def is_dying(journal: dict[str, Any], found: str) -> bool:
    """Whether the process ends within a second, as it has been told to."""
    pidfd = procfs.open_process(journal["pid"], journal["started"]) if journal.get("started") else None
    if pidfd is None:
        return True
    try:
        return procfs.is_ending(journal["pid"], pending=found == status.CREATED) and procfs.has_ended(pidfd, _DYING)
    finally:
        os.close(pidfd)
