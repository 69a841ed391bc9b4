"""Annotations that change what the runtime does: crun's, which engines set.

Values are text. One that means nothing is an error that names the annotation; names that are not here mean nothing.
"""

from __future__ import annotations

from boxes.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

PREFIX = "run.oci."
KEEP_GROUPS = "run.oci.keep_original_groups"
CONTEXT_TYPE = "run.oci.mount_context_type"
HOOKS_STDOUT, HOOKS_STDERR = "run.oci.hooks.stdout", "run.oci.hooks.stderr"
SECCOMP_RECEIVER = "run.oci.seccomp.receiver"
PIDFD_RECEIVER = "run.oci.pidfd_receiver"
DELEGATE = "run.oci.delegate-cgroup"

_CONTEXTS = ("context", "fscontext", "defcontext", "rootcontext")
_BOOLEANS = {"1": True, "true": True, "0": False, "false": False}
_PATHS = (HOOKS_STDOUT, HOOKS_STDERR, SECCOMP_RECEIVER, PIDFD_RECEIVER)


def check(config: Mapping[str, Any]) -> None:
    """Raise ConfigError for the first whose value means nothing, whether or not it will be asked for."""
    keeps_groups(config)
    context_type(config)
    delegated(config)
    for name in _PATHS:
        path(config, name)


def pointer(name: str) -> str:
    return f"/annotations/{name}"


def _value(config: Mapping[str, Any], name: str) -> str | None:
    value = (config.get("annotations") or {}).get(name)
    return None if value is None else str(value)


def keeps_groups(config: Mapping[str, Any]) -> bool:
    """Whether processes keep the groups of whoever calls the runtime, in the place of additionalGids."""
    value = _value(config, KEEP_GROUPS)
    if value is None:
        return False
    if value not in _BOOLEANS:
        raise ConfigError(f"expected 1 or 0, not '{value}'", pointer=pointer(KEEP_GROUPS))
    return _BOOLEANS[value]


def context_type(config: Mapping[str, Any]) -> str:
    """By which option of mount(8) a new filesystem gets its SELinux label."""
    value = _value(config, CONTEXT_TYPE)
    if value is None:
        return _CONTEXTS[0]
    if value not in _CONTEXTS:
        raise ConfigError(f"expected one of {', '.join(_CONTEXTS)}, not '{value}'", pointer=pointer(CONTEXT_TYPE))
    return value


def path(config: Mapping[str, Any], name: str) -> str | None:
    value = _value(config, name)
    if value is not None and (not value.startswith("/") or "\0" in value):
        raise ConfigError(f"expected an absolute path, not '{value}'", pointer=pointer(name))
    return value


def delegated(config: Mapping[str, Any]) -> list[str]:
    """The cgroup below the container's that its process is put into, as components; none: it is put into no such."""
    value = _value(config, DELEGATE)
    if value is None:
        return []
    names = value.split("/")
    if not all(names) or {".", ".."} & set(names) or "\n" in value or "\0" in value:
        raise ConfigError(f"'{value}' is no cgroup below the container's", pointer=pointer(DELEGATE))
    return names
