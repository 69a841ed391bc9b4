"""`box install-engine`: make box a runtime of podman, docker or containerd."""

from __future__ import annotations

from boxes.cli.options import FLAG, Command, Option
from boxes.cli.output import write
from boxes.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from boxes.cli.commands import Call

COMMAND = Command(
    "install-engine",
    "make box a runtime of podman, docker or containerd",
    usage="ENGINE",
    description=(
        "Prints the settings that the engine's file needs. With --write they are merged into it; all else in the file\n"
        "stays as it is, and one that is not understood is refused. ENGINE is podman, docker or containerd."
    ),
    options=(
        Option("write", "merge the settings into the engine's file", kind=FLAG),
        Option("file", "the engine's file, where it is not the usual one", metavar="FILE"),
        Option("default", "use box for containers that name no runtime", kind=FLAG),
        Option("runtime", "the path of box, where it is not the one that is called", metavar="FILE"),
    ),
    least=1,
    most=1,
)


def run(call: Call) -> int:
    import os

    from boxes.container import engines

    engine = call.options.arguments[0]
    if engine not in engines.FILES:
        raise UsageError(f"'{engine}' where podman, docker or containerd is wanted")
    runtime = call.options.text("runtime") or engines.runtime_path()
    default = call.options.flag("default")
    path = call.options.text("file") or engines.usual_file(engine)
    if not call.options.flag("write"):
        write(engines.snippet(engine, runtime, default=default))
        return 0
    missing = not os.path.isdir(os.path.dirname(os.path.realpath(path)))
    if not engines.write(engine, path, runtime, default=default):
        write(f"{path}: has the settings already\n")
        return 0
    if missing:
        write(f"{os.path.dirname(path)}: made, since it was not there\n")
    write(f"{path}: written; {engines.AFTERWARDS[engine]}\n")
    write("to go back: take out these settings, and name 'runc' where a default is named:\n")
    write(engines.snippet(engine, runtime, default=default))
    return 0
