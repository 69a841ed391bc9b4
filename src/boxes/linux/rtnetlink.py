"""Network devices and their addresses: rtnetlink(7)."""

from __future__ import annotations

import errno
from _socket import AF_INET, AF_INET6, inet_ntop
from _struct import calcsize, pack, unpack_from

from boxes.linux.netlink import NLM_F_CREATE, NLM_F_EXCL, Netlink, attribute, attributes, string

_NETLINK_ROUTE = 0

# <linux/rtnetlink.h>
_RTM_NEWLINK, _RTM_DELLINK, _RTM_GETLINK, _RTM_SETLINK = 16, 17, 18, 19
_RTM_NEWADDR, _RTM_GETADDR = 20, 22
_RTM_NEWROUTE, _RTM_GETROUTE = 24, 26
RT_SCOPE_UNIVERSE = 0
_LINK = "=BxHiII"  # struct ifinfomsg: family, type, index, flags, which of them to change
_ADDRESS = "=BBBBI"  # struct ifaddrmsg: family, length of the prefix, flags, scope, index
# struct rtmsg: family, lengths of destination and source, TOS, table, who made it, scope, type, flags
_ROUTE = "=BBBBBBBBI"
_RTPROT_BOOT, _RTN_UNICAST, _RT_TABLE_MAIN = 3, 1, 254
_RTA_DST, _RTA_OIF, _RTA_GATEWAY = 1, 4, 5

# <linux/if.h>, <linux/if_link.h>
IFF_UP = 0x1
IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_MASTER, IFLA_LINKINFO, IFLA_NET_NS_FD = 1, 3, 4, 10, 18, 28
_IFLA_OPERSTATE, _IFLA_LINK_NETNSID, _IFLA_TARGET_NETNSID = 16, 37, 46
_IF_OPER_UP = b"\x06"
_IFLA_INFO_KIND, _IFLA_INFO_DATA, _VETH_INFO_PEER = 1, 2, 1
_IFLA_INFO_SLAVE_KIND, _IFLA_INFO_SLAVE_DATA, _IFLA_BRPORT_MODE = 4, 5, 4

# <linux/if_addr.h>
IFA_ADDRESS, IFA_LOCAL, IFA_LABEL, IFA_BROADCAST, IFA_CACHEINFO = 1, 2, 3, 4, 6
IFA_FLAGS, IFA_RT_PRIORITY, IFA_PROTO = 8, 9, 11
IFA_F_NODAD, IFA_F_OPTIMISTIC, IFA_F_HOMEADDRESS, IFA_F_PERMANENT = 0x02, 0x04, 0x10, 0x80
IFA_F_MANAGETEMPADDR, IFA_F_NOPREFIXROUTE, IFA_F_MCAUTOJOIN = 0x100, 0x200, 0x400


class Link:
    """A network device."""

    __slots__ = ("attributes", "flags", "index", "name")

    def __init__(self, body: bytes) -> None:
        _, _, self.index, self.flags, _ = unpack_from(_LINK, body)
        self.attributes = attributes(body, calcsize(_LINK))
        self.name = string(self.attributes[IFLA_IFNAME])

    @property
    def is_operational(self) -> bool:
        """Whether what it sends arrives: it is up, its peer too, and the kernel has taken note of that."""
        return self.attributes.get(_IFLA_OPERSTATE) == _IF_OPER_UP


class Address:
    """An address of a network device. `attributes` are as the kernel has them, so that it can be made again."""

    __slots__ = ("attributes", "family", "flags", "index", "prefix", "scope")

    def __init__(self, body: bytes) -> None:
        self.family, self.prefix, flags, self.scope, self.index = unpack_from(_ADDRESS, body)
        self.attributes = attributes(body, calcsize(_ADDRESS))
        self.flags = unpack_from("=I", self.attributes[IFA_FLAGS])[0] if IFA_FLAGS in self.attributes else flags


class Route:
    """A route of the main table. `destination` is empty for the default route; `device` is 0 if it leads to none."""

    __slots__ = ("destination", "device", "family", "prefix")

    def __init__(self, body: bytes) -> None:
        self.family, self.prefix, *_ = unpack_from(_ROUTE, body)
        found = attributes(body, calcsize(_ROUTE))
        self.destination = found.get(_RTA_DST, b"")
        self.device = unpack_from("=I", found[_RTA_OIF])[0] if _RTA_OIF in found else 0


class Rtnetlink(Netlink):
    """What can be asked about the devices of the network namespace that its maker is in."""

    def __init__(self) -> None:
        super().__init__(_NETLINK_ROUTE)

    def link(self, name: str) -> Link | None:
        """The device of this name."""
        return self._link(0, attribute(IFLA_IFNAME, name), f'RTM_GETLINK("{name}")')

    def link_at(self, index: int) -> Link | None:
        return self._link(index, b"", f"RTM_GETLINK({index})")

    def _link(self, index: int, wanted: bytes, call: str) -> Link | None:
        try:
            answer = self.request(_RTM_GETLINK, pack(_LINK, 0, 0, index, 0, 0) + wanted, call=call)
        except OSError as error:
            if error.errno == errno.ENODEV:
                return None
            raise
        return next(Link(message.body) for message in answer if message.kind == _RTM_NEWLINK)

    def set_link(
        self, index: int, *, name: str | None = None, netns: int | None = None, up: bool | None = None
    ) -> None:
        """Change a device: its name, for which ``%d`` becomes a number; the namespace it is in, by descriptor; whether
        it is up."""
        flags, changed = (0, 0) if up is None else (IFF_UP * up, IFF_UP)
        body = pack(_LINK, 0, 0, index, flags, changed)
        if netns is not None:
            body += attribute(IFLA_NET_NS_FD, netns)
        if name is not None:
            body += attribute(IFLA_IFNAME, name)
        given = {"name": name, "netns": netns, "up": up}
        shown = "".join(f", {key}={value}" for key, value in given.items() if value is not None)
        self.request(_RTM_SETLINK, body, call=f"RTM_SETLINK({index}{shown})")

    def links(self) -> list[Link]:
        answer = self.dump(_RTM_GETLINK, pack(_LINK, 0, 0, 0, 0, 0), call="RTM_GETLINK()")
        return [Link(message.body) for message in answer if message.kind == _RTM_NEWLINK]

    def add_bridge(self, name: str, mac: bytes, mtu: int) -> None:
        """A new bridge that is up."""
        body = _new(name, mac, mtu) + attribute(IFLA_LINKINFO, attribute(_IFLA_INFO_KIND, b"bridge"))
        self._make(body, f'RTM_NEWLINK("{name}", bridge)')

    def add_veth(self, name: str, master: int, peer: str, mac: bytes, mtu: int, netns: int) -> None:
        """A new pair of devices: one is a port of the bridge `master`, and up; the other, with this hardware address,
        is in another namespace, and down: the kernel makes it before it has a peer."""
        there = _new(peer, mac, mtu, up=False) + attribute(IFLA_NET_NS_FD, netns)
        info = attribute(_IFLA_INFO_KIND, b"veth")
        info += attribute(_IFLA_INFO_DATA, attribute(_VETH_INFO_PEER, there))
        body = _new(name, b"", mtu) + attribute(IFLA_MASTER, master) + attribute(IFLA_LINKINFO, info)
        self._make(body, f'RTM_NEWLINK("{name}", veth "{peer}")')

    def _make(self, body: bytes, call: str) -> None:
        self.request(_RTM_NEWLINK, body, flags=NLM_F_CREATE | NLM_F_EXCL, call=call)

    def set_hairpin(self, name: str) -> None:
        """Let a port of a bridge have back what came from it, if that is where it goes."""
        info = attribute(_IFLA_INFO_SLAVE_KIND, b"bridge")
        info += attribute(_IFLA_INFO_SLAVE_DATA, attribute(_IFLA_BRPORT_MODE, b"\1"))
        body = pack(_LINK, 0, 0, 0, 0, 0) + attribute(IFLA_IFNAME, name) + attribute(IFLA_LINKINFO, info)
        self.request(_RTM_NEWLINK, body, call=f'RTM_NEWLINK("{name}", hairpin)')

    def has_living_peer(self, link: Link) -> bool:
        """Whether the namespace that the other device of a pair is in has anybody. If not, the kernel is about to
        remove both."""
        number = link.attributes.get(_IFLA_LINK_NETNSID)
        if number is None:
            return True  # it is here
        body = pack(_LINK, 0, 0, 1, 0, 0) + attribute(_IFLA_TARGET_NETNSID, number)
        try:
            self.request(_RTM_GETLINK, body, call="RTM_GETLINK(1)")
        except OSError as error:
            return error.errno != errno.EINVAL
        return True

    def delete_link(self, name: str) -> bool:
        """Whether there was one."""
        body = pack(_LINK, 0, 0, 0, 0, 0) + attribute(IFLA_IFNAME, name)
        try:
            self.request(_RTM_DELLINK, body, call=f'RTM_DELLINK("{name}")')
        except OSError as error:
            if error.errno == errno.ENODEV:
                return False
            raise
        return True

    def routes(self, family: int) -> list[Route]:
        """Those of the main table."""
        asked = pack(_ROUTE, family, 0, 0, 0, _RT_TABLE_MAIN, 0, 0, 0, 0)
        answer = self.dump(_RTM_GETROUTE, asked, call="RTM_GETROUTE()")
        main = [message for message in answer if message.kind == _RTM_NEWROUTE and message.body[4] == _RT_TABLE_MAIN]
        return [Route(message.body) for message in main]

    def add_default_route(self, family: int, gateway: bytes) -> None:
        body = pack(_ROUTE, family, 0, 0, 0, _RT_TABLE_MAIN, _RTPROT_BOOT, RT_SCOPE_UNIVERSE, _RTN_UNICAST, 0)
        body += attribute(_RTA_GATEWAY, gateway)
        self.request(_RTM_NEWROUTE, body, flags=NLM_F_CREATE | NLM_F_EXCL, call="RTM_NEWROUTE(default)")

    def new_address(self, index: int, family: int, value: bytes, prefix: int) -> None:
        """Give a device an address that can be used at once: nobody is asked whether it is theirs."""
        body = pack(_ADDRESS, family, prefix, 0, RT_SCOPE_UNIVERSE, index)
        body += attribute(IFA_LOCAL, value) + attribute(IFA_ADDRESS, value) + attribute(IFA_FLAGS, IFA_F_NODAD)
        if family == AF_INET and prefix < 31:
            ones = (1 << (32 - prefix)) - 1
            body += attribute(IFA_BROADCAST, (int.from_bytes(value, "big") | ones).to_bytes(4, "big"))
        self.request(
            _RTM_NEWADDR, body, flags=NLM_F_CREATE | NLM_F_EXCL, call=f"RTM_NEWADDR({index}, {_address(value, prefix)})"
        )

    def addresses(self, index: int) -> list[Address]:
        """Those of one device, or of all if `index` is 0, in the kernel's order."""
        answer = self.dump(_RTM_GETADDR, pack(_ADDRESS, 0, 0, 0, 0, index), call=f"RTM_GETADDR({index})")
        found = [Address(message.body) for message in answer if message.kind == _RTM_NEWADDR]
        return [address for address in found if index in (0, address.index)]

    def add_address(self, index: int, address: Address, given: dict[int, bytes | str | int]) -> None:
        """Give a device an address, with these attributes."""
        body = pack(_ADDRESS, address.family, address.prefix, 0, address.scope, index)
        body += b"".join(attribute(kind, value) for kind, value in given.items())
        self.request(
            _RTM_NEWADDR, body, flags=NLM_F_CREATE | NLM_F_EXCL, call=f"RTM_NEWADDR({index}, {shown(address)})"
        )


def _new(name: str, mac: bytes, mtu: int, *, up: bool = True) -> bytes:
    """The beginning of a request for a device."""
    body = pack(_LINK, 0, 0, 0, IFF_UP * up, IFF_UP) + attribute(IFLA_IFNAME, name) + attribute(IFLA_MTU, mtu)
    return body + (attribute(IFLA_ADDRESS, mac) if mac else b"")


def shown(address: Address) -> str:
    """As people write it: ``10.0.0.1/24``."""
    return _address(address.attributes.get(IFA_LOCAL) or address.attributes.get(IFA_ADDRESS, b""), address.prefix)


def _address(value: bytes, prefix: int) -> str:
    try:
        return f"{inet_ntop(AF_INET if len(value) == 4 else AF_INET6, value)}/{prefix}"
    except (OSError, ValueError):
        return f"{value.hex()}/{prefix}"
