"""What a container may reach: networks, and names that a forwarder of DNS resolves for it (docs/egress.md)."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from ipaddress import IPv4Network

    Network = IPv4Network | IPv6Network
    Address = IPv4Address | IPv6Address
    # Protocols, first and last port; without ports (0, 0) TCP and UDP altogether, and echo requests.
    Service = tuple[tuple[str, ...], int, int]

NOTHING = "none"
_EVERY_PORT: Service = (("tcp", "udp"), 0, 0)
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_\-]{0,61}[a-z0-9_])?")
_PORTS = re.compile(r"(.*):([0-9]+)(?:-([0-9]+))?(?:/([a-z]+))?", re.DOTALL)
_NAT64 = IPv6Network("64:ff9b::/96")


class Name:
    """A name, or with `wild` what is below it: all names if it is empty. `within` are networks whose addresses it may
    have although they are not the public's."""

    __slots__ = ("name", "service", "wild", "within")

    def __init__(self, name: str, service: Service, *, wild: bool, within: Network | None) -> None:
        self.name = name
        self.service = service
        self.wild = wild
        self.within = within

    def matches(self, name: str) -> bool:
        """`name` is in lower case, without a dot at its end."""
        if not self.wild:
            return name == self.name
        return not self.name or name.endswith(f".{self.name}")


class Policy:
    """All that is allowed; `services` are numbered, since each has sets of addresses of its own. Raises ValueError.

    An entry is a network or a name, and after a colon a port or two with a hyphen between, and perhaps ``/tcp`` or
    ``/udp``; a network of IPv6 is in brackets then. ``*.NAME`` is all that is below a name, ``NAME@NETWORK`` a name
    that may have addresses which are not the public's, ``none`` nothing.
    """

    def __init__(self, entries: Sequence[str]) -> None:
        self.entries = list(entries)
        self.networks: list[tuple[Network, Service]] = []
        self.names: list[Name] = []
        self.services: list[Service] = []
        for entry in entries:
            if entry != NOTHING:
                self._add(entry)

    def _add(self, entry: str) -> None:
        host, service = _service(entry)
        if service not in self.services:
            self.services.append(service)
        network = _network(host, entry)
        if network is not None:
            self.networks.append((network, service))
        else:
            self.names.append(_name(host, service, entry))

    def matching(self, name: str) -> list[Name]:
        return [allowed for allowed in self.names if allowed.matches(name)]

    def may_be(self, address: Address, allowed: Name, *, local: bool) -> bool:
        """Whether an answer of DNS may make an address reachable: a public one, or one that was allowed as such.
        `local`: it is the host's own."""
        if allowed.within is not None:
            return address in allowed.within
        if not local and is_public(address):
            return True
        return any(address in network and service == allowed.service for network, service in self.networks)


def is_public(address: Address) -> bool:
    """Whether it is an address of the Internet's, by IANA's registries of special purposes, and none that carries
    another one which is not."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None or address.teredo is not None:
            return False
        inner = address.sixtofour
        if address in _NAT64:
            inner = IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None and not is_public(inner):
            return False
        return address in _NAT64 or (address.is_global and not address.is_multicast)
    return address.is_global and not address.is_multicast


def _wrong(entry: str, text: str) -> ValueError:
    return ValueError(f"'{entry}': {text}")


def _service(entry: str) -> tuple[str, Service]:
    """What comes before the port, and the port."""
    found = _PORTS.fullmatch(entry)
    if found is None or (":" in found[1] and not found[1].endswith("]")):  # an address of IPv6
        return entry, _EVERY_PORT
    first = int(found[2])
    last = int(found[3] or first)
    if not 1 <= first <= last <= 65535:
        raise _wrong(entry, "a port is a number from 1 to 65535, or two of them: '8000-8100'")
    if found[4] not in (None, "tcp", "udp"):
        raise _wrong(entry, f"'{found[4]}' is neither 'tcp' nor 'udp'")
    return found[1], ((found[4],) if found[4] else ("tcp", "udp"), first, last)


def _network(host: str, entry: str) -> Network | None:
    """None if this is a name."""
    text = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not re.match(r"[0-9.]+(/|$)|[^@]*:", text):
        return None
    try:
        return ip_network(text)
    except ValueError as error:
        why = str(error).removeprefix(repr(text)).removeprefix(text).strip()  # it is told once
        raise _wrong(entry, why) from None


def _name(host: str, service: Service, entry: str) -> Name:
    name, at, text = host.partition("@")
    within = _network(text, entry) if at else None
    if at and within is None:
        raise _wrong(entry, f"'{text}' is not a network")
    name = name.lower().removesuffix(".")
    wild = name == "*" or name.startswith("*.")
    if wild:
        name = name[2:]
    labels = name.split(".") if name else []
    if not (labels or wild) or len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        scripts = "" if name.isascii() else ": other scripts are written as in DNS, 'xn--…'"
        raise _wrong(entry, f"neither a network nor a name{scripts}")
    return Name(name, service, wild=wild, within=within)


def address(data: bytes) -> Address:
    """From 4 or 16 bytes."""
    return ip_address(data)
