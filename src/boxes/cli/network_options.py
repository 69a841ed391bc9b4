"""The options about networks, of `create`, `run` and `try`."""

from __future__ import annotations

from boxes.cli.options import MANY, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from boxes.cli.options import Parsed

OPTIONS = (
    Option(
        "network", "none, host, bridge[:NAME], cni:NAME, pasta or ns:PATH; else as the config says", metavar="NETWORK"
    ),
    Option(
        "publish",
        "let a port of the host lead to one of the container",
        short="p",
        kind=MANY,
        metavar="[ADDR:]HOST:CONTAINER[/udp]",
    ),
    Option("ip", "an address for the container, of each family at most one", kind=MANY, metavar="ADDR"),
    Option("dns", "a name server for the container", kind=MANY, metavar="ADDR"),
    Option("allow", "what the container may reach, and nothing else", kind=MANY, metavar="CIDR|NAME[:PORT]"),
    Option("cni-conf", "where CNI's network configurations are", metavar="DIR"),
    Option("cni-bin", "where CNI's plugins are", kind=MANY, metavar="DIR"),
)
HOSTNAME = Option("hostname", "what it is called inside", metavar="NAME")


def given(options: Parsed) -> dict[str, list[str]]:
    """What was given, by the option's name."""
    found = {}
    for option in OPTIONS:
        text = options.text(option.name)
        texts = options.many(option.name) if text is None else [text]
        if texts:
            found[option.name] = texts
    return found
