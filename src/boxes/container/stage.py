"""From the runtime's namespaces to the builder's: one clone3, or a process between that joins and prepares.

The kernel wants an order. Namespaces are joined by path first, the user namespace last of them, unless only its member
may join the others. Then come a new user namespace and its maps, then a new time namespace and its offsets, which
clone3 would freeze, then a clone for all the rest. A joined pid namespace, too, takes effect for a child only.
"""

from __future__ import annotations

from boxes import system as os
from boxes.container import channel
from boxes.errors import BoxesError, InternalError, located, refused, unforeseen
from boxes.linux import flags as k
from boxes.linux import syscalls
from boxes.plan.namespaces import FLAGS

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable
    from typing import NoReturn

    from boxes.plan.namespaces import Namespaces


_SHUT_RDWR = 2


class Stage:
    """What it takes to make the builder.

    `joins`: descriptors of namespaces by kind; `cgroup`: a v2 cgroup to be born in, or -1; `mapped`: called with the
    pid that waits for its id maps; `ours`, `theirs`: the two ends of the socket between runtime and builder.
    """

    def __init__(
        self,
        namespaces: Namespaces,
        joins: dict[str, int],
        *,
        cgroup: int,
        mapped: Callable[[int], None],
        ours: _socket.socket,
        theirs: _socket.socket,
    ) -> None:
        self.namespaces = namespaces
        self.joins = joins
        self.cgroup = cgroup
        self.mapped = mapped
        self.ours = ours
        self.theirs = theirs


def spawn(stage: Stage, builder: Callable[[], NoReturn], born: Callable[[int], None]) -> tuple[int, int]:
    """Make the builder, a child of the runtime: (pid, pidfd). `born` is called with its pid before anything else."""
    if stage.namespaces.staged:
        return _spawn_staged(stage, builder, born)
    try:
        pid, pidfd = syscalls.clone3(stage.namespaces.flags, cgroup=stage.cgroup)
    except OSError as error:
        raise refused(
            "cannot make the container's namespaces", error, pointer="/linux/namespaces", hint=_hint(error)
        ) from error
    if pid == 0:
        try:
            guarded(stage, builder)
        finally:
            os._exit(1)
    born(pid)
    if "user" in stage.namespaces.new:
        try:
            stage.mapped(pid)
        except BoxesError:
            channel.last_words(stage.ours)
            raise
    return pid, pidfd


def spawn_shared(stage: Stage, builder: Callable[[], NoReturn], born: Callable[[int], None]) -> tuple[int, int]:
    """Make the builder in this process's own memory: it is inner when this returns, or has ended (docs/adr/0012).

    All it waits for has to be on the socket already. What it does to descriptors is not done to ours, but what it does
    to the objects which own them would be.
    """

    def body() -> NoReturn:
        _guarded(stage.theirs, lambda: _born_shared(builder, born))

    try:
        return syscalls.clone_shared(stage.namespaces.flags, body, cgroup=stage.cgroup)
    except OSError as error:
        raise refused("cannot make the container's namespaces", error, pointer="/linux/namespaces") from error


def _born_shared(builder: Callable[[], NoReturn], born: Callable[[int], None]) -> NoReturn:
    born(int(os.readlink("/proc/self")))  # its pid as the runtime sees it: the procfs is the runtime's
    builder()


def map_ids(pid: int, namespaces: Namespaces, *, privileged: bool) -> None:
    """Write the id maps of the new user namespace that a process waits in."""
    from boxes.apply import idmap

    for kind, mappings in (("gid", namespaces.gid_mappings), ("uid", namespaces.uid_mappings)):
        try:
            idmap.write(pid, kind, mappings, privileged=privileged)
        except BoxesError as error:
            raise located(error, f"/linux/{kind}Mappings") from None


def _spawn_staged(stage: Stage, builder: Callable[[], NoReturn], born: Callable[[int], None]) -> tuple[int, int]:
    pid, pidfd = syscalls.clone3(0)
    if pid == 0:
        try:
            guarded(stage, lambda: _between(stage, builder))
        finally:
            os._exit(1)
    channel.close(stage.theirs)  # else the end of those who have it would not be heard
    try:
        made = _hear_of_builder(stage, pid, pidfd)
    except BaseException:
        stage.ours.shutdown(_SHUT_RDWR)  # the builder may be there all the same: so it hears that nobody waits for it
        raise
    born(made)
    return made, syscalls.pidfd_open(made)


def _hear_of_builder(stage: Stage, pid: int, pidfd: int) -> int:
    """Its pid, from the process between, which is `pid`."""
    try:
        if "user" in stage.namespaces.new:
            channel.expect(stage.ours, "map", pidfd)
            stage.mapped(pid)
            channel.say(stage.ours, "mapped")
        said = channel.heard(channel.receive(stage.ours, pidfd)) or ""
    finally:
        os.close(pidfd)
        _end(pid)
    if not said.isdigit():
        raise InternalError(f"expected the builder's pid, not '{said}'")
    return int(said)


def _end(pid: int) -> None:
    """The process between has done its work, or failed."""
    import _signal

    if os.waitpid(pid, os.WNOHANG)[0] == 0:
        os.kill(pid, _signal.SIGKILL)
        os.waitpid(pid, 0)


def guarded(stage: Stage, body: Callable[[], NoReturn]) -> NoReturn:
    """The child's whole life: it leaves by execve or _exit, and what went wrong goes to the runtime as data."""
    channel.close(stage.ours)
    _guarded(stage.theirs, body)


def _guarded(theirs: _socket.socket, body: Callable[[], NoReturn]) -> NoReturn:
    try:
        body()
    except BoxesError as error:
        channel.say_error(theirs, error)
    except OSError as error:
        channel.say_error(theirs, refused("cannot set the container up", error))
    except BaseException as error:  # noqa: BLE001 - nothing may unwind into the runtime's frames
        channel.say_error(theirs, unforeseen(error))
    finally:
        os._exit(1)


def _between(stage: Stage, builder: Callable[[], NoReturn]) -> NoReturn:
    """Runs in a child of the runtime, with the runtime's rights; its last act is to make the builder its sibling."""
    namespaces = stage.namespaces
    _join(stage)
    flags = namespaces.flags
    if "user" in namespaces.new:
        _unshare(k.CLONE_NEWUSER)
        # The maps' files belong to root while a process cannot be dumped, and the change of ids made it so.
        syscalls.prctl(k.PR_SET_DUMPABLE, 1)
        channel.say(stage.theirs, "map")
        channel.expect(stage.theirs, "mapped")
        flags &= ~k.CLONE_NEWUSER
    if "time" in namespaces.new:
        _unshare(k.CLONE_NEWTIME)
        _write_offsets(namespaces.offsets)
    try:
        pid, _ = syscalls.clone3(flags | k.CLONE_PARENT, exit_signal=0, cgroup=stage.cgroup)
    except OSError as error:
        raise refused("cannot make the container's namespaces", error, pointer="/linux/namespaces") from error
    if pid == 0:
        builder()
    channel.say(stage.theirs, str(pid))
    os._exit(0)


def _join(stage: Stage) -> None:
    """Those that are not joined with our own rights are, once the user namespace they belong to is. The mount namespace
    is inner's to join: Python stays with the host's files."""
    waiting = [join for join in stage.namespaces.joins if join.kind not in ("mount", "user")]
    user = stage.namespaces.joined("user")
    order = [*waiting, *([user] if user else [])]
    later = []
    for join in order:
        try:
            syscalls.setns(stage.joins[join.kind], FLAGS[join.kind])
        except OSError as error:
            if user is None or join is user or error.errno != 1:  # EPERM
                raise refused("cannot join the namespace", error, pointer=join.pointer) from error
            later.append(join)
    for join in later:
        try:
            syscalls.setns(stage.joins[join.kind], FLAGS[join.kind])
        except OSError as error:
            raise refused("cannot join the namespace", error, pointer=join.pointer) from error


def _unshare(flags: int) -> None:
    try:
        syscalls.unshare(flags)
    except OSError as error:
        raise refused("cannot make a namespace", error, pointer="/linux/namespaces", hint=_hint(error)) from error


def _write_offsets(offsets: str) -> None:
    if not offsets:
        return
    try:
        fd = os.open("/proc/self/timens_offsets", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, offsets.encode())
        finally:
            os.close(fd)
    except OSError as error:
        raise refused("cannot set the clocks' offsets", error, pointer="/linux/timeOffsets") from error


def _hint(error: OSError) -> str | None:
    if error.errno == 1:  # EPERM
        if os.geteuid():
            return "an ordinary user needs a user namespace in /linux/namespaces, which the host may forbid"
        return "is CAP_SYS_ADMIN missing, or does a seccomp filter or AppArmor forbid namespaces?"
    if error.errno in (28, 87):  # ENOSPC, EUSERS
        return "see the limits in /proc/sys/user"
    return None
