"""Talking to systemd: org.freedesktop.systemd1(5). Which one, units, and their jobs, whose end is waited for."""

from __future__ import annotations

from boxes import system as os
from boxes.cgroups.bus import SYSTEMD, Bus, RefusedError, SilentError
from boxes.cgroups.dbus import Variant
from boxes.errors import ServiceError, StateError, UnsupportedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from boxes.cgroups.units import Property

PATIENCE = 10.0  # seconds that systemd has for one answer, and for one job
_BOOTED = "/run/systemd/system"  # sd_booted(3)
_MANAGER = (SYSTEMD, "/org/freedesktop/systemd1", f"{SYSTEMD}.Manager")
_PROPERTIES = (SYSTEMD, "/org/freedesktop/systemd1", "org.freedesktop.DBus.Properties")
_NO_UNIT = f"{SYSTEMD}.NoSuchUnit"
_EXISTS = f"{SYSTEMD}.UnitExists"
_NO_PROPERTY = ("org.freedesktop.DBus.Error.PropertyReadOnly", "org.freedesktop.DBus.Error.InvalidArgs")
# Not every systemd knows these, or all of their values: the files are written all the same.
_DISPENSABLE = ("CPUQuotaPeriodUSec", "AllowedCPUs", "AllowedMemoryNodes", "CPUWeight", "MemoryZSwapMax", "MemoryMin")


class Unit:
    """A scope: its name, the slice it is to be in, and which systemd it is one of.

    `instance` is the runtime directory of a user's systemd, or "" for the system's. `pid` is the process it is made
    around, `properties` what is asked for besides the limits. `begun`: it may be there.
    """

    def __init__(self, name: str, slice: str, instance: str, pid: int, properties: Sequence[Property] = ()) -> None:
        self.name = name
        self.slice = slice
        self.instance = instance
        self.pid = pid
        self.properties = properties
        self.begun = False
        self.silent = False  # systemd did not answer once already

    def record(self) -> dict[str, Any]:
        return {"unit": self.name, "slice": self.slice, "instance": self.instance, "pid": self.pid}

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Unit:
        unit = cls(record["unit"], record["slice"], record["instance"], record["pid"])
        unit.begun = True
        return unit


def is_booted() -> bool:
    return os.isdir(_BOOTED)


def instance_of(environ: Mapping[str, str], *, rootless: bool) -> str:
    """Which systemd a container's unit is to be one of: "" for the system's, else the runtime directory of a user's.

    Root of a user namespace is a user to a systemd outside, and the system's master to one inside: then the socket is
    its own.
    """
    if not rootless or (os.geteuid() == 0 and _owner("/run/systemd/private") == 0):
        return ""
    return environ.get("XDG_RUNTIME_DIR") or f"/run/user/{_outer_uid()}"


def connect(instance: str, patience: float) -> Bus:
    """A connection to a systemd: to itself if it lets us, else by the bus. UnsupportedError if there is none."""
    places = [(f"{instance}/systemd/private", True), (f"{instance}/bus", False)]
    if not instance:
        places = [("/run/systemd/private", True), ("/run/dbus/system_bus_socket", False)]
    failed: Exception | None = None
    for path, private in places:
        try:
            bus = Bus(path, private=private, patience=patience)
        except SilentError:
            raise
        except (OSError, ServiceError) as error:
            failed = failed or error
            continue
        if not private:
            bus.call("Subscribe", "", (), "", at=_MANAGER)
            bus.listen("JobRemoved", at=_MANAGER)
        return bus
    if instance:
        text = f"there is no systemd of this user that can be reached in '{instance}'"
        hint = "'loginctl enable-linger' starts one; --cgroup-manager cgroupfs needs none"
        raise UnsupportedError(text, path=instance, hint=hint) from failed
    text = f"systemd cannot be reached at '{places[0][0]}' or '{places[1][0]}'"
    raise UnsupportedError(text, path=places[0][0], hint="--cgroup-manager cgroupfs needs no systemd") from failed


def control_group(bus: Bus) -> str:
    """The cgroup below which this systemd has its units."""
    found = bus.call("Get", "ss", (_MANAGER[2], "ControlGroup"), "v", at=_PROPERTIES)[0].value
    if not isinstance(found, str):
        raise ServiceError("systemd does not say where its cgroups are")
    return found.rstrip("/")


def start(bus: Bus, unit: Unit, limits: list[Property]) -> None:
    """StartTransientUnit, and the end of its job. The name may be that of a unit which failed and was left: then it is
    cleared away, once."""
    unit.begun = True
    asked = {name for name, _ in unit.properties}
    base: list[Property] = [
        ("Description", Variant("s", f"box container {unit.name.removesuffix('.scope')}")),
        ("Slice", Variant("s", unit.slice)),
        ("Delegate", Variant("b", True)),
        ("PIDs", Variant("au", [unit.pid])),
        ("CollectMode", Variant("s", "inactive-or-failed")),
        ("DefaultDependencies", Variant("b", False)),
        *((f"{name}Accounting", Variant("b", True)) for name in ("CPU", "Memory", "IO", "Tasks")),
    ]
    wanted = [each for each in base if each[0] not in asked] + [*unit.properties, *limits]
    try:
        try:
            _transient(bus, unit.name, wanted)
        except RefusedError as error:
            if error.name != _EXISTS:
                raise
            _reset(bus, unit.name)
            _transient(bus, unit.name, wanted)
    except RefusedError as error:
        unit.begun = False
        if error.name == _EXISTS:
            hint = "perhaps that of a container in another --root: they share the names of units"
            raise StateError(f"there is a unit '{unit.name}' already", hint=hint) from None
        raise
    except SilentError:
        unit.silent = True
        raise


def _transient(bus: Bus, name: str, properties: list[Property]) -> None:
    def call(wanted: list[Property]) -> None:
        (job,) = bus.call("StartTransientUnit", "ssa(sv)a(sa(sv))", (name, "fail", wanted, []), "o", at=_MANAGER)
        result = _finished(bus, job, f"the start of '{name}'")
        if result != "done":
            raise ServiceError(f"systemd could not start '{name}': the job's result is '{result}'")

    _without_unknown(call, properties)


def set_properties(bus: Bus, name: str, properties: list[Property]) -> None:
    def call(wanted: list[Property]) -> None:
        bus.call("SetUnitProperties", "sba(sv)", (name, True, wanted), "", at=_MANAGER)

    _without_unknown(call, properties)


def _without_unknown(call: Callable[[list[Property]], None], properties: list[Property]) -> None:
    """Older versions of systemd do not know all properties, or all of their values, and say one at a time."""
    for _ in _DISPENSABLE:
        try:
            call(properties)
            return
        except RefusedError as error:
            unknown = next((name for name in _DISPENSABLE if name in error.message), None)
            if error.name not in _NO_PROPERTY or unknown not in {name for name, _ in properties}:
                raise
            properties = [each for each in properties if each[0] != unknown]
    call(properties)


def attach(bus: Bus, name: str, below: str, pid: int) -> None:
    """Put a process into the cgroup of a delegated unit, or into one below that."""
    bus.call("AttachProcessesToUnit", "ssau", (name, below, [pid]), "", at=_MANAGER)


def stop(bus: Bus, name: str) -> None:
    try:
        (job,) = bus.call("StopUnit", "ss", (name, "replace"), "o", at=_MANAGER)
        _finished(bus, job, f"the end of '{name}'")
    except RefusedError as error:
        if error.name != _NO_UNIT:
            raise
    _reset(bus, name)


def _reset(bus: Bus, name: str) -> None:
    """Forget that the unit failed, which keeps systemd from forgetting the unit."""
    try:
        bus.call("ResetFailedUnit", "s", (name,), "", at=_MANAGER)
    except RefusedError as error:
        if error.name != _NO_UNIT:
            raise


def _finished(bus: Bus, job: str, what: str) -> str:
    found = bus.signal("JobRemoved", "uoss", lambda values: values[1] == job, what=what)
    return str(found[3])


def _owner(path: str) -> int:
    try:
        return int(os.stat(path).st_uid)
    except OSError:
        return -1


def _outer_uid() -> int:
    """Our own uid, as the user namespace around ours has it."""
    own = os.geteuid()
    with open("/proc/self/uid_map", "rb") as file:
        for line in file:
            inside, outside, count = (int(word) for word in line.split())
            if inside <= own < inside + count:
                return own - inside + outside
    return own
