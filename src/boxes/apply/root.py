"""The container's root in the builder's mount namespace."""

from __future__ import annotations

from boxes import system as os
from boxes.apply import attributes
from boxes.apply.operations import Attributes
from boxes.linux import flags as k
from boxes.linux import procfs, syscalls


class Root:
    """The root as a descriptor, and what operations leave for later ones.

    `sources`: trees the runtime opened in the host's mount namespace, by the operation's pointer and target; `cut`: the
    propagation that separates these from the host's (MS_*). `later`: mounts to be made read-only at the end; `empty`:
    the read-only tmpfs that masks directories, once there is one. `context`: the option by which SELinux labels a tmpfs
    that nobody asked for.
    """

    def __init__(
        self, fd: int, *, sources: dict[tuple[str, str], int], cut: int, context: tuple[str, ...] = ()
    ) -> None:
        self.fd = fd
        self.sources = sources
        self.cut = cut
        self.context = context
        self.later: list[int] = []
        self.empty: int | None = None


def clone_tree(directory: int, path: str, *, recursive: bool, follow: bool = True) -> int:
    """A detached copy of what is mounted at `path` (empty: at the descriptor): the whole tree below, or the one mount.
    Unless told to `follow`, a path that ends in a symbolic link is the link.

    In a user namespace the kernel keeps mounts it inherited together, so that nothing hidden below one shows: where it
    refuses the one, take the whole.
    """
    flags = k.OPEN_TREE_CLONE | (0 if path else k.AT_EMPTY_PATH) | (0 if follow else k.AT_SYMLINK_NOFOLLOW)
    if not recursive:
        try:
            return syscalls.open_tree(directory, path, flags)
        except OSError as error:
            if error.errno != 22:  # EINVAL
                raise
    return syscalls.open_tree(directory, path, flags | k.AT_RECURSIVE)


def layered(lower: list[str], upper: str, work: str) -> int:
    """A detached overlay: `lower` directories, the uppermost first, and `upper`, which takes the changes. Each is
    opened here and named by its descriptor, since a path may be longer than the kernel takes, or have its separators.
    """
    fds = [os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC) for path in (upper, work, *lower)]
    context = syscalls.fsopen("overlay")
    try:
        names = [f"/proc/self/fd/{fd}" for fd in fds]
        syscalls.fsconfig_string(context, "source", "overlay")
        syscalls.fsconfig_string(context, "lowerdir", ":".join(names[2:]))
        syscalls.fsconfig_string(context, "upperdir", names[0])
        syscalls.fsconfig_string(context, "workdir", names[1])
        if not procfs.in_initial_user_namespace():
            syscalls.fsconfig_flag(context, "userxattr")
        syscalls.fsconfig_create(context)
        return syscalls.fsmount(context, 0)
    finally:
        for fd in (context, *fds):
            os.close(fd)


def isolate(propagation: int) -> None:
    """Separate this mount namespace's copies from the host's mounts."""
    syscalls.mount(None, "/", None, propagation)


def attach(tree: int, propagation: int) -> None:
    """Attach the container's root over the root of this mount namespace.

    Processes keep the root they have, so paths of the host go on working here, and no directory has to be within reach
    of the container's user; pivot_root(2) wants only that the new root is attached somewhere.
    """
    target = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        attributes.place(tree, target, Attributes(), propagation)
    finally:
        os.close(target)
