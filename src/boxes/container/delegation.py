"""The v2 cgroup that a container's process may manage by itself.

By the annotation run.oci.delegate-cgroup it is one below the container's, which has no limits of the runtime's and
which the process is put into once the cgroup namespace has been made: the namespace is rooted above it. Without, and
with a cgroup namespace and filesystem of its own to write to, it is the container's own: runtime-spec,
config-linux.md, "Cgroup ownership".
"""

from __future__ import annotations

from boxes.errors import BoxesError, UnsupportedError, located
from boxes.plan import annotated

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from boxes.cgroups.manager import Manager
    from boxes.plan.namespaces import Namespaces

_POINTER = annotated.pointer(annotated.DELEGATE)


def refuse(hierarchy: str, manager: str) -> None:
    """Before anything is made: v1 does not keep a container from what is above the cgroup it is given."""
    if manager == "disabled":
        raise UnsupportedError("a container without a cgroup has none to delegate", pointer=_POINTER)
    if hierarchy != "unified":
        raise UnsupportedError("a cgroup can be delegated on cgroup v2 only", pointer=_POINTER)


def delegate(cgroups: Manager, config: dict[str, Any], namespaces: Namespaces, pid: int, *, privileged: bool) -> None:
    """`pid` is in the container's cgroup, and its cgroup namespace has been made."""
    owner = _owner(config, namespaces)
    names = annotated.delegated(config)
    try:
        if names:
            cgroups.put_below(pid, names)
        if owner is not None:
            cgroups.delegate(owner, -1, names, forgiving=not privileged)
    except BoxesError as error:
        raise located(error, _POINTER if names else "/linux/cgroupsPath") from None


def _owner(config: dict[str, Any], namespaces: Namespaces) -> int | None:
    """The host's id of the process's user; None where it is not known, as for a user namespace that is joined."""
    uid = int(((config.get("process") or {}).get("user") or {}).get("uid", 0))
    if "user" in namespaces.new:
        for inside, outside, count in namespaces.uid_mappings:
            if inside <= uid < inside + count:
                return outside + uid - inside
        return None
    return None if namespaces.has("user") else uid
