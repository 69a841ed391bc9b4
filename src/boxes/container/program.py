"""The container's program: where it is looked for, and a first look before the container is called created."""

from __future__ import annotations

from errno import ENOENT

from boxes import system as os
from boxes.linux import path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"  # as native/inner.c has it


def candidates(process: dict[str, Any]) -> list[str]:
    """The paths that inner tries, in order."""
    name = process["args"][0]
    if "/" in name:
        return [name if name.startswith("/") else f"{process['cwd']}/{name}"]
    value = next((entry[5:] for entry in process.get("env") or () if entry.startswith("PATH=")), _PATH)
    return [f"{directory or process['cwd']}/{name}" for directory in value.split(":")]


def may_be_there(config: dict[str, Any], root: int) -> bool:
    """Whether there is such a file, as far as can be told: hooks that run in the container may make it."""
    process = config.get("process")
    if not process or (config.get("hooks") or {}).get("startContainer"):
        return True
    for candidate in candidates(process):
        try:
            fd = path.find(root, candidate)
        except OSError:
            return True  # a magic link, say: only the process itself can tell
        if fd is not None:
            os.close(fd)
            return True
    return False


def refuse_missing(config: dict[str, Any], root: int) -> None:
    """Raise the error that `start` would, if there is no such file.

    Podman takes an exit status from the error of `create` alone: 127. That the file may not be executed is for `start`
    to tell, which asks with the ids of the process.
    """
    if not may_be_there(config, root):
        from boxes.plan import failures

        raise failures.of_exec(config["process"]["args"][0])(ENOENT, b"")
