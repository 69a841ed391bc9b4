"""`box create`: everything up to the container's own program."""

from __future__ import annotations

from boxes.cli import bundle
from boxes.cli.options import Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from boxes.cli.commands import Call

COMMAND = Command(
    "create",
    "create a container from a bundle",
    usage="ID",
    description=f"Sets the container up; 'box start' then starts its program.\n\n{bundle.DESCRIPTION}",
    options=bundle.OPTIONS,
    least=1,
    most=1,
)


def run(call: Call) -> int:
    from boxes.container import lifecycle

    lifecycle.create(call.store(), call.id(), bundle.create_options(call))
    return 0
