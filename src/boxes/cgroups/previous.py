"""What a cgroup's files hold before they are written, as settings that put it back."""

from __future__ import annotations

from boxes.cgroups.reading import read
from boxes.cgroups.settings import DeviceRules, Setting

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from boxes.cgroups.manager import Manager

# Files with a line for each device, interface or page size, and what stands for "none" there: {} is the line's name.
_BY_NAME = {
    "blkio.throttle.": "{} 0",
    "blkio.weight_device": "{} 0",
    "blkio.leaf_weight_device": "{} 0",
    "blkio.bfq.weight_device": "{} 0",
    "io.weight": "{} default",
    "io.bfq.weight": "{} default",
    "net_prio.ifpriomap": "{} 0",
    "rdma.max": "{} hca_handle=max hca_object=max",
    "io.max": "{} rbps=max wbps=max riops=max wiops=max",
    "io.latency": "{} target=0",
}


def previous(manager: Manager, settings: Sequence[Setting | DeviceRules]) -> list[Setting]:
    """Settings which undo `settings`, to be taken before those are applied. Device rules are not among them: the kernel
    does not tell them."""
    found = []
    for setting in settings:
        if isinstance(setting, DeviceRules):
            continue
        for file, value in [(setting.file, setting.value), *([setting.instead] if setting.instead else [])]:
            held = read(manager, setting.controller, file)
            if held is not None:
                restored = _restoring(file, value, held)
                found.append(Setting(setting.controller, file, restored, setting.pointer, optional=True, again=True))
                break
        if setting.file == "cpu.idle" and setting.value == "1":
            found += _share(manager, setting.pointer)
    return found


def _share(manager: Manager, pointer: str) -> list[Setting]:
    """What a group has before it becomes idle, and the kernel forgets."""
    file = "cpu.weight" if manager.kind == "unified" else "cpu.shares"
    held = read(manager, "cpu", file)
    return [] if held is None else [Setting("cpu", file, held.strip(), pointer, optional=True, again=True)]


def _restoring(file: str, value: str, held: str) -> str:
    """What to write to `file`, to which `value` is to be written, so that it holds again what it does."""
    if file == "memory.oom_control":  # "oom_kill_disable 0", and more that is only told
        return held.split()[1]
    none = next((line for prefix, line in _BY_NAME.items() if file.startswith(prefix)), None)
    if none is None:
        return held.rstrip("\n") or "\n"
    lines = {line.split(" ", 1)[0]: line for line in held.splitlines()}
    restored = []
    for wanted in value.splitlines():
        name, blank, _ = wanted.partition(" ")
        if not blank:  # "100", which is told as "default 100" where devices can have their own
            restored.append(lines.get("default", held.split("\n", 1)[0]))
        else:
            restored.append(lines.get(name, none.format(name)))
    return "\n".join(restored)
