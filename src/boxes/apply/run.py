"""Carry out operations, in order."""

from __future__ import annotations

import errno

from boxes.apply import attributes, cgroups, devices, kernel, mounts
from boxes.apply import operations as op
from boxes.errors import refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from boxes.apply.root import Root


def run(root: Root, operations: list[op.Operation], hierarchies: list[cgroups.Hierarchy]) -> None:
    """Apply each; the first that the kernel refuses raises KernelError with the operation's pointer."""
    for operation in operations:
        try:
            if isinstance(operation, op.Cgroups):
                cgroups.cgroups(root, operation, hierarchies)
            else:
                _ACTIONS[type(operation)](root, operation)
        except OSError as error:
            hint = getattr(error, "hint", None) or _hint(operation, error)
            raise refused(_stage(operation), error, pointer=operation.pointer, hint=hint) from error


def _hint(operation: op.Operation, error: OSError) -> str | None:
    if error.errno == errno.EOVERFLOW:
        return "the container's id 0 is not mapped, and it is who makes files"
    changes = operation.attributes if isinstance(operation, (op.Bind, op.Remount)) else None
    if error.errno == errno.EPERM and changes is not None and changes.clear | changes.recursive_clear:
        return "what a mount is restricted by outside cannot be taken away in a user namespace"
    return None


def _stage(operation: op.Operation) -> str:
    target = getattr(operation, "target", None)
    what = _STAGES.get(type(operation), "set up")
    return f"cannot {what} '{target}'" if target else f"cannot {what}"


def _readonly_root(root: Root, operation: op.ReadonlyRoot) -> None:
    attributes.make_readonly(root.fd)


def _readonly_later(root: Root, operation: op.ReadonlyLater) -> None:
    mounts.readonly_later(root)


_ACTIONS: dict[type[op.Operation], Callable[[Root, Any], None]] = {
    op.Filesystem: mounts.filesystem,
    op.Bind: mounts.bind,
    op.Remount: mounts.remount,
    op.Mask: mounts.mask,
    op.ReadonlyPath: mounts.readonly_path,
    op.ReadonlyLater: _readonly_later,
    op.ReadonlyRoot: _readonly_root,
    op.Device: devices.device,
    op.Symlink: devices.symlink,
    op.MakeFile: devices.make_file,
    op.MakeDirectory: devices.make_directory,
    op.Sysctl: kernel.sysctl,
    op.HostName: kernel.host_name,
    op.DomainName: kernel.domain_name,
    op.LoopbackUp: kernel.loopback_up,
}
_STAGES: dict[type[op.Operation], str] = {
    op.Filesystem: "mount on",
    op.Bind: "bind on",
    op.Remount: "remount",
    op.Cgroups: "mount cgroups on",
    op.Mask: "mask",
    op.ReadonlyPath: "make read-only",
    op.ReadonlyLater: "make mounts read-only",
    op.ReadonlyRoot: "make the root read-only",
    op.Device: "make device",
    op.Symlink: "make link",
    op.MakeFile: "make file",
    op.MakeDirectory: "make directory",
    op.Sysctl: "set the kernel parameter",
    op.HostName: "set the host name",
    op.DomainName: "set the domain name",
    op.LoopbackUp: "set the loopback interface up",
}
