"""Where this host's cgroup hierarchies are mounted, and where in them the runtime itself is."""

from __future__ import annotations

from boxes import system as os
from boxes.linux.path import parts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    Kind = Literal["unified", "legacy", "none"]

ROOT = "/sys/fs/cgroup"


class Hierarchy:
    """One mounted hierarchy. `name` is set for a v1 hierarchy without controllers (``systemd``).

    `root` is the cgroup that is seen at the mount point, `own` the runtime's, as components below the mount point.
    """

    __slots__ = ("controllers", "mount_point", "name", "own", "root", "unified")

    def __init__(
        self,
        mount_point: str,
        controllers: tuple[str, ...],
        name: str | None = None,
        *,
        unified: bool = False,
        root: str = "/",
        own: str = "/",
    ) -> None:
        self.mount_point = mount_point
        self.controllers = controllers
        self.name = name
        self.unified = unified
        self.root = root
        self.own = below(root, own)

    def __repr__(self) -> str:
        return f"Hierarchy({self.mount_point!r}, {self.label!r}, own={'/'.join(self.own)!r})"

    @property
    def label(self) -> str:
        """As in the second field of /proc/PID/cgroup: ``cpu,cpuacct``, ``name=systemd``, or nothing for v2."""
        return f"name={self.name}" if self.name is not None else ",".join(self.controllers)


class Layout:
    """The hierarchies in which a container gets a cgroup.

    `kind` is "unified" (v2 alone), "legacy" (v1, with or without a v2 hierarchy beside it) or "none".
    """

    __slots__ = ("hierarchies", "kind")

    def __init__(self, kind: Kind, hierarchies: list[Hierarchy]) -> None:
        self.kind = kind
        self.hierarchies = hierarchies


def detect() -> Layout:
    """The layout of this process's mount namespace; proc(5), cgroups(7)."""
    return parse(_read("/proc/self/mountinfo"), _read("/proc/self/cgroup"))


def parse(mountinfo: bytes, membership: bytes) -> Layout:
    """The layout that /proc/PID/mountinfo and /proc/PID/cgroup describe."""
    own = memberships(membership)
    first: dict[str, Hierarchy] = {}
    at = mountinfo.find(b" - cgroup")
    while at >= 0:
        start = mountinfo.rfind(b"\n", 0, at) + 1
        end = mountinfo.find(b"\n", at)
        found = _hierarchy(mountinfo[start : end if end >= 0 else len(mountinfo)], own)
        # A hierarchy can be mounted more than once: on some hosts below the root of another system, too.
        if found is not None and (found.label not in first or _foreign(first[found.label]) > _foreign(found)):
            first[found.label] = found
        at = mountinfo.find(b" - cgroup", end) if end >= 0 else -1
    return _chosen(first)


def memberships(text: bytes) -> dict[str, str]:
    """/proc/PID/cgroup as a dictionary: ``cpu,cpuacct``, ``name=systemd`` or (for v2) nothing, to a path."""
    found = {}
    for line in text.decode("utf-8", "surrogateescape").splitlines():
        _, label, path = line.split(":", 2)
        found[label] = path
    return found


def below(root: str, path: str) -> list[str]:
    """A cgroup's path as components below a mount of `root`; nothing if it cannot be seen there.

    Both are as the reader's cgroup namespace shows them, with ``/..`` for what is outside of it.
    """
    if path.startswith("/.."):
        return []
    if root == "/":
        return parts(path)
    return parts(path[len(root) :]) if (path + "/").startswith(root + "/") else []


def _chosen(found: dict[str, Hierarchy]) -> Layout:
    unified = found.pop("", None)
    # A v1 hierarchy mounted beside a whole v2 is somebody's own affair (a VPN's net_cls, an old guest's name=systemd).
    if unified is not None and (unified.mount_point == ROOT or not any(h.controllers for h in found.values())):
        return Layout("unified", [unified])
    hierarchies = list(found.values())
    if not any(h.controllers for h in hierarchies):
        return Layout("none", [])
    return Layout("legacy", hierarchies if unified is None else [*hierarchies, unified])


def _hierarchy(line: bytes, own: dict[str, str]) -> Hierarchy | None:
    fields = line.split(b" ")
    kind, _, options = fields[fields.index(b"-", 6) + 1 :][:3]
    mount_point = _text(fields[4])
    if kind == b"cgroup2":
        label = ""
    elif kind == b"cgroup":
        # Among the options are those of the mount (rw, xattr, release_agent=…); the others are the hierarchy's.
        given = set(options.decode().split(","))
        label = next((label for label in own if label and given.issuperset(label.split(","))), "")
        if not label:
            return None
    else:
        return None
    if label not in own:
        return None
    name = label[5:] if label.startswith("name=") else None
    controllers = () if name is not None or not label else tuple(label.split(","))
    root = _text(fields[3])
    return Hierarchy(mount_point, controllers, name, unified=not label, root=root, own=own[label])


def _foreign(hierarchy: Hierarchy) -> bool:
    return hierarchy.mount_point != ROOT and not hierarchy.mount_point.startswith(ROOT + "/")


def _text(field: bytes) -> str:
    """A path of mountinfo: blanks and backslashes are octal there."""
    if b"\\" in field:
        from boxes.linux import mountinfo

        return mountinfo.text(field)
    return os.fsdecode(field)


def _read(path: str) -> bytes:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:  # a kernel without cgroups has no /proc/self/cgroup
        return b""
    try:
        chunks = []
        while chunk := os.read(fd, 1 << 16):
            chunks.append(chunk)
        return b"".join(chunks)
    finally:
        os.close(fd)
