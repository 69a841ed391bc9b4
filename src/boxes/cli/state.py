"""`box state`: the OCI state document."""

from __future__ import annotations

from boxes.cli.options import Command
from boxes.cli.output import write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from boxes.cli.commands import Call

COMMAND = Command(
    "state",
    "print the state of a container as JSON",
    usage="ID",
    description="The status is one of creating, created, running, paused and stopped.",
    least=1,
    most=1,
)


def run(call: Call) -> int:
    from boxes.container import lifecycle
    from boxes.spec.document import pretty

    write(pretty(lifecycle.state(call.store(), call.id())) + "\n")
    return 0
