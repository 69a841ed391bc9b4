"""The plan of a container: everything config.json asks for, as kernel operations in the order they are done."""

from __future__ import annotations

from _struct import pack

from boxes.apply import operations as op
from boxes.linux import flags as k
from boxes.plan import devices, inner, mounts, process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from boxes.plan.descriptors import Descriptors
    from boxes.plan.facts import Facts
    from boxes.plan.process import Confinement

# /linux/rootfsPropagation
_PROPAGATION = {
    "shared": k.MS_SHARED,
    "slave": k.MS_SLAVE,
    "private": k.MS_PRIVATE,
    "unbindable": k.MS_UNBINDABLE,
    "rshared": k.MS_SHARED | k.MS_REC,
    "rslave": k.MS_SLAVE | k.MS_REC,
    "rprivate": k.MS_PRIVATE | k.MS_REC,
    "runbindable": k.MS_UNBINDABLE | k.MS_REC,
}


class Plan:
    """What the builder does.

    `early` before the container is in its cgroup, `late` after. `isolation` is the propagation (MS_*) of the builder's
    copy of the host's mounts: with MS_SLAVE the host's later mounts arrive; with MS_PRIVATE for the topmost alone the
    others stay the host's peers, so that volumes can be shared both ways. `propagation` is that of the root in the end,
    or 0; `warnings` are lines for the log.
    """

    def __init__(self, config: dict[str, Any], facts: Facts) -> None:
        linux = config.get("linux") or {}
        wanted = _PROPAGATION.get(linux.get("rootfsPropagation") or "", 0)
        self.propagation = wanted
        if wanted & k.MS_SHARED:
            self.isolation = k.MS_PRIVATE
        else:
            self.isolation = k.MS_REC | (k.MS_SLAVE if not wanted or wanted & k.MS_SLAVE else k.MS_PRIVATE)
        self.warnings: list[str] = []
        self.early = _names(config, facts)
        self.late: list[op.Operation] = []
        if facts.has_own("mount"):
            for operation in mounts.mounts(config, facts, self.warnings):
                self._add(operation, wait=bool(self.late) or isinstance(operation, op.Cgroups))
        else:
            mounts.refuse_without_namespace(config, userns=facts.has_own("user"))
            if config.get("mounts"):
                self.warnings.append("/mounts: left out, as without a mount namespace they would be the host's")
        waiting = list(self.late)
        rest = devices.devices(config, facts) + _working_directory(config)
        if facts.has_own("mount"):
            rest += mounts.restrictions(config)
        for operation in rest:
            self._add(operation, wait=_depends(operation, waiting))

    def _add(self, operation: op.Operation, *, wait: bool) -> None:
        """What shows cgroups, and all that may lie on it, waits until the container is in its own: the time before is
        the builder's to use."""
        (self.late if wait else self.early).append(operation)

    @property
    def binds(self) -> list[op.Bind]:
        return [operation for operation in self.early + self.late if isinstance(operation, op.Bind)]


def _depends(operation: op.Operation, waiting: list[op.Operation]) -> bool:
    """Whether an operation has to come after these mounts: it lies on one, or has one below it, or is about them
    all."""
    target = getattr(operation, "target", None)
    for mount in waiting:
        if target is None or not isinstance(mount, op.Cgroups):
            return True
        if f"{mount.target}/".startswith(f"{target.rstrip('/')}/") or target.startswith(f"{mount.target}/"):
            return True
    return False


def _names(config: dict[str, Any], facts: Facts) -> list[op.Operation]:
    made: list[op.Operation] = []
    if config.get("hostname"):
        made.append(op.HostName("/hostname", name=config["hostname"]))
    if config.get("domainname"):
        made.append(op.DomainName("/domainname", name=config["domainname"]))
    if "network" in facts.namespaces.new:
        made.append(op.LoopbackUp("/linux/namespaces"))
    parameters = (config.get("linux") or {}).get("sysctl")
    if parameters:
        from boxes.spec import sysctl
    for name, value in (parameters or {}).items():
        made.append(op.Sysctl(f"/linux/sysctl/{_escaped(name)}", path="/".join(sysctl.parts(name) or ()), value=value))
    return made


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def _working_directory(config: dict[str, Any]) -> list[op.Operation]:
    cwd = (config.get("process") or {}).get("cwd", "/")
    return [] if cwd == "/" else [op.MakeDirectory("/process/cwd", target=cwd)]


def init_steps(config: dict[str, Any], facts: Facts, plan: Plan, given: Confinement, fds: Descriptors) -> inner.Steps:
    """The container's init, from the builder's last act to the execve."""
    steps = inner.Steps()
    process.label(steps, given, fds.proc)
    enter_root(steps, facts, plan, fds)
    settings = config.get("process") or {"cwd": "/"}
    process.session(steps, settings, given)
    if fds.listening >= 0:
        steps.add(inner.READY, b"", "ready", "")
        steps.add(inner.WAIT, pack("=I", fds.listening), "accept", "")
    if "process" not in config:
        return steps
    plan.warnings += process.identity(steps, settings, given)
    hooks = (config.get("hooks") or {}).get("startContainer") or []
    process.confine(steps, settings, given, fds.state if hooks else -1)
    process.hooks(steps, hooks, fds.state)
    if hooks and given.filter:
        steps.call("close", fds.state)
    process.execute(steps, settings)
    return steps


def enter_root(steps: inner.Steps, facts: Facts, plan: Plan, fds: Descriptors) -> None:
    """Make the tree the builder built this process's root. Nothing of the host has a name from here on."""
    dot, slash, empty = b".\0", b"/\0", b"\0"
    pointer = "/root/path"
    if fds.bare >= 0:  # as many steps as it takes to pivot: planning.again
        steps.call("setns", fds.old_root, k.CLONE_NEWNS, pointer=pointer)
        steps.call("unshare", k.CLONE_NEWNS, pointer=pointer)
        steps.call("move_mount", fds.root, empty, k.AT_FDCWD, slash, k.MOVE_MOUNT_F_EMPTY_PATH, pointer=pointer)
    elif fds.mount_namespace >= 0:
        where = inner.string(facts.rootfs)
        steps.call("setns", fds.mount_namespace, k.CLONE_NEWNS, pointer="/linux/namespaces")
        steps.call("move_mount", fds.root, empty, k.AT_FDCWD, where, k.MOVE_MOUNT_F_EMPTY_PATH, pointer=pointer)
    elif facts.no_pivot and facts.has_own("mount"):
        # Over the host's root, to which no `..` leads then.
        onto = k.MOVE_MOUNT_F_EMPTY_PATH | k.MOVE_MOUNT_T_EMPTY_PATH
        steps.call("move_mount", fds.root, empty, fds.old_root, empty, onto, pointer=pointer)
    steps.call("fchdir", fds.root, pointer=pointer)
    if fds.bare >= 0 or facts.no_pivot or not facts.has_own("mount") or fds.mount_namespace >= 0 or fds.old_root < 0:
        steps.call("chroot", dot, pointer=pointer)
    else:
        steps.call("pivot_root", dot, dot, pointer=pointer)
        steps.call("fchdir", fds.old_root, pointer=pointer)
        # What is unmounted here must not be unmounted on the host, where some of it may be shared with us.
        steps.call("mount", 0, dot, 0, k.MS_SLAVE | k.MS_REC, 0, pointer=pointer)
        steps.call("umount2", dot, k.MNT_DETACH, pointer=pointer)
    steps.call("chdir", slash, pointer=pointer)
    if plan.propagation and facts.has_own("mount"):
        # Last of all: what is mounted before must not propagate, and an unbindable root could not be built on.
        steps.call("mount", 0, slash, 0, plan.propagation, 0, pointer="/linux/rootfsPropagation")
    steps.call("close", fds.root)
    if fds.old_root >= 0:
        steps.call("close", fds.old_root)
