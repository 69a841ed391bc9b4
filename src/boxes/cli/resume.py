"""`box resume`: let the processes of a paused container go on."""

from __future__ import annotations

from boxes.cli.options import Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from boxes.cli.commands import Call

COMMAND = Command("resume", "let the processes of a paused container go on", usage="ID", least=1, most=1)


def run(call: Call) -> int:
    from boxes.container import pause

    pause.resume(call.store(), call.id())
    return 0
