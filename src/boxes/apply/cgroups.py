"""The cgroup hierarchies in the container's mount tree."""

from __future__ import annotations

from boxes import system as os
from boxes.apply import attributes
from boxes.apply.mounts import place_new
from boxes.apply.operations import Attributes
from boxes.apply.root import clone_tree
from boxes.linux import flags as k
from boxes.linux import path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from boxes.apply import operations as op
    from boxes.apply.root import Root


class Hierarchy:
    """One hierarchy as it is shown: `name` of its directory on v1, `options` that mount it anew, `source` on the host:
    the container's own cgroup, `unified`: whether it is of v2."""

    __slots__ = ("name", "options", "source", "unified")

    def __init__(self, name: str, options: str, source: str, unified: bool) -> None:
        self.name = name
        self.options = options
        self.source = source
        self.unified = unified


def cgroups(root: Root, operation: op.Cgroups, hierarchies: list[Hierarchy]) -> None:
    """On v2: one mount. On v1: a tmpfs with a directory a hierarchy, as the host has them. A container without cgroups
    sees an empty one."""
    readonly = Attributes()
    readonly.set = operation.attributes.set
    if operation.readonly or not hierarchies:
        readonly.set |= k.MOUNT_ATTR_RDONLY
    readonly.propagation = operation.attributes.propagation
    readonly.recursive_propagation = operation.attributes.recursive_propagation
    if len(hierarchies) == 1 and hierarchies[0].unified:
        _one(root, operation.target, hierarchies[0], operation.namespaced, readonly)
        return
    fd = path.make_directory(root.fd, operation.target)
    try:
        tree = place_new(
            "tmpfs",
            "cgroup",
            ("mode=755", *root.context),
            k.MOUNT_ATTR_NOSUID | k.MOUNT_ATTR_NODEV | k.MOUNT_ATTR_NOEXEC,
            fd,
        )
    finally:
        os.close(fd)
    try:
        for hierarchy in hierarchies:
            _one(root, f"{operation.target}/{hierarchy.name}", hierarchy, operation.namespaced, readonly)
            for link in hierarchy.name.split(",") if "," in hierarchy.name else ():
                os.symlink(hierarchy.name, link, dir_fd=tree)
        if readonly.set & k.MOUNT_ATTR_RDONLY:
            attributes.make_readonly(tree)
    finally:
        os.close(tree)


def _one(root: Root, target: str, hierarchy: Hierarchy, namespaced: bool, wanted: Attributes) -> None:
    """In a cgroup namespace mount the hierarchy anew, whose root is then the container's cgroup; without one bind the
    container's cgroup, never the host's."""
    fd = path.make_directory(root.fd, target)
    try:
        if namespaced and _mounted_anew(hierarchy, wanted, fd):
            return
        tree = clone_tree(k.AT_FDCWD, hierarchy.source, recursive=False)
        try:
            attributes.place(tree, fd, wanted, k.MS_PRIVATE)
        finally:
            os.close(tree)
    finally:
        os.close(fd)


def _mounted_anew(hierarchy: Hierarchy, wanted: Attributes, target: int) -> bool:
    """False where the kernel refuses it: in a user namespace, or for a hierarchy mounted otherwise on the host. The
    bind of the own cgroup that comes instead shows the same."""
    kind = "cgroup2" if hierarchy.unified else "cgroup"
    try:
        os.close(
            place_new(
                kind, "cgroup", tuple(hierarchy.options.split(",")) if hierarchy.options else (), wanted.set, target
            )
        )
    except OSError as error:
        if error.errno in (1, 13, 16, 22):  # EPERM, EACCES, EBUSY, EINVAL
            return False
        raise
    return True
