"""The command line, table-driven: a `Command` lists its `Option`s, `parse` reads argv by them.

The grammar is that of Go's flag package, which engines were written against: `-flag` and `--flag` are the same,
`--flag=value` and `--flag value` too, a boolean takes a value only after `=`, short options are not bundled.
"""

from __future__ import annotations

from boxes.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    Values = dict[str, object]

FLAG = "flag"  # bool
TEXT = "text"  # str, never empty
MANY = "many"  # list[str], one for each time the option is given
INT = "int"  # int
SIZE = "size"  # int, bytes: `100M`
DURATION = "duration"  # float, seconds: `1m30s`

_TRUE = ("1", "t", "T", "true", "TRUE", "True")
_FALSE = ("0", "f", "F", "false", "FALSE", "False")


class Option:
    """One option. `choices` limits a text; `default` is shown by the help and given when the option is not."""

    __slots__ = ("choices", "default", "help", "kind", "metavar", "name", "shorts")

    def __init__(
        self,
        name: str,
        help: str,
        *,
        short: str = "",
        kind: str = TEXT,
        metavar: str = "VALUE",
        default: str | int | None = None,
        choices: tuple[str, ...] = (),
    ) -> None:
        self.name = name
        self.help = help
        self.shorts = short
        self.kind = kind
        self.metavar = metavar
        self.default = default
        self.choices = choices


class Command:
    """What a verb takes.

    `usage` names the positional arguments, of which there are `least` to `most` (None: any number). With `command`
    set, the options end at the first positional argument: what follows belongs to another program. `failure` is the
    exit status of an error.
    """

    __slots__ = ("command", "description", "failure", "least", "most", "name", "options", "summary", "usage")

    def __init__(
        self,
        name: str,
        summary: str,
        *,
        usage: str,
        description: str = "",
        options: tuple[Option, ...] = (),
        least: int = 0,
        most: int | None = 0,
        command: bool = False,
        failure: int = 1,
    ) -> None:
        self.name = name
        self.summary = summary
        self.usage = usage
        self.description = description
        self.options = options
        self.least = least
        self.most = most
        self.command = command
        self.failure = failure


class Parsed:
    """The values of a command line, by type, and its positional `arguments`. `help` was asked for if it is set."""

    __slots__ = ("_values", "arguments", "help")

    def __init__(self, values: Values) -> None:
        self._values = values
        self.arguments: list[str] = []
        self.help = False

    def flag(self, name: str) -> bool:
        return self._values.get(name) is True

    def text(self, name: str) -> str | None:
        value = self._values.get(name)
        return value if isinstance(value, str) else None

    def many(self, name: str) -> list[str]:
        value = self._values.get(name)
        return value if isinstance(value, list) else []

    def integer(self, name: str) -> int | None:
        value = self._values.get(name)
        return value if isinstance(value, int) else None

    def seconds(self, name: str) -> float | None:
        value = self._values.get(name)
        return value if isinstance(value, float) else None


def parse(command: Command, argv: Sequence[str], values: Values | None = None) -> Parsed:
    """Read `argv`. `values` is filled on the way, so that a caller has what came before the error, if there is one.

    Raises UsageError.
    """
    values = {} if values is None else values
    parsed = Parsed(values)
    for option in command.options:
        if option.default is not None:
            values.setdefault(option.name, option.default)
    rest = iter(argv)
    for token in rest:
        if token == "--":
            parsed.arguments += rest
            break
        if token == "-" or not token.startswith("-"):
            parsed.arguments.append(token)
            if command.command:
                parsed.arguments += rest
                break
            continue
        name, equals, given = token[1:].removeprefix("-").partition("=")
        if name in ("help", "h"):
            parsed.help = True
            return parsed
        option = _find(command, name, token)
        if option.kind == FLAG:
            values[option.name] = _boolean(option, given) if equals else True
            continue
        if not equals:
            following = next(rest, None)
            if following is None:
                raise UsageError(f"flag needs an argument: {_shown(name)}")
            given = following
        _store(values, option, given)
    return parsed


def check_count(command: Command, arguments: Sequence[str]) -> None:
    """Refuse too few and too many positional arguments."""
    usage = f"usage: {_title(command)} {command.usage}".rstrip()
    if len(arguments) < command.least:
        missing = [word for word in command.usage.split() if word.isalpha()][len(arguments) : command.least]
        raise UsageError(f"'{_title(command)}' needs {' and '.join(missing)}", hint=usage)
    if command.most is not None and len(arguments) > command.most:
        raise UsageError(f"unexpected argument '{arguments[command.most]}' for '{_title(command)}'", hint=usage)


def integer(text: str, *, least: int = -(2**63), most: int = 2**63 - 1) -> int | None:
    """A decimal number as people write it: no `+`, no `_`, no blanks, no other scripts' digits. None if it is not."""
    digits = text.removeprefix("-")
    # Twenty characters hold every 64-bit number; int() of a million digits would take minutes.
    if not digits.isascii() or not digits.isdecimal() or len(digits) > 20:
        return None
    number = int(text)
    return number if least <= number <= most else None


def _find(command: Command, name: str, token: str) -> Option:
    for option in command.options:
        if name == option.name or (len(name) == 1 and name in option.shorts):
            return option
    from boxes.cli.suggest import for_flag

    shown = token.partition("=")[0]
    raise UsageError(f"unknown flag '{shown}' for '{_title(command)}'", hint=for_flag(command, name))


def _store(values: Values, option: Option, given: str) -> None:
    """Convert what was given, and keep it: the last one counts, except for MANY."""
    if option.kind == MANY:
        earlier = values.get(option.name)
        values[option.name] = [*earlier, given] if isinstance(earlier, list) else [given]
        return
    value: object = given
    if option.kind == TEXT and (not given or (option.choices and given not in option.choices)):
        wanted = " or ".join(f"'{choice}'" for choice in option.choices) or "a value"
        raise UsageError(f"flag --{option.name}: '{given}' where {wanted} is wanted")
    if option.kind == INT:
        value = integer(given)
    elif option.kind != TEXT:
        from boxes.cli import quantities

        value = quantities.size(given) if option.kind == SIZE else quantities.duration(given)
    if value is None:
        raise UsageError(f"flag --{option.name}: '{given}' is no {'number' if option.kind == INT else option.kind}")
    values[option.name] = value


def _boolean(option: Option, given: str) -> bool:
    if given in _TRUE:
        return True
    if given in _FALSE:
        return False
    raise UsageError(f"flag --{option.name}: '{given}' where 'true' or 'false' is wanted")


def _shown(name: str) -> str:
    return f"-{name}" if len(name) == 1 else f"--{name}"


def _title(command: Command) -> str:
    return f"box {command.name}".rstrip()
