"""What `create` and `run` have in common: their options, and the order for the container layer made of them."""

from __future__ import annotations

from boxes import system as os
from boxes.cli import network_options
from boxes.cli.options import FLAG, INT, Option
from boxes.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from boxes.cli.commands import Call
    from boxes.container.lifecycle import CreateOptions

DESCRIPTION = (
    "The bundle is a directory with a config.json and the root filesystem. ID is a name of your choice: letters,\n"
    "digits and '_', '+', '.', '-', unique on this host."
)

OPTIONS = (
    Option("bundle", "the bundle's directory", short="b", metavar="DIR", default="."),
    Option("config", "read this file in the place of the bundle's config.json", short="f", metavar="FILE"),
    Option("console-socket", "the Unix socket which gets the terminal's master descriptor", metavar="SOCKET"),
    Option("pidfd-socket", "the Unix socket which gets a pidfd of the container's process", metavar="SOCKET"),
    Option("pid-file", "write the process id to this file", metavar="FILE"),
    Option("no-subreaper", "do not adopt the container's orphaned processes", kind=FLAG),
    Option("no-pivot", "use chroot, for a root filesystem on a ramdisk; less isolated", kind=FLAG),
    Option("no-new-keyring", "keep the caller's session keyring", kind=FLAG),
    Option("record-exit", "leave a small process that notes how the container ends, for 'box wait'", kind=FLAG),
    Option(
        "preserve-fds",
        "pass N more descriptors, after standard error and those of $LISTEN_FDS",
        metavar="N",
        kind=INT,
        default=0,
    ),
    network_options.HOSTNAME,
    *network_options.OPTIONS,
)


def create_options(call: Call, config: bytes | None = None) -> CreateOptions:
    """The container layer's order, with `config` in the place of the file if it is given. Raises BoxesError."""
    from boxes.container.lifecycle import CreateOptions

    options = call.options
    path = options.text("config")
    if path is not None:
        from boxes.spec.config import load

        config = load(path).raw
    return CreateOptions(
        bundle=options.text("bundle") or ".",
        config=config,
        pid_file=options.text("pid-file"),
        console_socket=options.text("console-socket"),
        pidfd_socket=options.text("pidfd-socket"),
        no_pivot=options.flag("no-pivot"),
        no_new_keyring=options.flag("no-new-keyring"),
        preserve_fds=preserve_fds(call),
        cgroup_manager=cgroup_manager(call),
        rootless=call.globals.text("rootless") or "auto",
        no_subreaper=options.flag("no-subreaper"),
        record_exit=options.flag("record-exit"),
        notify_socket=os.environment.get("NOTIFY_SOCKET"),
        network=network_options.given(options),
        hostname=options.text("hostname"),
    )


def preserve_fds(call: Call) -> int:
    """How many descriptors to pass on. Raises UsageError."""
    count = call.options.integer("preserve-fds") or 0
    # The limit of Linux on open files (fs.nr_open) is a million by default; more is a slip of the finger.
    if not 0 <= count <= 2**20:
        raise UsageError(f"flag --preserve-fds: '{count}' is no number of descriptors")
    return count


def cgroup_manager(call: Call) -> str:
    """--cgroup-manager, which podman adds after --systemd-cgroup to overrule it."""
    return call.globals.text("cgroup-manager") or ("systemd" if call.globals.flag("systemd-cgroup") else "auto")
