"""Whether a container would get its cgroups and limits: asked of the hierarchies, and nothing is made."""

from __future__ import annotations

from boxes import system as os
from boxes.cgroups import layout as layouts
from boxes.cgroups.settings import Setting
from boxes.container import placement
from boxes.errors import KernelError, StateError, UnsupportedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from boxes.cgroups.directory import Directory
    from boxes.cgroups.manager import Manager
    from boxes.cgroups.settings import DeviceRules
    from boxes.container.check import Check

_PATH = "/linux/cgroupsPath"


def check(check: Check) -> None:
    """As Creation.survey has it; then what is in the way of making them."""
    unprivileged = not check.privileged or check.facts.nested

    def plan() -> tuple[Manager, list[Setting | DeviceRules]]:
        layout = layouts.detect()
        options, id = check.options, check.facts.id
        manager, first, later = placement.plan(check.config, options, layout, id, unprivileged=unprivileged)
        return manager, first + later

    planned = check.findings.tried(plan)
    if planned is None:
        return
    made, limits = planned
    with made:
        if made.needs_process:
            return  # systemd makes them, and says no by itself
        before = len(check.findings.found)
        there = [directory for directory in made.directories if _usable(check, made, directory)]
        if len(check.findings.found) > before:
            return  # what is said of the limits without a cgroup is no news
        for limit in limits:
            if isinstance(limit, Setting):
                error = _refusal(made, limit, there)
            elif there or made.restricted:
                error = None
            else:
                text = "without a cgroup the access to devices cannot be confined"
                error = UnsupportedError(text, pointer=limit.pointer)
            if error is not None:
                check.findings.error(error)
        _real_time(check, there)


def _real_time(check: Check, there: list[Directory]) -> None:
    """sched(7): a new cgroup of v1 has no time for real-time processes, where the kernel shares it out."""
    scheduler = (check.config.get("process") or {}).get("scheduler") or {}
    cpu = ((check.config.get("linux") or {}).get("resources") or {}).get("cpu") or {}
    if scheduler.get("policy") not in ("SCHED_FIFO", "SCHED_RR") or cpu.get("realtimeRuntime"):
        return
    for directory in there:
        example = _example(directory) if "cpu" in directory.controllers else None
        if example is not None and os.access(f"{example}/cpu.rt_runtime_us", os.F_OK):
            text = f"a new cgroup has no time for the policy '{scheduler['policy']}'"
            hint = "give it some by /linux/resources/cpu/realtimeRuntime"
            check.findings.error(UnsupportedError(text, pointer="/process/scheduler/policy", hint=hint))


def _usable(check: Check, made: Manager, directory: Directory) -> bool:
    """Whether a cgroup may be made, or is there and empty."""
    pointer = _PATH if (check.config.get("linux") or {}).get("cgroupsPath") else None
    if not directory.ours:
        found = directory.processes()
        if found:
            check.findings.error(
                StateError(f"the cgroup '{directory.path}' has processes already", pointer=pointer, path=directory.path)
            )
        return not found
    above = parent(directory)
    if os.access(above, os.W_OK | os.X_OK):
        return True
    if not made.forgiven:
        hint = "have it delegated to this user, or leave the path away"
        check.findings.error(KernelError(f"no cgroup may be made in '{above}'", pointer=pointer, path=above, hint=hint))
    return False


def parent(directory: Directory) -> str:
    """The deepest cgroup of the path that is there."""
    return "/".join([directory.mount_point, *directory.names[: directory.existing]])


def _refusal(made: Manager, limit: Setting, there: list[Directory]) -> UnsupportedError | None:
    """What would be said of a limit, by what the cgroups of others have."""
    unified = made.kind == "unified"
    directory = next((each for each in there if unified or limit.controller in each.controllers), None)
    if directory is None:
        return None if limit.optional else _without(limit, made, there)
    example = _example(directory)
    if unified and limit.controller != "cgroup":
        if not _can_have(parent(directory), limit.controller):
            return None if limit.optional else _without(limit, made, there)
        if example is not None and limit.controller not in _words(f"{example}/cgroup.controllers"):
            return None  # it has none of its files, and the container's own will
    if example is None or os.access(f"{example}/{limit.file}", os.F_OK) or limit.optional:
        return None
    if limit.instead is not None and os.access(f"{example}/{limit.instead[0]}", os.F_OK):
        return None
    return _without(limit, made, there)


def _without(limit: Setting, made: Manager, there: list[Directory]) -> UnsupportedError:
    hint = limit.hint
    if made.forgiven and not there:
        hint = "no cgroup may be made here: have one delegated, or ask for no limits"
    text = f"cannot set '{limit.file}': there is no cgroup of controller '{limit.controller}' that has it"
    return UnsupportedError(text, pointer=limit.pointer, hint=hint)


def _can_have(path: str, controller: str) -> bool:
    """Whether a cgroup of v2 hands a controller down, or may be told to."""
    from boxes.cgroups.unified import may_have_children

    if controller in _words(f"{path}/cgroup.subtree_control"):
        return True
    writable = os.access(f"{path}/cgroup.subtree_control", os.W_OK)
    return writable and controller in _words(f"{path}/cgroup.controllers") and may_have_children(path)


def _words(path: str) -> list[str]:
    with open(path, "rb") as file:
        return file.read().decode().split()


def _example(directory: Directory) -> str | None:
    """A cgroup of the hierarchy that is not its root, whose files are other ones."""
    if directory.existing:
        return parent(directory)
    with os.scandir(directory.mount_point) as entries:
        return next((entry.path for entry in entries if entry.is_dir(follow_symlinks=False)), None)
