"""`box events`: what happens to containers, one JSON object a line."""

from __future__ import annotations

from boxes.cli.options import DURATION, FLAG, Command, Option
from boxes.cli.output import write
from boxes.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from boxes.cli.commands import Call

COMMAND = Command(
    "events",
    "tell what containers use, and what happens to them",
    usage="[ID]",
    description=(
        "Of one container: what it uses, and when it was out of memory, until it ends. Of all, without ID: besides\n"
        "when one is created, started, paused, resumed, ends and is deleted. One JSON object a line."
    ),
    options=(
        Option("stats", "tell once what is used now", kind=FLAG),
        Option("interval", "time between two reports of what is used (default: 5s)", kind=DURATION, metavar="TIME"),
        Option("all", "of all containers, as without ID", short="a", kind=FLAG),
    ),
    most=1,
)


def run(call: Call) -> int:
    from boxes.container import events

    interval = call.options.seconds("interval")
    interval = 5.0 if interval is None else interval
    if interval <= 0:
        raise UsageError("flag --interval: it must be more than nothing")
    store = call.store()
    if call.options.arguments and call.options.flag("all"):
        raise UsageError("'box events' takes an ID or --all, not both")
    if call.options.flag("stats"):
        _print([events.stats(store, call.id())] if call.options.arguments else events.stats_of_all(store))
    elif call.options.arguments:
        _print(events.of_one(store, call.id(), interval))
    else:
        _print(events.of_all(store, interval))
    return 0


def _print(found: Iterable[dict[str, Any]]) -> None:
    from boxes.spec.document import dump

    for event in found:
        write(dump(event) + "\n")
