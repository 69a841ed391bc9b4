"""Hearing of a container's out-of-memory kills, and counting them."""

from __future__ import annotations

import select

from boxes import system as os
from boxes.cgroups.reading import directory_of, flat, read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from boxes.cgroups.manager import Manager


def kills(manager: Manager) -> int | None:
    """How many processes the kernel has killed for want of memory; None if nobody counts (Linux 4.13)."""
    file = "memory.events" if manager.kind == "unified" else "memory.oom_control"
    return flat(read(manager, "memory", file)).get("oom_kill")


class Alarm:
    """`fd` becomes ready for `events` of poll(2) when the cgroup has been out of memory; then ask `rang`."""

    fd = -1
    events = 0

    def rang(self) -> bool:
        return False

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class _Unified(Alarm):
    """memory.events, which the kernel says to have changed: cgroup-v2.rst."""

    events = select.POLLPRI

    def __init__(self, manager: Manager, directory: int) -> None:
        self._manager = manager
        self.fd = os.open("memory.events", os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory)
        self._known = self._count()

    def _count(self) -> int:
        try:
            return flat(os.pread(self.fd, 4096, 0).decode()).get("oom_kill", 0)
        except OSError:  # the cgroup is gone
            return 0

    def rang(self) -> bool:
        before, self._known = self._known, self._count()
        return self._known > before


class _Legacy(Alarm):
    """An eventfd for memory.oom_control: memory.rst of cgroup-v1, "OOM Control"."""

    events = select.POLLIN

    def __init__(self, manager: Manager, directory: int) -> None:
        self._manager = manager
        control = os.open("memory.oom_control", os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory)
        try:
            self.fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            listener = os.open("cgroup.event_control", os.O_WRONLY | os.O_CLOEXEC, dir_fd=directory)
            try:
                os.write(listener, f"{self.fd} {control}".encode())
            finally:
                os.close(listener)
        except OSError:
            self.close()
            raise
        finally:
            os.close(control)

    def rang(self) -> bool:
        try:
            os.eventfd_read(self.fd)
        except BlockingIOError:
            return False
        # The end of the cgroup rings as well.
        return read(self._manager, "memory", "memory.oom_control") is not None


def alarm(manager: Manager) -> Alarm:
    """Listen to a container's cgroup. Where that cannot be, nothing ever rings."""
    directory = directory_of(manager, "memory")
    try:
        if directory is not None:
            return (_Unified if manager.kind == "unified" else _Legacy)(manager, directory.fd)
    except OSError:  # a kernel or a cgroup without the controller
        pass
    return Alarm()
