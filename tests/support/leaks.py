"""What a test must leave as it was: mounts, cgroups, state, processes, /dev, the host's names."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from tests.support.host import cgroup_roots, children, unmount


def _devices() -> dict[str, tuple[int, int, int, int]]:
    found = {}
    with os.scandir("/dev") as entries:
        for entry in entries:
            info = entry.stat(follow_symlinks=False)
            found[entry.name] = (info.st_mode, info.st_uid, info.st_gid, info.st_rdev)
    return found


class CgroupParent:
    """The directory, in each hierarchy, below which all containers of the tests live."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.directories = [root / name for root in sorted(set(cgroup_roots().values()))]

    def make(self) -> None:
        for directory in self.directories:
            directory.mkdir()
            for file in ("cpuset.cpus", "cpuset.mems"):
                if (directory / file).exists() and (directory.parent / file).exists():  # v1, where they start empty
                    (directory / file).write_text((directory.parent / file).read_text())

    def below(self) -> set[str]:
        """The directories made below it."""
        return {path for directory in self.directories for path, _, _ in os.walk(directory)} - set(
            map(str, self.directories)
        )

    def remove(self) -> None:
        for directory in self.directories:
            for path, _, _ in os.walk(directory, topdown=False):
                os.rmdir(path)


def snapshot(parent: CgroupParent | None) -> dict[str, Any]:
    """What is compared before and after a test."""
    names = os.uname()
    return {
        "mounts": set(Path("/proc/self/mountinfo").read_text().splitlines()),
        "cgroups": parent.below() if parent else set(),
        "processes": children(),
        "devices": _devices(),
        "hostname": (names.nodename, Path("/proc/sys/kernel/domainname").read_text()),
    }


def differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """What came, went or changed, a line each."""
    found = []
    for kind, old in before.items():
        new = after[kind]
        if isinstance(old, set):
            found += [f"{kind}: left behind: {item}" for item in sorted(new - old)]
            found += [f"{kind}: gone: {item}" for item in sorted(old - new) if kind != "processes"]
        elif old != new:
            found.append(f"{kind}: was {old}, is {new}")
    return found


def clear(before: dict[str, Any], after: dict[str, Any]) -> None:
    """Take away what a test left, so that the next ones are judged on their own."""
    for pid in after["processes"] - before["processes"]:
        os.kill(pid, signal.SIGKILL)
    for line in sorted(after["mounts"] - before["mounts"], key=lambda line: -int(line.split(" ")[0])):
        unmount(line.split(" ")[4].encode().decode("unicode_escape"))
    for name, (mode, uid, gid, _) in before["devices"].items():
        if after["devices"].get(name, (mode, uid, gid))[:3] != (mode, uid, gid) and not os.path.islink(f"/dev/{name}"):
            os.chown(f"/dev/{name}", uid, gid)
            os.chmod(f"/dev/{name}", mode & 0o7777)
    for path in sorted(after["cgroups"] - before["cgroups"], key=len, reverse=True):
        os.rmdir(path)
