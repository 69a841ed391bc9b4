"""Network devices and their addresses: rtnetlink(7)."""

from __future__ import annotations

import errno
from _struct import calcsize, pack, unpack_from

from boxes.linux.netlink import NLM_F_CREATE, NLM_F_EXCL, Netlink, attribute, attributes, string

_NETLINK_ROUTE = 0

# <linux/rtnetlink.h>
_RTM_NEWLINK, _RTM_GETLINK, _RTM_SETLINK = 16, 18, 19
_RTM_NEWADDR, _RTM_GETADDR = 20, 22
RT_SCOPE_UNIVERSE = 0
_LINK = "=BxHiII"  # struct ifinfomsg: family, type, index, flags, which of them to change
_ADDRESS = "=BBBBI"  # struct ifaddrmsg: family, length of the prefix, flags, scope, index

# <linux/if.h>, <linux/if_link.h>
IFF_UP = 0x1
IFLA_IFNAME, IFLA_NET_NS_FD = 3, 28

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


class Address:
    """An address of a network device. `attributes` are as the kernel has them, so that it can be made again."""

    __slots__ = ("attributes", "family", "flags", "index", "prefix", "scope")

    def __init__(self, body: bytes) -> None:
        self.family, self.prefix, flags, self.scope, self.index = unpack_from(_ADDRESS, body)
        self.attributes = attributes(body, calcsize(_ADDRESS))
        self.flags = unpack_from("=I", self.attributes[IFA_FLAGS])[0] if IFA_FLAGS in self.attributes else flags


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

    def addresses(self, index: int) -> list[Address]:
        """Those of one device, in the kernel's order."""
        answer = self.dump(_RTM_GETADDR, pack(_ADDRESS, 0, 0, 0, 0, index), call=f"RTM_GETADDR({index})")
        found = [Address(message.body) for message in answer if message.kind == _RTM_NEWADDR]
        return [address for address in found if address.index == index]

    def add_address(self, index: int, address: Address, given: dict[int, bytes | str | int]) -> None:
        """Give a device an address, with these attributes."""
        body = pack(_ADDRESS, address.family, address.prefix, 0, address.scope, index)
        body += b"".join(attribute(kind, value) for kind, value in given.items())
        self.request(
            _RTM_NEWADDR, body, flags=NLM_F_CREATE | NLM_F_EXCL, call=f"RTM_NEWADDR({index}, {shown(address)})"
        )


def shown(address: Address) -> str:
    """As people write it: ``10.0.0.1/24``."""
    from _socket import inet_ntop

    value = address.attributes.get(IFA_LOCAL) or address.attributes.get(IFA_ADDRESS, b"")
    try:
        return f"{inet_ntop(address.family, value)}/{address.prefix}"
    except (OSError, ValueError):
        return f"{value.hex()}/{address.prefix}"
