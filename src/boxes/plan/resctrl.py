"""/linux/intelRdt: the class of cache and memory bandwidth that a container is to be in."""

from __future__ import annotations

from boxes.apply.resctrl import Group

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

POINTER = "/linux/intelRdt"


def group(rdt: dict[str, Any], id: str) -> Group:
    """Without a closID the container has a class of its own, by its id, which goes with it. Without schemata a closID
    names a class that somebody else has prepared."""
    named = rdt.get("closID") or ""
    matching = [(rdt[key], f"{POINTER}/{key}") for key in ("l3CacheSchema", "memBwSchema") if rdt.get(key)]
    schemata = list(matching)
    if rdt.get("schemata"):
        schemata.append(("\n".join(rdt["schemata"]), f"{POINTER}/schemata"))
    return Group(
        "" if named == "/" else named or id,
        lasting=bool(named),
        makes=not named or bool(schemata),
        schemata=schemata,
        matching=matching if named else [],
        monitor=(id, f"{POINTER}/enableMonitoring") if rdt.get("enableMonitoring") else None,
        pointer=f"{POINTER}/closID" if named else POINTER,
    )
