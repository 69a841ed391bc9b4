"""What the builder does below a container's root, in kernel terms.

An operation is a value: it can be printed, compared and tested without privileges. `boxes.apply`
carries it out. Targets are paths inside the container's root, resolved when the operation's turn comes; `pointer` says
which part of config.json asked for it, so that a refusal can name its cause.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, ClassVar


class Operation:
    """Fields are given by keyword, once; a subclass lists them, with defaults, as class attributes in `fields`."""

    fields: ClassVar[dict[str, Any]] = {}
    pointer: str

    def __init__(self, pointer: str, **values: Any) -> None:
        self.pointer = pointer
        for name, default in self.fields.items():
            setattr(self, name, values.pop(name, default))
        if values:
            raise TypeError(f"{type(self).__name__} has no {', '.join(values)}")

    def __repr__(self) -> str:
        shown = [
            f"{name}={getattr(self, name)!r}" for name, default in self.fields.items() if getattr(self, name) != default
        ]
        return f"{type(self).__name__}({', '.join(shown)})"

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]


class Attributes:
    """Changes of a mount's attributes (MOUNT_ATTR_*) and of its propagation (MS_*), for one mount or all below it."""

    __slots__ = ("clear", "propagation", "recursive_clear", "recursive_propagation", "recursive_set", "set")

    def __init__(self) -> None:
        self.set = self.clear = 0
        self.recursive_set = self.recursive_clear = 0
        self.propagation = self.recursive_propagation = 0

    def __repr__(self) -> str:
        shown = [f"{name}={getattr(self, name):#x}" for name in sorted(self.__slots__) if getattr(self, name)]
        return f"Attributes({', '.join(shown)})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Attributes) and repr(self) == repr(other)

    __hash__ = None  # type: ignore[assignment]


class Filesystem(Operation):
    """Mount a new filesystem: fsopen(2) … move_mount(2).

    `data` are its own options, ``key=value`` or ``key``; `flags` the superblock's MS_* flags. `ordinary`: every
    component of the target must be a real directory. `readonly_later`: files are to be made in it first; `copy_up`: the
    target's own are. `label`: of its root, where SELinux takes none for the whole. `instead`: what of the host is
    bound, read-only, where the kernel does not let a user namespace mount it.
    """

    fields: ClassVar[dict[str, Any]] = {
        "target": "",
        "kind": "",
        "source": "",
        "flags": 0,
        "data": (),
        "attributes": None,
        "ordinary": False,
        "over_proc": False,
        "readonly_later": False,
        "copy_up": False,
        "label": "",
        "instead": "",
    }
    target: str
    kind: str
    source: str
    flags: int
    data: tuple[str, ...]
    attributes: Attributes
    ordinary: bool
    over_proc: bool
    readonly_later: bool
    copy_up: bool
    label: str
    instead: str


class Bind(Operation):
    """Mount what `source` is on the host: open_tree(2), mount_setattr(2), move_mount(2).

    `over_proc`: the target may be one of procfs; `proc`: the source must be; `mode` is for the directory, should it
    have to be made; `idmap`: (uids, gids, whether mounts below are meant too), mappings as of a user namespace;
    `source_link`: a source that is a symbolic link is followed (""), mounted itself ("mount"), or made again in the
    target's place ("copy"); `on_link`: a target that is one is mounted on.
    """

    fields: ClassVar[dict[str, Any]] = {
        "target": "",
        "source": "",
        "recursive": False,
        "attributes": None,
        "over_proc": False,
        "proc": False,
        "mode": 0o755,
        "idmap": None,
        "source_link": "",
        "on_link": False,
    }
    target: str
    source: str
    recursive: bool
    attributes: Attributes
    over_proc: bool
    proc: bool
    mode: int
    idmap: Any
    source_link: str
    on_link: bool


class Remount(Operation):
    """Change the superblock of what is mounted on the target, by mount(2) with MS_REMOUNT; or `mount_only`."""

    fields: ClassVar[dict[str, Any]] = {
        "target": "",
        "flags": 0,
        "data": (),
        "attributes": None,
        "mount_only": False,
    }
    target: str
    flags: int
    data: tuple[str, ...]
    attributes: Attributes
    mount_only: bool


class Cgroups(Operation):
    """Show the cgroup hierarchies: the container's own part of them, in a cgroup namespace or without one; `readonly`
    whatever the attributes say."""

    fields: ClassVar[dict[str, Any]] = {"target": "", "namespaced": False, "attributes": None, "readonly": False}
    target: str
    namespaced: bool
    attributes: Attributes
    readonly: bool


class Device(Operation):
    """Make a device node or FIFO: mknodat(2). `mode` has the type (S_IFCHR …) and the permissions."""

    fields: ClassVar[dict[str, Any]] = {"target": "", "mode": 0, "device": 0, "uid": 0, "gid": 0}
    target: str
    mode: int
    device: int
    uid: int
    gid: int


class Symlink(Operation):
    """Make a symbolic link, unless there is something of that name."""

    fields: ClassVar[dict[str, Any]] = {"target": "", "content": "", "replace": False}
    target: str
    content: str
    replace: bool


class MakeFile(Operation):
    """Make sure there is something to mount on."""

    fields: ClassVar[dict[str, Any]] = {"target": ""}
    target: str


class MakeDirectory(Operation):
    fields: ClassVar[dict[str, Any]] = {"target": "", "mode": 0o755}
    target: str
    mode: int


class Mask(Operation):
    """Hide a path, if it is there: a file behind /dev/null, a directory behind an empty read-only tmpfs."""

    fields: ClassVar[dict[str, Any]] = {"target": ""}
    target: str


class ReadonlyPath(Operation):
    """Make a path read-only, if it is there, with all that is mounted below it."""

    fields: ClassVar[dict[str, Any]] = {"target": ""}
    target: str


class ReadonlyLater(Operation):
    """Make read-only the filesystems that were told to be so later."""


class ReadonlyRoot(Operation):
    """Make the root's own mount read-only: mount_setattr(2)."""


class Sysctl(Operation):
    """Write a namespaced kernel parameter; `path` is relative to /proc/sys."""

    fields: ClassVar[dict[str, Any]] = {"path": "", "value": ""}
    path: str
    value: str


class HostName(Operation):
    fields: ClassVar[dict[str, Any]] = {"name": ""}
    name: str


class DomainName(Operation):
    fields: ClassVar[dict[str, Any]] = {"name": ""}
    name: str


class LoopbackUp(Operation):
    """Set the loopback interface of a new network namespace up."""
