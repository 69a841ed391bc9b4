"""Flows that the kernel remembers: <linux/netfilter/nfnetlink_conntrack.h>."""

from __future__ import annotations

from _struct import pack

from boxes.linux.netlink import Netlink, attribute, attributes

_NETLINK_NETFILTER = 12
_NESTED = 0x8000

# <linux/netfilter/nfnetlink.h>
_SUBSYSTEM = 1
_NEW, _GET, _DELETE = (_SUBSYSTEM << 8 | kind for kind in (0, 1, 2))

_TUPLE_ORIG, _TUPLE_REPLY, _ID, _ZONE, _FILTER = 1, 2, 12, 18, 25
_TUPLE_IP, _TUPLE_PROTO = 1, 2
_IP_SOURCE, _IP_DESTINATION = {4: 1, 16: 3}, {4: 2, 16: 4}  # by how long an address is
_PROTO_NUMBER, _PROTO_DESTINATION = 1, 3
_FILTER_ORIG, _FILTER_REPLY = 1, 2
_ONLY_PROTO_NUMBER, _ONLY_PROTO_DESTINATION = 1 << 3, 1 << 5  # of what a dump is to compare, Linux 5.8
_LENGTHS = {2: 4, 10: 16}  # of addresses, by family

UDP = 17


class Flow:
    """`destination`: the address that was called first; `answers_from`: whose answers belong to it, another one if the
    destination was translated."""

    __slots__ = ("answers_from", "destination", "family", "key")

    def __init__(self, family: int, body: bytes) -> None:
        self.family = family
        found = attributes(body, 4)
        length = _LENGTHS[family]
        self.destination = _part(found[_TUPLE_ORIG], _TUPLE_IP)[_IP_DESTINATION[length]]
        self.answers_from = _part(found[_TUPLE_REPLY], _TUPLE_IP)[_IP_SOURCE[length]]
        self.key = attribute(_TUPLE_ORIG | _NESTED, found[_TUPLE_ORIG]) + attribute(_ID, found[_ID])
        if _ZONE in found:
            self.key += attribute(_ZONE, found[_ZONE])


def _part(value: bytes, kind: int) -> dict[int, bytes]:
    return attributes(attributes(value)[kind])


class Conntrack(Netlink):
    """Of the network namespace that its maker is in."""

    def __init__(self) -> None:
        super().__init__(_NETLINK_NETFILTER)

    def flows(self, family: int, protocol: int, port: int) -> list[Flow]:
        """Those that went to this port first. Raises OSError."""
        numbers = attribute(_PROTO_NUMBER, bytes((protocol,))) + attribute(_PROTO_DESTINATION, pack(">H", port))
        compared = attribute(_FILTER_ORIG, _ONLY_PROTO_NUMBER | _ONLY_PROTO_DESTINATION) + attribute(_FILTER_REPLY, 0)
        body = pack("=BBH", family, 0, 0)
        body += attribute(_TUPLE_ORIG | _NESTED, attribute(_TUPLE_PROTO | _NESTED, numbers))
        body += attribute(_FILTER | _NESTED, compared)
        answer = self.dump(_GET, body, call=f"IPCTNL_MSG_CT_GET(port {port})")
        return [Flow(family, message.body) for message in answer if message.kind == _NEW]

    def forget(self, flow: Flow) -> bool:
        """The next packet is looked at as a first one. Whether it was still there."""
        try:
            self.request(_DELETE, pack("=BBH", flow.family, 0, 0) + flow.key, call="IPCTNL_MSG_CT_DELETE()")
        except FileNotFoundError:
            return False
        return True
