"""Configs that we write: the template of `spec`, and the throw-away container of `try`."""

from __future__ import annotations

import os

from boxes.spec.state import OCI_VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from boxes.spec.shapes import Capabilities, Config, Mount

PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CAPABILITIES = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]

# At least what runc, containerd and moby mask. The RAPL counters of powercap and the throttling counters tell one
# tenant what another computes; /proc/interrupts does so for keystrokes.
MASKED = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
)
READONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")

# What a program from the host's file system needs to run, without what is private to the host.
HOST_FILES = (
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/nix/store",
    "/gnu/store",
    "/etc/alternatives",
    "/etc/group",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/nsswitch.conf",
    "/etc/passwd",
    "/etc/ssl/certs",
    "/etc/terminfo",
)


def masked_paths(processors: Iterable[int] | None = None) -> list[str]:
    """The default `maskedPaths`; `processors` are those whose throttling counters are masked, the host's if None."""
    if processors is None:
        processors = range(os.sysconf("SC_NPROCESSORS_CONF"))
    counters = [f"/sys/devices/system/cpu/cpu{number}/thermal_throttle" for number in processors]
    return [*MASKED, *(path for path in counters if os.path.isdir(path))]


def _mount(destination: str, kind: str, source: str, options: str = "") -> Mount:
    mount: Mount = {"destination": destination, "type": kind, "source": source}
    if options:
        mount["options"] = options.split(",")
    return mount


def _system_mounts(*, mapped: bool) -> list[Mount]:
    """/proc and /dev. With one mapped id only there is no group 5 for terminals."""
    terminals = "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620"
    return [
        _mount("/proc", "proc", "proc", "nosuid,noexec,nodev"),
        _mount("/dev", "tmpfs", "tmpfs", "nosuid,strictatime,mode=755,size=65536k"),
        _mount("/dev/pts", "devpts", "devpts", terminals if mapped else f"{terminals},gid=5"),
        _mount("/dev/shm", "tmpfs", "shm", "nosuid,noexec,nodev,mode=1777,size=65536k"),
    ]


def default(rootless: bool = False, *, uid: int | None = None, gid: int | None = None) -> Config:
    """The template that `spec` writes: a shell in `rootfs`, confined.

    Rootless, id 0 of the container is `uid` and `gid` on the host (the caller's if None), the network is the host's,
    and there are no limits.
    """
    config: Config = {
        "ociVersion": OCI_VERSION,
        "process": {
            "terminal": True,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": [PATH, "TERM=xterm"],
            "cwd": "/",
            "capabilities": _capabilities(),
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "box",
        "mounts": [
            *_system_mounts(mapped=rootless),
            _mount("/dev/mqueue", "mqueue", "mqueue", "nosuid,noexec,nodev"),
            _mount("/sys", "none", "/sys", "rbind,nosuid,noexec,nodev,ro")
            if rootless
            else _mount("/sys", "sysfs", "sysfs", "nosuid,noexec,nodev,ro"),
            _mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid,noexec,nodev,relatime,ro"),
        ],
        "linux": {
            "namespaces": [{"type": kind} for kind in ("pid", "ipc", "uts", "mount", "cgroup")],
            "maskedPaths": masked_paths(),
            "readonlyPaths": list(READONLY),
        },
    }
    linux = config["linux"]
    if rootless:
        linux["namespaces"].append({"type": "user"})
        linux["uidMappings"] = [{"containerID": 0, "hostID": os.geteuid() if uid is None else uid, "size": 1}]
        linux["gidMappings"] = [{"containerID": 0, "hostID": os.getegid() if gid is None else gid, "size": 1}]
    else:
        linux["namespaces"].append({"type": "network"})
        linux["resources"] = {"devices": [{"allow": False, "access": "rwm"}]}
    return config


def _capabilities() -> Capabilities:
    return {"bounding": list(CAPABILITIES), "effective": list(CAPABILITIES), "permitted": list(CAPABILITIES)}


def host_files() -> list[str]:
    """Which files and directories of this host `throwaway` should show."""
    return [path for path in HOST_FILES if os.path.exists(path)]


def throwaway(command: Sequence[str], *, uid: int, gid: int, rootless: bool, tty: bool, host: Iterable[str]) -> Config:
    """A container that leaves no trace, made of the host's own files, for `try`.

    `host` are absolute paths to show read-only, each at its own place, parents first (see `host_files`); the root file
    system is the empty directory `rootfs` of the bundle. /tmp, /var/tmp, /home and /run are new and empty. There is no
    network but the container's own loopback, no capability, no /sys, and no limit: so it runs wherever namespaces do.

    `uid` and `gid` are whom the process runs as; rootless, they are the caller, who is 0 inside.
    """
    # Recursive, so that a mount below /usr is no way to write to the host.
    shown = [_mount(path, "none", path, "rbind,rro,rnosuid,rnodev") for path in host]
    empty = [
        _mount(path, "tmpfs", "tmpfs", f"nosuid,nodev,mode={mode}")
        for path, mode in (("/tmp", "1777"), ("/var/tmp", "1777"), ("/home", "1777"), ("/run", "755"))
    ]
    config: Config = {
        "ociVersion": OCI_VERSION,
        "process": {
            "terminal": tty,
            "user": {"uid": 0, "gid": 0} if rootless else {"uid": uid, "gid": gid},
            "args": list(command),
            "env": [PATH, "HOME=/home", "LANG=C.UTF-8", *(["TERM=xterm"] if tty else [])],
            "cwd": "/home",
            "capabilities": {},
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "box",
        "mounts": [*shown, *_system_mounts(mapped=rootless), *empty],
        "linux": {
            "namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount", "cgroup")],
            "maskedPaths": list(MASKED),
            "readonlyPaths": list(READONLY),
        },
    }
    if rootless:
        config["linux"]["namespaces"].append({"type": "user"})
        config["linux"]["uidMappings"] = [{"containerID": 0, "hostID": uid, "size": 1}]
        config["linux"]["gidMappings"] = [{"containerID": 0, "hostID": gid, "size": 1}]
    return config
