"""Settings put into the text of a TOML or JSON file, of which everything else stays, byte for byte."""

from __future__ import annotations

import copy
import json
import re
import tomllib

from boxes.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

TOML, JSON = "TOML", "JSON"
Setting = tuple[tuple[str, ...], object]  # the path of keys, and a string, an integer or a list of strings


def parse(text: str, path: str, form: str) -> dict[str, Any]:
    """The file's content; an empty one is empty. Raises ConfigError with the line of what is wrong."""
    try:
        value = tomllib.loads(text) if form == TOML else json.loads(text) if text.strip() else {}
    except ValueError as error:
        raise ConfigError(f"'{path}' is not understood: {error}", path=path) from error
    if not isinstance(value, dict):
        raise ConfigError(f"'{path}' is not understood: not an object", path=path)
    return value


def merge(text: str, settings: list[Setting], path: str, form: str) -> str:
    """The text with the settings. Raises ConfigError if it is written in a form that they cannot be put into."""
    given = parse(text, path, form)
    # First those that replace others: their lines have the numbers they have in the file.
    for keys, value in sorted(settings, key=lambda setting: not _has(given, setting[0])):
        before = parse(text, path, form)
        wanted = _with(before, keys, value, path)
        if wanted == before:
            continue
        if form == JSON:
            text = _in_object(text if text.strip() else "{}\n", text.find("{") if text.strip() else 0, keys, value, 1)
        else:
            text = _in_toml(text, keys, value, path)
        _check(text, wanted, keys, path, form)
    return text


def _check(text: str, wanted: dict[str, Any], keys: tuple[str, ...], path: str, form: str) -> None:
    try:
        same = parse(text, path, form) == wanted
    except ConfigError:
        same = False
    if not same:
        shown = ".".join(keys)
        raise ConfigError(f"'{path}': '{shown}' cannot be put into what is there", path=path, hint="do it by hand")


def _has(value: Any, keys: tuple[str, ...]) -> bool:
    for key in keys:
        if not isinstance(value, dict) or key not in value:
            return False
        value = value[key]
    return True


def _with(value: dict[str, Any], keys: tuple[str, ...], new: object, path: str) -> dict[str, Any]:
    """A copy in which the setting is made."""
    result = copy.deepcopy(value)
    table = result
    for depth, key in enumerate(keys[:-1], 1):
        table = table.setdefault(key, {})
        if not isinstance(table, dict):
            raise ConfigError(f"'{path}': '{'.'.join(keys[:depth])}' is not a table", path=path)
    table[keys[-1]] = new
    return result


# ---- JSON ----


def _in_object(text: str, start: int, keys: tuple[str, ...], value: object, depth: int) -> str:
    """Put the setting into the object that begins at `start`."""
    members = _members(text, start)
    if keys[0] in members:
        begin, end = members[keys[0]]
        if len(keys) > 1:
            return _in_object(text, begin, keys[1:], value, depth + 1)
        return text[:begin] + json.dumps(value) + text[end:]
    for key in reversed(keys[1:]):
        value = {key: value}
    indent = "\n" + "  " * depth
    comma = "," if members else indent[:-2] if text[start + 1 :].lstrip(" \t").startswith("}") else ""
    shown = json.dumps(value, indent=2).replace("\n", indent)
    return f"{text[: start + 1]}{indent}{json.dumps(keys[0])}: {shown}{comma}{text[start + 1 :]}"


def _members(text: str, start: int) -> dict[str, tuple[int, int]]:
    """Where the values of an object stand: the text is known to be JSON."""
    decoder, found = json.JSONDecoder(), {}
    at = _after_blanks(text, start + 1)
    while text[at] != "}":
        key, at = decoder.raw_decode(text, _after_blanks(text, at + 1) if text[at] == "," else at)
        at = _after_blanks(text, _after_blanks(text, at) + 1)
        end = decoder.raw_decode(text, at)[1]
        found[key] = (at, end)
        at = _after_blanks(text, end)
    return found


def _after_blanks(text: str, at: int) -> int:
    while text[at] in " \t\r\n":
        at += 1
    return at


# ---- TOML ----


def _in_toml(text: str, keys: tuple[str, ...], value: object, path: str) -> str:
    lines = text.splitlines(keepends=True)
    *table, key = keys
    entry = f"{_key(key)} = {json.dumps(value, ensure_ascii=False)}\n"
    begin, end = _section(lines, tuple(table))
    if begin is None:
        if lines and not lines[-1].endswith("\n"):
            lines[-1] += "\n"
        header = f"[{'.'.join(_key(part) for part in table)}]\n"
        return "".join([*lines, "\n" if lines else "", header, entry])
    for number in range(begin, end):
        if re.match(rf'\s*"?{re.escape(key)}"?\s*=', lines[number]):
            lines[number] = _replaced(lines[number], entry, f"{path}:{number + 1}", path)
            return "".join(lines)
    indent = re.match(r"\s*", lines[begin - 1])[0].rstrip("\n") if begin else ""  # type: ignore[index]
    if begin and not lines[begin - 1].endswith("\n"):
        lines[begin - 1] += "\n"
    lines.insert(begin, indent + entry)
    return "".join(lines)


def _section(lines: list[str], table: tuple[str, ...]) -> tuple[int | None, int]:
    """The lines of a table, after its header. The root table begins the file."""
    begin = None if table else 0
    for number, line in enumerate(lines):
        if not line.lstrip().startswith("["):
            continue
        if begin is not None:
            return begin, number
        if _header(line) == table:
            begin = number + 1
    return begin, len(lines)


def _header(line: str) -> tuple[str, ...] | None:
    """The table's path, if the line is a header."""
    try:
        value: Any = tomllib.loads(line)
    except tomllib.TOMLDecodeError:
        return None
    found = []
    while isinstance(value, dict) and value:
        ((key, value),) = value.items()
        found.append(key)
    return tuple(found)


def _replaced(line: str, entry: str, place: str, path: str) -> str:
    """The line with another value; what is behind the old one, a comment, is let stand."""
    try:
        tomllib.loads(line)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{place}: a value of more than one line", path=path, hint="do it by hand") from error
    indent = line[: len(line) - len(line.lstrip())]
    comment = re.search(r'\s+#[^"\'\]]*$', line.rstrip("\n"))
    return indent + entry.rstrip("\n") + (comment[0] if comment else "") + line[len(line.rstrip("\r\n")) :]


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else json.dumps(key)
