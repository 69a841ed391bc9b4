"""Cgroups that systemd makes: transient scope units. systemd.resource-control(5), "Delegate".

A scope is made around a process that lives. Its cgroup is delegated: systemd makes and removes it, and heeds its own
properties of it; all else is ours. So a scope is the manager of v2 or v1 with another way to make and to remove.
"""

from __future__ import annotations

import _stat as stat

from boxes import system as os
from boxes.cgroups import layout as layouts
from boxes.cgroups import systemd, units
from boxes.cgroups.directory import Directory
from boxes.cgroups.legacy import Legacy
from boxes.cgroups.manager import Manager
from boxes.cgroups.settings import Setting
from boxes.cgroups.systemd import Unit
from boxes.cgroups.unified import Unified, enable_controllers
from boxes.errors import InternalError, UnsupportedError, refused
from boxes.linux.path import parts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from boxes.cgroups.bus import Bus
    from boxes.cgroups.layout import Layout
    from boxes.cgroups.settings import DeviceRules
    from boxes.cgroups.units import Property

# Controllers that systemd does not know, and so does not enable for a unit that is delegated.
_UNKNOWN = ("hugetlb", "rdma", "misc")


class Scope(Manager):
    """What is common to scopes on v1 and on v2."""

    needs_process = True
    unit: Unit
    bus: Bus | None = None
    announced: Sequence[Setting | DeviceRules] = ()  # the unit is made with these

    def record(self) -> dict[str, Any]:
        return super().record() | {"scope": self.unit.record()}

    def close(self) -> None:
        self._hang_up()
        super().close()

    def _hang_up(self) -> None:
        if self.bus is not None:
            self.bus.close()
            self.bus = None

    @property
    def needs_owner(self) -> bool:  # type: ignore[override]  # elsewhere it is the same for all of a class
        """A user's systemd may move the processes of that user only."""
        return bool(self.unit.instance)

    def announce(self, pid: int, settings: Sequence[Setting | DeviceRules]) -> None:
        self.unit.pid = pid
        self.announced = settings

    def make_entry(self) -> None:
        """There is none before the process is there."""

    def entry_fd(self) -> None:
        return

    def _begin(self) -> None:
        """Make the unit around its process, which is in the cgroup from then on."""
        systemd.start(self._connected(), self.unit, self._properties(self.announced))
        self._find(layouts.detect())

    def _adopt(self) -> None:
        """What systemd does not remove with the unit, we do; the slice is its own."""
        for directory in self.directories:
            directory.existing = min(directory.existing, len(directory.names) - 1)

    def apply(self, settings: Sequence[Setting | DeviceRules]) -> None:
        """systemd first, since what it writes may be rounded."""
        wanted = [] if settings is self.announced else self._properties(settings)
        try:
            if wanted:
                systemd.set_properties(self._connected(), self.unit.name, wanted)
        finally:
            self._hang_up()  # who waits for a container's end does not listen to systemd
        super().apply(settings)

    def remove(self, timeout: float = 1.0) -> None:
        """Stop the unit, and wait for the end of its cgroup. One that was never made, or is gone, is as well."""
        if not self.unit.begun or self._is_anothers():
            return
        self._stop(timeout)
        super().remove(timeout)

    def attach(self, pid: int, below: str) -> None:
        """Put a process into the cgroup, or into one below it ("/a/b"), with systemd's rights."""
        try:
            systemd.attach(self._connected(), self.unit.name, below, pid)
        finally:
            self._hang_up()

    def _stop(self, timeout: float) -> None:
        patience = min(timeout, 1.0) if self.unit.silent else max(timeout, 1.0)
        try:
            bus = self.bus or systemd.connect(self.unit.instance, patience)
        except UnsupportedError:
            return  # this systemd is gone, and its units with it
        self.bus = bus
        bus.patience = patience
        try:
            systemd.stop(bus, self.unit.name)
        finally:
            self._hang_up()

    def _connected(self) -> Bus:
        if self.bus is None:
            self.bus = systemd.connect(self.unit.instance, systemd.PATIENCE)
        return self.bus

    def _properties(self, settings: Sequence[Setting | DeviceRules]) -> list[Property]:
        if self.restricted:
            settings = [each for each in settings if isinstance(each, Setting)]
        return units.properties(
            settings, unified=self.kind == "unified", bfq=self._has("io", "io.bfq.weight"), held=self._held
        )

    def _has(self, controller: str, file: str) -> bool:
        """Whether the cgroup has a file; one that is not made yet has what its slice has."""
        directory = self._directory(controller)
        if directory is None:
            return False
        above = directory.path.rpartition("/")[0]
        return any(_is_file(f"{path}/{file}") for path in (directory.path, above))

    def _held(self, controller: str, file: str) -> str:
        directory = self._directory(controller)
        try:
            return "" if directory is None else directory.read(file).strip()
        except OSError:
            return ""

    def _find(self, layout: Layout) -> None:
        """Look where the process is now."""
        try:
            with open(f"/proc/{self.unit.pid}/cgroup", "rb") as file:
                found = layouts.memberships(file.read())
        except OSError as error:
            raise refused("cannot find the cgroup of the unit", error) from error
        label = "" if self.kind == "unified" else "name=systemd"
        names = parts(found.get(label, ""))
        if names[-1:] != [self.unit.name] and names[-1:] != [f"_{self.unit.name}"]:
            text = f"systemd made '{self.unit.name}', but its process is in '/{'/'.join(names)}'"
            raise InternalError(text)
        self.directories = [
            directory
            for each in layout.hierarchies
            if (directory := _directory_at(each, found.get(label, ""))) is not None
        ]

    def _check_unused(self, directories: list[Directory], *, shared: bool) -> None:
        """The cgroups of systemd's making have our process in them."""

    def kill_all(self, number: int) -> None:
        if self.unit.begun and not self._is_anothers():
            super().kill_all(number)

    def _is_anothers(self) -> bool:
        """Whether the unit of this name may be somebody else's: creation ended between asking for it and knowing, and
        what is there has processes, but not ours."""
        if not self.directories or any(directory.inode for directory in self.directories):
            return False
        found = self.processes()
        return bool(found) and self.unit.pid not in found


class UnifiedScope(Scope, Unified):
    beside_others = True  # systemd has a device program of its own in this cgroup

    def make(self, *, shared: bool = False) -> None:
        self._begin()
        for directory in self.directories:
            self._check(directory)
        self._adopt()

    def entries(self, *, born: bool) -> tuple[list[int], list[int]]:
        """systemd has put the process there, with rights that a user may lack."""
        return [], []

    def _set(self, setting: Setting) -> None:
        if setting.controller in _UNKNOWN:
            enable_controllers(self.directories[0])
        super()._set(setting)


class LegacyScope(Scope, Legacy):
    def make(self, *, shared: bool = False) -> None:
        self._begin()
        super().make(shared=shared)  # in the hierarchies that systemd leaves alone
        self._adopt()


def open_scope(layout: Layout, unit: Unit, *, rootless: bool) -> Manager:
    """The manager of a scope that is not made yet."""
    if layout.kind == "none":
        raise UnsupportedError("no cgroup hierarchy is mounted", hint="--cgroup-manager disabled does without")
    if layout.kind == "legacy" and unit.instance:
        text = "on cgroup v1 the systemd of a user cannot limit anything"
        raise UnsupportedError(text, hint="boot with systemd.unified_cgroup_hierarchy=1")
    path = "/".join([_base(unit.instance), *slice_path(unit.slice), unit.name])
    directories = []
    for each in layout.hierarchies:
        names = layouts.below(each.root, path)
        directories.append(Directory(each.mount_point, names, _controllers(each), len(names) - 1))
    made = _kind(layout.kind)(directories, restricted=rootless)
    made.unit = unit
    return made


def from_record(record: dict[str, Any]) -> Manager:
    directories = [Directory.from_record(found) for found in record["directories"]]
    made = _kind(record["kind"])(directories, restricted=record["restricted"], shared=record["shared"])
    made.unit = Unit.from_record(record["scope"])
    return made


def slice_path(name: str) -> list[str]:
    """``a-b.slice`` lies in ``a.slice``; ``-.slice`` is the root. systemd.slice(5)."""
    stem = name.removesuffix(".slice")
    if stem == "-":
        return []
    words = stem.split("-")
    return ["-".join(words[: count + 1]) + ".slice" for count in range(len(words))]


def _base(instance: str) -> str:
    """The cgroup below which a systemd has its units. The system's is at the root, or what there is is found later."""
    if not instance:
        return ""
    bus = systemd.connect(instance, systemd.PATIENCE)
    try:
        return systemd.control_group(bus)
    finally:
        bus.close()  # a fork comes before it is needed again


def _kind(kind: str) -> type[UnifiedScope] | type[LegacyScope]:
    return UnifiedScope if kind == "unified" else LegacyScope


def _controllers(hierarchy: layouts.Hierarchy) -> tuple[str, ...]:
    return hierarchy.controllers or ((hierarchy.label,) if hierarchy.label else ())


def _directory_at(hierarchy: layouts.Hierarchy, path: str) -> Directory | None:
    """The unit's cgroup in a hierarchy, as systemd made it, or as it is to be made."""
    names = layouts.below(hierarchy.root, path)
    if not names:
        return None
    directory = Directory.planned(hierarchy.mount_point, names, _controllers(hierarchy))
    if not directory.ours:
        directory.inode = os.fstat(directory.fd).st_ino
        directory.pristine = True
    return directory


def _is_file(path: str) -> bool:
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except OSError:
        return False
