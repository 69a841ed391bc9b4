"""Addresses and subnets of IPv4 and IPv6, as numbers and as people write them."""

from __future__ import annotations

from _socket import AF_INET as AF_INET
from _socket import AF_INET6 as AF_INET6
from _socket import inet_ntop, inet_pton

ANY = ("", "0.0.0.0", "::")  # of the host: all, all of IPv4, all of IPv6
# "This network", loopback, link-local, multicast and reserved.
_SPECIAL = ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3", "::/8", "fe80::/10", "ff00::/8")


def family_of(address: str) -> int:
    return AF_INET6 if ":" in address else AF_INET


def packed(address: str) -> bytes:
    """Raises ValueError."""
    try:
        return inet_pton(family_of(address), address)
    except (OSError, ValueError):  # UnicodeError is one: a NUL, another script
        raise ValueError(f"'{address}' is no address") from None


def normal(address: str) -> str:
    """An address as it is usually written. Raises ValueError."""
    return inet_ntop(family_of(address), packed(address))


class Subnet:
    """A network in CIDR form: `first` is its first address as a number of `bits` bits, `prefix` how many are its
    own."""

    __slots__ = ("bits", "family", "first", "prefix")

    def __init__(self, family: int, first: int, prefix: int) -> None:
        self.family = family
        self.bits = 32 if family == AF_INET else 128
        self.prefix = prefix
        self.first = first >> (self.bits - prefix) << (self.bits - prefix)

    @classmethod
    def parse(cls, text: str) -> Subnet:
        """`ADDRESS` or `ADDRESS/PREFIX`. Raises ValueError."""
        address, slash, prefix = text.partition("/")
        number = packed(address)
        bits = len(number) * 8
        if slash and (not (prefix.isascii() and prefix.isdigit()) or len(prefix) > 3 or int(prefix) > bits):
            raise ValueError(f"'{text}' is no subnet")
        return cls(family_of(address), int.from_bytes(number, "big"), int(prefix) if slash else bits)

    def __str__(self) -> str:
        return f"{self.address(0)}/{self.prefix}"

    @property
    def is_special(self) -> bool:
        """Whether it overlaps with what no host on a network can have: RFC 6890, RFC 4291."""
        return any(self.overlaps(Subnet.parse(text)) for text in _SPECIAL if (":" in text) == (self.bits == 128))

    @property
    def size(self) -> int:
        return 1 << (self.bits - self.prefix)

    def address(self, offset: int) -> str:
        return inet_ntop(self.family, (self.first + offset).to_bytes(self.bits // 8, "big"))

    def offset(self, address: str) -> int:
        """Which of its addresses this is; negative, or not below `size`, if it is none of them."""
        return int.from_bytes(packed(address), "big") - self.first

    def has(self, address: str) -> bool:
        return family_of(address) == self.family and 0 <= self.offset(address) < self.size

    def overlaps(self, other: Subnet) -> bool:
        if self.family != other.family:
            return False
        return self.first < other.first + other.size and other.first < self.first + self.size
