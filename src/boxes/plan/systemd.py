"""A container's scope: its name and slice from cgroupsPath, and what annotations ask of it.

cgroupsPath is ``slice:prefix:name`` with systemd, as with runc: ``machine.slice:libpod:web`` is libpod-web.scope in
machine.slice. systemd.unit(5) says what a name is made of.
"""

from __future__ import annotations

from boxes.cgroups.dbus import Variant
from boxes.errors import ConfigError
from boxes.plan import gvariant

TYPE_CHECKING = False
if TYPE_CHECKING:
    from boxes.cgroups.units import Property

ANNOTATION = "org.systemd.property."
_PREFIX = "box"
_LONGEST = 255
_LETTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789:-_.\\@")
# What a config may ask of its unit, by type. Not among them: what moves other processes or the unit (PIDs, Slice),
# starts, stops or restarts others (Wants, Conflicts, FailureAction), loads programs or files, or is the runtime's
# own (Delegate, DeviceAllow, DevicePolicy).
_ALLOWED = {
    "s": "CollectMode Description KillMode OOMPolicy ManagedOOMMemoryPressure ManagedOOMPreference ManagedOOMSwap",
    "as": "After Before Documentation",
    "b": "CPUAccounting DefaultDependencies IOAccounting IPAccounting MemoryAccounting SendSIGHUP SendSIGKILL "
    "TasksAccounting",
    "i": "FinalKillSignal KillSignal WatchdogSignal",
    "u": "ManagedOOMMemoryPressureLimit",
    "t": "CPUQuotaPerSecUSec CPUQuotaPeriodUSec CPUWeight IOWeight MemoryHigh MemoryLow MemoryMax MemoryMin "
    "MemorySwapMax MemoryZSwapMax RuntimeMaxUSec StartupCPUWeight StartupIOWeight TasksMax TimeoutStopUSec",
    "ay": "AllowedCPUs AllowedMemoryNodes",
}
_TYPES = {name: kind for kind, names in _ALLOWED.items() for name in names.split()}


def scope(path: str | None, container_id: str, *, user: bool) -> tuple[str, str]:
    """(slice, unit) for a container; `user`: of a user's systemd. Raises ConfigError."""
    default = "user.slice" if user else "system.slice"
    if not path:
        return default, _unit(_PREFIX, container_id)
    words = path.split(":")
    if len(words) != 3:
        raise ConfigError(f"with systemd it is 'slice:prefix:name', not '{path}'", pointer="/linux/cgroupsPath")
    slice, prefix, name = words
    return _slice(slice or default), _unit(prefix, name)


def properties(annotations: dict[str, str] | None) -> list[Property]:
    """``org.systemd.property.NAME``: a property of the unit, in the text form of GVariant. Raises ConfigError."""
    found: list[Property] = []
    for key, text in (annotations or {}).items():
        if not key.startswith(ANNOTATION):
            continue
        pointer = f"/annotations/{key.replace('~', '~0').replace('/', '~1')}"
        given = key[len(ANNOTATION) :]
        seconds = given.endswith("Sec") and not given.endswith("USec")
        name = f"{given[:-3]}USec" if seconds else given
        kind = _TYPES.get(name)
        if kind is None:
            raise ConfigError(f"'{given}' is not a property of its unit that a config may set", pointer=pointer)
        try:
            value = gvariant.microseconds(text) if seconds else gvariant.parse(text, kind)
        except ValueError as error:
            raise ConfigError(f"'{text}' is no value of '{given}': {error}", pointer=pointer) from None
        found.append((name, Variant(kind, value)))
    return found


def _slice(name: str) -> str:
    stem = name.removesuffix(".slice")
    if stem == name or "@" in stem or not _LETTERS.issuperset(name) or (stem != "-" and not all(stem.split("-"))):
        raise ConfigError(f"'{name}' is no name of a slice, as 'a-b.slice' is", pointer="/linux/cgroupsPath")
    return _bounded(name)


def _unit(prefix: str, name: str) -> str:
    if not name:
        raise ConfigError("the unit has no name: with systemd it is 'slice:prefix:name'", pointer="/linux/cgroupsPath")
    if name.endswith(".slice"):
        raise ConfigError(f"'{name}' is a slice, but a container gets a scope", pointer="/linux/cgroupsPath")
    return _bounded("".join(_escaped(letter) for letter in (f"{prefix}-{name}" if prefix else name)) + ".scope")


def _escaped(letter: str) -> str:
    """systemd-escape(1): what a unit's name cannot have is \\xNN in it. What it can have is left as it is: the name
    may be escaped already."""
    if letter in _LETTERS:
        return letter
    return "".join(f"\\x{byte:02x}" for byte in letter.encode("utf-8", "surrogateescape"))


def _bounded(name: str) -> str:
    if len(name) > _LONGEST:
        hint = "/linux/cgroupsPath can name it otherwise"
        raise ConfigError(f"the unit's name has {len(name)} characters; systemd takes {_LONGEST}: '{name}'", hint=hint)
    return name
