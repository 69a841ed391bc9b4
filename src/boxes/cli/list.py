"""`box list`: all containers below the root."""

from __future__ import annotations

from boxes.cli.options import FLAG, Command, Option
from boxes.cli.output import table, write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from boxes.cli.commands import Call

COMMAND = Command(
    "list",
    "list the containers",
    usage="",
    options=(
        Option("format", "how to print them", short="f", default="table", metavar="FORMAT", choices=("table", "json")),
        Option("quiet", "print ids only", short="q", kind=FLAG),
    ),
)

COLUMNS = ("id", "pid", "status", "bundle", "created", "owner")


def run(call: Call) -> int:
    from boxes.container import query

    containers = query.listing(call.store())
    if call.options.flag("quiet"):
        write("".join(f"{container['id']}\n" for container in containers))
    elif call.options.text("format") == "json":
        from boxes.spec.document import dump

        write(dump(containers) + "\n")
    else:
        rows = [tuple(str(container.get(column, "")) for column in COLUMNS) for container in containers]
        write(table(tuple(column.upper() for column in COLUMNS), rows))
    return 0
