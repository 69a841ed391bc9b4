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
    """Not an empty one, which would be the current directory."""
    found = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if not isinstance(found, str) or not found or not _encodable(found):
        raise UsageError(f"'{name}' is a path, not {value!r}")
    return found


def paths(name: str, value: object) -> list[str]:
    if not isinstance(value, list | tuple):
        raise UsageError(f"'{name}' is a list of paths, not {value!r}")
    return [path(name, each) for each in value]


def arguments(name: str, value: object) -> None:
    """A program and its arguments: in an order, and more than once to be looked at."""
    ordered = hasattr(value, "__getitem__") and hasattr(value, "__iter__") and not hasattr(value, "items")
    found = [] if isinstance(value, str | bytes | bytearray) or not ordered else list(value)  # type: ignore[call-overload]
    if not found:
        raise UsageError(f"'{name}' is a list of the program and its arguments")
    if not all(isinstance(each, str | os.PathLike) and _encodable(os.fspath(each)) for each in found):
        raise UsageError(f"'{name}' is a list of str without null characters, not {value!r}")


def _encodable(text: object) -> bool:
    """Whether the kernel can be given it; what os.fsdecode() gives for any bytes is."""
    try:
        return isinstance(text, str) and b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False


def instance(name: str, value: object, kind: type, *, shown: str = "") -> None:
    if not isinstance(value, kind) or isinstance(value, bool):
        raise UsageError(f"'{name}' is {shown or kind.__name__}, not {value!r}")


def instances(name: str, value: object, kind: type) -> None:
    if not isinstance(value, list | tuple) or not all(isinstance(each, kind) for each in value):
        raise UsageError(f"'{name}' is a list of {kind.__name__}, not {value!r}")


def mapping(name: str, value: object) -> None:
    if not hasattr(value, "items") or not hasattr(value, "keys"):
        raise UsageError(f"'{name}' is a mapping, not {value!r:.80}")


def environment(name: str, value: object) -> None:
    items = list(value.items()) if hasattr(value, "items") else [(None, None)]
    if not all(_encodable(part) for pair in items for part in pair):
        raise UsageError(f"'{name}' is a mapping of str to str, not {value!r}")
    for each, _ in items:
        if not each or "=" in each:
            raise UsageError(f"'{name}' has a variable called '{each}'")


def ids(name: str, value: object) -> None:
    if not isinstance(value, tuple) or len(value) != 2 or not all(type(part) is int for part in value):
        raise UsageError(f"'{name}' is a uid and a gid, not {value!r}")


def seconds(name: str, value: object) -> None:
    """None, or a time to wait."""
    if value is not None and (not isinstance(value, int | float) or isinstance(value, bool) or not value >= 0):
        raise UsageError(f"'{name}' is seconds, 0 or more, not {value!r}")


def signal(name: str, value: object) -> int:
    """A number of signal(7), or a member of signal.Signals."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 64:
        raise UsageError(f"'{name}' is the number of a signal, not {value!r}")
    return int(value)


def size(name: str, value: object) -> None:
    if type(value) is not int or value < 0:
        raise UsageError(f"'{name}' is bytes, 0 or more, not {value!r}")


def data(name: str, value: object) -> None:
    if value is not None and not isinstance(value, str | bytes | bytearray | memoryview):
        raise UsageError(f"'{name}' is bytes or str, not {value!r}")
    try:
        if isinstance(value, str):
            value.encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"'{name}' cannot be encoded: {error}") from None
