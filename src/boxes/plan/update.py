"""Changed limits: what is asked for laid over what a container has, and what of that is to be written."""

from __future__ import annotations

from boxes.cgroups.settings import DeviceRules
from boxes.plan.resources import settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from boxes.cgroups.settings import Setting

# Members of which 0 and "" say "as it is": engines send whole objects, and runc's flags have these defaults.
_UNSET = {
    "memory": ("limit", "reservation", "swap", "kernel", "kernelTCP"),
    "cpu": ("shares", "quota", "period", "realtimeRuntime", "realtimePeriod", "cpus", "mems"),
    "blockIO": ("weight", "leafWeight"),
}
# Lists whose entries speak of one thing each, by the members that name it.
_KEYED = {
    "weightDevice": ("major", "minor"),
    "throttleReadBpsDevice": ("major", "minor"),
    "throttleWriteBpsDevice": ("major", "minor"),
    "throttleReadIOPSDevice": ("major", "minor"),
    "throttleWriteIOPSDevice": ("major", "minor"),
    "hugepageLimits": ("pageSize",),
    "priorities": ("name",),
}


def merged(old: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """`linux.resources` as it will be. Device rules are replaced as a whole: their order is their meaning."""
    result = dict(old)
    for section, value in given.items():
        if section == "devices":
            result[section] = value or old.get(section) or []
        elif isinstance(value, dict):
            result[section] = _section(section, old.get(section) or {}, value)
        else:
            result[section] = _list(section, old.get(section) or [], value)
    memory = given.get("memory") or {}
    if memory.get("limit") == -1 and not memory.get("swap") and (old.get("memory") or {}).get("swap"):
        result["memory"]["swap"] = -1  # runc's meaning: without a limit of memory there is none with swap
    return result


def changes(old: dict[str, Any], new: dict[str, Any], given: dict[str, Any], kind: str) -> list[Setting | DeviceRules]:
    """What to write: all of a section of which anything is given, since its values depend on one another. Device rules
    only if they are others: v1 cannot replace them without a moment in which less is allowed."""
    wanted = {section: new[section] for section in given}
    found = settings(wanted, kind)
    if not given.get("devices") or given["devices"] == old.get("devices"):
        found = [each for each in found if not isinstance(each, DeviceRules)]
    return found


def _section(name: str, old: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    result = dict(old)
    for member, value in given.items():
        if not value and member in _UNSET.get(name, ()):
            continue
        result[member] = _list(member, old.get(member) or [], value) if isinstance(value, list) else value
    return result


def _list(name: str, old: list[dict[str, Any]], given: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Entries for the same device, or the like, replace the old ones; the others stay."""
    members = _KEYED.get(name)
    if members is None:
        return given
    replaced = {tuple(entry.get(member) for member in members) for entry in given}
    return [entry for entry in old if tuple(entry.get(member) for member in members) not in replaced] + given
