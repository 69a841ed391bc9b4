"""Containers in cgroups that systemd makes: what is asked of it. Loaded for those alone."""

from __future__ import annotations

from boxes import system as os
from boxes.cgroups import scope, systemd
from boxes.errors import UnsupportedError
from boxes.plan import systemd as planned

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from boxes.cgroups.layout import Layout
    from boxes.cgroups.manager import Manager


def plan(config: dict[str, Any], container_id: str, layout: Layout, *, rootless: bool) -> Manager:
    """The manager of a container's scope. Nothing is made yet. Raises ConfigError, and UnsupportedError where no
    systemd runs."""
    if not systemd.is_booted():
        text = "systemd does not run here: there is no '/run/systemd/system'"
        raise UnsupportedError(text, hint="use --cgroup-manager cgroupfs")
    instance = systemd.instance_of(os.environment, rootless=rootless)
    path = (config.get("linux") or {}).get("cgroupsPath")
    slice, name = planned.scope(path, container_id, user=bool(instance))
    unit = systemd.Unit(name, slice, instance, 0, planned.properties(config.get("annotations")))
    return scope.open_scope(layout, unit, rootless=rootless)
