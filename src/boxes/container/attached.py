"""A container, or a process in one, with a keeper: a process in its parent's place which is all that stays.

Whoever makes a container for another process becomes its keeper by `execve` of inner: some 40 KiB that wait for the
end, report it with what the cgroups tell, and remove what the creation made. Should the one at the other end of the
socket go first, they end the container. `plan/keeper.py` has a keeper of another kind, which notes and does no more.
"""

from __future__ import annotations

from _struct import pack, unpack_from

from boxes import system as os
from boxes.cgroups.reading import directory_of, flat
from boxes.container import host
from boxes.errors import InternalError
from boxes.linux import syscalls
from boxes.linux.fd import inherit, sealed
from boxes.plan.inner import EXEC, KEEP, Steps, string
from boxes.plan.inner import REMOVED as REMOVED  # for who hears it
from boxes.plan.process import execution

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from boxes.cgroups.manager import Manager
    from boxes.container.creation import Creation
    from boxes.container.store import Place

# What of a container's use is asked for at its end, by kind of hierarchy: controller and file.
FILES = {
    "unified": (("cpu", "cpu.stat"), ("memory", "memory.peak"), ("memory", "memory.events")),
    "legacy": (("cpuacct", "cpuacct.usage"), ("memory", "memory.max_usage_in_bytes"), ("memory", "memory.oom_control")),
}
_ENOENT, _EPIPE = 2, 32
_AT_REMOVEDIR = 0x200
_LOCK_EX = 2
_SHUT_WR, _ENOTCONN = 1, 107
_DELETE = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from boxes.container import lifecycle, store; "
    "lifecycle.delete(store.Store(*sys.argv[2:4]), sys.argv[4], force=True)"
)
_EXITED = 1  # CLD_EXITED of waitid(2)
EVERYTHING = b"\0"  # what a keeper is told to end all; another byte is a signal


def usage_files(cgroups: Manager) -> dict[str, int]:
    """Descriptors of the files to be read at the end, by name; those that there are."""
    found = {}
    for controller, name in FILES.get(cgroups.kind, ()):
        directory = directory_of(cgroups, controller)
        try:
            if directory is not None:
                found[name] = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=directory.fd)
        except OSError:
            continue  # this kernel, or this cgroup, does not have it
    return found


class Held:
    """What a keeper needs of a container: descriptors of its init, of what kills its cgroup, and of what it used."""

    def __init__(self, making: Creation) -> None:
        self.pidfd = os.dup(making.pidfd)
        self.kill = _kill_fd(making.cgroups)
        self.files = usage_files(making.cgroups)


def keep_container(making: Creation, held: Held, reply: int, *, until_deleted: bool) -> NoReturn:
    """Become the keeper of a container. Its directory must not be locked by this process any more. `until_deleted`:
    when it has ended it is removed only as whoever it was made for lets go of it."""
    steps = _waiting(held.pidfd, held.kill, held.files, f"box: keeper {making.id}")
    concerned = _others_are_concerned(making)
    if concerned and not until_deleted:
        steps.call("shutdown", reply, _SHUT_WR, ignore=_ENOTCONN)  # whoever hears of the end deletes the container
    if concerned or until_deleted:
        steps.call("ppoll", pack("=ihh", reply, 0, 0), 1, 0, 0, 0)  # the end of the socket, which is always told
    if concerned:
        _have_deleted(steps, making, reply)
    else:
        _clean(steps, making.place, making.cgroups)
        steps.call("write", reply, REMOVED, len(REMOVED), ignore=_EPIPE)
        steps.call("exit_group", 0)
    _become(steps, reply, [held.pidfd, held.kill, *held.files.values()])


def _kill_fd(cgroups: Manager) -> int:
    """cgroup.kill of the container's v2 cgroup, or -1. COMPAT(linux<5.14)"""
    for directory in cgroups.directories:
        if not cgroups.shared and (cgroups.kind == "unified" or not directory.controllers):
            try:
                return directory.open("cgroup.kill")
            except OSError:
                return -1
    return -1


def keep_process(pidfd: int, reply: int, id: str) -> NoReturn:
    """Become the keeper of a process in a container."""
    steps = _waiting(pidfd, -1, {}, f"box: keeper {id}")
    steps.call("exit_group", 0)
    _become(steps, reply, [pidfd])


def _others_are_concerned(making: Creation) -> bool:
    """Whether it takes more than to remove files and cgroups: then whoever hears of the end deletes the container."""
    journal = making.journal
    nested = any(len(each.names) - each.existing != 1 for each in making.cgroups.directories)
    scope = "scope" in (journal["cgroups"] or {})
    return bool(
        journal["poststop"]
        or "resctrl" in journal
        or "network" in journal
        or scope
        or nested
        or not journal["own_pids"]
    )


def _waiting(pidfd: int, kill: int, files: dict[str, int], title: str) -> Steps:
    steps = Steps()
    steps.call("prctl", 15, string(title[:15]))  # PR_SET_NAME
    steps.call("chdir", string("/"))
    numbers = list(files.values())
    steps.add(KEEP, pack(f"=iIII{len(numbers)}i", pidfd, kill & 0xFFFFFFFF, len(numbers), 0, *numbers), "keep", "")
    return steps


def _claim(steps: Steps, place: Place) -> int:
    """Lock the container's directory, whose descriptor is given, and mark it as one that is being removed. Fails where
    somebody has left an outcome to be told to others (`box wait`), and in a directory that was deleted: then another
    container may have its names by now."""
    lock = os.open(place.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    os.set_inheritable(lock, True)
    steps.call("flock", lock, _LOCK_EX)
    steps.call("mkdirat", lock, string("outcome"), 0o700)
    return lock


def _clean(steps: Steps, place: Place, cgroups: Manager) -> None:
    """What `delete` would do, in a straight line; the first thing that is not as it was left ends it, and then `delete`
    is what is needed."""
    lock = _claim(steps, place)
    for directory in cgroups.directories:
        steps.call("unlinkat", -1, string(directory.path), _AT_REMOVEDIR, ignore=_ENOENT)
    steps.call("unlinkat", lock, string("outcome"), _AT_REMOVEDIR, ignore=_ENOENT)
    if place.state != place.path:
        for name in ("config.json", "state.json"):
            steps.call("unlinkat", -1, string(f"{place.state}/{name}"), 0, ignore=_ENOENT)
        steps.call("unlinkat", -1, string(place.state), _AT_REMOVEDIR, ignore=_ENOENT)
    for name in ("config.json", "start", "waiting", "state", "state.json"):
        steps.call("unlinkat", lock, string(name), 0, ignore=_ENOENT)
    steps.call("unlinkat", -1, string(place.path), _AT_REMOVEDIR, ignore=_ENOENT)


def _have_deleted(steps: Steps, making: Creation, reply: int) -> None:
    """Should the container be there still when nobody has it any more: by an interpreter, in this process' place."""
    lock = _claim(steps, making.place)
    steps.call("unlinkat", lock, string("outcome"), _AT_REMOVEDIR)
    steps.call("dup3", 1, reply, 0)  # there is nobody to be told of the program either
    package = os.abspath(f"{__file__}/../../..")
    store = making.store
    command = [os.readlink("/proc/self/exe"), "-I", "-S", "-c", _DELETE, package, store.runtime, store.state, making.id]
    steps.add(EXEC, execution({"args": command}), "execve", "")


def _become(steps: Steps, reply: int, fds: list[int]) -> NoReturn:
    plan = sealed("plan", steps.encode())
    image = host.open_inner()
    inherit(reply, plan, *(fd for fd in fds if fd >= 0))
    syscalls.execveat(image, [b"box: keeper", str(plan).encode(), str(reply).encode(), b"0"], [])
    raise AssertionError


def outcome(data: bytes, names: list[str]) -> dict[str, Any]:
    """What a keeper's last report says; `names` are those of the files it had. CPU time in microseconds, memory in
    bytes. Without cgroups they are those of the process alone, by wait4(2)."""
    if len(data) < 24:
        raise InternalError("a keeper's report is cut short")
    code, status, cpu, memory = unpack_from("=iiqq", data)
    texts, at = {}, 24
    for name in names:
        if at + 4 > len(data):
            break
        size = unpack_from("=I", data, at)[0]
        texts[name] = data[at + 4 : at + 4 + size].decode("ascii", "replace")
        at += 4 + size
    exited = code == _EXITED
    found: dict[str, Any] = {"exit_code": status if exited else None, "signal": None if exited else status}
    return found | _used(texts, cpu, memory * 1024)


def _used(texts: dict[str, str], cpu: int, memory: int) -> dict[str, Any]:
    stat = flat(texts.get("cpu.stat")).get("usage_usec")
    nanoseconds = texts.get("cpuacct.usage", "").strip()
    peak = (texts.get("memory.peak") or texts.get("memory.max_usage_in_bytes") or "").strip()
    events = flat(texts.get("memory.events") or texts.get("memory.oom_control"))
    if nanoseconds.isdecimal():
        stat = int(nanoseconds) // 1000
    return {
        "cpu_usec": cpu if stat is None else stat,
        "memory_peak": int(peak) if peak.isdecimal() else memory,
        "oom_kills": events.get("oom_kill"),
    }
