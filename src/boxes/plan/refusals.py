"""What this runtime has not, and annotations that mean nothing: refused before anything is made, and never passed
over."""

from __future__ import annotations

from boxes.errors import ConfigError, UnsupportedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Options that say how links are treated when something is bound.
_OF_BINDS = frozenset(("copy-symlink", "src-nofollow", "dest-nofollow"))
_IDMAPS = ("idmap", "ridmap")
_PAGE = 4096  # bytes, the least there are


def refuse(config: dict[str, Any]) -> None:
    """Raise UnsupportedError for the first that there is."""
    for number, mount in enumerate(config.get("mounts") or ()):
        _refuse_mount(mount, f"/mounts/{number}")
    if any(name.startswith("run.oci.") for name in config.get("annotations") or ()):
        from boxes.plan import annotated

        annotated.check(config)
    _refuse_memory(config)
    if (config.get("hooks") or {}).get("startContainer"):
        _refuse_hooks(config)


def idmapped(config: dict[str, Any]) -> bool:
    """Whether a mount is to show other owners than its source has."""
    return any(_is_idmapped(mount) for mount in config.get("mounts") or ())


def _is_idmapped(mount: dict[str, Any]) -> bool:
    if mount.get("uidMappings"):
        return True
    return any(option.partition("=")[0] in _IDMAPS for option in mount.get("options") or ())


def _refuse_mount(mount: dict[str, Any], pointer: str) -> None:
    options = mount.get("options") or ()
    bound = "bind" in options or "rbind" in options or mount.get("type") == "bind"
    for number, option in enumerate(options):
        if option in _OF_BINDS and (not bound or "remount" in options):
            text = f"the option '{option}' is for what is bound"
            raise UnsupportedError(text, pointer=f"{pointer}/options/{number}")
        if option == "tmpcopyup" and mount.get("type") != "tmpfs":
            raise UnsupportedError("only a tmpfs can be filled", pointer=f"{pointer}/options/{number}")
    if (not bound or "remount" in options) and _is_idmapped(mount):
        raise UnsupportedError("only what is bound can show other owners", pointer=pointer)


def _refuse_memory(config: dict[str, Any]) -> None:
    resources = (config.get("linux") or {}).get("resources") or {}
    limit = (resources.get("memory") or {}).get("limit") or 0
    if 0 < limit < _PAGE:
        text = f"{limit} bytes are less than a page of memory, with which no process can begin"
        raise ConfigError(text, pointer="/linux/resources/memory/limit")


def _refuse_hooks(config: dict[str, Any]) -> None:
    """Those in the container, which are processes beside its own."""
    process = config.get("process") or {}
    resources = (config.get("linux") or {}).get("resources") or {}
    limit = (resources.get("pids") or {}).get("limit")
    if limit in (0, 1):
        text = f"{limit} is too few, as startContainer hooks are processes of the container too"
        raise ConfigError(text, pointer="/linux/resources/pids/limit")
    for number, entry in enumerate(process.get("rlimits") or ()):
        if entry["type"] == "RLIMIT_NOFILE" and entry["soft"] == 0:
            text = "without descriptors startContainer hooks, which this limits too, cannot be run"
            raise ConfigError(text, pointer=f"/process/rlimits/{number}/soft")
    if process.get("scheduler"):
        from boxes.plan.attributes import cannot_fork

        if cannot_fork(process):
            text = "a process with this policy can make no other, and startContainer hooks are run by it"
            hint = "add SCHED_FLAG_RESET_ON_FORK to /process/scheduler/flags"
            raise ConfigError(text, pointer="/process/scheduler/policy", hint=hint)
