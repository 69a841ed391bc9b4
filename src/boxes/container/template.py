"""Templates: what is common to containers that differ in id, arguments and environment alone (docs/adr/0015-scripts.md).

A worker makes one of a config whose arguments and environment are marks. The caller keeps it and fills it in, once for
each container; the maker carries out what that gives (plan/script.py).
"""

from __future__ import annotations

import _stat as stat

from boxes import system as os
from boxes.apply import passwd
from boxes.container import attached, host, journals, planning, status
from boxes.container.undivided import Undivided
from boxes.errors import BoxesError
from boxes.linux import syscalls
from boxes.plan import inner, process, script, scripted
from boxes.plan.rlimits import raised_rlimits
from boxes.plan.scripted import CHILD_PID, CHILD_START, INODE, OWN_PID, OWN_START, TEXT, Unusual
from boxes.spec.document import dump

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from boxes.cgroups.directory import Directory
    from boxes.cgroups.settings import DeviceRules, Setting
    from boxes.plan.scripted import Part

_ARGUMENT, _VARIABLE = "\ue000argument", "\ue000="  # marks of the private use area: no config of ours has them
_NUMBER = "\ue000number "  # and one in a journal: what is to be there, and of what
_NULL = os.makedev(1, 3)


def marked(config: dict[str, Any]) -> dict[str, Any]:
    """The config with marks in the place of arguments and environment: what is equal has the same template."""
    return {**config, "process": {**config["process"], "args": [_ARGUMENT], "env": [_VARIABLE]}}


def common(config: dict[str, Any]) -> bool:
    """Whether it is worth to ask for a template: what is checked in them, arguments and environment, is as it is to be,
    and there is nothing that scripts cannot do."""
    asked = config.get("process")
    if not isinstance(asked, dict) or "hooks" in config or "annotations" in config or asked.get("terminal"):
        return False
    args, env = asked.get("args"), asked.get("env")
    if not isinstance(args, list) or not args or not isinstance(env, list):
        return False
    texts = all(isinstance(each, str) and "\0" not in each for each in (*args, *env))
    return bool(texts and args[0] and all(each.find("=") > 0 for each in env))


# ---- in a worker ----


def make(making: Undivided, limits: str) -> tuple[dict[str, Any], bytes]:
    """The facts of a template, and its steps. `making` is an Undivided of which nothing was done. Raises Unusual."""
    making.read()
    making.survey()
    making.plan_cgroup()
    _check(making)
    container = _container(making)
    written = script.Script(container)
    parts = written.steps.around(written.config, written.execute)
    facts = {
        "id": making.id,
        "created": making.journal["created"],
        "config": dump(making.config),
        "note": list(written.config_note()),
        "sizes": [len(part) for part in parts],
        "steps": len(written.steps),
        "limits": limits if container.cgroups or limits == "rlimits" else "none",
        "files": [name for name, _ in container.used],
        "homes": _homes(making),
    }
    return facts, b"".join(parts)


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
        raise Unusual
    for resource, hard, _ in raised_rlimits(asked):
        if hard > syscalls.prlimit(0, resource)[1]:
            raise Unusual


def _null_is_null() -> bool:
    facts = os.stat("/dev/null", follow_symlinks=False)
    return stat.S_ISCHR(facts.st_mode) and facts.st_rdev == _NULL


def _container(making: Undivided) -> script.Container:
    made = planning.Plan(making.config, making.facts)
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
        names = (name for controller, name in attached.FILES["legacy"] if controller in directory.controllers)
        container.used += [(name, at) for name in names]
    return container


def _cgroup(directory: Directory, kind: str) -> script.Cgroup:
    if kind != "legacy" or directory.existing != len(directory.names) - 1:
        raise Unusual
    parent, _, name = directory.path.rpartition("/")
    made = script.Cgroup(parent, name, directory.controllers)
    if "cpuset" in directory.controllers:
        made.passed_on = ["cpuset.cpus", "cpuset.mems"]  # without, v1 lets no process in
    if "freezer" in directory.controllers:
        made.compared = [("freezer.state", "THAWED\n")]
    return made


def _add_limits(making: Undivided, cgroups: list[script.Cgroup]) -> None:
    for limit in making.limits:
        for controller, file, line in _lines(limit):
            found = next((each for each in cgroups if controller in each.controllers), None)
            if found is None:
                if making.cgroups.restricted and controller == "devices":
                    continue
                raise Unusual
            found.settings.append((file, line))


def _lines(limit: Setting | DeviceRules) -> list[tuple[str, str, str]]:
    from boxes.cgroups import devices
    from boxes.cgroups.settings import DeviceRules

    if isinstance(limit, DeviceRules):
        asked, others = devices.lines(limit)
        return [("devices", file, line) for file, line in (*asked, *(("devices.allow", line) for line in others))]
    if limit.above is not None:
        raise Unusual
    return [(limit.controller, limit.file, line) for line in limit.value.splitlines()]


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
            raise Unusual from None
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


def _homes(making: Undivided) -> list[Any] | None:
    """The home of the user in the root, and by what it is seen that this may have changed; None if it is not the root's
    own file that tells."""
    if any(mount["destination"].rstrip("/") in ("", "/etc", "/etc/passwd") for mount in making.config.get("mounts") or ()):
        return None
    user = (making.config.get("process") or {}).get("user") or {}
    root = os.open(making.rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return [passwd.home(root, user.get("uid", 0)), sign(making.rootfs)]
    except BoxesError:
        return None
    finally:
        os.close(root)


# ---- in the caller ----


def sign(rootfs: str) -> list[int] | None:
    """What changes when the root's /etc/passwd does."""
    try:
        facts = os.stat(f"{rootfs}/etc/passwd", follow_symlinks=False)
    except OSError:
        return None
    return [facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns]


class Template:
    """One that a worker has made."""

    def __init__(self, facts: dict[str, Any], steps: bytes) -> None:
        self.limits: str = facts["limits"]
        self.files: list[str] = facts["files"]
        self._facts = facts
        first, second, _ = facts["sizes"]
        self._parts = steps[:first], steps[first : first + second], steps[first + second :]
        self._id = facts["id"].encode()
        self._created = facts["created"].encode()

    def fits(self, id: str, config: dict[str, Any]) -> bool:
        """Whether it can be filled in with these."""
        if len(id) != len(self._id):
            return False
        if not process.needs_home(config["process"]):
            return True
        homes = self._facts["homes"]
        return homes is not None and homes[1] == sign(config["root"]["path"])

    def fill(self, id: str, config: dict[str, Any]) -> bytes:
        """The script of one container."""
        asked = config["process"]
        text = self._facts["config"].replace(dump([_ARGUMENT]), dump(asked["args"]), 1)
        text = text.replace(dump([_VARIABLE]), dump(asked["env"]), 1)
        directory, name = self._facts["note"]
        kept = inner.encoded(inner.NOTE, scripted.note(directory, name, [(TEXT, text.encode())]))
        if process.needs_home(asked):
            asked = process.with_home(asked, self._facts["homes"][0])
        last = inner.encoded(inner.EXEC, process.execution(asked))
        own, created = id.encode(), journals.now().encode()
        begin, middle, end = (part.replace(self._id, own) for part in self._parts)
        begin, middle = (part.replace(self._created, created) for part in (begin, middle))
        return inner.whole(begin + kept + middle + last + end.replace(self._created, created), self._facts["steps"])
