"""`box exec`: another process in a running container."""

from __future__ import annotations

from boxes.cli.bundle import preserve_fds
from boxes.cli.identity import kernel_id, user
from boxes.cli.options import FLAG, INT, MANY, Command, Option
from boxes.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from boxes.cli.commands import Call
    from boxes.spec.shapes import Process

COMMAND = Command(
    "exec",
    "run another process in a container",
    usage="ID [COMMAND...]",
    description=(
        "The process gets what the config gives the container's own, except for what the options say; with --process,\n"
        "all of it comes from that file. The exit status is that of the command; 255 if it could not be run."
    ),
    options=(
        Option("process", "a file with a 'process' object as in config.json", short="p", metavar="FILE"),
        Option("cwd", "the working directory in the container", metavar="DIR"),
        Option("env", "set an environment variable", short="e", kind=MANY, metavar="NAME=VALUE"),
        Option("user", "the user and group, as numbers", short="u", metavar="UID[:GID]"),
        Option("additional-gids", "another group, as a number", short="g", kind=MANY, metavar="GID"),
        Option("tty", "give it a terminal", short="t", kind=FLAG),
        Option("console-socket", "the Unix socket which gets the terminal's master descriptor", metavar="SOCKET"),
        Option("pidfd-socket", "the Unix socket which gets a pidfd of the process", metavar="SOCKET"),
        Option("pid-file", "write the process id to this file", metavar="FILE"),
        Option("detach", "do not wait for its end", short="d", kind=FLAG),
        Option("cap", "add a capability", short="c", kind=MANY, metavar="CAP_NAME"),
        Option("no-new-privs", "set no_new_privs", kind=FLAG),
        Option("process-label", "its SELinux label", metavar="LABEL"),
        Option("apparmor", "its AppArmor profile", metavar="PROFILE"),
        Option("preserve-fds", "pass N more descriptors, after standard error", kind=INT, default=0, metavar="N"),
        Option("cgroup", "run it in a cgroup below the container's", kind=MANY, metavar="[CONTROLLERS:]PATH"),
        Option("ignore-paused", "also if the container is paused", kind=FLAG),
    ),
    least=1,
    most=None,
    command=True,
    failure=255,
)


def run(call: Call) -> int:
    from boxes.container.exec import ExecOptions, execute

    options = call.options
    process, args = _what(call)
    who = options.text("user")
    return execute(
        call.store(),
        call.id(),
        ExecOptions(
            process=process,
            args=args,
            cwd=options.text("cwd"),
            env=environment(options.many("env")),
            user=None if who is None else user(who),
            tty=options.flag("tty"),
            detach=options.flag("detach"),
            pid_file=options.text("pid-file"),
            console_socket=options.text("console-socket"),
            pidfd_socket=options.text("pidfd-socket"),
            caps=options.many("cap"),
            additional_gids=[kernel_id(gid, "--additional-gids") for gid in options.many("additional-gids")],
            no_new_privs=options.flag("no-new-privs"),
            apparmor=options.text("apparmor"),
            process_label=options.text("process-label"),
            preserve_fds=preserve_fds(call),
            cgroup=options.many("cgroup"),
            ignore_paused=options.flag("ignore-paused"),
        ),
    )


def _what(call: Call) -> tuple[Process | None, list[str]]:
    """The process object of --process, or the command line."""
    path = call.options.text("process")
    args = call.options.arguments[1:]
    if path is None:
        # `box exec ID -- ls -l` is what other tools' users type.
        args = args[1:] if args[:1] == ["--"] else args
        if not args:
            raise UsageError("'box exec' needs a COMMAND or --process")
        return None, args
    if args:
        raise UsageError("'box exec' takes a COMMAND or --process, not both")
    from boxes import log
    from boxes.spec.config import process

    loaded, notices = process(path)
    for notice in notices:
        log.warning(notice.message, pointer=notice.pointer)
    return loaded, []


def environment(entries: list[str]) -> list[str]:
    """--env, checked. Raises UsageError."""
    for entry in entries:
        if entry.find("=") < 1:
            raise UsageError(f"flag --env: '{entry}' where NAME=VALUE is wanted")
    return entries
