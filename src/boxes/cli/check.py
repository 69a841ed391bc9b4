"""`box check`: whether a bundle would run, and what stands in the way."""

from __future__ import annotations

from boxes.cli.bundle import cgroup_manager
from boxes.cli.options import Command, Option
from boxes.cli.output import printable, write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from boxes.cli.commands import Call

COMMAND = Command(
    "check",
    "tell whether a bundle would run here, as it is written",
    usage="[BUNDLE]",
    description=(
        "Nothing is changed: the config is read, this host and what you may do on it are looked at, and the build is\n"
        "rehearsed by a process that leaves nothing. Each finding is one line, with its place in config.json: an\n"
        "error keeps the container from running, a warning keeps it from being as written. The exit status is 0 if\n"
        "there are none, else 1. BUNDLE is the working directory by default."
    ),
    options=(
        Option("config", "check this file in the place of the bundle's config.json", short="f", metavar="FILE"),
        Option("format", "how findings are printed", metavar="FORMAT", default="text", choices=("text", "json")),
    ),
    most=1,
)


def run(call: Call) -> int:
    from boxes.container.check import check
    from boxes.container.options import CreateOptions
    from boxes.spec.document import pretty

    path = call.options.text("config")
    findings = check(
        CreateOptions(
            bundle=call.options.arguments[0] if call.options.arguments else ".",
            config=None if path is None else _text(path),
            cgroup_manager=cgroup_manager(call),
            rootless=call.globals.text("rootless") or "auto",
        )
    )
    if call.options.text("format") == "json":
        write(pretty([finding.facts() for finding in findings]) + "\n")
    else:
        write("".join(f"{printable(str(finding))}\n" for finding in findings))
    return 1 if findings else 0


def _text(path: str) -> bytes:
    from boxes.spec.document import read

    return read(path)
