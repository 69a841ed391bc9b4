"""Attributes and propagation of mounts, by descriptor: mount_setattr(2), and mount(2) before Linux 5.12."""

from __future__ import annotations

import errno

from boxes import system as os
from boxes.linux import flags as k
from boxes.linux import syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from boxes.apply.operations import Attributes

_AS_MOUNT_FLAGS = (
    (k.MOUNT_ATTR_RDONLY, k.MS_RDONLY),
    (k.MOUNT_ATTR_NOSUID, k.MS_NOSUID),
    (k.MOUNT_ATTR_NODEV, k.MS_NODEV),
    (k.MOUNT_ATTR_NOEXEC, k.MS_NOEXEC),
    (k.MOUNT_ATTR_NOATIME, k.MS_NOATIME),
    (k.MOUNT_ATTR_STRICTATIME, k.MS_STRICTATIME),
    (k.MOUNT_ATTR_NODIRATIME, k.MS_NODIRATIME),
    (k.MOUNT_ATTR_NOSYMFOLLOW, k.MS_NOSYMFOLLOW),
)
_ST_RELATIME, _ST_NOSYMFOLLOW = 0x1000, 0x2000  # statfs(2) has other numbers for them than mount(2)


def place(tree: int, target: int, wanted: Attributes, base: int) -> None:
    """Attach a detached tree. Its attributes are set before anybody can see it, its propagation after, as attaching
    would change that; nobody else is in this mount namespace yet.

    `base` is the propagation of all that `wanted` says nothing of, or 0. COMPAT(linux<5.12): without mount_setattr(2)
    attributes are set after, too.
    """
    late = False
    try:
        _set(tree, wanted)
    except OSError as error:
        if error.errno != errno.ENOSYS:
            raise
        late = True
    syscalls.move_mount(tree, target)
    if late:
        _set_late(tree, wanted)
    for propagation, recursive in _propagations(wanted, base):
        propagate(tree, propagation, recursive=recursive)


def _set(tree: int, wanted: Attributes) -> None:
    """For the whole tree first, then for its topmost mount."""
    if wanted.recursive_set or wanted.recursive_clear:
        syscalls.mount_setattr(
            tree, set=wanted.recursive_set, clear=whole_groups(wanted.recursive_clear), recursive=True
        )
    if wanted.set or wanted.clear:
        syscalls.mount_setattr(tree, set=wanted.set, clear=whole_groups(wanted.clear), recursive=False)


def _set_late(mount: int, wanted: Attributes) -> None:
    """COMPAT(linux<5.12): what mount_setattr(2) does, one mount after the other."""
    if wanted.recursive_set or wanted.recursive_clear:
        _remount_all(mount, wanted.recursive_set, wanted.recursive_clear)
    if wanted.set or wanted.clear:
        _remount(mount, wanted.set, wanted.clear)


def _remount_all(mount: int, set: int, clear: int) -> None:
    """COMPAT(linux<5.12): a mount and all below it."""
    from boxes.linux import mountinfo

    _remount(mount, set, clear)
    for identifier, point in mountinfo.below(mount):
        fd = mountinfo.open_mount(identifier, point)
        try:
            _remount(fd, set, clear)
        finally:
            os.close(fd)


def change(mount: int, wanted: Attributes) -> None:
    """Change an attached mount, and leave what `wanted` says nothing of."""
    try:
        _set(mount, wanted)
    except OSError as error:
        if error.errno != errno.ENOSYS:
            raise
        _set_late(mount, wanted)
    for propagation, recursive in _propagations(wanted, 0):
        propagate(mount, propagation, recursive=recursive)


def propagate(mount: int, propagation: int, *, recursive: bool) -> None:
    """Set the propagation of what is mounted at a descriptor: mount(2) can do that since ever."""
    syscalls.mount(None, path(mount), None, propagation | (k.MS_REC if recursive else 0))


def place_readonly(tree: int, target: int) -> None:
    """Attach a detached tree all of which is read-only."""
    try:
        syscalls.mount_setattr(tree, set=k.MOUNT_ATTR_RDONLY, recursive=True)
    except OSError as error:
        if error.errno != errno.ENOSYS:
            raise
        syscalls.move_mount(tree, target)
        _remount(tree, k.MOUNT_ATTR_RDONLY, 0)
    else:
        syscalls.move_mount(tree, target)


def as_mount_flags(attributes: int) -> int:
    """MOUNT_ATTR_* as MS_*."""
    return sum(flag for attribute, flag in _AS_MOUNT_FLAGS if attributes & attribute)


def make_readonly(fd: int) -> None:
    """Make an attached mount read-only, whatever else it is."""
    try:
        syscalls.mount_setattr(fd, set=k.MOUNT_ATTR_RDONLY, recursive=False)
    except OSError as error:
        if error.errno != errno.ENOSYS:
            raise
        _remount(fd, k.MOUNT_ATTR_RDONLY, 0)


def whole_groups(clear: int) -> int:
    """The kernel wants the whole group of access times cleared when one of it is set."""
    return clear | k.MOUNT_ATTR__ATIME if clear & k.MOUNT_ATTR__ATIME else clear


def _propagations(wanted: Attributes, base: int) -> list[tuple[int, bool]]:
    steps = [(wanted.recursive_propagation or base, True)]
    if wanted.propagation:
        steps.append((wanted.propagation, False))
    # Shared below a slave: the base first, so that what the container mounts does not reach the host.
    if wanted.recursive_propagation == k.MS_SHARED and base == k.MS_SLAVE:
        steps.insert(0, (base, True))
    return [step for step in steps if step[0]]


def _remount(fd: int, set: int, clear: int) -> None:
    """A remount names all flags, so those the mount has are read first; locked ones must be repeated."""
    flags = os.fstatvfs(fd).f_flag
    has = flags & (k.MS_RDONLY | k.MS_NOSUID | k.MS_NODEV | k.MS_NOEXEC | k.MS_NOATIME | k.MS_NODIRATIME)
    if flags & _ST_NOSYMFOLLOW:
        has |= k.MS_NOSYMFOLLOW
    if not flags & (k.MS_NOATIME | _ST_RELATIME):
        has |= k.MS_STRICTATIME
    for attribute, flag in _AS_MOUNT_FLAGS:
        if whole_groups(clear) & attribute:
            has &= ~flag
        if set & attribute:
            has |= flag
    if not has & (k.MS_NOATIME | k.MS_STRICTATIME):
        has |= k.MS_RELATIME  # without any of them, the mount's old ones stay
    syscalls.mount(None, path(fd), None, k.MS_REMOUNT | k.MS_BIND | has)


def path(fd: int) -> str:
    """A name of what a descriptor refers to, for calls that take no descriptor: the host's /proc, not the
    container's."""
    return f"/proc/self/fd/{fd}"
