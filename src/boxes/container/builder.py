"""The builder: the container's first process, in its namespaces and with the host's root.

It carries out what the plan says, below a root it knows by descriptor only, and becomes inner. It is single-threaded,
dies with the runtime, and decides nothing.
"""

from __future__ import annotations

import _signal

from boxes import log
from boxes import system as os
from boxes.apply import passwd, run
from boxes.apply import root as roots
from boxes.apply.cgroups import Hierarchy
from boxes.container import channel, program
from boxes.errors import refused
from boxes.linux import flags as k
from boxes.linux import syscalls
from boxes.linux.fd import inherit, sealed
from boxes.plan.process import execute_at_home, needs_home
from boxes.spec.document import dump, parse
from boxes.spec.state import oci_state

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from typing import Any, NoReturn

    from boxes.container.planning import Planned
    from boxes.plan.descriptors import Descriptors
    from boxes.plan.facts import Facts


class Job:
    """What the builder finds in its memory when it begins.

    `tree`: the root as the runtime opened it, or -1: then the builder opens it with its own rights; `sources`: likewise
    what is bound; `inner`: its sealed image; `kept`: descriptors that inner's steps name, and the lock it holds;
    `awaited`: the runtime makes no cgroup before it hears that the mounts are there; `outputs`: where hooks write,
    if an annotation says so; `layer`: as in CreateOptions.
    """

    def __init__(
        self,
        *,
        config: dict[str, Any],
        facts: Facts,
        planned: Planned,
        fds: Descriptors,
        tree: int,
        sources: dict[tuple[str, str], int],
        socket: _socket.socket,
        inner: int,
        kept: list[int],
        awaited: bool = False,
        outputs: tuple[int, int] | None = None,
        layer: list[str] | None = None,
    ) -> None:
        self.config = config
        self.facts = facts
        self.plan = planned.plan
        self.steps = planned.steps
        self.keep_groups = planned.confinement.keep_groups
        self.fds = fds
        self.tree = tree
        self.sources = sources
        self.socket = socket
        self.inner = inner
        self.kept = kept
        self.awaited = awaited
        self.outputs = outputs
        self.layer = layer
        self.joined_mount_namespace = fds.mount_namespace >= 0


def main(job: Job) -> NoReturn:
    """Runs in the container's namespaces, at first with the runtime's ids."""
    for line in job.plan.warnings:
        log.warning(line)
    channel.expect(job.socket, "go")
    place = open_place(job)
    if job.facts.has_own("user"):
        become_root(job)
    # After the ids, whose change clears it. Until inner says "ready" this process is the runtime's alone.
    syscalls.prctl(k.PR_SET_PDEATHSIG, _signal.SIGKILL)
    syscalls.prctl(k.PR_SET_DUMPABLE, 0)
    os.umask(0)
    root = _enter_root(job, place)
    run.run(root, job.plan.early, [])
    found = program.may_be_there(job.config, root.fd)  # here, since what comes after the cgroup of memory counts
    if job.awaited:
        channel.say(job.socket, "mounted")
    hierarchies, early, late = _cgroups(job)
    _enter(early)
    if "cgroup" in job.facts.namespaces.new:
        # Not with the other namespaces: its root is the cgroups that this process is in now.
        _enter(late)
        syscalls.unshare(k.CLONE_NEWCGROUP)
        late = []
    run.run(root, job.plan.late, hierarchies)
    _hand_over_root(job, root)
    _enter(late)
    channel.say(job.socket, "built")
    channel.expect(job.socket, "hooked")
    state = oci_state(job.facts.id, "creating", os.getpid(), job.facts.bundle, job.config.get("annotations"))
    if job.config.get("hooks"):
        from boxes.container import hooks

        hooks.run(job.config, "createContainer", state, outputs=job.outputs)
    if not found:
        program.refuse_missing(job.config, root.fd)
    _complete(job, root)
    _become_inner(job, state)


def _cgroups(job: Job) -> tuple[list[Hierarchy], list[int], list[int]]:
    """Wait until they are made: where they are, and descriptors to enter them by, at once and at last."""
    said, fds = channel.take(job.socket)
    found = parse(said.encode(), source="runtime")
    facts: dict[str, Any] = found  # type: ignore[assignment]  # the runtime's own words
    early: int = facts["early"]
    return [Hierarchy(*shown) for shown in facts["shown"]], fds[:early], fds[early:]


def _enter(cgroups: list[int]) -> None:
    for fd in cgroups:
        try:
            os.write(fd, b"0")
        except OSError as error:
            hint = "the cgroup has children with controllers" if error.errno == 16 else None  # EBUSY
            call = f'write("{syscalls.described(fd)}", "0")'
            raise refused("cannot enter the cgroup", syscalls.rendered(error, call), hint=hint) from error
        os.close(fd)


def become_root(job: Job) -> None:
    """Root of the user namespace, as far as it has one: files are made by it."""
    try:
        if not job.keep_groups:
            os.setgroups([])
    except PermissionError:
        pass  # denied to this user namespace: the caller's groups cannot be given up, nor others taken
    for change, mappings in (
        (os.setresgid, job.facts.namespaces.gid_mappings),
        (os.setresuid, job.facts.namespaces.uid_mappings),
    ):
        if job.facts.namespaces.maps(mappings, 0):
            try:
                change(0, 0, 0)
            except OSError as error:
                if error.errno != 22:  # EINVAL: a joined user namespace without an id 0
                    raise


def open_place(job: Job) -> int:
    """Where the root will be attached, if this process has a mount namespace for it. Before the ids are changed, to
    which the way may be closed."""
    if not job.facts.has_own("mount"):
        return -1
    try:
        if job.joined_mount_namespace:
            # A private copy to build in; inner carries the finished tree over.
            syscalls.unshare(k.CLONE_NEWNS)
        return roots.open_place(job.facts.rootfs)
    except OSError as error:
        raise refused("cannot mount the root", error, pointer="/root/path") from error


def _enter_root(job: Job, place: int) -> roots.Root:
    if place < 0:
        return roots.Root(job.tree, sources={}, cut=0)
    try:
        roots.isolate(job.plan.isolation, place)
        # A peer of the host's mounts is never mounted on, whatever volumes may be.
        cut = k.MS_SLAVE if job.plan.isolation & k.MS_SLAVE else k.MS_PRIVATE
        tree = job.tree
        if job.layer:
            upper, work, *between = job.layer
            tree = roots.layered([*between, job.facts.rootfs], upper, work)
        elif tree < 0:
            tree = roots.clone_tree(k.AT_FDCWD, job.facts.rootfs, recursive=True)
        roots.attach(tree, place, cut)
        os.close(place)
    except OSError as error:
        raise refused("cannot mount the root", error, pointer="/root/path") from error
    return roots.Root(tree, sources=job.sources, cut=cut, context=_context(job))


def _context(job: Job) -> tuple[str, ...]:
    if not job.facts.mount_label:
        return ()
    from boxes.plan import labels

    return labels.context("tmpfs", job.facts.mount_label, job.config)


def _hand_over_root(job: Job, root: roots.Root) -> None:
    """Put it, and what it takes the place of, where inner's steps expect them."""
    elsewhere = job.joined_mount_namespace or job.fds.bare >= 0
    tree = roots.clone_tree(root.fd, "", recursive=True) if elsewhere else root.fd
    old = job.fds.bare if job.fds.bare >= 0 else os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    os.dup2(tree, job.fds.root, inheritable=False)
    os.dup2(old, job.fds.old_root, inheritable=False)


def _complete(job: Job, root: roots.Root) -> None:
    """What inner's steps lack still: the procfs for labels, and where home is, which the finished root tells."""
    if job.fds.proc >= 0:
        from boxes.linux import lsm

        os.dup2(lsm.open_attributes(), job.fds.proc, inheritable=False)
    process = job.config.get("process")
    if process and needs_home(process):
        home = passwd.home(root.fd, (process.get("user") or {}).get("uid", 0))
        execute_at_home(job.steps, process, home)


def _become_inner(job: Job, state: dict[str, Any]) -> NoReturn:
    state["status"] = "created"
    os.write_all(job.fds.state, dump(state).encode())
    preserved = list(range(3, 3 + job.facts.preserve))
    report = job.socket.fileno()
    steps = sealed("plan", job.steps.encode())
    inherit(report, steps, *job.kept, *preserved)
    arguments = ["box: init", str(steps), str(report), str(job.facts.preserve)]
    syscalls.execveat(job.inner, [argument.encode() for argument in arguments], [])
    raise AssertionError
