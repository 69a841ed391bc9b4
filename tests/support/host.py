"""The host that the tests run on: what it offers, and how the test process is set apart from it."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

from tests.support import schema

CLONE_NEWNS = 0x20000
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 1 << 18
PR_SET_CHILD_SUBREAPER = 36
CGROUPS = Path("/sys/fs/cgroup")

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def unshare_mounts() -> None:
    """Give this process a mount namespace of its own: other programs' mounts do not disturb the leak checks, nor ours them.

    `os.unshare` came with Python 3.12 only.
    """
    _check(_libc.unshare(CLONE_NEWNS), "unshare")
    mount(None, "/", None, MS_REC | MS_PRIVATE)


def mount(source: str | None, target: str, kind: str | None, flags: int = 0, data: str | None = None) -> None:
    """mount(2)."""
    encoded = [None if text is None else text.encode() for text in (source, target, kind, data)]
    _check(_libc.mount(*encoded[:3], ctypes.c_ulong(flags), encoded[3]), f"mount on {target}")


def unmount(target: str, flags: int = 2) -> None:
    """umount2(2), with MNT_DETACH unless told otherwise."""
    _check(_libc.umount2(target.encode(), flags), f"unmount {target}")


def become_subreaper() -> None:
    """Orphans come to this process, as they come to conmon or a shim, so that it can wait for and count them."""
    _check(_libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "prctl")


def children(pid: int | str = "self") -> set[int]:
    """The pids of a process' children, zombies included."""
    found: set[int] = set()
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            found.update(int(word) for word in (task / "children").read_text().split())
        except FileNotFoundError:
            continue  # a thread of the test that has ended meanwhile
    return found


def cgroup_roots() -> dict[str, Path]:
    """Each controller's mounted hierarchy: 'memory' → /sys/fs/cgroup/memory; '' is cgroup v2, 'name=systemd' itself."""
    roots: dict[str, Path] = {}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields, _, rest = line.partition(" - ")
        kind, _, options = rest.split(" ", 2)
        mount_point = Path(fields.split(" ")[4])
        in_place = CGROUPS in (mount_point, *mount_point.parents)
        if kind == "cgroup2" and in_place and (mount_point / "cgroup.controllers").exists():  # not covered
            roots.setdefault("", mount_point)
        if kind == "cgroup":
            for name in Path("/proc/self/cgroup").read_text().splitlines():
                controllers = name.split(":")[1]
                if controllers and controllers.split(",")[0] in options.split(","):
                    roots.update(dict.fromkeys(controllers.split(","), mount_point))
    return roots


def own_cgroup(controller: str) -> str:
    """This process' path in the hierarchy of a controller."""
    return cgroup_of("self", controller)


def cgroup_of(pid: int | str, controller: str) -> str:
    """A process' path in the hierarchy of a controller of v1, or in that of v2 where there is no other."""
    lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(",") or len(lines) == 1:
            return path
    raise LookupError(controller)


def _has_time_namespace() -> str | None:
    return None if os.path.exists("/proc/self/ns/time") else "no time namespaces"


def _filesystem(name: str) -> str | None:
    listed = {line.split("\t")[1] for line in Path("/proc/filesystems").read_text().splitlines()}
    return None if name in listed else f"no {name} filesystem"


def _call(number: int, name: str) -> str | None:
    """Whether the kernel knows it; with arguments that no call likes."""
    refused = _libc.syscall(number, -1, b"", -1, b"", 0) < 0 and ctypes.get_errno() == errno.ENOSYS
    return f"no {name}(2)" if refused else None


def _mount_attributes() -> str | None:
    """Linux 5.12; its number is the same on all architectures."""
    return _call(442, "mount_setattr")


def _scripts() -> str | None:
    """What the scripts of the library take; all else goes without."""
    return _mount_attributes() or _call(316 if os.uname().machine == "x86_64" else 276, "renameat2")


def _unfiltered() -> str | None:
    alone = "\nSeccomp:\t0\n" in Path("/proc/self/status").read_text()
    return None if alone else "this process has a seccomp filter, which is counted too"


def criu() -> str:
    """The program: that in the directory BOXES_CRIU, if it is set."""
    return os.environ.get("BOXES_CRIU", "/usr/sbin") + "/criu"


def _criu(feature: str) -> str | None:
    """It has to know this kernel: that of Debian 12 cannot read the vDSO of newer ones."""
    if not os.path.exists(criu()):
        return "needs criu"
    flags = ["--feature", _CRIU_FEATURES[feature]] if feature in _CRIU_FEATURES else []
    done = subprocess.run([criu(), "check", *flags], capture_output=True, text=True)
    if done.returncode == 0 and feature == "lazy pages" and _release() >= (6, 18):
        return "criu 4.2 and this kernel cannot: splice of a page pipe fails with EBADF, under runc too"
    return None if done.returncode == 0 else f"criu cannot work here: {done.stderr.strip().splitlines()[-1:]}"


def _release() -> tuple[int, ...]:
    return tuple(int(part) for part in os.uname().release.split(".")[:2])


_CRIU_FEATURES = {"dirty tracking": "mem_dirty_track", "lazy pages": "uffd-noncoop"}
_TRIED = {
    "time namespace": _has_time_namespace,
    "mount_setattr": _mount_attributes,
    "scripts": _scripts,
    "unfiltered": _unfiltered,
}
_PROGRAMS = set("strace useradd debootstrap cc nft pasta slirp4netns dnsmasq iptables podman".split())
_FILES = {
    "systemd": ["/run/systemd/system"],
    "fuse": ["/dev/fuse"],
    "cni plugins": ["/usr/lib/cni/bridge", "/usr/lib/cni/host-local", "/usr/lib/cni/portmap"],
    "loop devices": ["/dev/loop-control", "/usr/sbin/mkfs.ext4"],
}


@cache
def lacks(feature: str) -> str | None:
    """Why this host does not offer what a test `requires`, or None if it does."""
    if feature == "root":
        return None if os.geteuid() == 0 else "needs root"
    if feature == "cgroup1":
        return None if "memory" in cgroup_roots() else "needs cgroup v1 hierarchies"
    if feature == "cgroup2":
        return None if set(cgroup_roots()) == {""} else "needs a unified cgroup hierarchy"
    if feature in _TRIED:
        return _TRIED[feature]()
    if feature in ("overlay", "resctrl"):
        return _filesystem(feature)
    if feature in _FILES:
        return next((f"no {path}" for path in _FILES[feature] if not os.path.exists(path)), None)
    if feature == "criu" or feature in _CRIU_FEATURES:
        return _criu(feature)
    if feature == "subordinate ids":
        return None if shutil.which("newuidmap") and shutil.which("newgidmap") else "needs newuidmap and newgidmap"
    if feature == "debian":
        cache = Path(os.environ.get("BOXES_CACHE") or Path.home() / ".cache" / "boxes")
        made = (cache / "debian.tar").exists() or "BOXES_DEBIAN" in os.environ
        return None if made else "no Debian at hand: run `scripts/rootfs debian DIR` once, or set BOXES_DEBIAN"
    if feature.endswith(" schema"):
        return schema.lacks(f"{feature.removesuffix(' schema')}-schema.json")
    if feature in _PROGRAMS:
        return None if shutil.which(feature) or (feature == "cc" and shutil.which("gcc")) else f"needs {feature}"
    raise LookupError(f"no such feature: {feature}")
