"""`box spec`: a config.json to begin with."""

from __future__ import annotations

from boxes.cli.options import FLAG, Command, Option
from boxes.errors import ExistsError, refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from boxes.cli.commands import Call

COMMAND = Command(
    "spec",
    "write a config.json to begin with",
    usage="",
    description="The container it describes runs 'sh' from the bundle's directory 'rootfs'. An existing file is kept.",
    options=(
        Option("bundle", "where to write it", short="b", metavar="DIR", default="."),
        Option("rootless", "for an ordinary user: with a user namespace, without cgroups", kind=FLAG),
    ),
)


def run(call: Call) -> int:
    from boxes.spec.default import default
    from boxes.spec.document import pretty

    text = pretty(default(rootless=call.options.flag("rootless"))) + "\n"
    _write_new(f"{call.options.text('bundle')}/config.json", text.encode())
    return 0


def _write_new(path: str, data: bytes) -> None:
    """Write a file that must not exist yet; nothing is left of it if that fails."""
    import os

    from boxes.cli.output import write_all

    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    except FileExistsError:
        raise ExistsError(f"'{path}' exists", path=path, hint="remove it first") from None
    except OSError as error:
        raise refused("write the config", error) from error
    try:
        write_all(fd, data)
    except OSError as error:
        os.unlink(path)
        raise refused("write the config", error) from error
    finally:
        os.close(fd)
