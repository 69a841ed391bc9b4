"""`box stats`: what containers use, as a table that goes on, as JSON, or for Prometheus."""

from __future__ import annotations

import select

from boxes.cli.options import DURATION, FLAG, Command, Option
from boxes.cli.output import table, write
from boxes.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from boxes.cli.commands import Call

COMMAND = Command(
    "stats",
    "show what containers use",
    usage="[ID...]",
    description=(
        "Of all that run, without ID. CPU is in percent of one, memory without what is given back when there is need;\n"
        "'-' is what nobody counts.\n"
        "'prometheus' is its text format, once: for a textfile collector, or to be served."
    ),
    options=(
        Option(
            "format",
            "how to print it",
            short="f",
            default="table",
            metavar="FORMAT",
            choices=("table", "json", "prometheus"),
        ),
        Option("interval", "time between two looks (default: 1s)", kind=DURATION, metavar="TIME"),
        Option("no-stream", "show it once, and end", kind=FLAG),
    ),
    most=None,
)
HEADER = ("ID", "STATUS", "CPU %", "MEMORY", "LIMIT", "MEM %", "PIDS", "READ", "WRITTEN", "OOM KILLS")
_CLEAR = "\033[H\033[J"  # to the upper left, and erase from there on


def run(call: Call) -> int:
    from boxes.container import stats
    from boxes.spec.identifier import check_id

    ids = [check_id(id) for id in call.options.arguments]
    store = call.store()
    kind = call.options.text("format")
    interval = call.options.seconds("interval")
    interval = 1.0 if interval is None else interval
    if interval <= 0:
        raise UsageError("flag --interval: it must be more than nothing")
    before = {sample.id: sample for sample in stats.samples(store, ids)}
    if kind == "prometheus":
        from boxes.cli import prometheus

        write(prometheus.text(list(before.values())))
        return 0
    while True:
        select.select((), (), (), interval)  # what is used has no event
        now = stats.samples(store, ids)
        rows = [stats.summary(sample, before.get(sample.id)) for sample in now]
        once = call.options.flag("no-stream")
        write(_json(rows) if kind == "json" else _table(rows, live=not once))
        if once:
            return 0
        before = {sample.id: sample for sample in now}


def _json(rows: list[dict[str, Any]]) -> str:
    from boxes.spec.document import dump

    return dump(rows) + "\n"


def _table(rows: list[dict[str, Any]], *, live: bool) -> str:
    import os

    shown = table(HEADER, [_row(row) for row in rows])
    if not live:
        return shown
    return _CLEAR + shown if os.isatty(1) else shown + "\n"


def _row(row: dict[str, Any]) -> tuple[str, ...]:
    def percent(value: float | None) -> str:
        return "-" if value is None else f"{value:.1f}"

    pids = row["pids_limit"]
    return (
        row["id"],
        row["status"],
        percent(row["cpu_percent"]),
        _size(row["working_set"]),
        _size(row["memory_limit"]),
        percent(row["memory_percent"]),
        _count(row["pids"]) if pids is None else f"{row['pids']}/{pids}",
        _size(row["io_read"]),
        _size(row["io_write"]),
        _count(row["oom_kills"]),
    )


def _size(value: int | None) -> str:
    from boxes.cli.quantities import shown_size

    return "-" if value is None else shown_size(value)


def _count(value: int | None) -> str:
    return "-" if value is None else str(value)
