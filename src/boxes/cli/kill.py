"""`box kill`: send a signal."""

from __future__ import annotations

from boxes.cli.options import FLAG, Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from boxes.cli.commands import Call

COMMAND = Command(
    "kill",
    "send a signal to a container",
    usage="ID [SIGNAL]",
    description="SIGNAL is a name (KILL, SIGKILL, RTMIN+1) or a number; without it, TERM.",
    options=(Option("all", "to all processes in the container", short="a", kind=FLAG),),
    least=1,
    most=2,
)


def run(call: Call) -> int:
    from boxes.cli.signals import parse
    from boxes.container import lifecycle

    number = parse(call.options.arguments[1] if len(call.options.arguments) > 1 else "TERM")
    lifecycle.kill(call.store(), call.id(), number, all=call.options.flag("all"))
    return 0
