"""The rules of a network, as a function of who is on it: a table of its own, replaced as a whole.

What a packet goes through is drawn in docs/networking.md.
"""

from __future__ import annotations

from _struct import pack

from boxes.linux import ruleset as nft
from boxes.linux.ruleset import DESTINATION, SOURCE, Changes
from boxes.network.addresses import ANY, packed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from boxes.network.addresses import Subnet

# host's address or one of ANY, host's port, the container's address and port, tcp or udp
Published = tuple[str, int, str, int, str]

_PROTOCOLS = {"tcp": 6, "udp": 17}
_LOOPBACK = {4: (b"\x7f\0\0\0", 8), 16: (bytes(15) + b"\1", 128)}  # first address and prefix, by an address's size
# What somebody without an address sends from, by its size: the unspecified, and of IPv6 link-local addresses.
_BEFORE = {4: [(bytes(4), 32)], 16: [(b"\xfe\x80" + bytes(14), 10), (bytes(16), 128)]}


def table(network: str) -> str:
    return f"boxes-{network}"


def addition(network: str, published: Sequence[Published]) -> Changes:
    """What adds to a table what there is not of these. To take anything away takes longer: the kernel has freed it by
    the time that who asked closes the socket."""
    changes = Changes("inet", table(network))
    _add_elements(changes, published)
    return changes


def ruleset(
    network: str, bridge: str, subnets: Sequence[Subnet], published: Sequence[Published], *, replace: bool
) -> Changes:
    """What makes the table, in the place of the one that is there if `replace` is set."""
    changes = Changes("inet", table(network))
    if replace:
        changes.delete()
    changes.make()
    _add_maps(changes)
    _add_elements(changes, published)
    _raw(changes, bridge, subnets)
    _published(changes)
    _leaving(changes, bridge, subnets)
    _forward(changes, bridge)
    return changes


def _add_maps(changes: Changes) -> None:
    """Where ports lead to, of all addresses of the host and of one, for each family."""
    for number, (suffix, family) in enumerate((("4", nft.IPV4_ADDR), ("6", nft.IPV6_ADDR))):
        value = (family, nft.PROTO_SERVICE[1])
        changes.map(f"ports{suffix}", 2 * number + 1, nft.PROTO_SERVICE, value)
        changes.map(f"bound{suffix}", 2 * number + 2, (family, *nft.PROTO_SERVICE), value)


def _add_elements(changes: Changes, published: Sequence[Published]) -> None:
    found: dict[str, list[tuple[bytes, bytes]]] = {}
    for address, port, container, inside, protocol in published:
        everywhere = address in ANY
        key = (b"" if everywhere else packed(address)) + pack(">BxxxHxx", _PROTOCOLS[protocol], port)
        name = f"{'ports' if everywhere else 'bound'}{'6' if ':' in container else '4'}"
        found.setdefault(name, []).append((key, packed(container) + pack(">Hxx", inside)))
    for name, entries in found.items():
        changes.elements(name, entries)


def _sizes(subnets: Sequence[Subnet]) -> dict[int, list[tuple[bytes, int]]]:
    """Subnets as their first addresses and prefixes, by the size of an address."""
    found: dict[int, list[tuple[bytes, int]]] = {4: [], 16: []}
    for subnet in subnets:
        first = packed(subnet.address(0))
        found[len(first)].append((first, subnet.prefix))
    return found


def _raw(changes: Changes, bridge: str, subnets: Sequence[Subnet]) -> None:
    """What comes from a container has an address of its network, and is not for the host's loopback: that the bridge
    routes it (route_localnet) is for answers only, whose addresses are the host's again after this."""
    changes.chain("raw", "filter", nft.PREROUTING, nft.RAW)
    changes.rule("raw", nft.comes_by(bridge, equal=False), nft.verdict(nft.ACCEPT))
    changes.rule("raw", nft.protocol(4), nft.address(DESTINATION, *_LOOPBACK[4]), nft.verdict(nft.DROP))
    for size, own in _sizes(subnets).items():
        others = [nft.address(SOURCE, first, prefix, equal=False) for first, prefix in [*own, *_BEFORE[size]]]
        changes.rule("raw", nft.protocol(size), *others, nft.verdict(nft.DROP))


def _published(changes: Changes) -> None:
    """From outside and from containers (prerouting), from the host itself (output). What comes from outside for the
    host's loopback is left as it is, for the kernel to drop: a neighbour on the wire can send it. Nothing of IPv6
    leaves the host's loopback: who tries ::1 is refused at once, and goes on to 127.0.0.1."""
    changes.chain("published")
    changes.rule("published", nft.protocol(16), nft.address(DESTINATION, *_LOOPBACK[16]), nft.back())
    for size, suffix in ((4, "4"), (16, "6")):
        bound = nft.translate(size, f"bound{suffix}", by_address=True)
        changes.rule("published", nft.protocol(size), bound)
        everywhere = nft.translate(size, f"ports{suffix}", by_address=False)
        changes.rule("published", nft.protocol(size), nft.is_for_host(), everywhere)
    changes.chain("arriving", "nat", nft.PREROUTING, nft.DSTNAT)
    changes.rule("arriving", nft.protocol(4), nft.address(DESTINATION, *_LOOPBACK[4]), nft.back())
    changes.rule("arriving", nft.jump("published"))
    changes.chain("local", "nat", nft.OUTPUT, nft.DSTNAT)
    changes.rule("local", nft.jump("published"))


def _leaving(changes: Changes, bridge: str, subnets: Sequence[Subnet]) -> None:
    """Behind the host's address go: what leaves the network; what comes back to it by a published port, as the answer
    must not take the short way; and what comes from the host's loopback."""
    changes.chain("leaving", "nat", nft.POSTROUTING, nft.SRCNAT)
    here, elsewhere = nft.leaves_by(bridge), nft.leaves_by(bridge, equal=False)
    for subnet in subnets:
        first = packed(subnet.address(0))
        family = nft.protocol(len(first))
        own = family + nft.address(SOURCE, first, subnet.prefix)
        changes.rule("leaving", elsewhere, own, nft.masquerade())
        changes.rule("leaving", here, own, nft.is_translated(), nft.masquerade())
        changes.rule("leaving", here, family, nft.address(SOURCE, *_LOOPBACK[len(first)]), nft.masquerade())


def _forward(changes: Changes, bridge: str) -> None:
    """To a container comes what belongs to its own connections, and what a published port lets in: neither another
    network nor a neighbour of the host that has a route."""
    changes.chain("forward", "filter", nft.FORWARD, nft.FILTER)
    accept = nft.verdict(nft.ACCEPT)
    changes.rule("forward", nft.leaves_by(bridge, equal=False), accept)
    changes.rule("forward", nft.comes_by(bridge), accept)
    changes.rule("forward", nft.is_known(), accept)
    changes.rule("forward", nft.is_translated(), accept)
    changes.rule("forward", nft.verdict(nft.DROP))
