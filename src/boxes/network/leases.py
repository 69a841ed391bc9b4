"""Which address of a subnet is next, and which subnet of a pool."""

from __future__ import annotations

from boxes.network.addresses import AF_INET, Subnet, packed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container, Iterable

# Where subnets are taken from that nobody chose: 1022 addresses each, as a bridge has 1023 ports at most.
POOL, PREFIX = Subnet.parse("10.180.0.0/14"), 22
# The first 64 bits of a network of IPv6: fd, then 40 random bits and a subnet of 16 (RFC 4193).
PREFIX_6 = 64
_SCANNED = 1 << 16  # addresses that are looked at before a subnet counts as full


def gateway(subnet: Subnet) -> str:
    """The first address, which the host has."""
    return subnet.address(1)


def usable(subnet: Subnet, address: str) -> bool:
    """Whether a container can have it: it is neither the network's, nor the host's, nor broadcast."""
    return subnet.has(address) and 2 <= subnet.offset(address) < _end(subnet)


def _end(subnet: Subnet) -> int:
    return subnet.size - (1 if subnet.family == AF_INET else 0)


def next_free(subnet: Subnet, taken: Container[str], last: str) -> str | None:
    """The next after the one that was given last, so that an address rests before it is somebody else's; None if there
    is none."""
    count = min(_end(subnet) - 2, _SCANNED)
    start = subnet.offset(last) - 1 if last and usable(subnet, last) else 0
    for step in range(max(count, 0)):
        address = subnet.address(2 + (start + step) % count)
        if address not in taken:
            return address
    return None


def free_subnet(used: Iterable[Subnet]) -> Subnet | None:
    """The first of the pool that overlaps with none of these."""
    used = [subnet for subnet in used if subnet.overlaps(POOL)]
    for first in range(POOL.first, POOL.first + POOL.size, 1 << (POOL.bits - PREFIX)):
        subnet = Subnet(AF_INET, first, PREFIX)
        if not any(subnet.overlaps(other) for other in used):
            return subnet
    return None


def random_subnet(random: bytes) -> Subnet:
    """A unique local one of IPv6, of 5 random bytes."""
    address = b"\xfd" + random + bytes(10)
    return Subnet(10, int.from_bytes(address, "big"), PREFIX_6)


def mac(address: str) -> bytes:
    """A hardware address that goes with an address: who has it next answers to the same one, so that no neighbour knows
    a wrong one. Locally administered."""
    value = packed(address)
    return b"\x02\x42" + value if len(value) == 4 else b"\x02" + value[-5:]
