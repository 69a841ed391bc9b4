"""`box delete`: release what a stopped container holds."""

from __future__ import annotations

from boxes.cli.options import FLAG, Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from boxes.cli.commands import Call

COMMAND = Command(
    "delete",
    "delete a stopped container",
    usage="ID",
    options=(Option("force", "kill it first if it runs; it is no error if there is none", short="f", kind=FLAG),),
    least=1,
    most=1,
)


def run(call: Call) -> int:
    from boxes.container import lifecycle

    lifecycle.delete(call.store(), call.id(), force=call.options.flag("force"))
    return 0
