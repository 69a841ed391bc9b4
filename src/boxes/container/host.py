"""What the runtime itself may do, which decides how a container is made."""

from __future__ import annotations

from boxes import system as os
from boxes.errors import InternalError, UsageError
from boxes.linux import flags as k
from boxes.linux import procfs, syscalls
from boxes.linux.fd import sealed
from boxes.linux.flags import CAP_SYS_ADMIN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from boxes.container.creation import Creation
    from boxes.linux.fd import Fds
    from boxes.plan.facts import Facts
    from boxes.plan.labels import Label
    from boxes.plan.namespaces import Namespaces
    from boxes.plan.process import Confinement

_INNER = "../libexec/inner"
ALL = (1 << 64) - 1


def capabilities() -> int:
    """The runtime's own effective and bounding capabilities, as a mask: what it can hand on."""
    effective = bounding = 0
    with open("/proc/self/status", "rb") as status:
        for line in status:
            if line.startswith(b"CapEff:"):
                effective = int(line[7:], 16)
            elif line.startswith(b"CapBnd:"):
                bounding = int(line[7:], 16)
    return effective & bounding


def privileged(mask: int) -> bool:
    """Whether the runtime may mount, map any id and make cgroups: as root, here or in a user namespace."""
    return bool(mask >> CAP_SYS_ADMIN & 1)


def keeps_groups(config: dict[str, Any]) -> bool:
    """Whether processes of the container have the caller's groups."""
    if "run.oci.keep_original_groups" not in (config.get("annotations") or ()):
        return False
    from boxes.plan import annotated

    return annotated.keeps_groups(config)


def hook_outputs(config: dict[str, Any], fds: Fds) -> tuple[int, int] | None:
    """Descriptors of the files that hooks write to, opened with the runtime's rights; None for where they always do."""
    if not (config.get("hooks") and config.get("annotations")):
        return None
    from boxes.container import hooks

    return hooks.open_outputs(config, fds)


def check_delegation(config: dict[str, Any], hierarchy: str, manager: str) -> None:
    """Raise UnsupportedError for a cgroup that cannot be delegated."""
    if "run.oci.delegate-cgroup" in (config.get("annotations") or ()):
        from boxes.container import delegation

        delegation.refuse(hierarchy, manager)


def may_manage_cgroups(config: dict[str, Any], namespaces: Namespaces) -> bool:
    """Whether a v2 cgroup is to be the container's to manage: by the annotation, or as it can write to its own."""
    if "run.oci.delegate-cgroup" in (config.get("annotations") or ()):
        return True
    return "cgroup" in namespaces.new and any(
        mount.get("type") in ("cgroup", "cgroup2") and "ro" not in (mount.get("options") or ())
        for mount in config.get("mounts") or ()
    )


def groups_allowed(namespaces: Namespaces, capabilities: int) -> bool:
    """Whether processes of the container may set groups; to be asked in the runtime, about its own ids."""
    if "user" not in namespaces.new:
        return True
    from boxes.apply import idmap

    return idmap.groups_allowed(namespaces.gid_mappings, privileged=privileged(capabilities))


def confinement(facts: Facts, capabilities: int, *, groups_allowed: bool, no_new_keyring: bool) -> Confinement:
    """What the runtime's own rights, and the user namespace, leave to a container's process."""
    from boxes.plan.process import Confinement

    return Confinement(
        available=ALL if facts.has_own("user") else capabilities,
        groups_allowed=groups_allowed,
        terminal_bound=facts.has_own("mount"),
        new_keyring=not no_new_keyring,
    )


def labels(process: dict[str, Any]) -> list[Label]:
    """What the host's security modules are to confine a process by. Raises UnsupportedError where there is no such."""
    if not (process.get("apparmorProfile") or process.get("selinuxLabel")):
        return []
    from boxes.linux import lsm
    from boxes.plan.labels import labels as wanted

    return wanted(process, apparmor=lsm.apparmor(), selinux=lsm.selinux())


def mount_label(config: dict[str, Any]) -> str:
    """/linux/mountLabel, on a host that heeds it; on others the specification wants it passed over."""
    label = (config.get("linux") or {}).get("mountLabel") or ""
    if not label:
        return ""
    from boxes.linux import lsm

    return label if lsm.selinux() else ""


def inner_path() -> str:
    return f"{__file__.rpartition('/')[0]}/{_INNER}"


def open_inner() -> int:
    """A sealed copy of the program that runs inside; a container can neither change it nor reach its file."""
    path = inner_path()
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise InternalError(f"this installation lacks its program 'inner': {error.strerror}", path=path) from error
    with open(fd, "rb", buffering=0) as file:
        return sealed("inner", file.readall(), executable=True)


def listen_fds(environment: Mapping[str, str]) -> int:
    """How many sockets systemd or another supervisor passed to this process: sd_listen_fds(3)."""
    count = environment.get("LISTEN_FDS", "")
    if environment.get("LISTEN_PID") != str(os.getpid()) or not (count.isascii() and count.isdigit()):
        return 0
    return int(count)


def pass_sockets(making: Creation, count: int) -> bool:
    """Let the container's program find the sockets of sd_listen_fds(3), as the pid it is there, and of sd_notify(3):
    whether there is one of the latter."""
    config, notify = making.config, making.options.notify_socket
    if count and "process" in config:
        config["process"].setdefault("env", []).extend((f"LISTEN_FDS={count}", "LISTEN_PID=1"))
    if notify and "process" in config:
        from boxes.container import notification

        return notification.pass_socket(config, notify, f"{making.store.runtime}/{making.id}")
    return False


def close_on_exec(preserve: int) -> None:
    """Descriptors the caller left open are nobody's business but the container's, and of these only the preserved.

    Raises UsageError if one of those is not open.
    """
    for fd in range(3, 3 + preserve):
        try:
            open_for_us = os.get_inheritable(fd)  # what is ours is not
        except OSError:
            open_for_us = False
        if not open_for_us:
            raise UsageError(f"cannot preserve descriptor {fd}: it is not open", hint="see --preserve-fds")
    try:
        syscalls.close_range(3, 0xFFFFFFFF, k.CLOSE_RANGE_CLOEXEC)
    except OSError:  # COMPAT(linux<5.11): CLOSE_RANGE_CLOEXEC
        for name in os.listdir("/proc/self/fd"):
            if int(name) > 2:
                _set_close_on_exec(int(name))


def _set_close_on_exec(fd: int) -> None:
    try:
        os.set_inheritable(fd, False)
    except OSError:
        pass  # the descriptor of the listing itself


def single_threaded() -> None:
    """setns(2) and unshare(2) want it, and a fork of a threaded interpreter is none to run on."""
    if procfs.threads() != 1:
        raise InternalError("a container cannot be made from a process with threads")
