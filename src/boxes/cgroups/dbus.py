"""D-Bus messages, to bytes and back: dbus-specification, "Type System" and "Message Protocol".

What comes in is another process's word: every length is checked against what is there before anything is made of it,
and what does not fit is `MalformedError`.
"""

from __future__ import annotations

import _struct
from _struct import pack, unpack_from

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CALL, REPLY, ERROR, SIGNAL = 1, 2, 3, 4
_STRUCT_ERROR: type[Exception] = _struct.error  # type: ignore[attr-defined]  # typeshed has it in struct only
LONGEST = 1 << 24  # bytes of a message; the specification allows 128 MiB, systemd's are of a few KiB
_DEEPEST = 64  # containers in each other: 32 arrays and 32 structures, says the specification
_FIXED = {"y": "B", "b": "I", "n": "h", "q": "H", "i": "i", "u": "I", "x": "q", "t": "Q", "d": "d", "h": "I"}
_ALIGNED = {"y": 1, "n": 2, "q": 2, "x": 8, "t": 8, "d": 8, "(": 8, "{": 8, "g": 1, "v": 1}  # all others: 4
# Header fields by their number: name and type.
_FIELDS = {
    1: ("path", "o"),
    2: ("interface", "s"),
    3: ("member", "s"),
    4: ("error_name", "s"),
    5: ("reply_serial", "u"),
    6: ("destination", "s"),
    7: ("sender", "s"),
    8: ("signature", "g"),
    9: ("unix_fds", "u"),
}
_WANTED = {CALL: ("path", "member"), REPLY: ("reply_serial",), ERROR: ("error_name", "reply_serial")}
_WANTED[SIGNAL] = ("path", "interface", "member")


class MalformedError(ValueError):
    """These bytes are no message, or these values are not of that type."""


class Variant:
    """A value that carries its type."""

    __slots__ = ("signature", "value")

    def __init__(self, signature: str, value: Any) -> None:
        self.signature = signature
        self.value = value

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Variant):
            return NotImplemented
        return (self.signature, self.value) == (other.signature, other.value)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<{self.signature} {self.value!r}>"


class Message:
    """`fields` by the names that the specification gives them, in lower case; `values()` reads the body."""

    __slots__ = ("_body", "_order", "fields", "kind", "serial")

    def __init__(self, kind: int, serial: int, fields: dict[str, Any], body: bytes, order: str = "<") -> None:
        self.kind = kind
        self.serial = serial
        self.fields = fields
        self._body = body
        self._order = order

    def values(self) -> list[Any]:
        """Raises MalformedError."""
        reader = _Reader(self._body, self._order)
        found = [reader.value(each) for each in split(self.fields.get("signature", ""))]
        if reader.at != len(self._body):
            raise MalformedError(f"{len(self._body) - reader.at} bytes after the last value")
        return found


def encode(kind: int, serial: int, fields: dict[str, Any], signature: str = "", values: tuple[Any, ...] = ()) -> bytes:
    """A message, little-endian. Raises MalformedError for values that are not of their type."""
    types = split(signature)
    if len(types) != len(values):
        raise MalformedError(f"{len(values)} values for '{signature}'")
    body = bytearray()
    for each, value in zip(types, values, strict=True):
        _put(body, each, value)
    if signature:
        fields = fields | {"signature": signature}
    listed = [(code, Variant(kind, fields[name])) for code, (name, kind) in _FIELDS.items() if name in fields]
    out = bytearray(pack("<BBBBII", ord("l"), kind, 0, 1, len(body), serial))
    _put(out, "a(yv)", listed)
    _pad(out, 8)
    if len(out) + len(body) > LONGEST:
        raise MalformedError(f"a message of {len(out) + len(body)} bytes is too long")
    return bytes(out + body)


def size(start: bytes) -> int:
    """How long a message is, by its first 16 bytes. Raises MalformedError."""
    order = {0x6C: "<", 0x42: ">"}.get(start[0])  # l and B
    if order is None:
        raise MalformedError(f"{start[0]:#x} is no byte order")
    if start[3] != 1:
        raise MalformedError(f"version {start[3]} of the protocol")
    body, _, fields = unpack_from(f"{order}III", start, 4)
    whole = 16 + (fields + 7 & ~7) + body
    if whole > LONGEST:
        raise MalformedError(f"a message of {whole} bytes is too long")
    return int(whole)


def decode(data: bytes) -> Message:
    """One whole message. Raises MalformedError; a body is looked at only when it is asked for."""
    if len(data) < 16 or len(data) != size(data):
        raise MalformedError("a message of another length than it says")
    order = "<" if data[0] == 0x6C else ">"
    kind = data[1]
    length, serial = unpack_from(f"{order}II", data, 4)
    if kind == 0 or serial == 0:
        raise MalformedError("a message without type or serial number")
    reader = _Reader(data[: len(data) - length], order, at=12)
    fields = {}
    for code, variant in reader.value("a(yv)"):
        if code in _FIELDS:
            name, expected = _FIELDS[code]
            if variant.signature != expected:
                raise MalformedError(f"'{variant.signature}' is not the type of '{name}'")
            fields[name] = variant.value
    for name in _WANTED.get(kind, ()):
        if name not in fields:
            raise MalformedError(f"a message of type {kind} without '{name}'")
    reader.align(8)
    return Message(kind, serial, fields, data[len(data) - length :], order)


def split(signature: str) -> list[str]:
    """The complete types of a signature: ``a{sv}us`` is a{sv}, u, s. Raises MalformedError."""
    if len(signature) > 255:
        raise MalformedError("a signature of more than 255 characters")
    found, at = [], 0
    while at < len(signature):
        end = _end(signature, at, 0)
        found.append(signature[at:end])
        at = end
    return found


def _end(signature: str, at: int, depth: int) -> int:
    """The index after the complete type that begins at `at`."""
    code = signature[at : at + 1]
    if depth > _DEEPEST:
        raise MalformedError("a type is nested too deeply")
    if code in _FIXED or code in ("s", "o", "g", "v"):
        return at + 1 if code else _bad(signature)
    if code == "a":
        if signature[at + 1 : at + 2] != "{":
            return _end(signature, at + 1, depth + 1)
        if signature[at + 2 : at + 3] not in (*_FIXED, "s", "o", "g"):
            return _bad(signature)
        end = _end(signature, at + 3, depth + 1)
        return end + 1 if signature[end : end + 1] == "}" else _bad(signature)
    if code != "(" or signature[at + 1 : at + 2] in (")", ""):
        return _bad(signature)
    at += 1
    while signature[at : at + 1] != ")":
        at = _end(signature, at, depth + 1)
    return at + 1


def _bad(signature: str) -> int:
    raise MalformedError(f"'{signature}' is no type")


def _pad(out: bytearray, alignment: int) -> None:
    out += bytes(-len(out) % alignment)


def _put(out: bytearray, signature: str, value: Any) -> None:
    """Append a value of one complete type, which begins at a multiple of its alignment."""
    code = signature[0]
    _pad(out, _ALIGNED.get(code, 4))
    if code in _FIXED:
        if code == "b" and type(value) is not bool:
            raise MalformedError(f"{value!r} is not true or false")
        try:
            out += pack(f"<{_FIXED[code]}", value)
        except (_STRUCT_ERROR, TypeError, OverflowError):
            raise MalformedError(f"{value!r} is not of type '{code}'") from None
    elif code in "so":
        if "\0" in value:
            raise MalformedError(f"{value!r} has a NUL byte")
        text = value.encode()
        out += pack("<I", len(text)) + text + b"\0"
    elif code == "g":
        out += pack("<B", len(value)) + value.encode() + b"\0"
    elif code == "v":
        split(value.signature)
        _put(out, "g", value.signature)
        _put(out, value.signature, value.value)
    elif code == "a":
        _put_array(out, signature[1:], value)
    else:
        for each, member in zip(split(signature[1:-1]), value, strict=True):
            _put(out, each, member)


def _put_array(out: bytearray, element: str, values: Any) -> None:
    at = len(out)
    out += bytes(4)
    _pad(out, _ALIGNED.get(element[0], 4))
    start = len(out)
    if element == "y":
        out += bytes(values)
    else:
        for each in values.items() if isinstance(values, dict) else values:
            _put(out, element, each)
    out[at : at + 4] = pack("<I", len(out) - start)


class _Reader:
    """Values from bytes, whose first is aligned to 8. `at` is where the next one is looked for."""

    def __init__(self, data: bytes, order: str, at: int = 0) -> None:
        self.data = data
        self.order = order
        self.at = at

    def value(self, signature: str, depth: int = 0) -> Any:
        if depth > _DEEPEST:
            raise MalformedError("values are nested too deeply")
        code = signature[0]
        self.align(_ALIGNED.get(code, 4))
        if code in _FIXED:
            return self._fixed(code)
        if code in "so":
            return self._text(self._fixed("u"))
        if code == "g":
            return self._text(self._fixed("y"))
        if code == "v":
            types = split(kind := self.value("g"))
            if len(types) != 1:
                raise MalformedError(f"'{kind}' is not the type of one value")
            return Variant(kind, self.value(kind, depth + 1))
        if code == "a":
            return self._array(signature[1:], depth)
        return tuple(self.value(each, depth + 1) for each in split(signature[1:-1]))

    def align(self, alignment: int) -> None:
        if any(self._take(-self.at % alignment)):
            raise MalformedError("the padding is not of zeros")

    def _take(self, count: int) -> bytes:
        if count > len(self.data) - self.at:
            raise MalformedError("a value ends after the message")
        self.at += count
        return self.data[self.at - count : self.at]

    def _fixed(self, code: str) -> Any:
        kind = f"{self.order}{_FIXED[code]}"
        (found,) = unpack_from(kind, self._take(_ALIGNED.get(code, 4)))
        if code == "b" and found > 1:
            raise MalformedError(f"{found} is not true or false")
        return bool(found) if code == "b" else found

    def _text(self, length: int) -> str:
        found = self._take(length + 1)
        if found[-1] or 0 in found[:-1]:
            raise MalformedError("a string does not end where it should")
        try:
            return found[:-1].decode()
        except UnicodeDecodeError:
            raise MalformedError("a string is not in UTF-8") from None

    def _array(self, element: str, depth: int) -> Any:
        length = self._fixed("u")
        self.align(_ALIGNED.get(element[0], 4))
        if element == "y":
            return self._take(length)
        end = self.at + length
        if end > len(self.data):
            raise MalformedError("an array ends after the message")
        inner = f"({element[1:-1]})" if element[0] == "{" else element  # an entry of a dictionary: a pair
        found = []
        while self.at < end:
            found.append(self.value(inner, depth + 1))
        if self.at != end:
            raise MalformedError("an array does not end where it should")
        return found
