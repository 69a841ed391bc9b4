"""Which cgroups a container gets, and when its first process enters them: docs/adr/0002."""

from __future__ import annotations

import _stat as stat

from boxes import system as os
from boxes.cgroups import manager as managers
from boxes.cgroups.settings import DeviceRules
from boxes.container import host
from boxes.errors import BoxesError, ServiceError, StateError, located, refused
from boxes.plan.resources import settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from boxes.cgroups.layout import Layout
    from boxes.cgroups.manager import Manager
    from boxes.cgroups.settings import Setting
    from boxes.container.creation import Creation
    from boxes.container.options import CreateOptions
    from boxes.errors import InternalError
    from boxes.plan.namespaces import Namespaces

    Limit = Setting | DeviceRules

# A limit below this leaves no room for the builder's pages: then the cgroup is entered late.
_SMALL_MEMORY = 8 << 20


def plan(
    config: dict[str, Any], options: CreateOptions, layout: Layout, id: str, *, unprivileged: bool
) -> tuple[Manager, list[Limit], list[Limit]]:
    """The cgroups, their limits, and those that wait until everything is mounted; what is wrong with them is an error
    before anything is made."""
    linux = config.get("linux") or {}
    rootless = {"true": True, "false": False}.get(options.rootless, unprivileged)
    if options.cgroup_manager == "disabled":
        manager = managers.disabled()
    elif options.cgroup_manager == "systemd":
        from boxes.container import scopes

        manager = scopes.plan(config, id, layout, rootless=rootless)
    else:
        try:
            manager = managers.open_manager(layout, linux.get("cgroupsPath"), id, rootless=rootless)
        except BoxesError as error:
            raise about(error, config) from None
    return manager, *_split(settings(linux.get("resources"), manager.kind), config)


def about(error: BoxesError, config: dict[str, Any]) -> BoxesError:
    """What is wrong with a cgroup is wrong with /linux/cgroupsPath, if nothing more is known."""
    asked = (config.get("linux") or {}).get("cgroupsPath")
    return located(error, "/linux/cgroupsPath") if asked and not isinstance(error, ServiceError) else error


def starved(error: InternalError, cgroups: Manager, config: dict[str, Any]) -> BoxesError:
    """Why a process ended without a word: the kernel may have killed it for want of memory."""
    from boxes.cgroups import oom

    memory = ((config.get("linux") or {}).get("resources") or {}).get("memory") or {}
    if memory.get("limit") is None or not oom.kills(cgroups):
        return error
    return StateError(
        f"{memory['limit']} bytes of memory are too little for the container to start",
        pointer="/linux/resources/memory/limit",
        hint="the kernel killed its first process",
    )


def complete(making: Creation) -> None:
    """Everything is mounted: the rest of the limits, and who may manage the cgroup."""
    if making.postponed:
        try:
            making.cgroups.apply(making.postponed)
        except BoxesError as error:
            raise about(error, making.config) from None
    if making.layout.kind == "unified" and host.may_manage_cgroups(making.config, making.namespaces):
        from boxes.container import delegation

        delegation.delegate(making.cgroups, making.config, making.namespaces, making.pid, privileged=making.privileged)


def _split(limits: list[Limit], config: dict[str, Any]) -> tuple[list[Limit], list[Limit]]:
    """What the builder is under, and what it is not: rules for devices, where a filesystem is mounted from one that the
    container need not be allowed."""
    if not any(map(_from_device, config.get("mounts") or ())):
        return limits, []
    rules: list[Limit] = [each for each in limits if isinstance(each, DeviceRules)]
    return [each for each in limits if each not in rules], rules


def _from_device(mount: dict[str, Any]) -> bool:
    source, options = mount.get("source") or "", mount.get("options") or ()
    if not source.startswith("/") or "bind" in options or "rbind" in options or mount.get("type") == "bind":
        return False
    try:
        return stat.S_ISBLK(os.stat(source).st_mode)
    except OSError:
        return False  # whoever mounts it says so


def enters_early(kind: str, config: dict[str, Any], namespaces: Namespaces) -> bool:
    """Whether the builder may be born in its cgroup: one that limits memory charges what it allocates, and seen from a
    cgroup namespace that is joined it may be nowhere (ENOENT, cgroups(7))."""
    if namespaces.joined("cgroup"):
        return False
    return kind != "unified" or not has_little_memory(config)


def has_little_memory(config: dict[str, Any]) -> bool:
    memory = ((config.get("linux") or {}).get("resources") or {}).get("memory") or {}
    limits = [value for value in (memory.get("limit"), memory.get("swap")) if value is not None and value > 0]
    return bool(limits) and min(limits) < _SMALL_MEMORY


def entries(making: Creation) -> tuple[list[int], list[int]]:
    """Descriptors by which the builder enters its cgroups: at once, and when it has mounted. The creation has them."""
    try:
        early, late = making.cgroups.entries(born=making.entered)
    except OSError as error:
        raise refused("cannot enter the cgroup", error) from error
    for fd in early + late:
        making.fds.add(fd)
    return early, late
