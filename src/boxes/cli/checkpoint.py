"""`box checkpoint`: write a container to files, by CRIU."""

from __future__ import annotations

from boxes.cli import criu
from boxes.cli.options import FLAG, Command, Option
from boxes.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from boxes.cli.commands import Call

COMMAND = Command(
    "checkpoint",
    "write a running container to files, and end it",
    usage="ID",
    description=(
        "CRIU stops the container's processes and writes what they are to the images' directory; 'box restore' makes\n"
        "a container of that again. This one is deleted, unless told otherwise."
    ),
    options=(
        *criu.OPTIONS,
        Option("leave-running", "let the container go on", kind=FLAG),
        Option("pre-dump", "write memory only, and let the container go on: a later dump is shorter by it", kind=FLAG),
        Option("parent-path", "the images before these, relative to --image-path", metavar="DIR"),
        Option("page-server", "send memory to a server of pages", metavar="ADDRESS:PORT"),
        Option("tcp-skip-in-flight", "leave out TCP connections that are being made", kind=FLAG),
        Option("link-remap", "files that were deleted get a name for the restore", kind=FLAG),
    ),
    least=1,
    most=1,
)


def run(call: Call) -> int:
    from boxes.container.checkpoint import checkpoint

    asked = criu.criu_options(call)
    if "lazy-pages" in asked.switches and asked.page_server is None:
        raise UsageError("flag --lazy-pages: the address to serve pages at is missing", hint="see --page-server")
    checkpoint(call.store(), call.id(), asked)
    return 0
