"""The rules of nftables that hold a container to its policy.

For a container on a bridge they are at the host's end of its veth pair, where every frame passes that it sends: what
does not come from its own addresses is dropped before anybody sees it. They belong to the netdev family, which knows no
connections, so flows are kept in sets. For a container behind a user-mode network they are in its own network
namespace, which it has no right to change, in the inet family.

A table has everything, so that deleting it by its name takes everything away.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from boxes.network.egress_policy import Policy, Service

INSIDE = "boxes-egress"  # the name of the table in a container's own namespace
_FLOWS, _NAMED, _REFUSED = 32768, 65535, 512  # how many a set holds; what a refusal's set does not hold is counted
_FLOW_KEPT = "1h"  # since its last packet
REFUSAL_KEPT = 86400  # seconds
_REFUSALS = "50/second burst 100 packets"  # answers to what is refused: beyond that it is dropped in silence


class Port:
    """A container's place on a bridge: the host's end of its veth pair, and the only addresses that it may use."""

    def __init__(self, device: str, mac: str, addresses: Sequence[str]) -> None:
        self.device = device
        self.mac = mac
        self.four = [address for address in addresses if ":" not in address]
        self.six = [address for address in addresses if ":" in address]

    @property
    def link_local(self) -> str:
        """What the kernel makes of the hardware address: RFC 4291, appendix A."""
        from ipaddress import IPv6Address

        octets = bytes(int(part, 16) for part in self.mac.split(":"))
        interface = bytes([octets[0] ^ 2, *octets[1:3], 0xFF, 0xFE, *octets[3:]])
        return str(IPv6Address(b"\xfe\x80" + bytes(6) + interface))


def on_bridge(table: str, policy: Policy, port: Port) -> str:
    """The ruleset for the host's end of a veth pair: the netdev family, Linux 5.16 for its egress hook."""
    lines = [*_sets(policy), *_flows(), *_counters("refused", "spoofed"), *_to_container(port), *_from_container(port)]
    lines += _policy(policy, accept={4: _noted(4), 6: _noted(6)})
    return _table("netdev", table, lines)


def inside(policy: Policy) -> str:
    """The ruleset for a network namespace that is a container's own."""
    output = [
        'oifname "lo" accept',
        "ct state established,related accept",
        "icmpv6 type { nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert } ip6 hoplimit 255 accept",
        "meta nfproto ipv4 goto four",
        "meta nfproto ipv6 goto six",
    ]
    lines = [*_sets(policy), *_counters("refused"), *_policy(policy, accept={4: "accept", 6: "accept"})]
    lines += _chain("output", output, "type filter hook output priority 0; policy drop;")
    return _table("inet", INSIDE, lines)


def gone(family: str, table: str) -> str:
    """A ruleset that takes a table away, whether it is there or not."""
    return f"add table {family} {table}\ndelete table {family} {table}\n"


def set_of(service: int, version: int) -> str:
    """The name of the set of addresses that have been resolved for a service, of IP version 4 or 6."""
    return f"named{version}_{service}"


def refusals(version: int) -> str:
    """The name of the set of what has been refused: destination, protocol, port."""
    return f"refused{version}"


def _table(family: str, name: str, lines: list[str]) -> str:
    return gone(family, name) + f"table {family} {name} {{\n" + "\n".join(lines) + "\n}\n"


def _chain(name: str, rules: list[str], head: str = "") -> list[str]:
    return [f"chain {name} {{", *([head] if head else []), *rules, "}"]


def _counters(*names: str) -> list[str]:
    return [f"counter {name} {{ }}" for name in names]


def _set(name: str, kind: str, flags: str, size: int = 0, timeout: str = "", elements: str = "") -> str:
    parts = [f"type {kind};", f"flags {flags};"]
    parts += [f"size {size};"] if size else []
    parts += [f"timeout {timeout};"] if timeout else []
    parts += [f"elements = {{ {elements} }}"] if elements else []
    return f"set {name} {{ {' '.join(parts)} }}"


def _sets(policy: Policy) -> list[str]:
    """Of each service and version of IP: the networks that are allowed, and the addresses that were resolved."""
    lines = []
    for version in (4, 6):
        for number, service in enumerate(policy.services):
            networks = sorted({net for net, of in policy.networks if of == service and net.version == version}, key=str)
            listed = ", ".join(str(network) for network in networks)
            lines.append(
                _set(f"allowed{version}_{number}", f"ipv{version}_addr", "interval; auto-merge", 0, "", listed)
            )
            lines.append(_set(set_of(number, version), f"ipv{version}_addr", "timeout", _NAMED))
        kind = f"ipv{version}_addr . inet_proto . inet_service"
        lines.append(_set(refusals(version), kind, "dynamic,timeout; counter", _REFUSED, f"{REFUSAL_KEPT}s"))
    return lines


def _flows() -> list[str]:
    """What the container began, and what others began with it: the other's address, the protocol, its port, ours."""
    lines = []
    for version in (4, 6):
        kind = f"ipv{version}_addr . inet_proto . inet_service . inet_service"
        lines += [
            _set(f"{whose}{version}", kind, "dynamic,timeout", _FLOWS, _FLOW_KEPT) for whose in ("ours", "theirs")
        ]
        lines.append(_set(f"pinged{version}", f"ipv{version}_addr", "dynamic,timeout", _FLOWS, "1m"))
    return lines


_PROTOCOL = {4: "ip protocol", 6: "ip6 nexthdr"}
_ADDRESS = {4: "ip", 6: "ip6"}
_ICMP = {4: "icmp", 6: "icmpv6"}


def _flow(version: int, direction: str) -> str:
    there, port, own = ("daddr", "dport", "sport") if direction == "out" else ("saddr", "sport", "dport")
    return f"{_ADDRESS[version]} {there} . {_PROTOCOL[version]} . th {port} . th {own}"


def _noted(version: int) -> str:
    return f"update @ours{version} {{ {_flow(version, 'out')} }} accept"


def _to_container(port: Port) -> list[str]:
    """What others begin is noted, so that the container may answer it."""
    rules = []
    for version, own in ((4, port.four), (6, port.six)):
        if not own:
            continue
        here = f"{_ADDRESS[version]} daddr {{ {', '.join(own)} }}"
        noted = f"update @theirs{version} {{ {_flow(version, 'in')} }}"
        rules.append(f"{here} {_PROTOCOL[version]} tcp tcp flags & (syn | ack) == syn {noted}")
        rules.append(f"{here} {_PROTOCOL[version]} udp {_flow(version, 'in')} != @ours{version} {noted}")
        pinged = f"update @pinged{version} {{ {_ADDRESS[version]} saddr }}"
        rules.append(f"{here} {_ICMP[version]} type echo-request {pinged}")
    return _chain("to", rules, f'type filter hook egress device "{port.device}" priority 0; policy accept;')


def _from_container(port: Port) -> list[str]:
    four = f"{{ {', '.join(port.four)} }}"
    rules = [f"ether saddr != {port.mac} goto spoofed"]
    if port.four:
        arp = f"ether type arp arp saddr ether {port.mac} arp saddr ip"
        rules += [f"{arp} {four} accept", f"{arp} 0.0.0.0 arp operation request accept"]
        rules.append(f"ether type ip ip saddr {four} goto known4")
    rules += ["ether type ip6 goto neighbours", "goto spoofed"]
    lines = _chain("spoofed", ["counter name spoofed drop"])
    for version in (4, 6):
        lines += _chain(f"known{version}", _known(version))
    lines += _chain("neighbours", _neighbours(port))
    head = f'type filter hook ingress device "{port.device}" priority 0; policy accept;'
    return lines + _chain("from", rules, head)


def _known(version: int) -> list[str]:
    """Fragments are refused: all but the first say nothing of their port."""
    whole = ["ip frag-off & 0x3fff != 0 goto refuse4"] if version == 4 else []
    flow = _flow(version, "out")
    known = [f"{flow} @{whose}{version} update @{whose}{version} {{ {flow} }} accept" for whose in ("ours", "theirs")]
    known.append(f"{_ICMP[version]} type echo-reply {_ADDRESS[version]} daddr @pinged{version} accept")
    return [*whole, *known, f"goto {'four' if version == 4 else 'six'}"]


def _neighbours(port: Port) -> list[str]:
    """What IPv6 says on the link: only questions, and answers about the container's own addresses. The rest of what a
    kernel says by itself (asking for routers, multicast listeners) is dropped, but is nobody's attempt."""
    from ipaddress import IPv6Address

    own = [port.link_local, *port.six]
    sources = f"{{ {', '.join(own)} }}"
    targets = f"{{ {', '.join(f'0x{int(IPv6Address(address)):032x}' for address in own)} }}"
    rules = ["ip6 nexthdr 0 drop", "icmpv6 type { nd-router-solicit, mld2-listener-report } drop"]
    if port.six:
        nd = "ip6 nexthdr icmpv6 ip6 hoplimit 255 icmpv6 type"
        rules.append(f"ip6 saddr {{ ::, {', '.join(own)} }} {nd} nd-neighbor-solicit accept")
        rules.append(f"ip6 saddr {sources} {nd} nd-neighbor-advert @th,64,128 {targets} accept")
        rules.append("icmpv6 type { 133-137 } ip6 saddr != :: goto spoofed")  # the rest of neighbour discovery
        rules.append(f"ip6 saddr {{ {', '.join(port.six)} }} goto known6")
    return [*rules, "ip6 nexthdr icmpv6 ip6 saddr :: drop", "goto spoofed"]


def _policy(policy: Policy, accept: dict[int, str]) -> list[str]:
    lines = []
    for version in (4, 6):
        rules = []
        for number, service in enumerate(policy.services):
            for name in (f"allowed{version}_{number}", set_of(number, version)):
                rules += _allowing(version, name, service, accept[version])
        family = "four" if version == 4 else "six"
        lines += _chain(f"refuse{version}", _refusing(version))
        lines += _chain(family, [*rules, f"goto refuse{version}"])
    return lines


def _allowing(version: int, name: str, service: Service, accept: str) -> list[str]:
    protocols, first, last = service
    matching = f"{_ADDRESS[version]} daddr @{name} {_PROTOCOL[version]} {{ {', '.join(protocols)} }}"
    if first:
        ports = f"{first}-{last}" if first != last else f"{first}"
        return [f"{matching} th dport {ports} {accept}"]
    echo = f"{_ADDRESS[version]} daddr @{name} {_ICMP[version]} type echo-request accept"
    return [f"{matching} {accept}", echo]


def _refusing(version: int) -> list[str]:
    """Counted; noted with its destination, as far as the set has room; answered, so that nobody waits."""
    daddr, protocol = f"{_ADDRESS[version]} daddr", _PROTOCOL[version]
    ports = "{ tcp, udp }"
    return [
        "counter name refused",
        f"{protocol} {ports} update @{refusals(version)} {{ {daddr} . {protocol} . th dport }}",
        f"{protocol} != {ports} update @{refusals(version)} {{ {daddr} . {protocol} . 0 }}",
        # An error of ICMP would be missed by a socket that is still in connect(2).
        f"{protocol} tcp limit rate {_REFUSALS} reject with tcp reset",
        f"{protocol} != tcp limit rate {_REFUSALS} reject with icmpx type admin-prohibited",
        "drop",
    ]
