"""What the probe (`probe.c`) saw, as Python values."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

CAPABILITIES = (
    "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST "
    "NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE "
    "SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG "
    "WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE"
).split()


class Mount(NamedTuple):
    """A line of mountinfo (proc_pid_mountinfo(5)); `options` are the mount's, `super_options` the filesystem's."""

    root: str
    point: str
    options: set[str]
    tags: list[str]
    kind: str
    source: str
    super_options: set[str]


def parse_mountinfo(text: str) -> list[Mount]:
    """The mounts in the order of the file: of two on one point the last is on top."""
    mounts = []
    for line in text.splitlines():
        left, right = line.split(" - ", 1)
        fields, (kind, source, super_options) = left.split(" "), right.split(" ", 2)
        options, extra = set(fields[5].split(",")), set(super_options.split(","))
        mounts.append(Mount(fields[3], fields[4], options, fields[6:], kind, source, extra))
    return mounts


def _names(bits: int) -> set[str]:
    return {f"CAP_{name}" for number, name in enumerate(CAPABILITIES) if bits >> number & 1}


class Report(dict[str, Any]):
    """A report by its keys; see `probe.c`. Strings are bytes read as latin-1, so that any byte can be compared."""

    def capabilities(self) -> dict[str, set[str]]:
        return {kind: _names(bits) for kind, bits in self["capabilities"].items()}

    def environment(self) -> dict[str, str]:
        return dict(item.split("=", 1) for item in self["env"])

    def mounts(self) -> dict[str, Mount]:
        """The topmost mount of each mount point."""
        return {mount.point: mount for mount in parse_mountinfo(self["mountinfo"])}


def parse(text: str) -> Report:
    """One report from one line."""
    return Report(json.loads(text))


def parse_lines(text: str) -> list[Report]:
    """The reports of a file that several probes appended to."""
    return [parse(line) for line in text.splitlines()]
