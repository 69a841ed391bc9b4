"""Reading the files of a container's cgroups, by controller: where one is missing that is no error, but nothing."""

from __future__ import annotations

import errno

from boxes.errors import refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from boxes.cgroups.directory import Directory
    from boxes.cgroups.manager import Manager

# EOPNOTSUPP, EINVAL, EIO: the file is there, but does not tell.
_NOTHING = (errno.ENOENT, errno.ENODEV, errno.EOPNOTSUPP, errno.EINVAL, errno.EIO)


def directory_of(manager: Manager, controller: str) -> Directory | None:
    """The cgroup of a controller: with v2 there is but one."""
    unified = manager.kind == "unified"
    return next((each for each in manager.directories if unified or controller in each.controllers), None)


def read(manager: Manager, controller: str, file: str) -> str | None:
    """What a file holds; None without the controller or without the file."""
    directory = directory_of(manager, controller)
    try:
        return None if directory is None else directory.read(file)
    except OSError as error:
        if error.errno in _NOTHING:
            return None
        raise refused(f"cannot read '{file}'", error) from error


def number(manager: Manager, controller: str, file: str) -> int | None:
    """A file that holds one number; None for ``max`` too."""
    text = read(manager, controller, file)
    return int(text) if text and text.strip().lstrip("-").isdecimal() else None


def flat(text: str | None) -> dict[str, int]:
    """Lines of a name and a number, as in memory.stat."""
    found = {}
    for line in (text or "").splitlines():
        name, _, value = line.rpartition(" ")
        if value.isdecimal():
            found[name] = int(value)
    return found
