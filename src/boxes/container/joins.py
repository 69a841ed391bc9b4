"""Namespaces that are joined: opened by the runtime, with its rights and before anything is made."""

from __future__ import annotations

import fcntl

from boxes import system as os
from boxes.errors import BoxesError, ConfigError, UsageError, refused
from boxes.plan.facts import Facts
from boxes.plan.namespaces import FLAGS, Namespaces

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from boxes.container.networking import Networking
    from boxes.linux.fd import Fds
    from boxes.plan.namespaces import Join

_NS_GET_NSTYPE = 0xB703  # ioctl_ns(2)
_FILES = {"network": "net", "mount": "mnt"}
# Of these kinds, joining the one that the runtime is in means having none.
_OWN_IS_NONE = frozenset(("user", "mount", "cgroup"))
_KINDS = {flag: kind for kind, flag in FLAGS.items()}


def open_all(namespaces: Namespaces, fds: Fds, networking: Networking | None) -> dict[str, int]:
    """Descriptors by kind. A user, mount or cgroup namespace that is the runtime's own is taken off the list: what is
    mounted or bound with one of its own must not be the host's. `networking`: what flags ask for, whose namespace the
    config has not named."""
    opened: dict[str, int] = {}
    for join in list(namespaces.joins):
        try:
            fd = fds.add(_open(join))
        except BoxesError as error:
            if networking is None or join.kind != "network" or not networking.by_flag:
                raise
            raise UsageError(f"flag --network: {error.message}", path=error.path) from None
        if join.kind in _OWN_IS_NONE and _is_own(fd, join.kind):
            namespaces.joins.remove(join)
        else:
            opened[join.kind] = fd
    return opened


def spare_own(config: dict[str, Any], opened: dict[str, int]) -> None:
    """Raise ConfigError for what would change a namespace which is joined, and is the one that the runtime is in: by
    whatever path it is named, it is the host's. `opened`: descriptors by kind."""
    for kind, pointer in _changes(config):
        if kind in opened and _is_own(opened[kind], kind):
            raise ConfigError(
                f"the {kind} namespace that is joined is the host's, which it would change", pointer=pointer
            )


def _changes(config: dict[str, Any]) -> list[tuple[str, str]]:
    """(kind of namespace, pointer) of what the config sets in one."""
    linux = config.get("linux") or {}
    found = [("uts", f"/{name}") for name in ("hostname", "domainname") if config.get(name)]
    found += [("network", "/linux/netDevices")] if linux.get("netDevices") else []
    names = linux.get("sysctl")
    if names:
        from boxes.spec import sysctl
        from boxes.spec.kinds import child

        found += [(sysctl.namespace_of(sysctl.parts(name) or ()) or "", child("/linux/sysctl", name)) for name in names]
    return found


def _open(join: Join) -> int:
    where = f"{join.pointer}/path"
    try:
        fd = os.open(join.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as error:
        raise refused("cannot open the namespace", error, pointer=where) from error
    try:
        kind = _KINDS.get(fcntl.ioctl(fd, _NS_GET_NSTYPE))
    except OSError:
        kind = None
    if kind != join.kind:
        os.close(fd)
        what = f"a namespace of type '{kind}'" if kind else "not a namespace"
        raise ConfigError(f"'{join.path}' is {what}, and '{join.kind}' is wanted", pointer=where, path=join.path)
    return fd


def facts_of(journal: dict[str, Any], config: dict[str, Any], *, preserve: int, no_pivot: bool = False) -> Facts:
    """The facts of a container that exists; here too, what it shares with the runtime is taken off the list."""
    namespaces = Namespaces(config)
    for join in list(namespaces.joins):
        if join.kind in _OWN_IS_NONE and _is_own_path(join):
            namespaces.joins.remove(join)
    return Facts(
        id=journal["id"],
        bundle=journal["bundle"],
        rootfs=journal["rootfs"],
        namespaces=namespaces,
        no_pivot=no_pivot,
        preserve=preserve,
    )


def _is_own_path(join: Join) -> bool:
    try:
        fd = os.open(join.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        return False  # the path is gone, the namespace is the container's still
    try:
        return _is_own(fd, join.kind)
    finally:
        os.close(fd)


def _is_own(fd: int, kind: str) -> bool:
    own, other = os.stat(f"/proc/self/ns/{_FILES.get(kind, kind)}"), os.fstat(fd)
    return (own.st_dev, own.st_ino) == (other.st_dev, other.st_ino)
