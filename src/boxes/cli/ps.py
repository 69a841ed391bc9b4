"""`box ps`: the processes in a container, by their ids on the host."""

from __future__ import annotations

from boxes.cli.options import Command, Option
from boxes.cli.output import write
from boxes.errors import UnsupportedError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from boxes.cli.commands import Call

COMMAND = Command(
    "ps",
    "list the processes in a container",
    usage="ID [PS OPTIONS]",
    description="PS OPTIONS are for the host's ps, and '-ef' without any; its output must have a column PID.",
    options=(
        Option("format", "how to print them", short="f", default="table", metavar="FORMAT", choices=("table", "json")),
    ),
    least=1,
    most=None,
    command=True,
)


def run(call: Call) -> int:
    from boxes.container import query

    pids = query.processes(call.store(), call.id())
    if call.options.text("format") == "json":
        from boxes.spec.document import dump

        write(dump(pids) + "\n")
    else:
        write(_table(pids, call.options.arguments[1:]))
    return 0


def _table(pids: list[int], options: list[str]) -> str:
    import subprocess

    try:
        done = subprocess.run(["ps", *(options or ["-ef"])], capture_output=True, check=False)
    except FileNotFoundError:
        if options:
            raise UnsupportedError("there is no 'ps' on this host to take the options") from None
        from boxes.cli.processes import table

        return table(pids)
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().split("\n")[0]
        raise UsageError(f"ps: {said or f'exit status {done.returncode}'}")
    return select(done.stdout.decode(errors="surrogateescape"), pids)


def select(text: str, pids: list[int]) -> str:
    """The header of what ps printed, and the lines of `pids`. Raises UsageError if there is no column PID."""
    header, *lines = text.splitlines()
    columns = header.split()
    if "PID" not in columns:
        raise UsageError("the output of ps has no column 'PID'")
    column = columns.index("PID")
    wanted = {str(pid) for pid in pids}
    kept = [line for line in lines if wanted.intersection(line.split()[column : column + 1])]
    return "\n".join([header, *kept]) + "\n"
