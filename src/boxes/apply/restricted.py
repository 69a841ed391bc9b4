"""procfs, sysfs and mqueue where the kernel does not let a user namespace mount them.

It wants the pid, network or ipc namespace to belong to the user namespace. And of procfs and sysfs it wants a mount to
be there already, with nothing of it covered: else what is masked outside would show inside (mount_too_revealing in
fs/namespace.c). The first is refused when the filesystem is made, the second when it becomes a mount.
"""

from __future__ import annotations

from boxes import system as os
from boxes.apply import attributes
from boxes.apply.operations import Attributes
from boxes.apply.root import clone_tree
from boxes.linux import flags as k
from boxes.linux import syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from boxes.apply import operations as op

_SAFE = k.MOUNT_ATTR_RDONLY | k.MOUNT_ATTR_NOSUID | k.MOUNT_ATTR_NODEV | k.MOUNT_ATTR_NOEXEC
_PROC_COVERED = (
    "parts of /proc are masked or read-only where the runtime runs, as in a container: have that undone there, "
    "or bind its /proc and share the pid namespace"
)
_PROC_FOREIGN = "the pid namespace belongs to another user namespace: have a new one made"
_MQUEUE_FOREIGN = "the ipc namespace belongs to another user namespace: have a new one made, or bind /dev/mqueue"
_SYS_COVERED = "parts of /sys are masked or read-only where the runtime runs, as in a container"
_SYS_FOREIGN = "the network namespace belongs to another user namespace: have a new one made, or bind /sys"


def instead(operation: op.Filesystem, target: int, error: OSError) -> int:
    """A descriptor of what is mounted in its place, if there is something; else the error is raised, with a hint."""
    call = str(getattr(error, "call", ""))
    if call.startswith("move_mount"):
        raise error  # it was made, and could not be placed
    covered = call.startswith("fsmount")
    if operation.kind == "mqueue":
        hint = _MQUEUE_FOREIGN
    elif operation.kind == "proc":
        hint = _PROC_COVERED if covered else _PROC_FOREIGN
    else:
        mount = _bound(operation, target) if operation.instead else -1
        if mount >= 0:
            return mount
        hint = _SYS_COVERED if covered else _SYS_FOREIGN
    error.hint = hint  # type: ignore[attr-defined]
    raise error


def _bound(operation: op.Filesystem, target: int) -> int:
    """The host's own, or -1 if it has none: with all that is mounted below it, and read-only throughout, cgroups too
    (CVE-2023-25809). What the host mounts there later does not arrive, as that would not be read-only."""
    tree = clone_tree(k.AT_FDCWD, operation.instead, recursive=True)
    if syscalls.filesystem(tree) != k.SYSFS_MAGIC:
        os.close(tree)
        return -1
    try:
        wanted = Attributes()
        wanted.set = operation.attributes.set
        wanted.recursive_set = operation.attributes.recursive_set | _SAFE
        attributes.place(tree, target, wanted, k.MS_PRIVATE)
        given = operation.attributes.recursive_propagation or operation.attributes.propagation
        if given:
            attributes.propagate(tree, given, recursive=bool(operation.attributes.recursive_propagation))
    except OSError:
        os.close(tree)
        raise
    return tree
