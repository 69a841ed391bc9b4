"""Bundles that make a runtime take different ways."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from tests.support.bundle import Bundle
from tests.support.rootfs import probe_program


def plain(bundle: Bundle) -> None:
    """One clone3 makes the builder; all processes end with the container's init."""


def staged(bundle: Bundle) -> None:
    """A process comes between runtime and builder; id maps are written."""
    bundle.user_namespace().namespace("time").namespace("cgroup")
    bundle.linux["timeOffsets"] = {"monotonic": {"secs": 5}}


def shared(bundle: Bundle) -> None:
    """Without a pid namespace processes outlive the init."""
    bundle.without_namespace("pid").without_mount("/proc", "/sys")


def limited(bundle: Bundle) -> None:
    """Limits and a hook."""
    bundle.linux["resources"] = {"memory": {"limit": 64 << 20}, "pids": {"limit": 50}}
    bundle.hook("createRuntime", str(probe_program("linger")), "0")


def confined(bundle: Bundle) -> None:
    """What engines ask for: everything that makes a process less than the host's."""
    limited(bundle)
    shutil.copy(probe_program("linger"), bundle.rootfs / "bin/linger")
    bundle.capabilities("CAP_KILL", "CAP_CHOWN", "CAP_SETUID")
    bundle.process["user"] = {"uid": 1000, "gid": 1000, "umask": 0o27, "additionalGids": [1234]}
    bundle.process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 500, "hard": 600}]
    bundle.process["oomScoreAdj"] = 500
    bundle.config["hostname"] = "swept"
    bundle.config["root"]["readonly"] = True
    bundle.linux["maskedPaths"] = ["/proc/keys", "/proc/scsi", "/sys/firmware"]
    bundle.linux["readonlyPaths"] = ["/proc/sys", "/proc/sysrq-trigger"]
    bundle.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [{"names": ["keyctl", "add_key", "bpf"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}],
    }
    bundle.mount("/mnt", "bind", bundle.host_directory(), "rbind", "ro")
    bundle.mount("/tmp", "tmpfs", "tmpfs", "nosuid", "size=64k")
    bundle.hook("startContainer", "/bin/linger", "0")
    for moment in ("poststart", "poststop"):
        bundle.hook(moment, str(probe_program("linger")), "0")


def terminal(bundle: Bundle) -> None:
    """A terminal for an engine, and a file with the pid."""
    bundle.process.update(terminal=True, consoleSize={"height": 24, "width": 80})


def rootless(bundle: Bundle) -> None:
    """An ordinary user's, who has no more ids than the own."""
    for directory, names, files in os.walk(bundle.path.parent):
        for name in (".", *names, *files):
            os.chown(Path(directory, name), ORDINARY, ORDINARY, follow_symlinks=False)
    own = [{"containerID": 0, "hostID": ORDINARY, "size": 1}]
    bundle.without_mount("/sys").namespace("user").linux.update(uidMappings=own, gidMappings=own)
    del bundle.linux["cgroupsPath"]


ORDINARY = 54321  # the user who runs the commands in the shape `rootless`
SHAPES: dict[str, Callable[[Bundle], None]] = {
    shape.__name__: shape for shape in (plain, staged, shared, limited, confined, terminal, rootless)
}
