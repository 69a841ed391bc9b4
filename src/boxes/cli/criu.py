"""What `checkpoint` and `restore` have in common: options for CRIU, and the order for the container layer made of
them."""

from __future__ import annotations

from boxes.cli.options import FLAG, INT, MANY, Option, integer
from boxes.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from boxes.cli.commands import Call
    from boxes.container.checkpoint import CriuOptions

_IMAGES = "checkpoint"  # in the current directory, as for runc

OPTIONS = (
    Option("image-path", "the directory of the images", metavar="DIR", default=_IMAGES),
    Option("work-path", "where CRIU keeps its log; the images' directory unless given", metavar="DIR"),
    Option("tcp-established", "TCP connections that are established go on", kind=FLAG),
    Option("ext-unix-sk", "Unix sockets may have their other end outside", kind=FLAG),
    Option("shell-job", "the session's leader, or its terminal, may be outside", kind=FLAG),
    Option("file-locks", "locks of files go on", kind=FLAG),
    Option("lazy-pages", "memory is moved when it is needed, by a server of pages", kind=FLAG),
    Option("auto-dedup", "drop pages of earlier images that later ones have", kind=FLAG),
    Option("status-fd", "write a NUL byte to this descriptor when the server is ready", metavar="FD", kind=INT),
    Option("empty-ns", "leave this namespace's content away; only 'network' can be", metavar="TYPE", kind=MANY),
    Option(
        "manage-cgroups-mode",
        "what of cgroups is dumped and restored, see criu(8)",
        metavar="MODE",
        choices=("soft", "full", "strict", "ignore"),
    ),
    Option(
        "network-lock",
        "how packets are kept away meanwhile",
        metavar="METHOD",
        choices=("iptables", "nftables", "skip"),
    ),
)


def criu_options(call: Call) -> CriuOptions:
    """The container layer's order. Raises UsageError."""
    from boxes.container.checkpoint import SWITCHES, CriuOptions

    options = call.options
    return CriuOptions(
        options.text("image-path") or _IMAGES,
        work_path=options.text("work-path"),
        parent_path=options.text("parent-path"),
        page_server=_page_server(call),
        status_fd=_status_fd(call),
        manage_cgroups_mode=options.text("manage-cgroups-mode"),
        network_lock=options.text("network-lock"),
        lsm_profile=options.text("lsm-profile"),
        lsm_mount_context=options.text("lsm-mount-context"),
        empty_network=_empty_network(call),
        leave_running=options.flag("leave-running"),
        pre_dump=options.flag("pre-dump"),
        switches=tuple(name for name in SWITCHES if options.flag(name)),
    )


def _page_server(call: Call) -> tuple[str, int] | None:
    """ADDRESS:PORT; an address of IPv6 in brackets."""
    text = call.options.text("page-server")
    if text is None:
        return None
    address, colon, port = text.rpartition(":")
    number = integer(port, least=1, most=65535)
    if not address or not colon or number is None:
        raise UsageError(f"flag --page-server: '{text}' where ADDRESS:PORT is wanted")
    return address.removeprefix("[").removesuffix("]"), number


def _status_fd(call: Call) -> int | None:
    number = call.options.integer("status-fd")
    if number is not None and number < 0:
        raise UsageError(f"flag --status-fd: '{number}' is no descriptor")
    return number


def _empty_network(call: Call) -> bool:
    kinds = call.options.many("empty-ns")
    for kind in kinds:
        if kind != "network":
            raise UsageError(f"flag --empty-ns: '{kind}' where 'network' is wanted", hint="CRIU can do no other")
    return bool(kinds)
