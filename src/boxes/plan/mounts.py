"""/mounts, /linux/maskedPaths, /linux/readonlyPaths and /root: what is mounted below the root, in order."""

from __future__ import annotations

from boxes.apply import operations as op
from boxes.errors import ConfigError, UnsupportedError
from boxes.linux import flags as k
from boxes.linux.path import parts
from boxes.plan import options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from boxes.plan.facts import Facts

# Files of procfs that may be replaced: lxcfs and engines do so. Nothing else may be mounted over /proc, where the
# labels and parameters of a container are written (CVE-2019-16884, CVE-2023-27561, CVE-2025-52881).
_PROC_FILES = frozenset(
    (
        "cpuinfo diskstats loadavg meminfo slabinfo stat swaps uptime net/dev "
        "sys/kernel/ns_last_pid sys/crypto/fips_enabled"
    ).split()
)


def mounts(config: dict[str, Any], facts: Facts, warnings: list[str]) -> list[op.Operation]:
    """One operation or more for each of /mounts, in its order. `warnings` is added to."""
    made: list[op.Operation] = []
    for number, mount in enumerate(config.get("mounts") or ()):
        found = options.parse(mount.get("options") or [])
        made += _mount(mount, f"/mounts/{number}", found, config, facts)
        if found.superblock and isinstance(made[-1], op.Bind):
            names = ", ".join(f"'{name}'" for name in found.superblock)
            warnings.append(f"/mounts/{number}/options: a bind cannot change {names}, which the whole filesystem has")
    return made


def _mount(
    mount: dict[str, Any], pointer: str, found: options.MountOptions, config: dict[str, Any], facts: Facts
) -> list[op.Operation]:
    target = "/" + "/".join(parts(mount["destination"]))
    kind = mount.get("type") or ("bind" if found.bind else "none")
    over_proc = _checked_over_proc(target, kind, pointer)
    attributes = found.attributes
    if found.remount:
        return [_remount(pointer, target, found)]
    if kind in ("cgroup", "cgroup2"):
        return [_cgroups(pointer, target, attributes, facts)]
    if found.bind or kind in ("bind", "none"):
        return [_bind(mount, pointer, target, found, over_proc, facts)]
    ordinary = kind in ("proc", "sysfs")
    confined = facts.has_own("user") or facts.nested
    return [
        op.Filesystem(
            pointer,
            target=target,
            kind=kind,
            source=mount.get("source") or kind,
            flags=found.flags,
            data=_data(kind, found, config, facts),
            attributes=attributes,
            ordinary=ordinary,
            instead="/sys" if kind == "sysfs" and confined else "",
            over_proc=over_proc or kind == "proc",
            copy_up=found.copy_up,
            label=facts.mount_label if kind == "mqueue" else "",
            # What comes below a tmpfs or /dev has to be made in it first.
            readonly_later=bool(attributes.set & k.MOUNT_ATTR_RDONLY) and (kind == "tmpfs" or target == "/dev"),
        )
    ]


def _cgroups(pointer: str, target: str, attributes: op.Attributes, facts: Facts) -> op.Cgroups:
    """Without a cgroup namespace it is the host's hierarchy that is bound: nobody but the host's root may ask for more
    than to look at the container's part (CVE-2023-25809)."""
    namespaced = facts.has_own("cgroup")
    readonly = not namespaced and (facts.has_own("user") or facts.nested)
    return op.Cgroups(pointer, target=target, attributes=attributes, namespaced=namespaced, readonly=readonly)


def _remount(pointer: str, target: str, found: options.MountOptions) -> op.Remount:
    """With `bind` the mount alone is meant, not the filesystem, which may be the host's: mount(8)."""
    flags = found.flags | _as_mount_flags(found.attributes.set | found.attributes.recursive_set)
    return op.Remount(
        pointer,
        target=target,
        flags=flags,
        data=tuple(found.data),
        attributes=found.attributes,
        mount_only=found.bind,
    )


def _bind(
    mount: dict[str, Any], pointer: str, target: str, found: options.MountOptions, over_proc: bool, facts: Facts
) -> op.Bind:
    """Options of a filesystem's own (mode=, size=) mean nothing to a bind, and are passed over as mount(8) does."""
    source = mount.get("source")
    if not source:
        raise ConfigError("a bind mount needs a source", pointer=f"{pointer}/source")
    idmap = None
    if found.idmapped or mount.get("uidMappings"):
        from boxes.plan import idmaps

        idmap = idmaps.idmap(mount, pointer, facts.namespaces)
    return op.Bind(
        pointer,
        target=target,
        source=source if source.startswith("/") else f"{facts.bundle}/{source}",
        recursive=found.recursive_bind,
        attributes=found.attributes,
        over_proc=over_proc,
        proc=target == "/proc",
        idmap=idmap,
        source_link=found.source_link,
        on_link=found.on_link,
    )


def _checked_over_proc(target: str, kind: str, pointer: str) -> bool:
    """Whether the target lies in /proc and may; the same is asked again of what the target turns out to be."""
    names = target.split("/")[1:]
    if names[0] != "proc":
        return False
    below = "/".join(names[1:])
    if not below and kind in ("proc", "bind", "none"):
        return True
    if below in _PROC_FILES:
        return True
    raise ConfigError(f"'{target}' cannot be mounted over: it is part of /proc", pointer=f"{pointer}/destination")


def _data(kind: str, found: options.MountOptions, config: dict[str, Any], facts: Facts) -> tuple[str, ...]:
    """The filesystem's own options, and its label's."""
    data = tuple(entry for entry in found.data if not _unmapped_group(kind, entry, facts))
    if facts.mount_label:
        from boxes.plan import labels

        data += labels.context(kind, facts.mount_label, config)
    return data


def _unmapped_group(kind: str, entry: str, facts: Facts) -> bool:
    """devpts refuses a gid that the user namespace does not map; as gid=5 is in every default config, it is dropped."""
    if kind != "devpts" or not entry.startswith("gid=") or not entry[4:].isascii() or not entry[4:].isdigit():
        return False
    return not facts.maps_gid(int(entry[4:]))


def _as_mount_flags(attributes: int) -> int:
    pairs = (
        (k.MOUNT_ATTR_RDONLY, k.MS_RDONLY),
        (k.MOUNT_ATTR_NOSUID, k.MS_NOSUID),
        (k.MOUNT_ATTR_NODEV, k.MS_NODEV),
        (k.MOUNT_ATTR_NOEXEC, k.MS_NOEXEC),
        (k.MOUNT_ATTR_NOATIME, k.MS_NOATIME),
        (k.MOUNT_ATTR_STRICTATIME, k.MS_STRICTATIME),
        (k.MOUNT_ATTR_NODIRATIME, k.MS_NODIRATIME),
        (k.MOUNT_ATTR_NOSYMFOLLOW, k.MS_NOSYMFOLLOW),
    )
    return sum(flag for attribute, flag in pairs if attributes & attribute)


def covers(config: dict[str, Any], path: str) -> str | None:
    """The type of the last mount on `path` ("bind" for any bind), or None."""
    kind = None
    for mount in config.get("mounts") or ():
        if "/" + "/".join(parts(mount["destination"])) == path:
            found = options.parse(mount.get("options") or [])
            kind = "bind" if found.bind else (mount.get("type") or "none")
    return kind


def restrictions(config: dict[str, Any]) -> list[op.Operation]:
    """Masks, read-only paths and the read-only root: after everything has been mounted and made."""
    linux = config.get("linux") or {}
    made: list[op.Operation] = [op.ReadonlyLater("/mounts")]
    for number, path in enumerate(linux.get("readonlyPaths") or ()):
        made.append(op.ReadonlyPath(f"/linux/readonlyPaths/{number}", target=path))
    for number, path in enumerate(linux.get("maskedPaths") or ()):
        made.append(op.Mask(f"/linux/maskedPaths/{number}", target=path))
    if config["root"].get("readonly"):
        made.append(op.ReadonlyRoot("/root/readonly"))
    return made


def refuse_without_namespace(config: dict[str, Any], *, userns: bool) -> None:
    """Without a mount namespace of its own a container must leave the host's mounts alone."""
    if userns:
        hint = "add a mount namespace to /linux/namespaces"
        text = "in a user namespace devices are bound, which takes a mount namespace"
        raise UnsupportedError(text, pointer="/linux/namespaces", hint=hint)
    linux = config.get("linux") or {}
    for pointer, value in (
        ("/linux/maskedPaths", linux.get("maskedPaths")),
        ("/linux/readonlyPaths", linux.get("readonlyPaths")),
        ("/linux/rootfsPropagation", linux.get("rootfsPropagation")),
        ("/root/readonly", config["root"].get("readonly")),
    ):
        if value:
            hint = "add a mount namespace to /linux/namespaces"
            raise UnsupportedError("this would change the host's mounts", pointer=pointer, hint=hint)
