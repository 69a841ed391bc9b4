"""A container's cgroups: one interface over v1 with or without v2 beside it (`legacy`), v2 (`unified`), and none."""

from __future__ import annotations

import _signal
import errno
import time

from boxes import system as os
from boxes.cgroups import wait
from boxes.cgroups.directory import Directory
from boxes.cgroups.settings import DeviceRules, Setting
from boxes.errors import ConfigError, KernelError, StateError, UnsupportedError, UsageError, refused
from boxes.linux.path import parts
from boxes.linux.syscalls import pidfd_open, pidfd_send_signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from boxes.cgroups.layout import Hierarchy, Layout

_DENIED = (errno.EACCES, errno.EPERM, errno.EROFS)


class Mountable:
    """A hierarchy as a container may see it.

    `name` is the mount point's last component on the host (``cpu,cpuacct``), `options` what to mount with in a new
    cgroup namespace, `source` the container's own cgroup, to be bound without one.
    """

    __slots__ = ("name", "options", "source", "unified")

    def __init__(self, name: str, options: str, source: str, *, unified: bool) -> None:
        self.name = name
        self.options = options
        self.source = source
        self.unified = unified


class Manager:
    """The cgroups of one container; this one has none: it is the manager "disabled".

    In the order of a container's life: `make_entry`, `make`, `apply`, `entries`, …, `kill_all`, `remove`. What
    `record` says before `make` is enough to finish or undo it later (`from_record`), after a kill at any point.
    """

    kind = "disabled"
    needs_process = False  # the cgroup is made around a process: after the clone
    needs_owner = False  # which still has to have its maker's ids

    def __init__(
        self,
        directories: list[Directory],
        *,
        forgiven: tuple[int, ...] = (),
        restricted: bool = False,
        shared: bool = False,
    ) -> None:
        self.directories = directories
        # Where nobody asked for a cgroup and making one fails with these, the container does without.
        self.forgiven = forgiven
        # Device rules are left out: by choice, or because without privileges on the host they can neither be loaded
        # nor protect anything, while every engine sends them.
        self.restricted = restricted
        # The cgroups had processes before.
        self.shared = shared

    def record(self) -> dict[str, Any]:
        """For JSON; to be written down before `make`, and again after it."""
        return {
            "kind": self.kind,
            "restricted": self.restricted,
            "shared": self.shared,
            "directories": [directory.record() for directory in self.directories],
        }

    def close(self) -> None:
        """Close the descriptors held; each is opened again when it is needed."""
        for directory in self.directories:
            directory.close()

    def __enter__(self) -> Manager:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def make_entry(self) -> None:
        """Make, of the cgroups, that which a process can be born in. One that is there already must be empty."""

    def make(self, *, shared: bool = False) -> None:
        """Make the rest. One that is there already must be without processes, unless `shared`."""

    def announce(self, pid: int, settings: Sequence[Setting | DeviceRules]) -> None:
        """Tell a manager that `needs_process` which it is, and what `apply` will be called with first."""

    def entry_fd(self) -> int | None:
        """A descriptor for CLONE_INTO_CGROUP, which remains the manager's own; None where that does not exist, and for
        a cgroup that was there before: kernels kill what is born in one whose cgroup.kill was written to (6.18)."""
        return None

    def entries(self, *, born: bool) -> tuple[list[int], list[int]]:
        """Descriptors for a process that has no threads: it is a member once it has written "0" to each. Those of the
        second list charge what it allocates from then on. `born`: it is in `entry_fd` already."""
        return [], []

    def put_below(self, pid: int, names: list[str]) -> None:
        """Make a v2 cgroup below the container's, and put its only process there."""
        raise UnsupportedError("the container has no cgroup of v2")

    def delegate(self, uid: int, gid: int, names: Sequence[str] = (), *, forgiving: bool = False) -> None:
        """Give the container's v2 cgroup, or that of these names below it, to who is to manage it; never done on v1."""

    def freeze(self, timeout: float = 10.0) -> None:
        """Stop all processes, or leave them running and raise."""
        raise UnsupportedError("a container without a cgroup cannot be paused")

    def thaw(self) -> None:
        """Let frozen processes go on."""

    def is_frozen(self) -> bool:
        return False

    def frozen_sign(self) -> tuple[str, str] | None:
        """A file, and what it holds if and only if the container is frozen: for who asks without a manager."""
        return None

    def mounts_for_container(self) -> list[Mountable]:
        return []

    def apply(self, settings: Sequence[Setting | DeviceRules]) -> None:
        """Write the limits in order. KernelError says which one was refused, UnsupportedError which one cannot be."""
        postponed = []
        for setting in settings:
            if isinstance(setting, DeviceRules):
                self._apply_devices(setting)
                continue
            try:
                self._set(setting)
            except OSError as error:
                if not setting.again or error.errno not in (errno.EINVAL, errno.EBUSY):
                    raise self._refusal(setting, error) from error
                postponed.append(setting)
        for setting in postponed:
            try:
                self._set(setting)
            except OSError as error:
                raise self._refusal(setting, error) from error

    def processes(self) -> list[int]:
        """All processes of the container, by the pids of this pid namespace."""
        found: set[int] = set()
        for directory in self.directories:
            found.update(directory.processes())
        found.discard(0)
        return sorted(found)

    def paths(self, subgroups: dict[str, str] | None = None) -> list[tuple[str, bool]]:
        """The cgroup of each hierarchy, that of v1's memory last, and whether it is one of v2.

        `subgroups` names cgroups below the container's own, by controller, or by "" for all hierarchies.
        """
        chosen = {name: _subgroup(path) for name, path in (subgroups or {}).items()}
        for name in chosen:
            if name and self._directory(name) is None:
                raise UsageError(f"the container has no cgroup of controller '{name}'")
        found = []
        for directory in sorted(self.directories, key=_late):
            names = next((chosen[name] for name in directory.controllers if name in chosen), chosen.get("", []))
            found.append(("/".join([directory.path, *names]), not directory.controllers))
        return found

    def kill_all(self, number: int) -> None:
        """Send a signal to every process; SIGKILL follows those that fork meanwhile, and ends what is frozen too."""
        self._check_alone()
        self._signal(number)

    def remove(self, timeout: float = 1.0) -> None:
        """Remove what `make` made, waiting up to `timeout` seconds for processes to end. May be called again."""
        deadline = time.monotonic() + timeout
        for directory in self.directories:
            try:
                _remove(directory, deadline, sure=self.needs_process or directory.inode != 0)
            finally:
                directory.close()

    def _directory(self, controller: str) -> Directory | None:
        return next((found for found in self.directories if controller in found.controllers), None)

    def _apply_devices(self, rules: DeviceRules) -> None:
        if not self.restricted:
            text = "without a cgroup the access to devices cannot be confined"
            raise UnsupportedError(text, pointer=rules.pointer, hint="--cgroup-manager disabled does without")

    def _set(self, setting: Setting) -> None:
        directory = self._directory(setting.controller)
        if directory is None:
            if setting.optional:
                return
            raise self._missing(setting)
        if setting.above is not None:
            used = int(directory.read(setting.above))
            if used >= int(setting.value):
                text = f"the limit {setting.value} is not above what is in use, {used}"
                raise StateError(text, pointer=setting.pointer)
        try:
            directory.write(setting.file, *setting.value.splitlines())
        except FileNotFoundError as error:
            if setting.instead is not None:
                directory.write(setting.instead[0], *setting.instead[1].splitlines())
            elif not setting.optional:
                raise self._missing(setting) from error

    def _missing(self, setting: Setting) -> UnsupportedError:
        """The error for a limit whose cgroup or file does not exist."""
        hint = setting.hint
        if self.forgiven and not self.directories:
            hint = "no cgroup may be made here: have one delegated, or ask for no limits"
        text = f"cannot set '{setting.file}': the container has no cgroup of controller '{setting.controller}'"
        return UnsupportedError(text, pointer=setting.pointer, hint=hint)

    def _refusal(self, setting: Setting, error: OSError) -> KernelError | UnsupportedError:
        if error.errno == errno.ENOENT:
            return self._missing(setting)
        stage = f"cannot set '{setting.file}' to '{setting.value}'"
        hint = "more is in use" if error.errno == errno.EBUSY and setting.controller == "memory" else setting.hint
        return refused(stage, error, pointer=setting.pointer, hint=hint)

    def _make(self, directory: Directory) -> bool:
        """Make one cgroup; False if it may not be made, and need not."""
        try:
            directory.make()
        except OSError as error:
            if error.errno in self.forgiven:
                return False
            raise refused("cannot make the cgroup", error) from error
        return True

    def _check_unused(self, directories: list[Directory], *, shared: bool) -> None:
        for directory in directories:
            found = [] if directory.ours else directory.processes()
            self.shared = self.shared or bool(found)
            if found and not shared:
                text = f"the cgroup '{directory.path}' has processes already ({_some(found)})"
                raise StateError(text, path=directory.path)

    def _check_alone(self) -> None:
        if self.shared:
            raise StateError("the container shares its cgroup, so its processes cannot be told from others")

    def _signal(self, number: int, known: set[int] | None = None) -> None:
        """Signal all processes but the known ones, and this one."""
        known = {os.getpid(), *(known or ())}
        for _ in range(64 if number == _signal.SIGKILL else 1):
            found = [pid for pid in self.processes() if pid not in known]
            if not found:
                return
            known.update(found)
            self._send(found, number)

    def _send(self, pids: list[int], number: int) -> None:
        fds = {}
        try:
            for pid in pids:
                try:
                    fds[pid] = pidfd_open(pid)
                except ProcessLookupError:
                    continue  # it has ended
            # What is a member now, after its pidfd was opened, is the process that the pidfd is of.
            for pid in set(self.processes()).intersection(fds):
                try:
                    pidfd_send_signal(fds[pid], number)
                except ProcessLookupError:
                    continue
        finally:
            for fd in fds.values():
                os.close(fd)


def open_manager(layout: Layout, path: str | None, container_id: str, *, rootless: bool) -> Manager:
    """The manager for a container's cgroupsPath, or for none. Nothing is made yet.

    An absolute path counts from each mount point, a relative one from the runtime's own cgroup (on v2 from its parent,
    because a cgroup with processes can have no children with controllers). Without a path it is the container's id.
    ConfigError if the path names no cgroup of its own; ``..`` ends at the root.
    """
    if layout.kind == "none":
        if path:
            hint = "--cgroup-manager disabled does without"
            raise UnsupportedError("no cgroup hierarchy is mounted", hint=hint)
        return Manager([], restricted=rootless)
    names = _checked(path or container_id)
    absolute = bool(path) and str(path).startswith("/")
    directories = [
        Directory.planned(each.mount_point, names if absolute else [*_base(layout, each), *names], _controllers(each))
        for each in layout.hierarchies
    ]
    # Whoever names a cgroup gets it or an error; the rest follow runc in what they forgive.
    forgiven = () if path else _DENIED if rootless else (errno.EROFS,)
    return _manager(layout.kind)(directories, forgiven=forgiven, restricted=rootless)


def disabled() -> Manager:
    """The manager for whoever wants no cgroups: limits are refused, device rules are left out."""
    return Manager([], restricted=True)


def from_record(record: dict[str, Any]) -> Manager:
    """The manager of a container that was made before, from what `Manager.record` said."""
    if "scope" in record:
        from boxes.cgroups import scope

        return scope.from_record(record)
    directories = [Directory.from_record(found) for found in record["directories"]]
    return _manager(record["kind"])(directories, restricted=record["restricted"], shared=record["shared"])


def paths_of(layout: Layout, pid: int) -> list[tuple[str, bool]]:
    """The cgroups a process is in, that of v1's memory last, and whether each is one of v2."""
    from boxes.cgroups.layout import below, memberships

    with open(f"/proc/{pid}/cgroup", "rb") as file:
        found = memberships(file.read())
    return [
        ("/".join([hierarchy.mount_point, *below(hierarchy.root, found[hierarchy.label])]), hierarchy.unified)
        for hierarchy in sorted(layout.hierarchies, key=_late)
        if hierarchy.label in found
    ]


def _manager(kind: str) -> type[Manager]:
    if kind == "unified":
        from boxes.cgroups.unified import Unified

        return Unified
    if kind == "legacy":
        from boxes.cgroups.legacy import Legacy

        return Legacy
    return Manager


def _checked(path: str) -> list[str]:
    if "\0" in path or "\n" in path:
        raise ConfigError("a cgroup's name has no line breaks and no NUL bytes")
    names = parts(path)
    if not names:
        raise ConfigError(f"'{path}' names the root of a hierarchy, which belongs to the host")
    return names


def _base(layout: Layout, hierarchy: Hierarchy) -> list[str]:
    return hierarchy.own[:-1] if layout.kind == "unified" else hierarchy.own


def _controllers(hierarchy: Hierarchy) -> tuple[str, ...]:
    return hierarchy.controllers or ((hierarchy.label,) if hierarchy.label else ())


def _late(found: Directory | Hierarchy) -> bool:
    return "memory" in found.controllers


def _subgroup(path: str) -> list[str]:
    if ".." in path.split("/") or "\0" in path:
        raise UsageError(f"'{path}' is no cgroup below the container's")
    return parts(path)


def _some(pids: list[int]) -> str:
    more = f" and {len(pids) - 4} more" if len(pids) > 4 else ""
    return ", ".join(str(pid) for pid in pids[:4]) + more


def _remove(directory: Directory, deadline: float, *, sure: bool) -> None:
    def removed() -> bool:
        try:
            directory.remove()
        except OSError as error:
            if error.errno not in (errno.EBUSY, errno.ENOTEMPTY):
                raise refused("cannot remove the cgroup", error) from error
            return False
        return True

    if removed():
        return
    if not sure:  # perhaps somebody else's; ours has at most a process that is ending
        wait.until(removed, min(deadline, time.monotonic() + 1.0))
        return
    # A process has left its cgroup when its pidfd says that it ended. v2 tells of processes we cannot see as well.
    if wait.exits(directory.processes(), deadline) and removed():
        return
    if not directory.controllers:
        wait.event(f"{directory.path}/cgroup.events", "populated", "0", deadline)
    if not wait.until(removed, deadline):
        text = f"cannot remove the cgroup '{directory.path}': it still has processes ({_some(directory.processes())})"
        raise KernelError(text, errno=errno.EBUSY, path=directory.path)
