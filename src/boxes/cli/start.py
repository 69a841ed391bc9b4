"""`box start`: let the program of a created container begin."""

from __future__ import annotations

from boxes import system as os
from boxes.cli.options import Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from boxes.cli.commands import Call

COMMAND = Command("start", "start the program of a created container", usage="ID", least=1, most=1)


def run(call: Call) -> int:
    from boxes.container import lifecycle

    lifecycle.start(call.store(), call.id(), notify_socket=os.environment.get("NOTIFY_SOCKET"))
    return 0
