"""Device nodes and the links of /dev: the default ones and /linux/devices."""

from __future__ import annotations

import _stat as stat

from boxes import system as os
from boxes.apply import operations as op
from boxes.plan import mounts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from boxes.plan.facts import Facts

# runtime-spec, config-linux.md, default devices: name, major, minor
_DEFAULT = (("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0))
# runtime-linux.md, dev symbolic links
_LINKS = (
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
)
_PTMX = "/dev/ptmx"
_TYPES = {"c": stat.S_IFCHR, "u": stat.S_IFCHR, "b": stat.S_IFBLK, "p": stat.S_IFIFO}


def devices(config: dict[str, Any], facts: Facts) -> list[op.Operation]:
    """All that is made in /dev; nothing where the caller brings a /dev of its own by a bind mount."""
    made = [] if mounts.covers(config, "/dev") == "bind" else _defaults(config, facts)
    linked = any(isinstance(each, op.Symlink) and each.target == _PTMX for each in made)
    for number, device in enumerate((config.get("linux") or {}).get("devices") or ()):
        if not (linked and _is_ptmx(device)):
            made.append(_listed(device, f"/linux/devices/{number}", facts))
    return made


def _is_ptmx(device: dict[str, Any]) -> bool:
    """An engine that passes all of the host's devices names this one; in the container it is that of its own devpts."""
    return (
        os.normpath(device["path"]) == _PTMX
        and device["type"] in "cu"
        and (device.get("major"), device.get("minor")) == (5, 2)
    )


def _defaults(config: dict[str, Any], facts: Facts) -> list[op.Operation]:
    listed = {device["path"] for device in (config.get("linux") or {}).get("devices") or ()}
    made: list[op.Operation] = []
    for name, major, minor in _DEFAULT:
        path = f"/dev/{name}"
        if path not in listed:
            made.append(_node("/mounts", path, stat.S_IFCHR | 0o666, os.makedev(major, minor), facts))
    made += [op.Symlink("/mounts", target=target, content=content) for target, content in _LINKS]
    if mounts.covers(config, "/dev/pts"):
        made.append(op.Symlink("/mounts", target=_PTMX, content="pts/ptmx", replace=True))
    if (config.get("process") or {}).get("terminal"):
        made.append(op.MakeFile("/process/terminal", target="/dev/console"))
    return made


def _listed(device: dict[str, Any], pointer: str, facts: Facts) -> op.Operation:
    mode = _TYPES[device["type"]] | stat.S_IMODE(device.get("fileMode", 0o666))
    number = os.makedev(device.get("major", 0), device.get("minor", 0))
    return _node(pointer, device["path"], mode, number, facts, device.get("uid", 0), device.get("gid", 0))


def _node(pointer: str, path: str, mode: int, device: int, facts: Facts, uid: int = 0, gid: int = 0) -> op.Operation:
    """A user namespace may make no device nodes: there the host's is bound."""
    if (facts.has_own("user") or facts.nested) and not stat.S_ISFIFO(mode):
        return op.Bind(pointer, target=path, source=path, attributes=_NOTHING, mode=0o666)
    return op.Device(pointer, target=path, mode=mode, device=device, uid=uid, gid=gid)


_NOTHING = op.Attributes()
