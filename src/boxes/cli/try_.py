"""`box try`: a throw-away container from the host's own files."""

from __future__ import annotations

import os

from boxes.cli import bundle, network_options
from boxes.cli.exec import environment
from boxes.cli.options import MANY, Command, Option
from boxes.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from boxes.cli.commands import Call
    from boxes.spec.shapes import Config, Mount

COMMAND = Command(
    "try",
    "run a command in a throw-away container made of the host's own files",
    usage="[COMMAND...]",
    description=(
        "The command, by default a shell, sees the host's programs and libraries, read-only, and nothing else:\n"
        "no processes, no files of yours, and no network unless you ask for one; /tmp and /home are new, and gone\n"
        "afterwards. It has no privileges."
    ),
    options=(
        Option("env", "set an environment variable", short="e", kind=MANY, metavar="NAME=VALUE"),
        Option("workdir", "where to start", short="w", metavar="DIR"),
        network_options.HOSTNAME,
        Option("bind", "show something of the host, writable without 'ro'", kind=MANY, metavar="SRC[:DST[:ro]]"),
        *network_options.OPTIONS,
    ),
    most=None,
    command=True,
)


def run(call: Call) -> int:
    from boxes.container import throwaway
    from boxes.spec.document import dump

    return throwaway.run(
        call.store(),
        dump(config(call)).encode(),
        cgroup_manager=bundle.cgroup_manager(call),
        rootless=call.globals.text("rootless") or "auto",
        network=network_options.given(call.options),
    )


def config(call: Call) -> Config:
    """The container's config. Raises UsageError."""
    from boxes.spec.default import host_files, throwaway

    tty = os.isatty(0) and os.isatty(1)
    uid = os.geteuid()
    made = throwaway(
        call.options.arguments or [shell()], uid=uid, gid=os.getegid(), rootless=uid != 0, tty=tty, host=host_files()
    )
    term = os.environ.get("TERM", "")
    wanted = [f"TERM={term}"] if tty and term.isascii() and term.isprintable() and term else []
    process = made["process"]
    process["env"] = merged(process["env"], wanted + environment(call.options.many("env")))
    process["cwd"] = call.options.text("workdir") or process["cwd"]
    made["hostname"] = call.options.text("hostname") or made["hostname"]
    made["mounts"] += [mount(text) for text in call.options.many("bind")]
    return made


def shell() -> str:
    """The caller's shell if the container has it, else sh."""
    path = os.environ.get("SHELL", "")
    return path if path.startswith(("/usr/", "/bin/")) and os.access(path, os.X_OK) else "/bin/sh"


def merged(first: list[str], second: list[str]) -> list[str]:
    """Two environments, of which the second wins."""
    values = {entry.partition("=")[0]: entry for entry in first + second}
    return list(values.values())


def mount(text: str) -> Mount:
    """The mount for `SRC[:DST[:ro]]`. Raises UsageError."""
    source, *rest = text.split(":")
    destination = rest[0] if rest and rest[0] else os.path.abspath(source)
    if not source or len(rest) > 2 or rest[1:] not in ([], ["ro"]) or not destination.startswith("/"):
        raise UsageError(f"flag --bind: '{text}' where SRC[:DST[:ro]] is wanted, DST absolute")
    if not os.path.exists(source):
        raise UsageError(f"flag --bind: there is no '{source}' on this host")
    options = ["rbind", "rnosuid", "rnodev", *(["rro"] if rest[1:] else [])]
    return {"destination": destination, "type": "none", "source": os.path.abspath(source), "options": options}
