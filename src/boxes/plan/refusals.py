"""What the specification has and this runtime has not: refused before anything is made, and never passed over."""

from __future__ import annotations

from boxes.errors import ConfigError, UnsupportedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Members of `linux`, and what is said of them.
_LINUX = {
    "netDevices": "network devices cannot be moved into a container",
    "intelRdt": "cache and memory bandwidth cannot be allocated",
}
# Options of mounts; with `=` those that have a value.
_OPTIONS = frozenset(("idmap", "ridmap", "tmpcopyup", "copy-symlink", "src-nofollow", "dest-nofollow"))
_OPTIONS_WITH_VALUE = ("idmap=", "ridmap=")
_MOUNT = ("uidMappings", "gidMappings")


def refuse(config: dict[str, Any]) -> None:
    """Raise UnsupportedError for the first that there is."""
    linux = config.get("linux") or {}
    for name, text in _LINUX.items():
        if linux.get(name) is not None:
            raise UnsupportedError(text, pointer=f"/linux/{name}")
    for number, mount in enumerate(config.get("mounts") or ()):
        _refuse_mount(mount, f"/mounts/{number}")
    process = config.get("process") or {}
    if process.get("scheduler") and (config.get("hooks") or {}).get("startContainer"):
        _refuse_hooks(process)


def _refuse_mount(mount: dict[str, Any], pointer: str) -> None:
    for name in _MOUNT:
        if mount.get(name):
            raise UnsupportedError("mounts with id mappings are not supported", pointer=f"{pointer}/{name}")
    for number, option in enumerate(mount.get("options") or ()):
        if option in _OPTIONS or option.startswith(_OPTIONS_WITH_VALUE):
            raise UnsupportedError(f"the option '{option}' is not supported", pointer=f"{pointer}/options/{number}")


def _refuse_hooks(process: dict[str, Any]) -> None:
    from boxes.plan.attributes import cannot_fork

    if cannot_fork(process):
        text = "a process with this policy can make no other, and startContainer hooks are run by it"
        hint = "add SCHED_FLAG_RESET_ON_FORK to /process/scheduler/flags"
        raise ConfigError(text, pointer="/process/scheduler/policy", hint=hint)
