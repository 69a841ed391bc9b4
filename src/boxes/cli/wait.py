"""`box wait`: how a container ends, or has ended."""

from __future__ import annotations

from boxes.cli.options import DURATION, FLAG, Command, Option
from boxes.cli.output import write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from boxes.cli.commands import Call

UNKNOWN = 255  # the exit status of --exit-status where nobody knows the container's

COMMAND = Command(
    "wait",
    "wait for the end of a container, and tell how it was",
    usage="ID",
    description=(
        "Tells exit code or signal, whether the kernel killed for want of memory, CPU time and most memory used, also\n"
        "of a container that has ended and is not deleted. What nobody knows is null, or '-'; then there is a reason."
    ),
    options=(
        Option("format", "how to print it", short="f", default="text", metavar="FORMAT", choices=("text", "json")),
        Option(
            "exit-status", f"exit as the container did, or with 128 and its signal; {UNKNOWN} if unknown", kind=FLAG
        ),
        Option("timeout", "give up after this time", kind=DURATION, metavar="TIME"),
    ),
    least=1,
    most=1,
)


def run(call: Call) -> int:
    from boxes.container import waiting

    outcome = waiting.wait(call.store(), call.id(), timeout=call.options.seconds("timeout"))
    if call.options.text("format") == "json":
        from boxes.spec.document import dump

        write(dump(outcome) + "\n")
    else:
        write(_text(outcome))
    return _status(outcome) if call.options.flag("exit-status") else 0


def _status(outcome: dict[str, Any]) -> int:
    if outcome["signal"] is not None:
        return 128 + int(outcome["signal"])
    return UNKNOWN if outcome["exit_code"] is None else int(outcome["exit_code"])


def _text(outcome: dict[str, Any]) -> str:
    """A line for each fact: a name, and what people read."""
    from boxes.cli.quantities import shown_size

    cpu, peak, killed = outcome["cpu_usec"], outcome["memory_peak"], outcome["oom_killed"]
    lines = {
        "exit code": outcome["exit_code"],
        "signal": outcome["signal"],
        "oom killed": None if killed is None else "yes" if killed else "no",
        "cpu time": None if cpu is None else f"{cpu / 1e6:.3f} s",
        "memory peak": None if peak is None else shown_size(peak),
        "ended": outcome["ended"],
        "reason": outcome.get("reason"),
    }
    return "".join(
        f"{name + ':':<14}{'-' if value is None else value}\n"
        for name, value in lines.items()
        if value is not None or name not in ("signal", "reason")
    )
