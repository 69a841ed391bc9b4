"""`update`: other limits for a container that is there. All of them hold, or those there were."""

from __future__ import annotations

from boxes import log
from boxes.cgroups.previous import previous
from boxes.cgroups.settings import DeviceRules
from boxes.container import status
from boxes.container.status import cgroups_of
from boxes.errors import BoxesError, StateError, UnsupportedError, refused
from boxes.plan.update import changes, merged
from boxes.spec.document import dump

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from boxes.cgroups.manager import Manager
    from boxes.cgroups.settings import Setting
    from boxes.container.store import Place, Store

_AT = "/linux/resources"


def update(store: Store, id: str, resources: dict[str, Any], *, rdt: dict[str, str] | None = None) -> None:
    """Change the limits that `resources`, a checked `linux.resources`, has, and remember them. `rdt` may have the
    schemata "l3CacheSchema" and "memBwSchema". The pointers of errors begin at `resources`."""
    with store.open(id) as place:
        journal = place.load()
        found = status.of(place, journal)
        if found in (status.STOPPED, status.CREATING):
            raise StateError(f"container not running: it is {found}")
        config = place.config()
        before = _rewrite_class(journal, config, rdt) if rdt else None
        try:
            _update(place, journal, config, resources)
        except BoxesError as error:
            if before is not None:
                _restore_class(journal, before)
            if error.pointer is not None:
                error.pointer = error.pointer.removeprefix(_AT)
            raise


def _update(place: Place, journal: dict[str, Any], config: dict[str, Any], given: dict[str, Any]) -> None:
    linux = config.setdefault("linux", {})
    old = linux.get("resources") or {}
    new = merged(old, given)
    with cgroups_of(journal) as cgroups:
        limits = changes(old, new, given, cgroups.kind)
        back: list[Setting | DeviceRules] = [*previous(cgroups, limits)]
        if any(isinstance(limit, DeviceRules) for limit in limits):
            from boxes.plan.resources import device_rules

            back.append(device_rules(old.get("devices")))
        try:
            cgroups.apply(limits)
            linux["resources"] = new
            _keep(place, config)
        except BoxesError:
            _undo(cgroups, back)
            raise


def _keep(place: Place, config: dict[str, Any]) -> None:
    try:
        place.write_state("config.json", dump(config).encode())
    except OSError as error:
        raise refused("cannot keep the container's limits", error) from error


def _undo(cgroups: Manager, back: list[Setting | DeviceRules]) -> None:
    try:
        cgroups.apply(back)
    except BoxesError as error:
        log.warning(f"the old limits are not back in full: {error}")


def _rewrite_class(journal: dict[str, Any], config: dict[str, Any], rdt: dict[str, str]) -> list[tuple[str, str]]:
    """Other schemata for the container's class of service; what puts the old ones back."""
    record = journal.get("resctrl")
    pointer = f"/linux/intelRdt/{next(iter(rdt))}"
    if record is None or record["group"] == record["root"]:
        text = "the container has no class of service of its own to change: its config has no linux.intelRdt"
        raise UnsupportedError(text, pointer=pointer)
    from boxes.apply import resctrl

    try:
        before = resctrl.rewrite(record, [(text, f"/linux/intelRdt/{name}") for name, text in rdt.items()])
    except OSError as error:
        raise refused("cannot change the class of service", error, pointer=pointer) from error
    config["linux"]["intelRdt"] = (config["linux"].get("intelRdt") or {}) | rdt
    return before


def _restore_class(journal: dict[str, Any], before: list[tuple[str, str]]) -> None:
    from boxes.apply import resctrl

    try:
        resctrl.rewrite(journal["resctrl"], before)
    except (BoxesError, OSError) as error:
        log.warning(f"the old class of service is not back in full: {error}")
