"""Rulesets of nftables: the changes to one table as one transaction. <linux/netfilter/nf_tables.h>

What nft(8) would make of the same text, without the 8 ms that it takes to start. Numbers are in network order, but for
what the kernel compares as its own: connection states, addresses' types.
"""

from __future__ import annotations

from _struct import pack

from boxes.linux.netlink import attribute

FAMILIES = {"inet": 1, "ip": 2, "netdev": 5, "ip6": 10}  # <linux/netfilter.h>
_NESTED = 0x8000
_SUBSYSTEM = 10 << 8  # NFNL_SUBSYS_NFTABLES
_NEW_TABLE, _DELETE_TABLE, _NEW_CHAIN, _NEW_RULE, _DELETE_RULE = 0, 2, 3, 6, 8
_NEW_SET, _NEW_ELEMENTS = 9, 12
_NLM_F_CREATE, _NLM_F_APPEND = 0x400, 0x800
_COMMENT = 0  # NFTNL_UDATA_RULE_COMMENT, of libnftnl
_AT_ONCE = 512  # elements in a message: an attribute has at most 64 KiB

# A chain's place: <linux/netfilter.h>, <linux/netfilter_ipv4.h>.
PREROUTING, FORWARD, OUTPUT, POSTROUTING = 0, 2, 3, 4
RAW, DSTNAT, FILTER, SRCNAT = -300, -100, 0, 100

# Verdicts.
DROP, ACCEPT, _JUMP, _RETURN = 0, 1, -3, -5

# Types of data as nft(8) numbers them, which lists maps by them, 6 bits for each of what is put together; and how many
# bytes the kernel keeps of each: multiples of 4.
IPV4_ADDR, IPV6_ADDR, _INET_PROTO, _INET_SERVICE = 7, 8, 12, 13
_SIZES = {IPV4_ADDR: 4, IPV6_ADDR: 16, _INET_PROTO: 4, _INET_SERVICE: 4}
PROTO_SERVICE = (_INET_PROTO, _INET_SERVICE)

# Registers: of 16 bytes, and from the eighth on of 4, in the same place.
_REG_1, _REG_32 = 1, 8
_IIFNAME, _OIFNAME, _NFPROTO, _L4PROTO = 6, 7, 15, 16  # NFT_META_…
_EQ, _NEQ = 0, 1
_NETWORK, _TRANSPORT = 1, 2  # headers
_CT_STATE, _CT_STATUS = 0, 2
_ESTABLISHED_RELATED, _DNAT = 0x6, 0x20
_FIB_TYPE, _FIB_DESTINATION, _LOCAL = 3, 2, 2  # NFT_FIB_RESULT_ADDRTYPE, NFTA_FIB_F_DADDR, RTN_LOCAL
_NAT_DNAT = 1
SOURCE, DESTINATION = "source", "destination"
_PLACES = {(4, SOURCE): 12, (4, DESTINATION): 16, (16, SOURCE): 8, (16, DESTINATION): 24}
_PROTOCOLS = {4: b"\x02", 16: b"\x0a"}  # NFPROTO_IPV4, NFPROTO_IPV6


def _number(kind: int, value: int) -> bytes:
    return pack("=HH", 8, kind) + pack(">i" if value < 0 else ">I", value)  # half of all attributes are these


def _nested(kind: int, *members: bytes) -> bytes:
    return attribute(kind | _NESTED, b"".join(members))


def _expression(name: str, *members: bytes) -> bytes:
    return _nested(1, attribute(1, name), _nested(2, *members))


def _meta(key: int, register: int = _REG_1) -> bytes:
    return _expression("meta", _number(2, key), _number(1, register))


def _compare(value: bytes, *, equal: bool = True) -> bytes:
    return _expression("cmp", _number(1, _REG_1), _number(2, _EQ if equal else _NEQ), _nested(3, attribute(1, value)))


def _payload(header: int, offset: int, size: int, register: int = _REG_1) -> bytes:
    return _expression("payload", _number(1, register), _number(2, header), _number(3, offset), _number(4, size))


def _masked(mask: bytes) -> bytes:
    return _expression(
        "bitwise",
        _number(1, _REG_1),
        _number(2, _REG_1),
        _number(3, len(mask)),
        _nested(4, attribute(1, mask)),
        _nested(5, attribute(1, bytes(len(mask)))),
    )


def comes_by(device: str, *, equal: bool = True) -> bytes:
    return _meta(_IIFNAME) + _compare(device.encode().ljust(16, b"\0"), equal=equal)


def leaves_by(device: str, *, equal: bool = True) -> bytes:
    return _meta(_OIFNAME) + _compare(device.encode().ljust(16, b"\0"), equal=equal)


def protocol(size: int) -> bytes:
    """The packet is of the family whose addresses have this many bytes."""
    return _meta(_NFPROTO) + _compare(_PROTOCOLS[size])


def address(which: str, first: bytes, prefix: int, *, equal: bool = True) -> bytes:
    """SOURCE or DESTINATION is in a subnet, of whose family the packet is known to be."""
    size = len(first)
    start = _PLACES[size, which]
    whole, rest = divmod(prefix, 8)
    if rest == 0:
        return _payload(_NETWORK, start, whole) + _compare(first[:whole], equal=equal)
    mask = ((1 << prefix) - 1 << size * 8 - prefix).to_bytes(size, "big")
    return _payload(_NETWORK, start, size) + _masked(mask) + _compare(first, equal=equal)


def _has(key: int, bits: int) -> bytes:
    return (
        _expression("ct", _number(2, key), _number(1, _REG_1))
        + _masked(pack("=I", bits))
        + _compare(bytes(4), equal=False)
    )


def is_known() -> bytes:
    """The packet is of a connection that was let through before, or belongs to one."""
    return _has(_CT_STATE, _ESTABLISHED_RELATED)


def is_translated() -> bytes:
    """The connection's destination has been changed."""
    return _has(_CT_STATUS, _DNAT)


def is_for_host() -> bytes:
    lookup = _expression("fib", _number(3, _FIB_DESTINATION), _number(2, _FIB_TYPE), _number(1, _REG_1))
    return lookup + _compare(pack("=I", _LOCAL))


def translate(size: int, name: str, *, by_address: bool) -> bytes:
    """Change the destination to what a map has for protocol and port, with `by_address` for the address before these;
    nothing, if it has none."""
    register, load = _REG_32, b""
    if by_address:
        load = _payload(_NETWORK, _PLACES[size, DESTINATION], size)
        register += size // 4
    load += _meta(_L4PROTO, register if by_address else _REG_1) + _payload(_TRANSPORT, 2, 2, register + 1)
    found = _expression("lookup", attribute(1, name), _number(2, _REG_1), _number(3, _REG_1))
    family = _number(2, FAMILIES["ip" if size == 4 else "ip6"])
    changed = (_number(1, _NAT_DNAT), family, _number(3, _REG_1), _number(5, _REG_32 + size // 4))
    return load + found + _expression("nat", *changed)


def masquerade() -> bytes:
    return _expression("masq")


def verdict(code: int, chain: str = "") -> bytes:
    given = _number(1, code) + (attribute(2, chain) if chain else b"")
    return _expression("immediate", _number(1, 0), _nested(2, _nested(2, given)))


def jump(chain: str) -> bytes:
    return verdict(_JUMP, chain)


def back() -> bytes:
    return verdict(_RETURN)


def comment_of(told: bytes) -> str:
    """What a rule's NFTA_RULE_USERDATA has as its comment: type, length and value of each thing that is told there."""
    while len(told) >= 2:
        kind, size = told[0], told[1]
        if kind == _COMMENT:
            return told[2 : 2 + size].rstrip(b"\0").decode("utf-8", "replace")
        told = told[2 + size :]
    return ""


class Changes:
    """To a table, carried out by `Nftables.commit`: all or none. `messages`: kind, flags and body of each."""

    def __init__(self, family: str, table: str) -> None:
        self.table = table
        self.shown = f"{family} {table}"
        self.messages: list[tuple[int, int, bytes]] = []
        self._head = pack("=BBH", FAMILIES[family], 0, 0) + attribute(1, table)

    def _add(self, kind: int, body: bytes, flags: int = _NLM_F_CREATE) -> None:
        self.messages.append((_SUBSYSTEM | kind, flags, self._head + body))

    def delete(self) -> None:
        """The table, with all that is in it."""
        self._add(_DELETE_TABLE, b"", 0)

    def make(self) -> None:
        """The table, unless it is there."""
        self._add(_NEW_TABLE, b"")

    def chain(self, name: str, kind: str = "", hook: int = 0, priority: int = 0) -> None:
        """One that packets come to by a hook if it has a kind, filter or nat, else by a jump."""
        body = attribute(3, name)
        if kind:
            body += _nested(4, _number(1, hook), _number(2, priority)) + attribute(7, kind)
        self._add(_NEW_CHAIN, body)

    def rule(self, chain: str, *expressions: bytes, comment: str = "") -> None:
        """At the end of a chain. The comment is what nft(8) shows as such."""
        body = attribute(2, chain) + _nested(4, *expressions)
        if comment:
            body += attribute(7, bytes((_COMMENT, len(comment) + 1)) + comment.encode() + b"\0")
        self._add(_NEW_RULE, body, _NLM_F_CREATE | _NLM_F_APPEND)

    def delete_rule(self, chain: str, handle: bytes) -> None:
        self._add(_DELETE_RULE, attribute(2, chain) + attribute(3, handle), 0)

    def map(self, name: str, number: int, key: tuple[int, ...], value: tuple[int, ...]) -> None:
        """An empty one. `number` tells it from others of the same transaction."""
        body = attribute(2, name) + _number(3, 0x8)  # NFT_SET_MAP
        body += _number(4, _type(key)) + _number(5, _size(key)) + _number(6, _type(value)) + _number(7, _size(value))
        self._add(_NEW_SET, body + _number(10, number))

    def elements(self, name: str, entries: list[tuple[bytes, bytes]]) -> None:
        """Of a map; what is there already may be given again."""
        for start in range(0, len(entries), _AT_ONCE):
            given = [
                _nested(1, _nested(1, attribute(1, key)), _nested(2, attribute(1, value)))
                for key, value in entries[start : start + _AT_ONCE]
            ]
            self._add(_NEW_ELEMENTS, attribute(2, name) + _nested(3, *given))


def _type(parts: tuple[int, ...]) -> int:
    found = 0
    for part in parts:
        found = found << 6 | part
    return found


def _size(parts: tuple[int, ...]) -> int:
    return sum(_SIZES[part] for part in parts)
