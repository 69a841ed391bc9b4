"""`box features`: what this runtime can do, for engines."""

from __future__ import annotations

from boxes.cli.options import Command
from boxes.cli.output import write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from boxes.cli.commands import Call

COMMAND = Command(
    "features",
    "print what this runtime can do as JSON",
    usage="",
    description=(
        "The document is the specification's 'features structure'. It tells of the runtime, not of this host: but for\n"
        "the flags and architectures of seccomp, which are those of the libseccomp and the kernel in use."
    ),
)


def run(call: Call) -> int:
    from boxes.container.features import document
    from boxes.spec.document import pretty
    from boxes.version import COMMIT, VERSION

    # The name is runc's, by which engines ask.
    said = {"org.boxes.version": VERSION, "org.opencontainers.runc.checkpoint.enabled": "true"}
    said |= {"org.boxes.commit": COMMIT} if COMMIT else {}
    write(pretty(document(said)) + "\n")
    return 0
