"""The config of a container that is made from Python: of fields, or a whole one."""

from __future__ import annotations

import os

from boxes.errors import UsageError
from boxes.spec import given as check
from boxes.spec.document import dump
from boxes.spec.sandbox import Config, Limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from boxes.spec.sandbox import Bind


def made(
    args: Sequence[str],
    rootfs: str | os.PathLike[str] | None,
    *,
    config: Config | Mapping[str, Any] | None,
    limits: Limits | None,
    env: Mapping[str, str] | None,
    cwd: str,
    user: tuple[int, int] | None,
    binds: Sequence[Bind],
    network: str,
    writable: bool = False,
) -> Mapping[str, Any]:
    """A config of these fields; or the whole one that is given in their place, with these `args` and this `rootfs`.
    Raises UsageError."""
    check.arguments("args", args)
    if config is not None:
        asked = {"limits": limits, "env": env, "cwd": cwd != "/", "user": user, "binds": binds, "writable": writable}
        for name, given in {**asked, "network": network != "none"}.items():
            if given:
                raise UsageError(f"'{name}' is the config's, where a whole 'config' is given")
        return _changed(document(config), args, rootfs)
    if rootfs is None:
        raise UsageError("it takes 'rootfs', or a whole 'config'")
    return Config(
        args=args,
        rootfs=rootfs,
        env={} if env is None else env,
        cwd=cwd,
        user=user,
        binds=binds,
        writable=writable,
        network=network,
        limits=Limits() if limits is None else limits,
    ).document()


def document(config: Config | Mapping[str, Any]) -> Mapping[str, Any]:
    """A whole config, as it is in config.json. Raises UsageError if it could not be there."""
    if isinstance(config, Config):
        return config.document()
    check.mapping("config", config)
    try:
        dump(config)
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"'config' cannot be written as JSON: {error}") from None
    return config


def _changed(
    config: Mapping[str, Any], args: Sequence[str], rootfs: str | os.PathLike[str] | None
) -> Mapping[str, Any]:
    """What is wrong with its form is said when the container is made."""
    changed = dict(config)
    if isinstance(config.get("process"), dict):
        changed["process"] = {**config["process"], "args": [os.fspath(each) for each in args]}
    if rootfs is not None and isinstance(config.get("root"), dict):
        changed["root"] = {**config["root"], "path": os.path.abspath(check.path("rootfs", rootfs))}
    return changed


def changed_limits(limits: Limits | Mapping[str, Any]) -> dict[str, Any]:
    """`linux.resources` of other limits. Raises UsageError for what cannot be changed while a container runs."""
    if isinstance(limits, Limits):
        for name in ("file_size", "cpu_seconds"):
            if getattr(limits, name) is not None:
                raise UsageError(f"'{name}' is held by the processes themselves, and cannot be changed while they run")
        return dict(limits.resources())
    check.mapping("limits", limits)
    return dict(limits)
