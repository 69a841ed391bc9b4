"""The root of a container as steps of a script: the operations of the builder (apply/) as calls without a question.

What the builder would look for is not looked for: a directory that is missing, a link on the way, another mount on the
way are results that were not foreseen.
"""

from __future__ import annotations

from _struct import pack

from boxes import system as os
from boxes.apply import operations as op
from boxes.apply.attributes import whole_groups
from boxes.linux import flags as k
from boxes.plan.inner import NULL_DEVICE, string
from boxes.plan.scripted import GIVEN, Process, UnusualError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from boxes.plan.container import Plan
    from boxes.plan.facts import Facts

_ENOENT = 2
_STRICT = k.RESOLVE_BENEATH | k.RESOLVE_NO_SYMLINKS | k.RESOLVE_NO_MAGICLINKS | k.RESOLVE_NO_XDEV
_IN_ROOT = k.RESOLVE_IN_ROOT | k.RESOLVE_NO_MAGICLINKS
_O_PATH = os.O_PATH | os.O_CLOEXEC
_CLONE = k.OPEN_TREE_CLONE | k.OPEN_TREE_CLOEXEC
_ONTO = k.MOVE_MOUNT_F_EMPTY_PATH | k.MOVE_MOUNT_T_EMPTY_PATH
_EMPTY = b"\0"
_AF_INET, _DGRAM = 2, 2 | os.O_CLOEXEC
_SIOCSIFFLAGS, _UP_LOOPBACK = 0x8914, 0x1 | 0x8
SAFE = k.MOUNT_ATTR_RDONLY | k.MOUNT_ATTR_NOSUID | k.MOUNT_ATTR_NODEV | k.MOUNT_ATTR_NOEXEC


def build(child: Process, plan: Plan, facts: Facts, looked: Mapping[str, str], entries: list[int]) -> int:
    """The steps up to a finished root; its descriptor. `looked`, `entries`: see script.py."""
    if plan.propagation or plan.isolation != k.MS_REC | k.MS_SLAVE:
        raise UnusualError
    root = _Root(child, looked)
    root.open_sources(facts.rootfs, [*plan.early, *plan.late])
    root.enter()
    root.carry_out(plan.early)
    for fd in entries:
        child.call("write", fd, b"0", 1)
        child.close(fd)
    if "cgroup" in facts.namespaces.new:
        child.call("unshare", k.CLONE_NEWCGROUP)
    root.carry_out(plan.late)
    return root.fd


def new_mount(process: Process, kind: str, source: str, settings: tuple[str, ...], attributes: int) -> int:
    """A new mount that is nowhere yet."""
    context = process.open("fsopen", string(kind), k.FSOPEN_CLOEXEC)
    for key, equals, value in (setting.partition("=") for setting in (f"source={source}", *settings)):
        if len(value.encode()) > 255:
            raise UnusualError
        if equals:
            process.call("fsconfig", context, k.FSCONFIG_SET_STRING, string(key), string(value), 0)
        else:
            process.call("fsconfig", context, k.FSCONFIG_SET_FLAG, string(key), 0, 0)
    process.call("fsconfig", context, k.FSCONFIG_CMD_CREATE, 0, 0, 0)
    mount = process.open("fsmount", context, k.FSMOUNT_CLOEXEC, attributes)
    process.close(context)
    return mount


def place_on_root(process: Process, mount: int) -> None:
    """Attach it over what the process has as its root."""
    place = process.open("openat", k.AT_FDCWD, string("/"), _O_PATH | os.O_DIRECTORY)
    process.call("move_mount", mount, _EMPTY, place, _EMPTY, _ONTO)
    process.close(place)


class _Root:
    def __init__(self, child: Process, looked: Mapping[str, str]) -> None:
        self.child = child
        self.fd = -1
        self.looked = looked
        self.sources: dict[int, int] = {}  # detached mounts, by the id() of the operation that places them
        self.fresh: dict[str, int] = {}  # filesystems in which there is nothing yet but what is made here
        self.kernels: list[str] = []  # where procfs and sysfs are
        self.empty = -1  # what masks directories
        self.null = -1  # what masks files
        self.null_is_placed = False

    def open_sources(self, rootfs: str, operations: list[op.Operation]) -> None:
        """What is the host's, while it is in sight; and what is new, so that mounts get numbers in the order in which
        /proc/self/mountinfo is to list them."""
        self.fd = self._cut(rootfs, k.AT_RECURSIVE)
        for operation in operations:
            if isinstance(operation, op.Bind):
                self.sources[id(operation)] = self._cut(operation.source, k.AT_RECURSIVE if operation.recursive else 0)
            elif isinstance(operation, op.Filesystem):
                wanted = operation.attributes
                attributes = wanted.set | wanted.recursive_set
                mount = new_mount(self.child, operation.kind, operation.source, operation.data, attributes)
                self.sources[id(operation)] = mount
            elif isinstance(operation, op.Mask) and self.looked.get(operation.target) == "file" and self.null < 0:
                self._open_null()

    def _cut(self, path: str, recursive: int) -> int:
        """A copy of what is mounted there, which follows the host's and is not followed."""
        tree = self.child.open("open_tree", k.AT_FDCWD, string(path), _CLONE | recursive)
        self._change(tree, propagation=k.MS_SLAVE, recursive=k.AT_RECURSIVE)
        return tree

    def _open_null(self) -> None:
        """The host's null device, by whose number it is told from what else may have its name (CVE-2025-31133)."""
        null = self.child.open("openat", k.AT_FDCWD, string("/dev/null"), _O_PATH | os.O_NOFOLLOW)
        self.child.steps.add(NULL_DEVICE, pack("=II", null, 0), "fstat", "/linux/maskedPaths")
        self.null = self.child.open("open_tree", null, _EMPTY, _CLONE | k.AT_EMPTY_PATH)
        self._change(self.null, propagation=k.MS_SLAVE)
        self.child.close(null)

    def enter(self) -> None:
        """A mount namespace in which there is nothing but this root: docs/adr/0017-bare-mount-namespace.md."""
        self.child.call("setns", GIVEN, k.CLONE_NEWNS)
        self.child.call("unshare", k.CLONE_NEWNS)
        self.child.close(GIVEN)
        place_on_root(self.child, self.fd)

    def carry_out(self, operations: list[op.Operation]) -> None:
        for operation in operations:
            action = _ACTIONS.get(type(operation))
            if action is None:
                raise UnusualError
            action(self, operation)

    def _place(self, tree: int, target: int) -> None:
        self.child.call("move_mount", tree, _EMPTY, target, _EMPTY, _ONTO)

    def _open(self, directory: int, path: str, flags: int, resolve: int) -> int:
        how = pack("=QQQ", flags, 0, resolve)
        return self.child.open("openat2", directory, string(path.lstrip("/") or "."), how, len(how))

    def _target(self, target: str, flags: int = 0) -> int:
        """What is mounted on."""
        parent, _, name = target.rpartition("/")
        if parent in self.fresh:
            self.child.call("mkdirat", self.fresh[parent], string(name), 0o755)
            return self._open(self.fresh[parent], name, _O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, k.RESOLVE_BENEATH)
        if any(target.startswith(f"{each}/") for each in (*self.fresh, *self.kernels)):
            raise UnusualError
        return self._open(self.fd, target, _O_PATH | flags, _STRICT)

    # ---- the operations ----

    def filesystem(self, operation: op.Filesystem) -> None:
        wanted = operation.attributes
        late = operation.flags or operation.copy_up or operation.label or operation.readonly_later or operation.instead
        if late or wanted.propagation or wanted.recursive_propagation or operation.source.startswith("/"):
            raise UnusualError
        target = self._target(operation.target, os.O_DIRECTORY)
        mount = self.sources[id(operation)]
        self._place(mount, target)
        self.child.close(target)
        if operation.kind == "tmpfs":
            self.fresh[operation.target] = mount
            return
        self.child.close(mount)
        if operation.kind in ("proc", "sysfs"):
            self.kernels.append(operation.target)

    def bind(self, operation: op.Bind) -> None:
        wanted = operation.attributes
        odd = operation.over_proc or operation.proc or operation.idmap or operation.source_link or operation.on_link
        if odd:
            raise UnusualError
        tree = self.sources[id(operation)]
        target = self._target(operation.target)
        if wanted.recursive_set or wanted.recursive_clear:
            self._change(tree, wanted.recursive_set, wanted.recursive_clear, recursive=k.AT_RECURSIVE)
        if wanted.set or wanted.clear:
            self._change(tree, wanted.set, wanted.clear)
        self._place(tree, target)
        for recursive, propagation in ((k.AT_RECURSIVE, wanted.recursive_propagation), (0, wanted.propagation)):
            if propagation:
                self._change(tree, propagation=propagation & ~k.MS_REC, recursive=recursive)
        self.child.close(target, tree)

    def _change(self, mount: int, set: int = 0, clear: int = 0, *, propagation: int = 0, recursive: int = 0) -> None:
        data = pack("=QQQQ", set, whole_groups(clear), propagation, 0)
        self.child.call("mount_setattr", mount, _EMPTY, k.AT_EMPTY_PATH | recursive, data, len(data))

    def device(self, operation: op.Device) -> None:
        parent, _, name = operation.target.rpartition("/")
        if parent not in self.fresh or operation.uid or operation.gid:
            raise UnusualError
        self.child.call("mknodat", self.fresh[parent], string(name), operation.mode, operation.device)

    def symlink(self, operation: op.Symlink) -> None:
        parent, _, name = operation.target.rpartition("/")
        if parent not in self.fresh:
            raise UnusualError
        self.child.call("symlinkat", string(operation.content), self.fresh[parent], string(name))

    def make_directory(self, operation: op.MakeDirectory) -> None:
        """The working directory: one that is there."""
        if operation.target not in self.fresh:
            self.child.close(self._open(self.fd, operation.target, _O_PATH | os.O_DIRECTORY, _IN_ROOT))

    def _found(self, target: str) -> tuple[int, str]:
        """A path of the kernel's own filesystems, and what it is; it has to be that in the container too."""
        if not any(target.startswith(f"{each}/") for each in self.kernels) or target not in self.looked:
            raise UnusualError
        what = self.looked[target]
        flags = _O_PATH | (os.O_DIRECTORY if what == "directory" else 0)
        if not what:
            how = pack("=QQQ", flags, 0, _IN_ROOT)
            self.child.call("openat2", self.fd, string(target.lstrip("/")), how, len(how), fails=_ENOENT)
            return -1, what
        return self._open(self.fd, target, flags, _IN_ROOT), what

    def mask(self, operation: op.Mask) -> None:
        target, what = self._found(operation.target)
        if not what:
            return
        tree = self._nothing() if what == "directory" else self._null()
        self._place(tree, target)
        self.child.close(target)
        if tree not in (self.empty, self.null):
            self.child.close(tree)

    def _nothing(self) -> int:
        """An empty read-only tmpfs; the first is copied, once it is attached, for all others: apply/mounts.py."""
        if self.empty >= 0:
            return self.child.open("open_tree", self.empty, _EMPTY, _CLONE | k.AT_EMPTY_PATH)
        self.empty = new_mount(self.child, "tmpfs", "tmpfs", ("nr_blocks=1", "nr_inodes=1"), SAFE)
        return self.empty

    def _null(self) -> int:
        """As `_nothing`, of the host's null device."""
        if self.null_is_placed:
            return self.child.open("open_tree", self.null, _EMPTY, _CLONE | k.AT_EMPTY_PATH)
        self.null_is_placed = True
        return self.null

    def readonly_path(self, operation: op.ReadonlyPath) -> None:
        target, what = self._found(operation.target)
        if not what:
            return
        tree = self.child.open("open_tree", target, _EMPTY, _CLONE | k.AT_EMPTY_PATH | k.AT_RECURSIVE)
        self._change(tree, k.MOUNT_ATTR_RDONLY, recursive=k.AT_RECURSIVE)
        self._place(tree, target)
        self.child.close(target, tree)

    def readonly_later(self, operation: op.ReadonlyLater) -> None:
        """There are none: see `filesystem`."""

    def readonly_root(self, operation: op.ReadonlyRoot) -> None:
        self._change(self.fd, k.MOUNT_ATTR_RDONLY)

    def host_name(self, operation: op.HostName) -> None:
        name = os.fsencode(operation.name)
        self.child.call("sethostname", name, len(name))

    def domain_name(self, operation: op.DomainName) -> None:
        name = os.fsencode(operation.name)
        self.child.call("setdomainname", name, len(name))

    def loopback_up(self, operation: op.LoopbackUp) -> None:
        socket = self.child.open("socket", _AF_INET, _DGRAM, 0)
        self.child.call("ioctl", socket, _SIOCSIFFLAGS, pack("=16sh22x", b"lo", _UP_LOOPBACK))
        self.child.close(socket)


_ACTIONS: dict[type[op.Operation], Callable[[_Root, Any], None]] = {
    op.Filesystem: _Root.filesystem,
    op.Bind: _Root.bind,
    op.Device: _Root.device,
    op.Symlink: _Root.symlink,
    op.MakeDirectory: _Root.make_directory,
    op.Mask: _Root.mask,
    op.ReadonlyPath: _Root.readonly_path,
    op.ReadonlyLater: _Root.readonly_later,
    op.ReadonlyRoot: _Root.readonly_root,
    op.HostName: _Root.host_name,
    op.DomainName: _Root.domain_name,
    op.LoopbackUp: _Root.loopback_up,
}
