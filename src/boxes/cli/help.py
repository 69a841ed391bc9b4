"""The help texts, made from the tables the parser works by."""

from __future__ import annotations

from boxes.cli.commands import GLOBAL, VERBS, find
from boxes.cli.options import FLAG, MANY, Command, Option

WIDTH = 100


def overview() -> str:
    """What `box` and `box --help` print."""
    verbs = [(name, find(name).COMMAND.summary) for name in VERBS]
    return "\n\n".join(
        [
            f"box - {GLOBAL.summary}",
            f"Usage: box {GLOBAL.usage}",
            GLOBAL.description,
            "Commands:\n" + _columns(verbs),
            "Global options:\n" + _columns([_row(option) for option in GLOBAL.options] + [_HELP]),
            "'box COMMAND --help' tells more of a command.\n",
        ]
    )


def of_verb(command: Command) -> str:
    """What `box COMMAND --help` prints."""
    usage = f"box {command.name} [options] {command.usage}".rstrip()
    return "\n\n".join(
        [
            f"box {command.name} - {command.summary}",
            f"Usage: {usage}",
            *([command.description] if command.description else []),
            "Options:\n" + _columns([_row(option) for option in command.options] + [_HELP]) + "\n",
        ]
    )


_HELP = ("-h, --help", "print this help")


def _row(option: Option) -> tuple[str, str]:
    """The left and the right side of an option's line."""
    names = ", ".join([*(f"-{short}" for short in option.shorts), f"--{option.name}"])
    left = names if option.kind == FLAG else f"{names} {option.metavar}"
    notes = []
    if option.choices:
        notes.append(" or ".join(option.choices))
    if option.default is not None:
        notes.append(f"default: {option.default}")
    if option.kind == MANY:
        notes.append("may be repeated")
    return left, f"{option.help} ({'; '.join(notes)})" if notes else option.help


def _columns(rows: list[tuple[str, str]]) -> str:
    """Two columns, the right one wrapped."""
    import textwrap

    width = min(28, max(len(left) for left, _ in rows)) + 2
    lines: list[str] = []
    for left, right in rows:
        wrapped = textwrap.wrap(right, WIDTH - width - 2)
        if len(left) > width - 2:
            lines.append(f"  {left}")
        else:
            lines.append(f"  {left.ljust(width)}{wrapped.pop(0)}")
        lines += [f"  {' ' * width}{line}" for line in wrapped]
    return "\n".join(lines)
