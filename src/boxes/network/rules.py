"""The rules of a network, as a function of who is on it: a table of its own, replaced as a whole.

What a packet goes through is drawn in docs/networking.md.
"""

from __future__ import annotations

from boxes.network.addresses import AF_INET, ANY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from boxes.network.addresses import Subnet

BRIDGES = "bx-"  # what the names of all our bridges begin with

# host's address or one of ANY, host's port, the container's address and port, tcp or udp
Published = tuple[str, int, str, int, str]


def table(network: str) -> str:
    return f"boxes-{network}"


def addition(network: str, published: Sequence[Published]) -> str:
    """The transaction that adds what there is not of these to a table. To take anything away takes longer: nft(8) then
    ends when the kernel has freed it."""
    lines = []
    for name, _, elements in _maps(published):
        if elements:
            lines.append(f"add element inet {table(network)} {name} {{ {', '.join(elements)} }}\n")
    return "".join(lines)


def ruleset(
    network: str, bridge: str, subnets: Sequence[Subnet], published: Sequence[Published], *, replace: bool
) -> str:
    """The transaction that makes the table, in the place of the one that is there if `replace` is set."""
    name = f"inet {table(network)}"
    maps = [_map(*each) for each in _maps(published)]
    parts = [*maps, *_raw(bridge, subnets), *_published(), *_leaving(bridge, subnets), *_forward(bridge)]
    before = f"delete table {name}\n" if replace else ""
    return f"{before}table {name} {{\n" + "\n".join(parts) + "\n}\n"


def _maps(published: Sequence[Published]) -> list[tuple[str, str, list[str]]]:
    """Where ports lead to, of all addresses of the host and of one, for each family: name, type and elements."""
    found = []
    for number, family in (("4", "ipv4_addr"), ("6", "ipv6_addr")):
        of_family = [port for port in published if (":" in port[2]) == (number == "6")]
        everywhere = [f"{p[4]} . {p[1]} : {p[2]} . {p[3]}" for p in of_family if p[0] in ANY]
        bound = [f"{p[0]} . {p[4]} . {p[1]} : {p[2]} . {p[3]}" for p in of_family if p[0] not in ANY]
        key = "inet_proto . inet_service"
        found.append((f"ports{number}", f"{key} : {family} . inet_service", everywhere))
        found.append((f"bound{number}", f"{family} . {key} : {family} . inet_service", bound))
    return found


def _map(name: str, kind: str, elements: list[str]) -> str:
    listed = f"; elements = {{ {', '.join(elements)} }}" if elements else ""
    return f"map {name} {{ type {kind}{listed}; }}"


def _raw(bridge: str, subnets: Sequence[Subnet]) -> list[str]:
    """What comes from a container has an address of its network, and is not for the host's loopback: that the bridge
    routes it (route_localnet) is for answers only, whose addresses are the host's again after this."""
    rules = ["chain raw { type filter hook prerouting priority raw;"]
    rules.append(f'iifname != "{bridge}" accept')
    rules.append("ip daddr 127.0.0.0/8 drop")
    four = [str(subnet) for subnet in subnets if subnet.family == AF_INET]
    six = [str(subnet) for subnet in subnets if subnet.family != AF_INET]
    rules.append(f"ip saddr != {{ {', '.join([*four, '0.0.0.0'])} }} drop")
    rules.append(f"ip6 saddr != {{ {', '.join([*six, 'fe80::/10', '::'])} }} drop")
    return [*rules, "}"]


def _published() -> list[str]:
    """From outside and from containers (prerouting), from the host itself (output). What comes from outside for the
    host's loopback is left as it is, for the kernel to drop: a neighbour on the wire can send it. Nothing of IPv6
    leaves the host's loopback: who tries ::1 is refused at once, and goes on to 127.0.0.1."""
    return [
        "chain published {",
        "ip6 daddr ::1 return",
        "meta nfproto ipv4 dnat ip to ip daddr . meta l4proto . th dport map @bound4",
        "meta nfproto ipv4 fib daddr type local dnat ip to meta l4proto . th dport map @ports4",
        "meta nfproto ipv6 dnat ip6 to ip6 daddr . meta l4proto . th dport map @bound6",
        "meta nfproto ipv6 fib daddr type local dnat ip6 to meta l4proto . th dport map @ports6",
        "}",
        "chain arriving { type nat hook prerouting priority dstnat; ip daddr 127.0.0.0/8 return; jump published; }",
        "chain local { type nat hook output priority -100; jump published; }",
    ]


def _leaving(bridge: str, subnets: Sequence[Subnet]) -> list[str]:
    """Behind the host's address go: what leaves the network; what comes back to it by a published port, as the answer
    must not take the short way; and what comes from the host's loopback."""
    rules = ["chain leaving { type nat hook postrouting priority srcnat;"]
    for subnet in subnets:
        word = "ip" if subnet.family == AF_INET else "ip6"
        rules.append(f'oifname != "{bridge}" {word} saddr {subnet} masquerade')
        rules.append(f'oifname "{bridge}" {word} saddr {subnet} ct status dnat masquerade')
        rules.append(f'oifname "{bridge}" {word} saddr {"127.0.0.0/8" if word == "ip" else "::1"} masquerade')
    return [*rules, "}"]


def _forward(bridge: str) -> list[str]:
    """To a container comes what belongs to its own connections, and what a published port lets in: neither another
    network nor a neighbour of the host that has a route."""
    return [
        "chain forward { type filter hook forward priority filter;",
        f'oifname != "{bridge}" accept',
        f'iifname "{bridge}" accept',
        "ct state established,related accept",
        "ct status dnat accept",
        "drop",
        "}",
    ]
