"""The build of a container, rehearsed: a process in all its namespaces carries out the plan, and ends.

It works above a copy of the root whose changes go to a tmpfs of its own mount namespace, so nothing of it lasts. What
would reach further is left out: files in directories that are bound, parameters of namespaces that are joined, and
filesystems that write to something when they are mounted.
"""

from __future__ import annotations

import _signal

from boxes import system as os
from boxes.apply import operations as op
from boxes.apply import root as roots
from boxes.apply import run
from boxes.container import adjust, builder, channel, stage
from boxes.errors import BoxesError, KernelError, UnsupportedError, refused
from boxes.linux import flags as k
from boxes.linux import path, syscalls
from boxes.spec import sysctl

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from typing import NoReturn

    from boxes.container.check import Check
    from boxes.container.planning import Planned

# Filesystems that are made of nothing: to mount one changes nothing.
_OF_NOTHING = frozenset(("proc", "sysfs", "tmpfs", "ramfs", "devpts", "mqueue"))
_WALL = 0x40000000  # __WALL of waitpid(2): a child whose exit signal is not SIGCHLD too
_READ_ONLY = 1  # ST_RDONLY of statvfs(3)
_RESTRICTION = "/proc/sys/kernel/apparmor_restrict_unprivileged_userns"


def rehearse(check: Check, planned: Planned) -> list[BoxesError]:
    """What went wrong."""
    found: list[BoxesError] = []
    try:
        tree, sources = _opened(check, planned, found)
    except BoxesError as error:
        return [error]
    ours, theirs = channel.pair()
    job = _job(check, planned, tree, sources, theirs)
    made = stage.Stage(
        check.namespaces,
        check.joins,
        cgroup=-1,
        mapped=lambda pid: stage.map_ids(pid, check.namespaces, privileged=check.privileged),
        ours=ours,
        theirs=theirs,
    )
    born: list[int] = []
    try:
        pid, pidfd = stage.spawn(made, lambda: _play(job), born.append)
        check.fds.add(pidfd)
        channel.close(theirs)
        _adjust(pid, check, found)
        _lend(pid, check, found)
        channel.say(ours, "go")
    except BoxesError as error:
        channel.close(theirs)
        found.append(error)
        for pid in born:
            os.kill(pid, _signal.SIGKILL)
    found += _heard(ours)
    channel.close(ours)
    for pid in born:
        os.waitpid(pid, _WALL)
    return found


def _job(
    check: Check, planned: Planned, tree: int, sources: dict[tuple[str, str], int], socket: _socket.socket
) -> builder.Job:
    return builder.Job(
        config=check.config,
        facts=check.facts,
        planned=planned,
        fds=check.numbers,
        tree=tree,
        sources=sources,
        socket=socket,
        inner=-1,
        kept=[],
        awaited=False,
    )


def _opened(check: Check, planned: Planned, found: list[BoxesError]) -> tuple[int, dict[tuple[str, str], int]]:
    """As Creation.open_sources: what the process will have no right to open."""
    from boxes.container import sources
    from boxes.plan import refusals

    if not check.facts.has_own("mount"):
        try:
            return check.fds.add(os.open(check.rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)), {}
        except OSError as error:
            raise refused("cannot open the root", error, pointer="/root/path") from error
    changed = refusals.idmapped(check.config)
    if not (check.privileged and (check.facts.has_own("user") or changed)):
        return -1, {}
    if check.facts.nested and not changed and not sources.may_open():
        return -1, {}
    opened: dict[tuple[str, str], int] = {}
    for bind in planned.plan.binds:
        try:
            opened |= sources.open_binds([bind], check.fds)
        except BoxesError as error:
            found.append(error)
            _forget(planned, bind)
    return -1, opened


def _forget(planned: Planned, operation: op.Operation) -> None:
    for listed in (planned.plan.early, planned.plan.late):
        listed[:] = [other for other in listed if other is not operation]


def _adjust(pid: int, check: Check, found: list[BoxesError]) -> None:
    process = check.config.get("process") or {}
    for change in (adjust.oom_score, adjust.raise_rlimits):
        try:
            change(pid, process)
        except BoxesError as error:
            found.append(error)


def _lend(pid: int, check: Check, found: list[BoxesError]) -> None:
    devices = (check.config.get("linux") or {}).get("netDevices")
    if not devices:
        return
    from boxes.container import check_host

    netns = check.joins.get("network", -1)
    if netns < 0:
        netns = check.fds.add(os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC))
    found += check_host.network_devices(netns, devices)


def _heard(socket: _socket.socket) -> list[BoxesError]:
    """The errors that the process tells of, until it is done."""
    found: list[BoxesError] = []
    while True:
        message = channel.receive(socket)
        if not message:
            return found
        try:
            channel.heard(message)
        except BoxesError as error:
            found.append(error)


# ---- in the process ----


def _play(job: builder.Job) -> NoReturn:
    """As builder.main, but that one error is not the end."""
    channel.expect(job.socket, "go")
    place = builder.open_place(job)
    if job.facts.has_own("user"):
        builder.become_root(job)
    syscalls.prctl(k.PR_SET_PDEATHSIG, _signal.SIGKILL)
    os.umask(0)
    root = _enter(job, place) if place >= 0 else roots.Root(job.tree, sources={}, cut=0)
    writable = job.facts.has_own("mount") and not os.fstatvfs(root.fd).f_flag & _READ_ONLY
    _operate(job, root, {os.fstat(root.fd).st_dev} if writable else set())
    from boxes.container import check_program

    for error in check_program.check(job.config, job.facts, root.fd, whole=writable):
        channel.say_error(job.socket, error)
    os._exit(0)


def _enter(job: builder.Job, place: int) -> roots.Root:
    """A copy of the root over its place."""
    try:
        roots.isolate(k.MS_REC | k.MS_PRIVATE, place)
    except PermissionError as error:
        raise UnsupportedError(
            "the user namespace has no rights in it", pointer="/linux/namespaces", errno=error.errno, hint=_forbidden()
        ) from error
    try:
        tree = _copy(job.facts.rootfs)
        roots.attach(tree, place, k.MS_PRIVATE)
    except OSError as error:
        raise refused("cannot mount the root", error, pointer="/root/path") from error
    return roots.Root(tree, sources=job.sources, cut=k.MS_PRIVATE)


def _forbidden() -> str:
    if os.access(_RESTRICTION, os.R_OK):
        return f"AppArmor forbids it: give the program a profile with 'userns', or write 0 to {_RESTRICTION}"
    return "a security module may forbid it"


def _copy(rootfs: str) -> int:
    """The root below an overlay; read-only where the kernel has no overlay for us."""
    lower = os.open(rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        syscalls.mount("tmpfs", rootfs, "tmpfs", 0, "mode=755")
        try:
            return _overlay(lower, rootfs)
        finally:
            syscalls.umount2(rootfs, k.MNT_DETACH)  # what lies there may be the source of a bind
    except OSError:
        tree = roots.clone_tree(lower, "", recursive=True)
        syscalls.mount_setattr(tree, set=k.MOUNT_ATTR_RDONLY, recursive=True)
        return tree
    finally:
        os.close(lower)


def _overlay(lower: int, place: str) -> int:
    """A detached overlay of a directory; what is changed in it goes to `place`."""
    for name in ("upper", "work"):
        os.mkdir(f"{place}/{name}", 0o755)
    os.chmod(f"{place}/upper", os.fstat(lower).st_mode & 0o7777)
    data = f"lowerdir=/proc/self/fd/{lower},upperdir={place}/upper,workdir={place}/work"
    syscalls.mount("overlay", f"{place}/upper", "overlay", 0, data)
    return roots.clone_tree(k.AT_FDCWD, f"{place}/upper", recursive=False)


def _operate(job: builder.Job, root: roots.Root, own: set[int]) -> None:
    """Carry out what can be; `own` are the devices of filesystems that are gone with this process."""
    known = _filesystems()
    for operation in [*job.plan.early, *job.plan.late]:
        if not job.facts.has_own("mount") and hasattr(operation, "target"):
            continue
        try:
            _refuse_unknown(operation, known)
            if _reaches_out(operation, job, root, own):
                _look_at(operation, root)
                continue
            run.run(root, [operation], [])
            if isinstance(operation, op.Filesystem):
                own |= _device_of(root, operation.target)
        except BoxesError as error:
            channel.say_error(job.socket, error)


def _look_at(operation: op.Operation, root: roots.Root) -> None:
    """What can be said of one that is left out."""
    if isinstance(operation, op.Bind) and (operation.pointer, operation.target) not in root.sources:
        try:
            os.stat(operation.source)
        except OSError as error:
            raise refused(f"cannot bind on '{operation.target}'", error, pointer=operation.pointer) from error
    if isinstance(operation, op.Sysctl) and not os.access(f"/proc/sys/{operation.path}", os.F_OK):
        raise UnsupportedError(f"this kernel has no parameter '{operation.path}'", pointer=operation.pointer)


def _device_of(root: roots.Root, target: str) -> set[int]:
    fd = path.find(root.fd, target)
    if fd is None:
        return set()
    try:
        return {os.fstat(fd).st_dev}
    finally:
        os.close(fd)


def _reaches_out(operation: op.Operation, job: builder.Job, root: roots.Root, own: set[int]) -> bool:
    """Whether it would change, or show, what is not this process's alone."""
    if isinstance(operation, op.Sysctl | op.HostName | op.DomainName | op.LoopbackUp):
        return _namespace_of(operation) not in job.facts.namespaces.new
    if isinstance(operation, op.Cgroups | op.Remount):
        return True
    if isinstance(operation, op.Filesystem) and operation.kind not in _OF_NOTHING:
        return True
    target = getattr(operation, "target", None)
    return target is not None and not _is_own(root, target, own)


def _namespace_of(operation: op.Operation) -> str | None:
    """Whose parameter it sets."""
    if isinstance(operation, op.Sysctl):
        return sysctl.namespace_of(tuple(operation.path.split("/")))
    return "network" if isinstance(operation, op.LoopbackUp) else "uts"


def _is_own(root: roots.Root, target: str, own: set[int]) -> bool:
    """Whether a path is there already, or can be made in a filesystem of ours."""
    names = path.parts(target)
    for count in range(len(names), -1, -1):
        try:
            fd = path.find(root.fd, "/".join(names[:count]))
        except OSError:
            return True  # the operation will say it better
        if fd is not None:
            device = os.fstat(fd).st_dev
            os.close(fd)
            return count == len(names) or device in own
    return True


def _refuse_unknown(operation: op.Operation, known: set[str]) -> None:
    """Asked of the lists, as to try would load a module."""
    if isinstance(operation, op.Filesystem) and operation.kind not in known and not _has_module(operation.kind):
        text = f"this kernel has no filesystem '{operation.kind}'"
        raise KernelError(text, pointer=f"{operation.pointer}/type", hint="see /proc/filesystems")


def _filesystems() -> set[str]:
    with open("/proc/filesystems", "rb") as file:
        return {line.split(b"\t")[1].strip().decode() for line in file.read().splitlines()}


def _has_module(kind: str) -> bool:
    """modules.alias(5): ``alias fs-NAME module``, or a module of the filesystem's own name."""
    directory = f"/lib/modules/{os.uname().release}"
    for name, wanted in (("modules.alias", f"alias fs-{kind} "), ("modules.dep", f"/{kind}.ko")):
        try:
            with open(f"{directory}/{name}", "rb") as file:
                if wanted.encode() in file.read():
                    return True
        except OSError:
            continue
    return False
