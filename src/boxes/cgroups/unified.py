"""The cgroup of v2: one, with the controllers that its parents enable for it."""

from __future__ import annotations

import _signal
import errno
import time

from boxes import system as os
from boxes.cgroups import wait
from boxes.cgroups.directory import Directory
from boxes.cgroups.manager import Manager, Mountable
from boxes.errors import KernelError, StateError, UnsupportedError, refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from boxes.cgroups.settings import DeviceRules, Setting

# COMPAT(linux<4.15): what /sys/kernel/cgroup/delegate would list.
_DELEGATED = ("cgroup.procs", "cgroup.subtree_control", "cgroup.threads")


class Unified(Manager):
    kind = "unified"
    beside_others = False  # device programs that are not ours stay attached

    def make_entry(self) -> None:
        self.make()

    def make(self, *, shared: bool = False) -> None:
        if any(directory.inode for directory in self.directories):
            return
        mask = os.umask(0o022)
        try:
            self.directories = [directory for directory in self.directories if self._make(directory)]
        finally:
            os.umask(mask)
        self._check_unused(self.directories, shared=shared)
        for directory in self.directories:
            enable_controllers(directory)
            self._check(directory)

    def _check(self, directory: Directory) -> None:
        kind = directory.read("cgroup.type").strip()
        if kind not in ("domain", "domain threaded"):
            text = f"the cgroup '{directory.path}' takes no processes: its type is '{kind}'"
            raise UnsupportedError(text, hint="a cgroup above it is threaded")
        if "frozen 1" in directory.read("cgroup.events").splitlines():
            raise StateError(f"the cgroup '{directory.path}' is frozen", hint="thaw it first")

    def entry_fd(self) -> int | None:
        return self.directories[0].fd if self.directories and self.directories[0].ours else None

    def entries(self, *, born: bool) -> tuple[list[int], list[int]]:
        return [], [] if born else [directory.open("cgroup.procs") for directory in self.directories]

    def put_below(self, pid: int, names: list[str]) -> None:
        """With all controllers, which is possible as soon as the process has left those above."""
        if not self.directories:
            super().put_below(pid, names)
        with self._below(names) as below:
            mask = os.umask(0o022)
            try:
                self._make(below)
            finally:
                os.umask(mask)
            try:
                below.write("cgroup.procs", str(pid))
            except OSError as error:
                raise refused("cannot enter the cgroup", error) from error
            path = self.directories[0].path
            for name in names:
                _enable_each(path, _words(path, "cgroup.controllers"))
                path = f"{path}/{name}"

    def _below(self, names: Sequence[str]) -> Directory:
        container = self.directories[0]
        return Directory.planned(container.mount_point, [*container.names, *names], ())

    def delegate(self, uid: int, gid: int, names: Sequence[str] = (), *, forgiving: bool = False) -> None:
        """The directory and the files that /sys/kernel/cgroup/delegate lists, as the runtime specification says.
        `forgiving`: who may not give it away keeps it."""
        try:
            with open("/sys/kernel/cgroup/delegate", "rb") as file:
                files = tuple(file.read().decode().split())
        except FileNotFoundError:
            files = _DELEGATED
        for container in self.directories:
            directory = self._below(names) if names else container
            try:
                directory.own(uid, gid, files)
            except OSError as error:
                if forgiving and error.errno == errno.EPERM:
                    return
                raise refused("cannot give the cgroup to the container", error) from error
            finally:
                if names:
                    directory.close()

    def kill_all(self, number: int) -> None:
        self._check_alone()
        if number == _signal.SIGKILL and self._kill():
            return
        was_frozen = self.is_frozen()
        if not was_frozen:
            self._request("1")  # nobody forks between the reading of the list and the last signal
        try:
            super().kill_all(number)
        finally:
            if not was_frozen:
                self.thaw()

    def freeze(self, timeout: float = 10.0) -> None:
        if not self.directories:
            super().freeze(timeout)
        try:
            self.directories[0].write("cgroup.freeze", "1")
        except OSError as error:
            raise refused("cannot freeze the cgroup", error) from error
        events = f"{self.directories[0].path}/cgroup.events"
        if not wait.event(events, "frozen", "1", time.monotonic() + timeout):
            self.thaw()
            raise KernelError(f"the container's processes did not freeze within {timeout:g} s", errno=errno.EBUSY)

    def thaw(self) -> None:
        self._request("0")

    def is_frozen(self) -> bool:
        try:
            return any(directory.read("cgroup.freeze") == "1\n" for directory in self.directories)
        except FileNotFoundError:
            return False

    def frozen_sign(self) -> tuple[str, str] | None:
        return (f"{self.directories[0].path}/cgroup.freeze", "1\n") if self.directories else None

    def mounts_for_container(self) -> list[Mountable]:
        return [Mountable("", "", directory.path, unified=True) for directory in self.directories]

    def _directory(self, controller: str) -> Directory | None:
        return self.directories[0] if self.directories else None

    def _missing(self, setting: Setting) -> UnsupportedError:
        if not self.directories:
            return super()._missing(setting)
        directory = self.directories[0]
        absent = _absent_at(directory, setting.controller)
        if absent is None:
            text = f"the kernel has no '{setting.file}' in '{directory.path}'"
            return UnsupportedError(text, pointer=setting.pointer, path=directory.path, hint=setting.hint)
        text = f"cannot set '{setting.file}': controller '{setting.controller}' is not available in '{absent}'"
        hint = "it is not delegated to this user, or processes in a cgroup above keep it from being enabled"
        if absent == directory.mount_point:
            hint = "the kernel lacks it, or it is mounted as cgroup v1"
        return UnsupportedError(text, pointer=setting.pointer, path=absent, hint=hint)

    def _apply_devices(self, rules: DeviceRules) -> None:
        if self.restricted or not self.directories:
            super()._apply_devices(rules)
            return
        from boxes.cgroups import devices

        directory = self.directories[0]
        try:
            devices.attach(directory.fd, devices.program(rules), fresh=directory.pristine, keep=self.beside_others)
        except OSError as error:
            raise refused("cannot attach the device rules to the cgroup", error, pointer=rules.pointer) from error
        directory.pristine = False

    def _kill(self) -> bool:
        """Kill all at one stroke; COMPAT(linux<5.14): there is no cgroup.kill."""
        try:
            for directory in self.directories:
                directory.write("cgroup.kill", "1")
        except FileNotFoundError:
            return False
        return True

    def _request(self, state: str) -> None:
        for directory in self.directories:
            try:
                directory.write("cgroup.freeze", state)
            except FileNotFoundError:
                continue


def enable_controllers(directory: Directory) -> None:
    """Enable in every parent what it has: what is not in `cgroup.subtree_control` above does not exist below.

    That fails where the parent is not ours; a limit that needs the controller says so later.
    """
    path = directory.mount_point
    for name in directory.names:
        try:
            missing = _words(path, "cgroup.controllers") - _words(path, "cgroup.subtree_control")
            if missing and not may_have_children(path):
                return
            _enable_each(path, missing)
        except OSError:
            pass
        path = f"{path}/{name}"


def may_have_children(path: str) -> bool:
    """Whether children of the cgroup can have controllers: a cgroup with processes of its own is refused that.

    Or worse, with only cpu, cpuset or pids it is not refused: it becomes the root of a threaded tree, and no process
    can enter the children. The root of the hierarchy is exempt; it alone has no cgroup.type.
    """
    try:
        _words(path, "cgroup.type")
    except FileNotFoundError:
        return True
    return not _words(path, "cgroup.procs")


def _enable_each(path: str, controllers: set[str]) -> None:
    """All at once, or those that can be."""
    if controllers and not _enable(path, controllers):
        for controller in controllers:
            _enable(path, {controller})


def _enable(path: str, controllers: set[str]) -> bool:
    try:
        fd = os.open(f"{path}/cgroup.subtree_control", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, " ".join(f"+{controller}" for controller in sorted(controllers)).encode())
        finally:
            os.close(fd)
    except OSError:
        return False
    return True


def _absent_at(directory: Directory, controller: str) -> str | None:
    """The first cgroup on the way down which lacks a controller; None if none does, or there is no such controller."""
    if controller == "cgroup":
        return None
    path = directory.mount_point
    for name in [*directory.names, ""]:
        if controller not in _words(path, "cgroup.controllers"):
            return path
        path = f"{path}/{name}"
    return None


def _words(path: str, file: str) -> set[str]:
    fd = os.open(f"{path}/{file}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return set(os.read(fd, 4096).decode().split())
    finally:
        os.close(fd)
