"""A config that is right, to be spoilt in one place by each test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings

from boxes.errors import ConfigError
from boxes.spec.validate import validate

# A busy machine is no reason to fail.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

NAMESPACES = ("pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time")


def config_with(pointer: str, value: Any) -> dict[str, Any]:
    """A complete small config whose value at `pointer` is `value`; what lies on the way is made."""
    config: dict[str, Any] = {
        "ociVersion": "1.3.0",
        "root": {"path": "rootfs"},
        "process": {"cwd": "/", "args": ["sh"], "user": {"uid": 0, "gid": 0}},
        "linux": {"namespaces": [{"type": kind} for kind in NAMESPACES]},
    }
    *way, last = [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]
    holder: Any = config
    for part in way:
        holder = holder[int(part)] if isinstance(holder, list) else holder.setdefault(part, {})
    holder[last] = value
    return config


@pytest.fixture
def refusal() -> Callable[[str, Any], str]:
    """The text of the error that a value at a pointer leads to."""

    def refuse(pointer: str, value: Any) -> str:
        with pytest.raises(ConfigError) as caught:
            validate(config_with(pointer, value))
        return str(caught.value)

    return refuse


@pytest.fixture
def warnings_of() -> Callable[[str, Any], list[str]]:
    """The warnings that a value at a pointer leads to; it is no error."""

    def accept(pointer: str, value: Any) -> list[str]:
        return [str(notice) for notice in validate(config_with(pointer, value))]

    return accept
