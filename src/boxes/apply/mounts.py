"""Mounts below the container's root: new filesystems, binds, masks."""

from __future__ import annotations

import _stat as stat
import errno

from boxes import system as os
from boxes.apply import attributes
from boxes.apply.root import clone_tree
from boxes.linux import flags as k
from boxes.linux import path, syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from boxes.apply import operations as op
    from boxes.apply.root import Root

_FSCONFIG_VALUE = 255  # bytes: fsconfig(2) refuses longer ones
_SUPERBLOCK_NAMES = (
    (k.MS_SYNCHRONOUS, "sync"),
    (k.MS_DIRSYNC, "dirsync"),
    (k.MS_MANDLOCK, "mand"),
    (k.MS_LAZYTIME, "lazytime"),
)
_OLD_CALL_ONLY = k.MS_SILENT | k.MS_I_VERSION  # flags that fsconfig has no name for


def filesystem(root: Root, operation: op.Filesystem) -> None:
    target = _directory(root, operation.target, ordinary=operation.ordinary)
    try:
        _check_not_proc(target, operation.target, operation.over_proc)
        try:
            mount = _new(root, operation, target)
        except OSError as error:
            if error.errno != errno.EPERM or operation.kind not in ("proc", "sysfs", "mqueue"):
                raise
            from boxes.apply import restricted

            mount = restricted.instead(operation, target, error)
        if operation.copy_up:
            _copy_up(operation, target, mount)
        if operation.label:
            os.setxattr(attributes.path(mount), "security.selinux", operation.label.encode())
    finally:
        os.close(target)
    if operation.readonly_later:
        root.later.append(mount)
    else:
        os.close(mount)


def _copy_up(operation: op.Filesystem, target: int, mount: int) -> None:
    """Into a mount that nobody but this process has seen. It looks like what it covers, unless its options differ."""
    from boxes.apply.copy_up import copy_up

    if not any(entry.startswith("mode=") for entry in operation.data):
        os.chmod(attributes.path(mount), stat.S_IMODE(os.fstat(target).st_mode))
    copy_up(target, mount)


def _directory(root: Root, target: str, *, ordinary: bool) -> int:
    """What is to be mounted on. `ordinary`: a link on the way would put /proc or /sys elsewhere than everybody looks
    for it (CVE-2019-19921, CVE-2023-27561)."""
    if ordinary:
        resolve = k.RESOLVE_BENEATH | k.RESOLVE_NO_SYMLINKS
        try:
            return syscalls.openat2(root.fd, target.lstrip("/") or ".", os.O_PATH | os.O_DIRECTORY, resolve=resolve)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENOTDIR):
                text = f"'{target}' must be mounted on an ordinary directory, and is none"
                raise syscalls.rendered(OSError(errno.ELOOP, text), f'open("{target}")') from None
            if error.errno != errno.ENOENT:
                raise
    return path.make_directory(root.fd, target)


def _check_not_proc(fd: int, target: str, allowed: bool) -> None:
    """A link may have led into the container's /proc, whatever the target is called."""
    if not allowed and syscalls.filesystem(fd) == k.PROC_SUPER_MAGIC:
        raise syscalls.rendered(
            OSError(errno.EPERM, "it lies in /proc, which cannot be mounted over"), f'mount("{target}")'
        )


def _new(root: Root, operation: op.Filesystem, target: int) -> int:
    """Mount it; returns a descriptor of the new mount's root."""
    wanted = operation.attributes
    late = k.MOUNT_ATTR_RDONLY if operation.readonly_later else 0
    if operation.flags & _OLD_CALL_ONLY or any(len(entry.encode()) > _FSCONFIG_VALUE for entry in operation.data):
        return _new_by_path(root, operation, target, late)
    names = [name for flag, name in _SUPERBLOCK_NAMES if operation.flags & flag]
    if wanted.set & ~late & k.MOUNT_ATTR_RDONLY and _is_block_device(operation.source):
        names.append("ro")  # else the kernel would want to write to the device
    settings = (*names, *operation.data)
    mount = place_new(operation.kind, operation.source, settings, (wanted.set | wanted.recursive_set) & ~late, target)
    _propagate_new(mount, wanted)
    return mount


def _is_block_device(source: str) -> bool:
    """Such a filesystem is mounted for one container, while the superblock of others may be the host's too."""
    try:
        return source.startswith("/") and stat.S_ISBLK(os.stat(source).st_mode)
    except FileNotFoundError:
        return False


def place_new(kind: str, source: str, settings: tuple[str, ...], set: int, target: int) -> int:
    """Mount a new filesystem on what `target` refers to; returns a descriptor of its root.

    `settings` are ``key=value`` or ``key``, for fsconfig(2); `set` are MOUNT_ATTR_*.
    """
    context = syscalls.fsopen(kind)
    try:
        syscalls.fsconfig_string(context, "source", source)
        for setting in settings:
            key, equals, value = setting.partition("=")
            if equals:
                syscalls.fsconfig_string(context, key, value)
            else:
                syscalls.fsconfig_flag(context, key)
        syscalls.fsconfig_create(context)
        mount = syscalls.fsmount(context, set)
    finally:
        os.close(context)
    try:
        syscalls.move_mount(mount, target)
    except OSError:
        os.close(mount)
        raise
    return mount


def _propagate_new(mount: int, wanted: op.Attributes) -> None:
    """A new mount takes its parent's propagation; only what was asked for is set."""
    propagation = wanted.recursive_propagation or wanted.propagation
    if propagation:
        attributes.propagate(mount, propagation, recursive=bool(wanted.recursive_propagation))


def _new_by_path(root: Root, operation: op.Filesystem, target: int, late: int) -> int:
    """With mount(2), for what fsconfig(2) cannot say, on the descriptor that was resolved."""
    wanted = operation.attributes
    flags = operation.flags | attributes.as_mount_flags((wanted.set | wanted.recursive_set) & ~late)
    name = attributes.path(target)
    syscalls.mount(operation.source, name, operation.kind, flags, ",".join(map(_quoted, operation.data)))
    # `target` is what lies below the new mount now; looked up again, the name gives the mount itself.
    mount = path.open_in_root(root.fd, operation.target)
    _propagate_new(mount, wanted)
    return mount


def _quoted(entry: str) -> str:
    """A security context has commas of its own, which quotes keep together: mount(8)."""
    key, _, value = entry.partition("=")
    return f'{key}="{value}"' if key.endswith("context") and "," in value else entry


def bind(root: Root, operation: op.Bind) -> None:
    opened = root.sources.pop((operation.pointer, operation.target), None)
    if operation.idmap and opened is None:
        text = "only root may let a mount show other owners"
        raise syscalls.rendered(OSError(errno.EPERM, text), f'mount_setattr("{operation.source}", MOUNT_ATTR_IDMAP)')
    tree = opened
    if tree is None:
        follow = not operation.source_link
        tree = clone_tree(k.AT_FDCWD, operation.source, recursive=operation.recursive, follow=follow)
    try:
        if operation.source_link == "copy" and stat.S_ISLNK(os.fstat(tree).st_mode):
            from boxes.apply import links

            links.copy(root, operation.target, tree)
            return
        target = _bind_target(root, operation, tree)
        try:
            _check_not_proc(target, operation.target, operation.over_proc)
            attributes.place(tree, target, operation.attributes, 0 if opened is None else root.cut)
        finally:
            os.close(target)
    finally:
        os.close(tree)


def _bind_target(root: Root, operation: op.Bind, tree: int) -> int:
    """What is bound on: a directory for a directory, else a file; made, if it is not there."""
    if operation.proc and syscalls.filesystem(tree) != k.PROC_SUPER_MAGIC:
        raise syscalls.rendered(
            OSError(errno.EPERM, "only a procfs may be bound there"), f'mount("{operation.target}")'
        )
    directory = stat.S_ISDIR(os.fstat(tree).st_mode)
    if operation.on_link:
        from boxes.apply import links

        found = links.target(root, operation.target, directory=directory)
        if found is not None:
            return found
    if directory:
        return path.make_directory(root.fd, operation.target, operation.mode)
    target = path.make_file(root.fd, operation.target)
    if stat.S_ISDIR(os.fstat(target).st_mode):
        os.close(target)
        raise syscalls.rendered(
            OSError(errno.EISDIR, "is a directory, and the source is none"), f'mount("{operation.target}")'
        )
    return target


def remount(root: Root, operation: op.Remount) -> None:
    target = path.open_in_root(root.fd, operation.target)
    try:
        if operation.mount_only:
            attributes.change(target, operation.attributes)
            return
        flags = k.MS_REMOUNT | operation.flags
        syscalls.mount(None, attributes.path(target), None, flags, ",".join(operation.data))
        _propagate_new(target, operation.attributes)
    finally:
        os.close(target)


def mask(root: Root, operation: op.Mask) -> None:
    target = path.find(root.fd, operation.target)
    if target is None:
        return
    try:
        tree = _empty(root) if stat.S_ISDIR(os.fstat(target).st_mode) else _null()
        try:
            syscalls.move_mount(tree, target)
        finally:
            os.close(tree)
    finally:
        os.close(target)


def _empty(root: Root) -> int:
    """A detached mount of an empty read-only tmpfs; all masks of a container share one.

    The first is a new mount; a detached one cannot be cloned before Linux 6.15, so later ones copy the attached.
    """
    if root.empty is not None:
        return clone_tree(root.empty, "", recursive=False)
    context = syscalls.fsopen("tmpfs")
    try:
        for setting in ("source=tmpfs", "nr_blocks=1", "nr_inodes=1", *root.context):
            key, _, value = setting.partition("=")
            syscalls.fsconfig_string(context, key, value)
        syscalls.fsconfig_create(context)
        root.empty = syscalls.fsmount(
            context, k.MOUNT_ATTR_RDONLY | k.MOUNT_ATTR_NOSUID | k.MOUNT_ATTR_NODEV | k.MOUNT_ATTR_NOEXEC
        )
    finally:
        os.close(context)
    return os.dup(root.empty)


def _null() -> int:
    """The host's null device, never the container's (CVE-2025-31133)."""
    fd = os.open("/dev/null", os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        facts = os.fstat(fd)
        if not stat.S_ISCHR(facts.st_mode) or facts.st_rdev != os.makedev(1, 3):
            raise syscalls.rendered(
                OSError(errno.ENODEV, "the host's /dev/null is not the null device"), 'open("/dev/null")'
            )
        return clone_tree(fd, "", recursive=False)
    finally:
        os.close(fd)


def readonly_path(root: Root, operation: op.ReadonlyPath) -> None:
    target = path.find(root.fd, operation.target)
    if target is None:
        return
    try:
        tree = clone_tree(target, "", recursive=True)
        try:
            attributes.place_readonly(tree, target)
        finally:
            os.close(tree)
    finally:
        os.close(target)


def readonly_later(root: Root) -> None:
    while root.later:
        mount = root.later.pop(0)
        attributes.make_readonly(mount)
        os.close(mount)
