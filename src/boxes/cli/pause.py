"""`box pause`: stop a container's processes where they are."""

from __future__ import annotations

from boxes.cli.options import Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from boxes.cli.commands import Call

COMMAND = Command(
    "pause",
    "stop all processes of a container where they are",
    usage="ID",
    description="They keep what they have, and go on with 'box resume'.",
    least=1,
    most=1,
)


def run(call: Call) -> int:
    from boxes.container import pause

    pause.pause(call.store(), call.id())
    return 0
