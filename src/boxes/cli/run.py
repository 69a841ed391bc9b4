"""`box run`: create, start, wait, delete."""

from __future__ import annotations

from boxes.cli import bundle
from boxes.cli.options import FLAG, Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from boxes.cli.commands import Call

COMMAND = Command(
    "run",
    "create a container, start it and wait for its end",
    usage="ID",
    description=(
        "Signals go to the container. The exit status is that of its program, or 128 and the number of the signal\n"
        f"that ended it.\n\n{bundle.DESCRIPTION}"
    ),
    options=(
        *bundle.OPTIONS,
        Option("detach", "do not wait for the end", short="d", kind=FLAG),
        Option("keep", "do not delete the container when it has ended", kind=FLAG),
    ),
    least=1,
    most=1,
)


def run(call: Call) -> int:
    from boxes.container import lifecycle

    return lifecycle.run(
        call.store(),
        call.id(),
        bundle.create_options(call),
        detach=call.options.flag("detach"),
        keep=call.options.flag("keep"),
    )
