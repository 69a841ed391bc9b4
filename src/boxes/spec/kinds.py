"""The kinds of value that an OCI document holds, and how each is checked.

A kind is a function `kind(value, where, findings)`. It returns if the value is right and raises `ConfigError` if not;
`where` is the JSON pointer (RFC 6901) of the value. Kinds are put together into the tables of the `schema_*` modules,
one table for each section of the specification.

Types are exact: JSON's `true` is no number, and neither are `1.0` and `"1"`. A member whose value is null counts as
absent, as it does for Go's decoder, and is dropped from its object, so that readers of a checked document meet none.
"""

from __future__ import annotations

from boxes.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

    Kind = Callable[[object, str, "Findings"], None]
    Rule = Callable[[Any, str, "Findings"], None]

MOST_LOOKUPS = 64
MOST_SHOWN = 48


class Notice:
    """Something in a document that is no error, yet hardly meant: `pointer` says where, `message` what."""

    __slots__ = ("message", "pointer")

    def __init__(self, pointer: str, message: str) -> None:
        self.pointer = pointer
        self.message = message

    def __str__(self) -> str:
        """One line for people, escaped as errors are."""
        return str(ConfigError(self.message, pointer=self.pointer))

    def __repr__(self) -> str:
        return f"Notice({self.pointer!r}, {self.message!r})"


class Findings:
    """What a walk over a document noticed besides errors."""

    __slots__ = ("lookups", "notices")

    def __init__(self) -> None:
        self.notices: list[Notice] = []
        self.lookups = 0

    def warn(self, where: str, message: str) -> None:
        self.notices.append(Notice(where, message))

    def unknown(self, where: str, name: object, known: Iterable[str]) -> None:
        """A name that the specification does not have: to be ignored, but a near-miss of a known one is told.

        The number of names looked up is limited, since a document may hold a million of them.
        """
        if type(name) is not str:
            raise wrong(where, "a string as each name", name)
        if self.lookups >= MOST_LOOKUPS:
            return
        self.lookups += 1
        from boxes.spec.nearmiss import meant

        other = meant(name, known)
        if other is not None:
            self.warn(child(where, name), f"is ignored, as the specification has no such field; '{other}' may be meant")


def child(where: str, name: str) -> str:
    """The pointer of a member; `~` and `/` are escaped as RFC 6901 says."""
    return f"{where}/{name.replace('~', '~0').replace('/', '~1')}"


def wrong(where: str, expected: str, value: object) -> ConfigError:
    return ConfigError(f"expected {expected}, not {show(value)}", pointer=where)


def show(value: object) -> str:
    """A value as an error names it: in JSON's words, and described rather than quoted when it is long."""
    if value is None:
        return "null"
    if value is True or value is False:
        return "true" if value else "false"
    if type(value) is int:
        return str(value) if value.bit_length() <= 128 else "a number of that size"
    if type(value) is str:
        return f"'{value}'" if len(value) <= MOST_SHOWN else f"a string of {len(value)} characters"
    if type(value) is list:
        return "a list" if value else "an empty list"
    if type(value) is dict:
        return "an object"
    return repr(value) if type(value) is float else f"a value of type {type(value).__name__}"


def anything(value: object, where: str, findings: Findings) -> None:
    """What other platforms define: known by name, so that it is no near-miss, and otherwise ignored."""


def flag(value: object, where: str, findings: Findings) -> None:
    if value is not True and value is not False:
        raise wrong(where, "true or false", value)


def integer(low: int, high: int, what: str | None = None) -> Kind:
    """Whole numbers from `low` to `high`, both included; `what` names them in errors."""
    expected = f"{what or 'a whole number'} ({low} to {high})"

    def check(value: object, where: str, findings: Findings) -> None:
        if type(value) is not int or not low <= value <= high:
            raise wrong(where, expected, value)

    return check


uint16 = integer(0, 2**16 - 1, "an unsigned 16-bit integer")
uint32 = integer(0, 2**32 - 1, "an unsigned 32-bit integer")
uint64 = integer(0, 2**64 - 1, "an unsigned 64-bit integer")
int32 = integer(-(2**31), 2**31 - 1, "a signed 32-bit integer")
int64 = integer(-(2**63), 2**63 - 1, "a signed 64-bit integer")

# 2**32 - 1 is the kernel's "no id": setresuid(2) takes it, reports success and changes nothing.
user_id = integer(0, 2**32 - 2, "a user or group id, an unsigned 32-bit integer")


def text(value: object, where: str, findings: Findings) -> None:
    """A string that can be handed to the system: no NUL, and UTF-8 can say it. Its value is not shown."""
    if type(value) is not str:
        raise wrong(where, "a string", value)
    if "\0" in value:
        raise ConfigError("expected a string without NUL characters", pointer=where)
    if not _encodable(value):
        raise ConfigError("expected Unicode text, not a lone surrogate", pointer=where)


def _encodable(value: str) -> bool:
    if value.isascii():
        return True
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def matching(fits: Callable[[str], bool], expected: str) -> Kind:
    """Strings for which `fits` is true; errors say what was `expected`."""

    def check(value: object, where: str, findings: Findings) -> None:
        if type(value) is not str:
            raise wrong(where, expected, value)
        text(value, where, findings)
        if not fits(value):
            raise wrong(where, expected, value)

    return check


def choice(names: Iterable[str], what: str | None = None) -> Kind:
    """One of a few strings; `what` replaces their list in errors when it is long."""
    allowed = frozenset(names)
    quoted = [f"'{name}'" for name in names]
    expected = what or " or ".join([*([", ".join(quoted[:-1])] if quoted[1:] else []), quoted[-1]])

    def check(value: object, where: str, findings: Findings) -> None:
        if type(value) is not str or value not in allowed:
            raise wrong(where, expected, value)

    return check


nonempty = matching(bool, "a non-empty string")
absolute = matching(lambda path: path[:1] == "/", "an absolute path")
absolute_or_unset = matching(lambda path: path[:1] in ("/", ""), "an absolute path")
line = matching(lambda value: "\n" not in value, "a string of one line")


def strings(value: object, where: str, findings: Findings) -> None:
    """A list of strings. They are looked at together, for speed, and one by one only if something is amiss."""
    if type(value) is not list:
        raise wrong(where, "a list of strings", value)
    try:
        joined = "".join(value)
    except TypeError:
        joined = "\0"
    if "\0" in joined or not _encodable(joined):
        for index, item in enumerate(value):
            text(item, f"{where}/{index}", findings)


def list_of(kind: Kind, unique: str | None = None) -> Kind:
    """A list of values of one kind; no two of them may share the value of their member `unique`."""

    def check(value: object, where: str, findings: Findings) -> None:
        if type(value) is not list:
            raise wrong(where, "a list", value)
        for index, item in enumerate(value):
            kind(item, f"{where}/{index}", findings)
        if unique is not None:
            _refuse_twins(value, unique, where)

    vars(check)["item"] = kind
    return check


def _refuse_twins(items: list[Any], key: str, where: str) -> None:
    seen = set()
    for index, item in enumerate(items):
        if item[key] in seen:
            raise ConfigError(
                f"expected each only once, but '{item[key]}' is repeated", pointer=f"{where}/{index}/{key}"
            )
        seen.add(item[key])


def map_of(kind: Kind, name: Kind = text) -> Kind:
    """An object whose names are free: each must be of kind `name`, each value of kind `kind`."""

    def check(value: object, where: str, findings: Findings) -> None:
        if type(value) is not dict:
            raise wrong(where, "an object", value)
        for key, item in value.items():
            if type(key) is not str:
                raise wrong(where, "a string as each name", key)
            place = child(where, key)
            name(key, place, findings)
            kind(item, place, findings)

    vars(check)["value"] = kind
    return check


def record(fields: Mapping[str, Kind], required: tuple[str, ...] = (), rule: Rule | None = None) -> Kind:
    """An object with named fields. `rule` checks what its fields must have in common, once each is right by itself."""

    def check(value: object, where: str, findings: Findings) -> None:
        if type(value) is not dict:
            raise wrong(where, "an object", value)
        nulls: list[str] | None = None
        for key, item in value.items():
            kind = fields.get(key)
            if kind is None:
                findings.unknown(where, key, fields)
            elif item is None:
                nulls = [*(nulls or ()), key]
            else:
                kind(item, f"{where}/{key}", findings)
        for key in nulls or ():
            del value[key]
        for key in required:
            if key not in value:
                raise ConfigError("is required", pointer=f"{where}/{key}")
        if rule is not None:
            rule(value, where, findings)

    vars(check)["fields"] = fields  # for `fields.members`
    return check
