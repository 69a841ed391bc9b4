"""Configs for sandboxes, made from typed fields. What is not asked for is locked."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from boxes.errors import UsageError
from boxes.spec import given
from boxes.spec.default import PATH, READONLY, masked_paths
from boxes.spec.filter import profile
from boxes.spec.state import OCI_VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import TypeVar

    from boxes.spec import shapes

    Number = TypeVar("Number", int, float)

NOBODY = 65534
_PERIOD = 100_000  # microseconds, of CPU quotas


@dataclass(frozen=True, slots=True)
class Limits:
    """What a container may use. `memory`: bytes, of all its processes, page cache and tmpfs with them (no swap);
    `cpus`: how many at once, such as 0.5; `pids`: how many processes and threads; `open_files`: descriptors of each
    process; `file_size`: bytes of a file it writes; `cpu_seconds`: of each process. None: no limit of ours."""

    memory: int | None = None
    cpus: float | None = None
    pids: int | None = None
    open_files: int | None = 1024
    file_size: int | None = None
    cpu_seconds: int | None = None

    def resources(self) -> shapes.Resources:
        """The part that cgroups hold."""
        found: shapes.Resources = {}
        if self.memory is not None:
            found["memory"] = {"limit": _whole("memory", self.memory), "swap": self.memory}
        if self.cpus is not None:
            quota = int(_positive("cpus", self.cpus) * _PERIOD)
            found["cpu"] = {"quota": max(1000, quota), "period": _PERIOD}
        if self.pids is not None:
            found["pids"] = {"limit": _whole("pids", self.pids)}
        return found

    def rlimits(self) -> list[shapes.Rlimit]:
        """The part that the processes hold themselves."""
        wanted = (
            ("RLIMIT_NOFILE", "open_files", self.open_files),
            ("RLIMIT_FSIZE", "file_size", self.file_size),
            ("RLIMIT_CPU", "cpu_seconds", self.cpu_seconds),
        )
        found: list[shapes.Rlimit] = []
        for kind, name, value in wanted:
            if value is not None:
                found.append({"type": kind, "soft": _whole(name, value), "hard": value})
        return [*found, {"type": "RLIMIT_CORE", "soft": 0, "hard": 0}]


def _positive(name: str, value: Number) -> Number:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise UsageError(f"limit '{name}' is to be more than 0, not {value!r}")
    return value


def _whole(name: str, value: int) -> int:
    if type(_positive(name, value)) is not int:
        raise UsageError(f"limit '{name}' is to be a whole number, not {value!r}")
    return value


@dataclass(frozen=True, slots=True)
class Bind:
    """A file or directory of the host, shown in the container at `target`; to be changed only if `writable`."""

    source: str | os.PathLike[str]
    target: str
    writable: bool = False

    def mount(self) -> shapes.Mount:
        source = os.path.abspath(given.path("source", self.source))
        given.instance("target", self.target, str)
        ways = ["rbind", "rnosuid", "rnodev", "rw" if self.writable else "rro"]
        return {"destination": self.target, "type": "none", "source": source, "options": ways}


@dataclass(slots=True, kw_only=True)
class Config:
    """A container's config, by its fields; `document` gives it as config.json has it, to be changed at will.

    `args`: program and arguments; `rootfs`: the directory that becomes its root; `env`: variables besides PATH;
    `cwd`: where it starts; `user`: uid and gid, by default "nobody", or for rootless containers the caller, who is 0
    inside; `writable`: whether it can change the root; `binds`: what it sees of the host; `tmp`: bytes of a new /tmp,
    or None for that of the root; `capabilities`: none by default; `network`: "none" (its own loopback alone), "host",
    or what --network takes besides; `publish`, `allow`: as these options, for a network that is neither; `seccomp`:
    the profile, {} for none; `rootless`: with a user namespace, by default unless the caller is root.
    """

    args: Sequence[str]
    rootfs: str | os.PathLike[str]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str = "/"
    user: tuple[int, int] | None = None
    hostname: str = "box"
    writable: bool = False
    binds: Sequence[Bind] = ()
    tmp: int | None = 64 << 20
    limits: Limits = field(default_factory=Limits)
    capabilities: Sequence[str] = ()
    network: str = "none"
    publish: Sequence[str] = ()
    allow: Sequence[str] | None = None
    seccomp: shapes.Seccomp | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)
    rootless: bool | None = None

    def document(self) -> shapes.Config:
        """Raises UsageError for fields that make no sense; the rest is checked when the container is made."""
        self._check()
        rootless = os.geteuid() != 0 if self.rootless is None else self.rootless
        config: shapes.Config = {
            "ociVersion": OCI_VERSION,
            "process": self._process(rootless=rootless),
            "root": {"path": os.path.abspath(self.rootfs), "readonly": not self.writable},
            "hostname": self.hostname,
            "mounts": self._mounts(rootless=rootless),
            "linux": self._linux(rootless=rootless),
        }
        annotations = {**self._network(), **self.annotations}
        if annotations:
            config["annotations"] = annotations
        return config

    def _check(self) -> None:
        given.arguments("args", self.args)
        given.path("rootfs", self.rootfs)
        given.environment("env", self.env)
        given.instance("limits", self.limits, Limits)
        if self.user is not None:
            given.ids("user", self.user)
        for name in ("cwd", "hostname", "network"):
            given.instance(name, getattr(self, name), str)
        given.instances("binds", self.binds, Bind)

    def _network(self) -> dict[str, str]:
        """Annotations; whether they make sense is seen when the container is made."""
        asked = {}
        if self.network not in ("none", "host"):
            asked["boxes.network"] = self.network
        elif self.publish or self.allow is not None:
            raise UsageError(f"'publish' and 'allow' mean nothing to the network '{self.network}'")
        if self.publish:
            asked["boxes.network.publish"] = ",".join(given.texts("publish", self.publish))
        if self.allow is not None:
            asked["boxes.network.allow"] = ",".join(given.texts("allow", self.allow))
        return asked

    def _process(self, *, rootless: bool) -> shapes.Process:
        uid, gid = self.user or ((0, 0) if rootless else (NOBODY, NOBODY))
        caps = list(self.capabilities)
        return {
            "terminal": False,
            "user": {"uid": uid, "gid": gid},
            "args": [os.fspath(each) for each in self.args],
            "env": [*([] if "PATH" in self.env else [PATH]), *(f"{name}={value}" for name, value in self.env.items())],
            "cwd": self.cwd,
            "capabilities": {"bounding": caps, "effective": caps, "permitted": caps},
            "rlimits": self.limits.rlimits(),
            "noNewPrivileges": True,
        }

    def _mounts(self, *, rootless: bool) -> list[shapes.Mount]:
        terminals = "nosuid noexec newinstance ptmxmode=0666 mode=0620".split()
        shown: list[shapes.Mount] = [
            _mount("/proc", "proc", "nosuid noexec nodev".split()),
            _mount("/dev", "tmpfs", "nosuid noexec strictatime mode=755 size=65536".split()),
            _mount("/dev/pts", "devpts", terminals if rootless else [*terminals, "gid=5"]),
            _mount("/dev/shm", "tmpfs", "nosuid noexec nodev mode=1777 size=67108864".split()),
        ]
        if self.network != "host":  # sysfs shows a network namespace, which has to be the container's
            shown.append(_mount("/sys", "sysfs", "nosuid noexec nodev ro".split()))
        if self.tmp is not None:
            shown.append(_mount("/tmp", "tmpfs", ["nosuid", "nodev", "mode=1777", f"size={self.tmp}"]))
        return shown + [each.mount() for each in self.binds]

    def _linux(self, *, rootless: bool) -> shapes.Linux:
        namespaces: list[shapes.Namespace] = [
            {"type": "pid"},
            {"type": "ipc"},
            {"type": "uts"},
            {"type": "mount"},
            {"type": "cgroup"},
        ]
        if rootless:
            namespaces.append({"type": "user"})
        if self.network.startswith("ns:"):
            namespaces.append({"type": "network", "path": self.network.removeprefix("ns:")})
        elif self.network != "host":
            namespaces.append({"type": "network"})
        linux: shapes.Linux = {
            "namespaces": namespaces,
            "maskedPaths": masked_paths(),
            "readonlyPaths": list(READONLY),
        }
        resources = self.limits.resources()
        if rootless:
            linux["uidMappings"] = [{"containerID": 0, "hostID": os.geteuid(), "size": 1}]
            linux["gidMappings"] = [{"containerID": 0, "hostID": os.getegid(), "size": 1}]
        else:
            resources["devices"] = [{"allow": False, "access": "rwm"}]
        if resources:
            linux["resources"] = resources
        seccomp = profile(os.uname().machine) if self.seccomp is None else self.seccomp
        if seccomp:
            linux["seccomp"] = seccomp
        return linux


def _mount(target: str, kind: str, options: list[str]) -> shapes.Mount:
    return {"destination": target, "type": kind, "source": kind, "options": options}
