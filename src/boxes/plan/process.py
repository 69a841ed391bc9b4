"""/process: from the container's namespaces to the execve of its program, as inner's steps.

The order is the kernel's: what needs privileges comes before they are given up, what restricts comes last.
"""

from __future__ import annotations

from _struct import pack

from boxes.errors import UnsupportedError
from boxes.linux import flags as k
from boxes.plan import capabilities, failures, inner
from boxes.plan.rlimits import RLIMITS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from boxes.plan.inner import Steps
    from boxes.plan.labels import Label
    from boxes.plan.seccomp import Filter

_EPERM = 1
# What boxes.plan.attributes is for.
_OF_PROCESS, _OF_LINUX = frozenset(("scheduler", "ioPriority")), frozenset(("personality", "memoryPolicy"))


class Confinement:
    """What a process is given besides its config: facts of the host and of its user namespace.

    `available`: capabilities that can be given, as a mask; `groups_allowed`: whether setgroups(2) may be called;
    `terminal_bound`: whether its terminal becomes /dev/console; `filter`: what its system calls go through, if any;
    `labels`: what security modules confine it by; `linux`: that part of the config; `keep_groups`: whether it has the
    groups of the runtime's caller.
    """

    def __init__(self, *, available: int, groups_allowed: bool, terminal_bound: bool, new_keyring: bool) -> None:
        self.available = available
        self.groups_allowed = groups_allowed
        self.terminal_bound = terminal_bound
        self.new_keyring = new_keyring
        self.filter: Filter | None = None
        self.labels: list[Label] = []
        self.linux: dict[str, Any] = {}
        self.keep_groups = False


def label(steps: Steps, given: Confinement, proc: int) -> None:
    """First of all, while there is nothing of a container in reach. `proc`: a descriptor of a procfs."""
    if given.labels:
        from boxes.plan import labels

        labels.write(steps, given.labels, proc)


def session(steps: Steps, process: dict[str, Any], given: Confinement) -> None:
    """A session of its own, with its keyring and its terminal: before anybody is told that the container is there."""
    if given.new_keyring:
        # Without a name: one of that name that somebody else made, and lets be searched, would be joined.
        # ENOSYS: a kernel without keyrings; what it lacks cannot be shared by mistake.
        steps.call("keyctl", k.KEYCTL_JOIN_SESSION_KEYRING, 0, pointer="/linux", ignore=38)
    if process.get("terminal"):
        size = process.get("consoleSize") or {}
        owner = _user(process)[0]
        payload = pack("=IIII", given.terminal_bound, owner, size.get("height", 0), size.get("width", 0))
        steps.add(inner.CONSOLE, payload, "open(/dev/pts/ptmx)", "/process/terminal", failures.of_console)
    else:
        steps.call("setsid", ignore=_EPERM)
    if not (_OF_PROCESS.isdisjoint(process) and _OF_LINUX.isdisjoint(given.linux)):
        from boxes.plan import attributes

        attributes.apply(steps, process, given.linux)


def identity(steps: Steps, process: dict[str, Any], given: Confinement) -> list[str]:
    """Limits, groups, user, capabilities, working directory. Returns warnings."""
    uid, gid = _user(process)
    sets = capabilities.Sets(process.get("capabilities") or {}, given.available)
    if not process.get("terminal"):
        steps.add(inner.STDIO, pack("=II", uid, 0), f"fchown(0..2, {uid})", "/process/user/uid")
    _chdir(steps, process, must=False)
    shown = f"prctl(PR_CAPBSET_DROP, all but {sets.bounding:#x})"
    steps.add(inner.BOUNDING, pack("=Q", sets.bounding), shown, "/process/capabilities/bounding")
    _groups(steps, process, given)
    steps.call("setresgid", gid, gid, gid, pointer="/process/user/gid")
    steps.call("prctl", k.PR_SET_KEEPCAPS, 1, 0, 0, 0, pointer="/process/user/uid")
    steps.call("setresuid", uid, uid, uid, pointer="/process/user/uid")
    capabilities.apply(steps, sets, _held(process, given))
    user = process.get("user") or {}
    steps.call("umask", user.get("umask", 0o022), pointer="/process/user/umask")
    _chdir(steps, process, must=True)
    _rlimits(steps, process)
    if process.get("noNewPrivileges"):
        steps.call("prctl", k.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, pointer="/process/noNewPrivileges")
    return sets.missing + _groups_left_out(process, given)


def lessen(steps: Steps, process: dict[str, Any], given: Confinement) -> None:
    """Before somebody else can see this process: keep the capabilities alone that the steps below need."""
    sets = capabilities.Sets(process.get("capabilities") or {}, given.available)
    capabilities.lessen(steps, sets, _held(process, given))


def _held(process: dict[str, Any], given: Confinement) -> int:
    """What loading a filter takes without noNewPrivileges, as a mask."""
    privileged = given.filter is not None and not process.get("noNewPrivileges")
    return 1 << k.CAP_SYS_ADMIN if privileged else 0


def confine(steps: Steps, process: dict[str, Any], given: Confinement, kept: int = -1) -> None:
    """The seccomp filter: all that the process itself does comes after it. `kept`: a descriptor that hooks need."""
    if given.filter is not None:
        sets = capabilities.Sets(process.get("capabilities") or {}, given.available)
        given.filter.load(steps, process, sets, kept)


def _user(process: dict[str, Any]) -> tuple[int, int]:
    user = process.get("user") or {}
    return user.get("uid", 0), user.get("gid", 0)


def _groups(steps: Steps, process: dict[str, Any], given: Confinement) -> None:
    groups = (process.get("user") or {}).get("additionalGids") or []
    pointer = "/process/user/additionalGids"
    if given.keep_groups:
        return
    if given.groups_allowed:
        data = pack(f"={len(groups)}I", *groups) if groups else 0
        shown = f"setgroups({len(groups)}, {groups})"
        # A user namespace that is joined may deny it: then there are no groups to give up, but none to take either.
        steps.call("setgroups", len(groups), data, pointer=pointer, shown=shown, ignore=0 if groups else _EPERM)
    elif groups:
        hint = "the kernel forbids setgroups(2) in a user namespace mapped without privileges: give it subordinate gids"
        raise UnsupportedError("additional groups cannot be set here", pointer=pointer, hint=hint)


def _groups_left_out(process: dict[str, Any], given: Confinement) -> list[str]:
    if given.keep_groups and (process.get("user") or {}).get("additionalGids"):
        return ["/process/user/additionalGids: left out, as the annotation run.oci.keep_original_groups keeps others"]
    return []


def _chdir(steps: Steps, process: dict[str, Any], *, must: bool) -> None:
    """Tried with the runtime's rights first, as only they may get there, then as the user."""
    directory = process["cwd"]
    payload = pack("=I", must) + inner.string(directory)
    steps.add(inner.CHDIR, payload, f'chdir("{directory}")', "/process/cwd", failures.of_chdir(directory))


def _rlimits(steps: Steps, process: dict[str, Any]) -> None:
    for number, limit in enumerate(process.get("rlimits") or ()):
        data = pack("=QQ", limit["soft"], limit["hard"])
        shown = f"prlimit({limit['type']}, soft={limit['soft']}, hard={limit['hard']})"
        which = RLIMITS.index(limit["type"].removeprefix("RLIMIT_"))
        steps.call("prlimit64", 0, which, data, 0, pointer=f"/process/rlimits/{number}", shown=shown)


def hooks(steps: Steps, listed: list[dict[str, Any]], state: int) -> None:
    """/hooks/startContainer, run by inner as confined as the process. `state`: a descriptor of what they read."""
    for number, hook in enumerate(listed):
        pointer = f"/hooks/startContainer/{number}"
        args, env = hook.get("args") or [hook["path"]], hook.get("env") or []
        counts = pack("=IIII", state, hook.get("timeout", 0) * 1000, len(args), len(env))
        room, strings = inner.vectors(args, env)
        payload = counts + room + inner.string(hook["path"]) + strings
        steps.add(inner.HOOK, payload, hook["path"], pointer, failures.of_hook(hook, pointer))


def execute(steps: Steps, process: dict[str, Any]) -> None:
    name = process["args"][0]
    steps.add(inner.EXEC, execution(process), f'execve("{name}")', "/process/args/0", failures.of_exec(name))


def execution(process: dict[str, Any]) -> bytes:
    """The payload of an EXEC."""
    args, env = process["args"], process.get("env") or []
    return pack("=II", len(args), len(env)) + b"".join(inner.vectors(args, env))


def needs_home(process: dict[str, Any]) -> bool:
    return not any(variable.startswith("HOME=") for variable in process.get("env") or ())


def with_home(process: dict[str, Any], home: str) -> dict[str, Any]:
    """The only variable that a process gets and its config has not: its program's home, if it has none."""
    return {**process, "env": [*(process.get("env") or ()), f"HOME={home}"]}


def execute_at_home(steps: Steps, process: dict[str, Any], home: str) -> None:
    """Replace the last step, the execve, when the root filesystem has told where home is."""
    steps.drop_last()
    execute(steps, with_home(process, home))
