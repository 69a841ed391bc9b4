"""`box restore`: a container made of the files that `checkpoint` wrote."""

from __future__ import annotations

from boxes.cli import bundle, criu
from boxes.cli.options import FLAG, Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from boxes.cli.commands import Call

_OF_CREATE = (
    "bundle",
    "config",
    "console-socket",
    "pidfd-socket",
    "pid-file",
    "no-subreaper",
    "no-pivot",
    "preserve-fds",
)

COMMAND = Command(
    "restore",
    "make a container of what 'checkpoint' wrote",
    usage="ID",
    description=(
        "The bundle is the one of the container that was checkpointed, or one like it. Exit status and signals are as\n"
        "for 'run'. --no-pivot changes nothing: it is CRIU that enters the root."
    ),
    options=(
        *(option for option in bundle.OPTIONS if option.name in _OF_CREATE),
        *criu.OPTIONS,
        Option("tcp-close", "TCP connections that were established are closed", kind=FLAG),
        Option("lsm-profile", "the label for its processes: selinux:LABEL, apparmor:PROFILE", metavar="TYPE:NAME"),
        Option("lsm-mount-context", "the SELinux context for its mounts", metavar="CONTEXT"),
        Option("detach", "do not wait for the end", short="d", kind=FLAG),
        Option("keep", "do not delete the container when it has ended", kind=FLAG),
    ),
    least=1,
    most=1,
)


def run(call: Call) -> int:
    from boxes.container.restore import restore

    return restore(
        call.store(),
        call.id(),
        bundle.create_options(call),
        criu.criu_options(call),
        detach=call.options.flag("detach"),
        keep=call.options.flag("keep"),
    )
