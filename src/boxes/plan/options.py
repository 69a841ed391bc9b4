"""Mount options, from their names in /mounts/N/options to the kernel's flags (runtime-spec, config.md, Linux mount
options)."""

from __future__ import annotations

from boxes.apply.operations import Attributes
from boxes.linux import flags as k

# Names that set or clear attributes of the mount itself.
_SET = {
    "ro": k.MOUNT_ATTR_RDONLY,
    "nosuid": k.MOUNT_ATTR_NOSUID,
    "nodev": k.MOUNT_ATTR_NODEV,
    "noexec": k.MOUNT_ATTR_NOEXEC,
    "nodiratime": k.MOUNT_ATTR_NODIRATIME,
    "nosymfollow": k.MOUNT_ATTR_NOSYMFOLLOW,
}
_CLEAR = {
    "rw": k.MOUNT_ATTR_RDONLY,
    "suid": k.MOUNT_ATTR_NOSUID,
    "dev": k.MOUNT_ATTR_NODEV,
    "exec": k.MOUNT_ATTR_NOEXEC,
    "diratime": k.MOUNT_ATTR_NODIRATIME,
    "symfollow": k.MOUNT_ATTR_NOSYMFOLLOW,
}
# One of three, so setting one clears the others. Their negatives lead to the kernel's default, which is relatime.
_ATIME = {
    "noatime": k.MOUNT_ATTR_NOATIME,
    "atime": k.MOUNT_ATTR_RELATIME,
    "relatime": k.MOUNT_ATTR_RELATIME,
    "norelatime": k.MOUNT_ATTR_RELATIME,
    "strictatime": k.MOUNT_ATTR_STRICTATIME,
    "nostrictatime": k.MOUNT_ATTR_RELATIME,
}
_PROPAGATION = {
    "shared": k.MS_SHARED,
    "slave": k.MS_SLAVE,
    "private": k.MS_PRIVATE,
    "unbindable": k.MS_UNBINDABLE,
}
# Flags of the superblock: what they set, and whether the name sets or clears it.
_SUPERBLOCK = {
    "sync": (k.MS_SYNCHRONOUS, True),
    "async": (k.MS_SYNCHRONOUS, False),
    "dirsync": (k.MS_DIRSYNC, True),
    "mand": (k.MS_MANDLOCK, True),
    "nomand": (k.MS_MANDLOCK, False),
    "lazytime": (k.MS_LAZYTIME, True),
    "nolazytime": (k.MS_LAZYTIME, False),
    "silent": (k.MS_SILENT, True),
    "loud": (k.MS_SILENT, False),
    "iversion": (k.MS_I_VERSION, True),
    "noiversion": (k.MS_I_VERSION, False),
}
# crun's recursive forms of some of these. The kernel has no such attribute of a mount, and a new filesystem has no
# mounts below it, so that they mean the same as those without the r.
_RECURSIVE_SUPERBLOCK = frozenset(("rsync", "rasync", "rdirsync", "rmand", "rnomand"))
_IGNORED = frozenset({"defaults", "_netdev", "nofail"})
# What `_of_call` may know, for `known`: an option that it passes over is left out there.
_CALLS = ("bind", "rbind", "remount", "tmpcopyup", "idmap", "ridmap", "copy-symlink", "src-nofollow", "dest-nofollow")


class MountOptions:
    """The options of one mount, sorted by what they act on.

    `superblock`: the names of those that are about the filesystem; `source_link`: "mount" a source that is a symbolic
    link as it is, "copy" it, or follow it ("").
    """

    def __init__(self) -> None:
        self.attributes = Attributes()
        self.flags = 0
        self.superblock: list[str] = []
        self.data: list[str] = []
        self.bind = False
        self.recursive_bind = False
        self.remount = False
        self.copy_up = False
        self.idmapped = False
        self.source_link = ""
        self.on_link = False


def parse(options: list[str]) -> MountOptions:
    """Sort mount options. Of contradicting ones the last wins; what no table knows is the filesystem's own."""
    found = MountOptions()
    for option in options:
        if not (_of_mount(found, option) or _of_superblock(found, option) or _of_call(found, option)):
            found.data.append(option)
    return found


def _of_mount(found: MountOptions, option: str) -> bool:
    """Attributes and propagation; with an ``r`` in front they are for all mounts below too (Linux 5.12)."""
    if option in _PROPAGATION:
        found.attributes.propagation = _PROPAGATION[option]
        found.attributes.recursive_propagation = 0
    elif option[:1] == "r" and option[1:] in _PROPAGATION:
        found.attributes.recursive_propagation = _PROPAGATION[option[1:]]
        found.attributes.propagation = 0
    elif _attribute(found.attributes, option, recursive=False):
        return True
    else:
        return option[:1] == "r" and _attribute(found.attributes, option[1:], recursive=True)
    return True


def _attribute(attributes: Attributes, name: str, *, recursive: bool) -> bool:
    if name in _SET:
        set, clear = _SET[name], 0
    elif name in _CLEAR:
        set, clear = 0, _CLEAR[name]
    elif name in _ATIME:
        set, clear = _ATIME[name], k.MOUNT_ATTR__ATIME
    else:
        return False
    prefix = "recursive_" if recursive else ""
    before_set: int = getattr(attributes, prefix + "set")
    before_clear: int = getattr(attributes, prefix + "clear")
    setattr(attributes, prefix + "set", before_set & ~(set | clear) | set)
    setattr(attributes, prefix + "clear", before_clear & ~set | clear)
    return True


def _of_superblock(found: MountOptions, option: str) -> bool:
    name = option[1:] if option in _RECURSIVE_SUPERBLOCK else option
    if name not in _SUPERBLOCK:
        return False
    flag, sets = _SUPERBLOCK[name]
    found.flags = found.flags | flag if sets else found.flags & ~flag
    found.superblock.append(option)
    return True


def _of_call(found: MountOptions, option: str) -> bool:
    """Options that say what is to be done at all."""
    if option == "bind":
        found.bind = True
    elif option == "rbind":
        found.bind = found.recursive_bind = True
    elif option == "remount":
        found.remount = True
    elif option == "tmpcopyup":
        found.copy_up = True
    elif option == "copy-symlink":
        found.source_link = "copy"
    elif option == "src-nofollow":
        found.source_link = found.source_link or "mount"
    elif option == "dest-nofollow":
        found.on_link = True
    elif option.partition("=")[0] in ("idmap", "ridmap"):
        found.idmapped = True
    else:
        return option in _IGNORED
    return True


def known() -> list[str]:
    """The names of all options that are more than a filesystem's own, for `features`."""
    own = [*_SET, *_CLEAR, *_ATIME, *_PROPAGATION]
    names = {*own, *(f"r{name}" for name in own), *_SUPERBLOCK, *_RECURSIVE_SUPERBLOCK, *_IGNORED, *_CALLS}
    return sorted(name for name in names if not parse([name]).data)
