"""Another process in a container: inner's steps, from the runtime's namespaces to the execve."""

from __future__ import annotations

from boxes.linux import flags as k
from boxes.plan import inner, process
from boxes.plan.inner import Steps
from boxes.plan.namespaces import FLAGS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from boxes.plan.facts import Facts
    from boxes.plan.process import Confinement


class Joined:
    """Descriptors: a pidfd of the container's init; its root, if it has no mount namespace of its own, or -1; what
    to write itself to, to enter the cgroups; a procfs to write labels through, or -1; what to write itself to, to enter
    the groups of resctrl; a lock to wait for before it enters any, or -1."""

    def __init__(
        self,
        pidfd: int,
        root: int,
        cgroups: list[int],
        proc: int = -1,
        tasks: list[int] | None = None,
        gate: int = -1,
    ) -> None:
        self.pidfd = pidfd
        self.root = root
        self.cgroups = cgroups
        self.proc = proc
        self.tasks = tasks or []
        self.gate = gate


class ExecSteps(Steps):
    """Steps, and the descriptors inner needs for them."""

    def __init__(self) -> None:
        super().__init__()
        self.descriptors: list[int] = []


def exec_steps(settings: dict[str, Any], facts: Facts, given: Confinement, joined: Joined) -> ExecSteps:
    """cgroups first, with the runtime's rights; then all namespaces in one setns(2), which knows their order."""
    steps = ExecSteps()
    steps.descriptors = [joined.pidfd, *joined.cgroups, *joined.tasks]
    if given.labels:
        steps.descriptors.append(joined.proc)
        process.label(steps, given, joined.proc)
    if "execCPUAffinity" in settings:
        from boxes.plan import attributes

        attributes.initial_affinity(steps, settings)
    if joined.gate >= 0:
        steps.descriptors.append(joined.gate)
        steps.call("flock", joined.gate, k.LOCK_SH, pointer="/linux/cgroupsPath")
        steps.call("close", joined.gate)
    for fd in joined.cgroups:
        steps.call("write", fd, b"0", 1, pointer="/linux/cgroupsPath", shown="write(tasks)")
        steps.call("close", fd)
    for fd in joined.tasks:
        steps.call("write", fd, b"0", 1, pointer="/linux/intelRdt", shown="write(tasks of resctrl)")
        steps.call("close", fd)
    if "execCPUAffinity" in settings:
        attributes.final_affinity(steps, settings)
    kinds = [*facts.namespaces.new, *(join.kind for join in facts.namespaces.joins)]
    flags = sum(FLAGS[kind] for kind in kinds)
    if flags:
        steps.call("setns", joined.pidfd, flags, pointer="/linux/namespaces", shown=f"setns(pidfd, {flags:#x})")
    steps.call("close", joined.pidfd)
    if joined.root >= 0:
        steps.descriptors.append(joined.root)
        steps.call("fchdir", joined.root, pointer="/root/path")
        steps.call("chroot", b".\0", pointer="/root/path")
        steps.call("close", joined.root)
    process.lessen(steps, settings, given)
    if flags & k.CLONE_NEWPID:
        steps.add(inner.FORK, b"", "clone(CLONE_PARENT)", "/linux/namespaces")
    process.session(steps, settings, given)
    process.identity(steps, settings, given)
    process.confine(steps, settings, given)
    process.execute(steps, settings)
    return steps
