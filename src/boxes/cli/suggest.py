"""What the user probably meant. Only loaded when something is wrong."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from boxes.cli.options import Command


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The one of `known` most like `word`, if any is alike enough."""
    import difflib

    found = difflib.get_close_matches(word, list(known), n=1, cutoff=0.7)
    return found[0] if found else None


def for_flag(command: Command, name: str) -> str | None:
    """A hint for the unknown flag `name` of `command`, or None."""
    from boxes.cli.commands import GLOBAL

    for option in GLOBAL.options:
        if command is not GLOBAL and name == option.name:
            return f"'--{name}' is a global flag: it goes before '{command.name}'"
    meant = nearest(name, [option.name for option in command.options])
    return f"did you mean '--{meant}'?" if meant else None
