"""What CRIU is told of a container: pure, from its config, what its process has and what was asked for.

What a container has of the host's is *external*: the dump keeps its name, and the restore says what it is then. For a
mount the name is the target in the config, for what masks a file `/dev/null`, for a joined namespace `extRootNetNS` or
`extRootPidNS`: runc has these names too, so that the one reads what the other has written.
"""

from __future__ import annotations

from boxes.apply import operations as op
from boxes.errors import ConfigError, UnsupportedError
from boxes.plan import options
from boxes.plan.container import Plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from boxes.plan.facts import Facts

CONFIG_ANNOTATION = "org.criu.config"
CONFIG_FILES = ("/etc/criu/box.conf", "/etc/criu/runc.conf")
MODES = {"ignore": 0, "soft": 3, "full": 4, "strict": 5}  # criu(8), --manage-cgroups
LOCKS = {"iptables": 1, "nftables": 2, "skip": 3}
SWITCHES = (
    "tcp-established tcp-skip-in-flight tcp-close link-remap ext-unix-sk shell-job file-locks auto-dedup lazy-pages"
).split()
MASK = "/dev/null"
_EXTERNAL_NAMESPACES = {"network": ("net", "extRootNetNS"), "pid": ("pid", "extRootPidNS")}
_JOINED = {"ipc": "ipc", "uts": "uts", "user": "user"}  # the words of CRIU's join-ns


class CriuOptions:
    """What `checkpoint` and `restore` were asked for. `switches`: names of SWITCHES; the rest by the flags' names."""

    def __init__(
        self,
        image_path: str,
        *,
        work_path: str | None = None,
        parent_path: str | None = None,
        page_server: tuple[str, int] | None = None,
        status_fd: int | None = None,
        manage_cgroups_mode: str | None = None,
        network_lock: str | None = None,
        lsm_profile: str | None = None,
        lsm_mount_context: str | None = None,
        empty_network: bool = False,
        leave_running: bool = False,
        pre_dump: bool = False,
        switches: tuple[str, ...] = (),
    ) -> None:
        self.image_path = image_path
        self.work_path = work_path
        self.parent_path = parent_path
        self.page_server = page_server
        self.status_fd = status_fd
        self.manage_cgroups_mode = manage_cgroups_mode
        self.network_lock = network_lock
        self.lsm_profile = lsm_profile
        self.lsm_mount_context = lsm_mount_context
        self.empty_network = empty_network
        self.leave_running = leave_running
        self.pre_dump = pre_dump
        self.switches = switches


class Bound:
    """A mount of the host's in the container: where, and what; `recursive`: with what is mounted below; `perhaps`: the
    container has a filesystem of its own there, if the kernel let it."""

    __slots__ = ("perhaps", "pointer", "recursive", "source", "target")

    def __init__(
        self, pointer: str, target: str, source: str, *, recursive: bool = False, perhaps: bool = False
    ) -> None:
        self.pointer = pointer
        self.target = target
        self.source = source
        self.recursive = recursive
        self.perhaps = perhaps


class Mounted:
    """One row of /proc/PID/mountinfo: proc_pid_mountinfo(5)."""

    __slots__ = ("device", "id", "kind", "root", "target")

    def __init__(self, id: int, device: str, root: str, target: str, kind: str) -> None:
        self.id = id
        self.device = device
        self.root = root
        self.target = target
        self.kind = kind


def mounts(text: str) -> list[Mounted]:
    """The rows of a mountinfo file."""
    found = []
    for line in text.splitlines():
        fields = line.split(" ")
        kind = fields[fields.index("-", 6) + 1]
        found.append(Mounted(int(fields[0]), fields[2], _unescaped(fields[3]), _unescaped(fields[4]), kind))
    return found


def _unescaped(text: str) -> str:
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, character)
    return text


def refuse(config: dict[str, Any]) -> None:
    """Raise UnsupportedError for what CRIU does not give back."""
    if (config.get("linux") or {}).get("netDevices"):
        text = "a container with network devices of the host's can neither be checkpointed nor restored"
        raise UnsupportedError(text, pointer="/linux/netDevices")
    for number, mount in enumerate(config.get("mounts") or ()):
        if mount.get("uidMappings") or options.parse(mount.get("options") or []).idmapped:
            text = "a container with id-mapped mounts can neither be checkpointed nor restored: CRIU loses the mapping"
            raise UnsupportedError(text, pointer=f"/mounts/{number}")


def bound(config: dict[str, Any], facts: Facts) -> list[Bound]:
    """All binds of the host's; in a user namespace also devices, and a filesystem that cannot be mounted there."""
    if not facts.has_own("mount"):
        return []
    plan = Plan(config, facts)
    found = [
        Bound(each.pointer, each.target, each.source, recursive=each.recursive)
        for each in plan.binds
        if each.source_link != "copy"
    ]
    for each in plan.early + plan.late:
        if isinstance(each, op.Filesystem) and each.instead:
            found.append(Bound(each.pointer, each.target, each.instead, recursive=True, perhaps=True))
    return found


def masks(config: dict[str, Any]) -> list[str]:
    return list((config.get("linux") or {}).get("maskedPaths") or ())


def cgroup_targets(config: dict[str, Any], facts: Facts) -> list[str]:
    if not facts.has_own("mount"):
        return []
    plan = Plan(config, facts)
    return [each.target for each in plan.early + plan.late if isinstance(each, op.Cgroups)]


def below(target: str, path: str) -> str | None:
    """What follows `target` in a path below it: `/a` and `/a/b` give `/b`; None if it is not below."""
    prefix = "" if target == "/" else target
    return path[len(prefix) :] if path.startswith(f"{prefix}/") and path != target else None


def config_file(config: dict[str, Any]) -> str | None:
    """The file of options that the config names, "" for none; None if it says nothing. Raises ConfigError."""
    value = (config.get("annotations") or {}).get(CONFIG_ANNOTATION)
    if value is None or value == "" or str(value).startswith("/"):
        return value
    raise ConfigError(f"expected an absolute path, not '{value}'", pointer=f"/annotations/{CONFIG_ANNOTATION}")


def external_namespaces(facts: Facts) -> list[tuple[str, str, str]]:
    """Those joined by path that stay what they are: their kind, file in /proc/PID/ns, and name in the dump."""
    return [
        (join.kind, *_EXTERNAL_NAMESPACES[join.kind])
        for join in facts.namespaces.joins
        if join.kind in _EXTERNAL_NAMESPACES
    ]


def joined_namespaces(facts: Facts) -> list[dict[str, str]]:
    """For a restore: those that are joined by path, where the dump has its own. Raises UnsupportedError."""
    found = []
    for join in facts.namespaces.joins:
        if join.kind in _JOINED:
            found.append({"kind": _JOINED[join.kind], "path": join.path})
        elif join.kind not in _EXTERNAL_NAMESPACES:
            text = f"CRIU cannot restore into a {join.kind} namespace that exists"
            raise UnsupportedError(text, pointer=join.pointer)
    return found


def common(asked: CriuOptions) -> dict[str, Any]:
    """What dump and restore are both told."""
    found: dict[str, Any] = {
        "log_level": 4,
        "notify_scripts": True,
        "evasive_devices": True,
        "orphan_pts_master": True,
        "manage_cgroups_mode": MODES[asked.manage_cgroups_mode or "soft"],
        "status_fd": asked.status_fd,
        "empty_namespaces": 0x40000000 if asked.empty_network else None,  # CLONE_NEWNET
        "network_lock": LOCKS[asked.network_lock] if asked.network_lock else None,
    }
    return found | {name.replace("-", "_"): True for name in asked.switches}


def dump(asked: CriuOptions) -> dict[str, Any]:
    found = common(asked) | {"log_file": "dump.log", "leave_running": asked.leave_running or asked.pre_dump}
    if asked.page_server is not None:
        found["page_server"] = dict(zip(("address", "port"), asked.page_server, strict=True))
    if asked.pre_dump or asked.parent_path is not None:
        found["track_memory"] = True
    if asked.parent_path is not None:
        found["parent_image"] = asked.parent_path
    return found


def restore(asked: CriuOptions) -> dict[str, Any]:
    return common(asked) | {
        "log_file": "restore.log",
        "restore_sibling": True,
        "lsm_profile": asked.lsm_profile,
        "lsm_mount_context": asked.lsm_mount_context,
    }
