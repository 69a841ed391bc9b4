"""Templates are made here, by a worker: scripts of a container, or of a process in one, with marks for what is another
each time. Who asked fills them in: filling.py.
"""

from __future__ import annotations

import _stat as stat

from boxes import system as os
from boxes.apply import operations as op
from boxes.apply import passwd
from boxes.cgroups import devices
from boxes.cgroups.settings import Setting
from boxes.cgroups.unified import enable_controllers
from boxes.container import attached, exec, host, joins, journals, status
from boxes.container.filling import sign
from boxes.errors import BoxesError
from boxes.linux import path as paths
from boxes.linux import syscalls
from boxes.plan import script, script_exec
from boxes.plan.container import Plan
from boxes.plan.rlimits import raised_rlimits
from boxes.plan.scripted import CHILD_PID, CHILD_START, INODE, OWN_PID, OWN_START, TEXT, UnusualError
from boxes.spec.document import dump

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from boxes.cgroups.directory import Directory
    from boxes.container.store import Store
    from boxes.container.undivided import Undivided
    from boxes.plan.inner import Steps
    from boxes.plan.scripted import Part

_NUMBER = "\ue000number "  # in a journal: what is to be there, and of what
_NULL = os.makedev(1, 3)
_PEAK = (5, 19)  # Linux with memory.peak


def make(making: Undivided, limits: str) -> tuple[dict[str, Any], bytes]:
    """The facts of a template, and its steps. With `making` nothing was done yet. Raises UnusualError."""
    making.read()
    making.survey()
    making.plan_cgroup()
    _check(making)
    container = _container(making)
    written = script.Script(container)
    facts = {
        "created": making.journal["created"],
        "config": dump(making.config),
        "note": list(written.config_note()),
        "limits": limits if container.cgroups or limits == "rlimits" else "none",
        "files": [name for name, _ in container.used],
        "homes": _homes(making, container.plan),
    }
    return _template(making.id, written.steps, [written.config, written.execute], facts)


def _template(id: str, steps: Steps, changing: list[int], facts: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    parts = steps.around(*changing)
    common = {"id": id, "steps": len(steps), "last": changing[-1], "sizes": [len(part) for part in parts]}
    return common | facts, b"".join(parts)


def _check(making: Undivided) -> None:
    config = making.config
    asked = config.get("process") or {}
    linux = config.get("linux") or {}
    making.shared = making._may_share()
    usual = making.shared and making._may_begin() and making.privileged and not making.facts.nested
    odd = (
        making.labelled
        or making.facts.mount_label
        or making.facts.preserve
        or making.options.layer
        or making.options.no_new_keyring
        or config.get("annotations")
        or linux.get("cgroupsPath")
        or asked.get("oomScoreAdj") is not None
        or making.options.cgroup_manager not in ("auto", "cgroupfs", "disabled")
        or making.store.runtime != making.store.state
        or (making.filter is not None and making.filter.listens)
    )
    if not usual or odd or not _null_is_null():
        raise UnusualError
    _check_rlimits(asked)


def _check_rlimits(asked: dict[str, Any]) -> None:
    """Those that the container's own process could not set."""
    for resource, hard, _ in raised_rlimits(asked):
        if hard > syscalls.prlimit(0, resource)[1]:
            raise UnusualError


def _null_is_null() -> bool:
    facts = os.stat("/dev/null", follow_symlinks=False)
    return stat.S_ISCHR(facts.st_mode) and facts.st_rdev == _NULL


def _container(making: Undivided) -> script.Container:
    made = Plan(making.config, making.facts)
    given = host.confinement(
        making.facts, making.capabilities, groups_allowed=making.groups_allowed, no_new_keyring=False
    )
    given.filter = making.filter
    given.linux = making.config.get("linux") or {}
    container = script.Container(making.config, making.facts, made, given)
    container.path = f"{making.store.runtime}/{making.id}"
    os.makedirs(making.store.runtime, mode=0o700, exist_ok=True)
    container.cgroups = [_cgroup(directory, making.cgroups.kind) for directory in making.cgroups.directories]
    _add_limits(making, container.cgroups)
    container.looked = _looked(making.config)
    _add_journal(making, container)
    for at, directory in enumerate(making.cgroups.directories):
        if not directory.controllers:
            container.killed = at
        container.used += [(name, at) for name in _used(making.cgroups.kind, directory)]
    return container


def _used(kind: str, directory: Directory) -> list[str]:
    """The files that tell what a container used: attached.py, `usage_files`."""
    if kind == "legacy":
        return [name for controller, name in attached.FILES[kind] if controller in directory.controllers]
    with open(f"{directory.path.rpartition('/')[0]}/cgroup.subtree_control", "rb") as file:
        enabled = file.read().decode().split()
    names = [name for controller, name in attached.FILES[kind] if controller == "cpu" or controller in enabled]
    major, minor = os.uname().release.split(".")[:2]
    return [name for name in names if name != "memory.peak" or (int(major), int(minor)) >= _PEAK]


def _cgroup(directory: Directory, kind: str) -> script.Cgroup:
    if directory.existing != len(directory.names) - 1:
        raise UnusualError
    parent, _, name = directory.path.rpartition("/")
    made = script.Cgroup(parent, name, directory.controllers)
    if kind == "unified":
        enable_controllers(directory)
        made.compared = [("cgroup.type", "domain\n"), ("cgroup.events", "populated 0\nfrozen 0\n")]
    if "cpuset" in directory.controllers:
        made.passed_on = ["cpuset.cpus", "cpuset.mems"]  # without, v1 lets no process in
    if "freezer" in directory.controllers:
        made.compared = [("freezer.state", "THAWED\n")]
    return made


def _add_limits(making: Undivided, cgroups: list[script.Cgroup]) -> None:
    unified = making.cgroups.kind == "unified"
    for limit in making.limits:
        controller = limit.controller if isinstance(limit, Setting) else "devices"
        found = next((each for each in cgroups if unified or controller in each.controllers), None)
        if found is None and controller == "devices" and making.cgroups.restricted:
            continue
        if found is None:
            raise UnusualError
        if isinstance(limit, Setting):
            if limit.above is not None:
                raise UnusualError
            found.settings += [(limit.file, line) for line in limit.value.splitlines()]
        elif making.cgroups.restricted:
            continue
        elif unified:
            found.devices = devices.program(limit)
        else:
            asked, others = devices.lines(limit)
            found.settings += [*asked, *(("devices.allow", line) for line in others)]


def _looked(config: dict[str, Any]) -> dict[str, str]:
    """What the paths to be masked are here: where procfs and sysfs are the kernel's they are the same inside."""
    linux = config.get("linux") or {}
    found = {}
    for path in (*(linux.get("maskedPaths") or ()), *(linux.get("readonlyPaths") or ())):
        try:
            found[path] = "directory" if stat.S_ISDIR(os.stat(path).st_mode) else "file"
        except FileNotFoundError:
            found[path] = ""
        except OSError:
            raise UnusualError from None
    return found


def _add_journal(making: Undivided, container: script.Container) -> None:
    making.journal = journals.begin(making.facts, making.config, making.options)
    making.journal |= {"maker": [_number(OWN_PID), _number(OWN_START)], "cgroups": making.cgroups.record()}
    container.begun = _parts(dump(making.journal))
    record = making.cgroups.record()
    for at, directory in enumerate(record["directories"]):
        directory[-1] = _number(INODE, at)
    making.journal |= {"pid": _number(CHILD_PID), "started": _number(CHILD_START), "status": status.CREATED}
    making.journal |= {"cgroups": record, "frozen_sign": making.cgroups.frozen_sign()}
    container.made = _parts(dump(making.journal))


def _number(what: int, of: int = 0) -> str:
    return f"{_NUMBER}{what} {of}"


def _parts(text: str) -> list[Part]:
    """A journal's text, with the numbers that only the maker will know between its pieces."""
    quoted = dump(_NUMBER)[:-1]
    first, *rest = text.split(quoted)
    parts: list[Part] = [(TEXT, first.encode())]
    for piece in rest:
        numbers, _, after = piece.partition('"')
        what, of = map(int, numbers.split())
        parts += [(what, of), (TEXT, after.encode())]
    return parts


def _homes(making: Undivided, plan: Plan) -> list[Any] | None:
    """The home of the user in the root, and by what it is seen that this may have changed; None if it is not the root's
    own file that tells, as a mount covers it."""
    fd = os.open(making.rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        found = paths.find(fd, "etc/passwd")
        if found is not None:
            known = os.readlink(f"/proc/self/fd/{found}")
            os.close(found)
            above = os.readlink(f"/proc/self/fd/{fd}").rstrip("/")
            if any(f"{known}/".startswith(f"{'/'.join((above, *where))}/") for where in _mounted(plan)):
                return None
    except OSError:
        return None
    finally:
        os.close(fd)
    user = (making.config.get("process") or {}).get("user") or {}
    return _home(making.rootfs, user.get("uid", 0))


def _mounted(plan: Plan) -> list[list[str]]:
    """The components of where something is mounted; a script lets none be a link."""
    return [paths.parts(each.target) for each in plan.early if isinstance(each, op.Filesystem | op.Bind)]


def _home(root: str, uid: int) -> list[Any] | None:
    fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return [passwd.home(fd, uid), sign(root)]
    except BoxesError:
        return None
    finally:
        os.close(fd)


# ---- another process in a container ----


def make_exec(store: Store, id: str, options: exec.ExecOptions) -> tuple[dict[str, Any], bytes]:
    """The same of a process in a container that runs. Raises UnusualError."""
    with store.peek(id) as place:
        journal = place.load()
        config = place.config()
    settings = exec.process_of(config, options)
    facts = joins.facts_of(journal, config, preserve=0)
    scope = (journal["cgroups"] or {}).get("scope")
    linux = config.get("linux") or {}
    odd = (
        scope
        or "resctrl" in journal
        or config.get("annotations")
        or settings.get("terminal")
        or settings.get("oomScoreAdj") is not None
        or "execCPUAffinity" in settings
        or host.labels(settings)
        or facts.namespaces.joins
        or not facts.has_own("mount")
    )
    if odd or store.runtime != store.state:
        raise UnusualError
    _check_rlimits(settings)
    capabilities = host.capabilities()
    groups_allowed = host.groups_allowed(facts.namespaces, capabilities)
    given = host.confinement(
        facts, capabilities, groups_allowed=groups_allowed, no_new_keyring=journal["options"]["no_new_keyring"]
    )
    given.linux = linux
    if linux.get("seccomp"):
        from boxes.container import seccomp

        given.filter = seccomp.prepare(config, settings, [], given.available, store.runtime)
        if given.filter.listens:
            raise UnusualError
    sign_of_frozen = journal.get("frozen_sign")
    frozen = sign_of_frozen[0] if sign_of_frozen else None
    written = script_exec.ExecScript(settings, facts, given, exec.paths(journal, options), frozen)
    home = _home(f"/proc/{journal['pid']}/root", (settings.get("user") or {}).get("uid", 0))
    own = (config.get("process") or {}).get("env") or []
    return _template(id, written.steps, [written.execute], {"homes": home, "env": own})
