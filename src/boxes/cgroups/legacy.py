"""Cgroups of v1: one for each hierarchy, and one of v2 where that is mounted beside them (a hybrid host).

The v2 cgroup has no controllers, but it has what v1 lacks: killing and events for the whole cgroup, and that a process
is born in it.

Whoever writes to cgroup.procs waits for an RCU grace period, 5 to 28 ms, as a rule. A thread that writes itself to the
file `tasks` of v1 does not (Linux 5.5, "cgroup: Optimize single thread migration"), and a process with one thread is
moved as a whole by that.
"""

from __future__ import annotations

import _signal
import errno
import time

from boxes import system as os
from boxes.cgroups import wait
from boxes.cgroups.manager import Manager, Mountable
from boxes.errors import BoxesError, KernelError, StateError, UnsupportedError, refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from boxes.cgroups.directory import Directory
    from boxes.cgroups.settings import DeviceRules

_CPUSET = ("cpuset.cpus", "cpuset.mems")


class Legacy(Manager):
    kind = "legacy"

    def make_entry(self) -> None:
        unified = self._unified()
        if unified is not None:
            self._make_all([unified], shared=False)

    def entry_fd(self) -> int | None:
        unified = self._unified()
        return unified.fd if unified is not None and unified.ours else None

    def make(self, *, shared: bool = False) -> None:
        self._make_all([directory for directory in self.directories if not directory.inode], shared=shared)
        cpuset = self._directory("cpuset")
        if cpuset is not None:
            try:
                _fill_cpuset(cpuset)
            except OSError as error:
                raise refused("cannot prepare the cgroup of controller 'cpuset'", error) from error
        freezer = self._directory("freezer")
        if freezer is not None and freezer.read("freezer.state") != "THAWED\n":
            self.shared = True  # with whoever froze it: not ours to thaw, nor to look for processes in
            raise StateError(f"the cgroup '{freezer.path}' is frozen", hint="thaw it first")

    def entries(self, *, born: bool) -> tuple[list[int], list[int]]:
        early, late = [], []
        for directory in self.directories:
            if not directory.controllers:
                early += [] if born else [directory.open("cgroup.procs")]
            elif "memory" in directory.controllers:
                late.append(directory.open("tasks"))
            else:
                early.append(directory.open("tasks"))
        return early, late

    def _make_all(self, wanted: list[Directory], *, shared: bool) -> None:
        mask = os.umask(0o022)
        try:
            lacking = [directory for directory in wanted if not self._make(directory)]
        finally:
            os.umask(mask)
        self.directories = [directory for directory in self.directories if directory not in lacking]
        self._check_unused([directory for directory in wanted if directory not in lacking], shared=shared)

    def kill_all(self, number: int) -> None:
        self._check_alone()
        was_frozen = self.is_frozen()
        if number != _signal.SIGKILL:
            if not was_frozen:
                self._request("FROZEN")  # nobody forks between the reading of the list and the last signal
            try:
                self._signal(number)
                return
            finally:
                if not was_frozen:
                    self._thaw_for_sure()
        killed = self._kill_unified()
        if killed is None:
            self._request("FROZEN")
        try:
            self._signal(number, killed)  # those of v1's cgroups, where not all of them need be the same
        finally:
            self._thaw_for_sure()  # a frozen process of v1 does not even die

    def freeze(self, timeout: float = 10.0) -> None:
        """v1 has no event for the end of freezing: reading the state makes the kernel look, so that is repeated."""
        if not self.directories:
            super().freeze(timeout)
        if self._directory("freezer") is None:
            raise UnsupportedError("controller 'freezer' is not mounted, so the container cannot be paused")
        deadline = time.monotonic() + timeout
        try:
            self._request("FROZEN")
            if wait.until(self._settled, deadline):
                return
        except OSError as error:
            self.thaw()
            raise refused("cannot freeze the cgroup", error) from error
        self.thaw()
        raise KernelError(f"the container's processes did not freeze within {timeout:g} s", errno=errno.EBUSY)

    def _thaw_for_sure(self) -> None:
        """Nobody else knows that it was frozen: what lacks for a moment is tried again."""
        try:
            self.thaw()
        except (BoxesError, OSError):
            self.thaw()

    def thaw(self) -> None:
        self._request("THAWED")

    def is_frozen(self) -> bool:
        freezer = self._directory("freezer")
        try:
            return freezer is not None and freezer.read("freezer.self_freezing") == "1\n"
        except FileNotFoundError:
            return False

    def frozen_sign(self) -> tuple[str, str] | None:
        freezer = self._directory("freezer")
        return None if freezer is None else (f"{freezer.path}/freezer.self_freezing", "1\n")

    def mounts_for_container(self) -> list[Mountable]:
        return [
            Mountable(
                directory.mount_point.rpartition("/")[2],
                _options(directory),
                directory.path,
                unified=not directory.controllers,
            )
            for directory in self.directories
        ]

    def _apply_devices(self, rules: DeviceRules) -> None:
        devices = self._directory("devices")
        if self.restricted or devices is None:
            super()._apply_devices(rules)
            return
        from boxes.cgroups.devices import lines

        try:
            asked, others = lines(rules)
            for file, line in asked:
                devices.write(file, line)
            try:
                devices.write("devices.allow", *others)
            except PermissionError:
                _write_what_may_be(devices, others)
        except OSError as error:
            raise refused("cannot set the device rules", error, pointer=rules.pointer) from error

    def _unified(self) -> Directory | None:
        return next((found for found in self.directories if not found.controllers), None)

    def _kill_unified(self) -> set[int] | None:
        """Kill at one stroke through v2, and say whom; None where that cannot be (COMPAT(linux<5.14), or no v2)."""
        unified = self._unified()
        if unified is None:
            return None
        try:
            unified.write("cgroup.kill", "1")
        except OSError:
            return None
        return set(unified.processes())

    def _request(self, state: str) -> None:
        freezer = self._directory("freezer")
        if freezer is not None:
            try:
                freezer.write("freezer.state", state)
            except FileNotFoundError:
                return

    def _settled(self) -> bool:
        freezer = self._directory("freezer")
        if freezer is None or freezer.read("freezer.state") == "FROZEN\n":
            return True
        self._request("FROZEN")  # processes that came meanwhile
        return False


def _write_what_may_be(devices: Directory, written: list[str]) -> None:
    """The parent cgroup may use less than all devices: then so do we."""
    for line in written:
        try:
            devices.write("devices.allow", line)
        except PermissionError:
            continue


def _options(directory: Directory) -> str:
    """What a v1 mount of the same hierarchy is asked for with."""
    options = ",".join(directory.controllers)
    return f"none,{options}" if options.startswith("name=") else options


def _fill_cpuset(directory: Directory) -> None:
    """Copy the CPUs and memory nodes of the nearest ancestor which has some: without, v1 lets no process in."""
    root = os.open(directory.mount_point, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for file in _CPUSET:
            value = b""
            for depth in range(len(directory.names) + 1):
                path = "/".join([*directory.names[:depth], file])
                # What was just made is empty: reading it would tell nothing.
                found = b"" if depth > directory.existing else _read_at(root, path)
                if not found:
                    _write_at(root, path, value)
                value = found or value
    finally:
        os.close(root)


def _read_at(root: int, path: str) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=root)
    try:
        return os.read(fd, 65536).strip()
    finally:
        os.close(fd)


def _write_at(root: int, path: str, value: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC, dir_fd=root)
    try:
        os.write(fd, value)
    finally:
        os.close(fd)
