"""Checks of what a Python caller gives: a wrong kind is named with its argument, before anything is done with it."""

from __future__ import annotations

import os

from boxes.errors import UsageError


def texts(name: str, value: object) -> list[str]:
    """A list of text, and not one text, which would be taken letter by letter."""
    if not isinstance(value, list | tuple) or not all(isinstance(each, str) for each in value):
        raise UsageError(f"'{name}' is a list of str, not {value!r}")
    return list(value)


def path(name: str, value: object) -> str:
    if not isinstance(value, str | os.PathLike):
        raise UsageError(f"'{name}' is a path, not {value!r}")
    return os.fspath(value)


def instance(name: str, value: object, kind: type, *, shown: str = "") -> None:
    if not isinstance(value, kind) or isinstance(value, bool):
        raise UsageError(f"'{name}' is {shown or kind.__name__}, not {value!r}")


def instances(name: str, value: object, kind: type) -> None:
    if not isinstance(value, list | tuple) or not all(isinstance(each, kind) for each in value):
        raise UsageError(f"'{name}' is a list of {kind.__name__}, not {value!r}")


def environment(name: str, value: object) -> None:
    items = value.items() if hasattr(value, "items") else [(None, None)]
    if not all(isinstance(part, str) for pair in items for part in pair):
        raise UsageError(f"'{name}' is a mapping of str to str, not {value!r}")


def ids(name: str, value: object) -> None:
    if not isinstance(value, tuple) or len(value) != 2 or not all(type(part) is int for part in value):
        raise UsageError(f"'{name}' is a uid and a gid, not {value!r}")


def seconds(name: str, value: object) -> None:
    """None, or a time to wait."""
    if value is not None and (not isinstance(value, int | float) or isinstance(value, bool) or not value >= 0):
        raise UsageError(f"'{name}' is seconds, 0 or more, not {value!r}")


def size(name: str, value: object) -> None:
    if type(value) is not int or value < 0:
        raise UsageError(f"'{name}' is bytes, 0 or more, not {value!r}")


def data(name: str, value: object) -> None:
    if value is not None and not isinstance(value, str | bytes | bytearray | memoryview):
        raise UsageError(f"'{name}' is bytes or str, not {value!r}")
