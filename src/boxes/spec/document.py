"""JSON documents, read within limits and written in two forms.

The C half of the standard library's `json` is used by itself: the package costs an import of `re`, which alone takes
longer than reading a config.
"""

from __future__ import annotations

import _stat as stat
import errno
from _json import encode_basestring_ascii, make_encoder, make_scanner

from boxes import system as os
from boxes.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

MOST_BYTES = 16 * 1024 * 1024
DEEPEST = 64
BLANKS = " \t\n\r"


class _BadNumberError(ValueError):
    pass


def _finite(digits: str) -> float:
    number = float(digits)
    if number in (float("inf"), float("-inf")):
        raise _BadNumberError(f"the number {digits[:32]} is too large")
    return number


def _constant(name: str) -> NoReturn:
    raise _BadNumberError(f"{name} is not a JSON value")


class _Reading:
    """What the scanner asks of its context: RFC 8259 to the letter, of equal names the last wins."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = staticmethod(_finite)
    parse_int = int
    parse_constant = staticmethod(_constant)


def parse(data: bytes, *, source: str) -> object:
    """The value of a JSON text (RFC 8259) of at most 16 MiB, in UTF-8, nested at most 64 deep.

    Raises ConfigError with line and column; `source` names the document in it. Whatever `data` holds, no other error
    is raised. Integers keep their exact value; lone surrogates pass here and are refused where a string is checked.
    """
    if len(data) > MOST_BYTES:
        raise ConfigError(f"'{source}' is too large: more than {MOST_BYTES} bytes", path=source)
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        where = data[: error.start].decode(errors="replace")
        raise _broken(source, where, len(where), "not UTF-8") from error
    value, end = _scan(text, source)
    rest = text[end:].lstrip(BLANKS)
    if rest:
        raise _broken(source, text, len(text) - len(rest), "unexpected text after the end")
    _refuse_depth(value, source)
    return value


def _scan(text: str, source: str) -> tuple[object, int]:
    start = len(text) - len(text.lstrip(BLANKS))
    context: Any = _Reading
    scan = make_scanner(context)
    try:
        try:
            return scan(text, start)
        except SystemError:
            # Before CPython 3.13 the scanner finds the class of its error only if this module is imported already.
            import json.decoder  # noqa: F401

            return scan(text, start)
    except StopIteration as stop:
        raise _broken(source, text, stop.value, "expected a value") from stop
    except RecursionError as error:
        raise _too_deep(source) from error
    except _BadNumberError as error:
        raise ConfigError(f"'{source}' is not valid JSON: {error}", path=source) from error
    except ValueError as error:
        # json's own error has `msg` and `pos`; the other one is the interpreter's limit on the digits of an integer.
        reason, place = getattr(error, "msg", None), getattr(error, "pos", None)
        if type(reason) is not str or type(place) is not int:
            raise ConfigError(f"'{source}' is not valid JSON: a number has too many digits", path=source) from error
        reason = reason[:1].lower() + reason[1:].removesuffix(" at").removesuffix(" starting")
        raise _broken(source, text, place, reason) from error


def _broken(source: str, text: str, place: int, reason: str) -> ConfigError:
    line = text.count("\n", 0, place) + 1
    column = place - text.rfind("\n", 0, place)
    return ConfigError(f"'{source}' is not valid JSON: {reason} at line {line}, column {column}", path=source)


def _too_deep(source: str) -> ConfigError:
    return ConfigError(f"'{source}' is nested more than {DEEPEST} deep", path=source)


def _refuse_depth(value: object, source: str) -> None:
    """Look at the document level by level, so that the depth of ours never grows with the document's."""
    level: list[Any] = [value] if type(value) is dict or type(value) is list else []
    depth = 0
    while level:
        depth += 1
        if depth > DEEPEST:
            raise _too_deep(source)
        level = [
            item
            for holder in level
            for item in (holder.values() if type(holder) is dict else holder)
            if type(item) is dict or type(item) is list
        ]


def _refuse(value: object) -> NoReturn:
    raise TypeError(f"a value of type {type(value).__name__} has no JSON form")


def dump(value: object) -> str:
    """One line of ASCII without blanks. Raises TypeError or ValueError for what JSON cannot say."""
    return "".join(make_encoder(None, _refuse, encode_basestring_ascii, None, ":", ",", False, False, False)(value, 0))


def pretty(value: object, margin: str = "") -> str:
    """ASCII, one member per line, indented by two; an empty object or list stays on its line."""
    inner = margin + "  "
    if type(value) is dict and value:
        members = [f"{inner}{encode_basestring_ascii(key)}: {pretty(item, inner)}" for key, item in value.items()]
        return "{\n" + ",\n".join(members) + f"\n{margin}}}"
    if type(value) is list and value:
        return "[\n" + ",\n".join([inner + pretty(item, inner) for item in value]) + f"\n{margin}]"
    return dump(value)


def read(path: str) -> bytes:
    """A document's file, whole. Raises ConfigError."""
    try:
        # Without O_NONBLOCK the open of a FIFO waits for a writer that may never come.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except ValueError as error:
        raise ConfigError("the path of the config holds a NUL character") from error
    except OSError as error:
        raise _unread(path, error) from error
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise ConfigError(f"cannot read '{path}': not a regular file", path=path)
        return read_all(fd)
    except OSError as error:
        raise _unread(path, error) from error
    finally:
        os.close(fd)


def read_all(fd: int) -> bytes:
    """The whole file, or one byte more than a document may have: `parse` refuses that."""
    chunks = []
    left = MOST_BYTES + 1
    while left and (chunk := os.read(fd, min(left, 1 << 16))):
        chunks.append(chunk)
        left -= len(chunk)
    return b"".join(chunks)


def _unread(path: str, error: OSError) -> ConfigError:
    number = error.errno or errno.EIO
    return ConfigError(f"cannot read '{path}': {os.strerror(number).lower()}", path=path, errno=number)
