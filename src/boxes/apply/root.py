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


def open_place(rootfs: str) -> int:
    """The directory over which the container's root will be attached: its own, or the nearest around it within reach.

    Never the root of this mount namespace, unless that is the container's: paths of the host are looked up after this,
    and a `..` that comes to a root goes on in whatever is mounted over it. A path such as /etc/resolv.conf, if it is a
    link to ../run/…, would lead into the container's files then, and by their links to any file of the host.
    """
    place = rootfs
    while True:
        try:
            return os.open(place, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except PermissionError:
            place = place.rpartition("/")[0]
            if not place:
                raise


def isolate(propagation: int, place: int) -> None:
    """Separate this mount namespace's copies from the host's mounts: all, or the topmost and that which has `place`."""
    syscalls.mount(None, "/", None, propagation)
    if not propagation & k.MS_REC:
        _isolate_mount(os.readlink(f"/proc/self/fd/{place}"), propagation)


def _isolate_mount(path: str, propagation: int) -> None:
    """Of the mount that a path is in; only where it is mounted can it be changed."""
    while path and path != "/":
        try:
            syscalls.mount(None, path, None, propagation)
        except OSError as error:
            if error.errno not in (13, 22):  # EACCES, EINVAL
                raise
            path = path.rpartition("/")[0]
        else:
            return


def attach(tree: int, place: int, propagation: int) -> None:
    """Attach the container's root: pivot_root(2) wants it attached somewhere."""
    attributes.place(tree, place, Attributes(), propagation)
