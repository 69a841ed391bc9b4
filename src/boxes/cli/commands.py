"""The global options, the list of verbs, and what a verb is called with."""

from __future__ import annotations

from boxes.cli.options import FLAG, Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from boxes.cli.options import Parsed
    from boxes.container.store import Store

    class Verb(Protocol):
        """A module of this package with the verb's name."""

        COMMAND: Command

        def run(self, call: Call) -> int: ...


VERBS = tuple(
    "create start state kill delete run exec pause resume update events stats wait list ps checkpoint restore "
    "spec features check try network cni egress install-engine".split()
)

GLOBAL = Command(
    "",
    "run OCI containers",
    usage="[global options] COMMAND [options] [ARGUMENTS]",
    description=(
        "Takes a bundle, which is a directory with a config.json and a root filesystem, and runs it as an isolated\n"
        "process tree. 'box try' needs no bundle."
    ),
    options=(
        Option("root", "where the state of containers is kept", metavar="DIR"),
        Option("log", "write errors to this file too", metavar="FILE"),
        Option("log-format", "how log entries are written", metavar="FORMAT", default="text", choices=("text", "json")),
        Option(
            "log-level",
            "the least severe entries to log",
            metavar="LEVEL",
            choices=("error", "warning", "info", "debug"),
        ),
        Option("debug", "the same as --log-level debug", kind=FLAG),
        Option(
            "rootless",
            "go on where an ordinary user may not set up cgroups: true, false or auto",
            metavar="BOOL",
            default="auto",
        ),
        Option("systemd-cgroup", "the same as --cgroup-manager systemd", kind=FLAG),
        Option(
            "cgroup-manager",
            "who makes the container's cgroup",
            metavar="MANAGER",
            choices=("cgroupfs", "systemd", "disabled"),
        ),
        Option("version", "print the version", short="vV", kind=FLAG),
    ),
    most=None,
    command=True,
)


class Call:
    """One verb as called: its own options and arguments, and the global ones."""

    __slots__ = ("globals", "options")

    def __init__(self, global_options: Parsed, options: Parsed) -> None:
        self.globals = global_options
        self.options = options

    def id(self) -> str:
        """The container's id: the first argument, checked. Raises UsageError."""
        from boxes.spec.identifier import check_id

        return check_id(self.options.arguments[0])

    def store(self) -> Store:
        """Where containers are kept, by --root and the environment."""
        from boxes.container.store import Store
        from boxes.system import environment

        return Store.default(environment, self.globals.text("root"))


def find(name: str) -> Verb:
    """Load the module of the verb `name`. Raises UsageError."""
    if name not in VERBS:
        from boxes.cli.suggest import nearest
        from boxes.errors import UsageError

        meant = nearest(name, VERBS)
        raise UsageError(f"unknown command '{name}'", hint=f"did you mean '{meant}'?" if meant else "see 'box --help'")
    # `try` is a word of Python's, so its module has an underscore.
    module: Verb = __import__(f"boxes.cli.{'try_' if name == 'try' else name.replace('-', '_')}", fromlist=["COMMAND"])
    return module
