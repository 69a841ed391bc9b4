"""Moving network devices into another network namespace, with their addresses, and back if anything goes wrong.

The kernel keeps a device's hardware address, MTU and other attributes when it moves, but takes it down and forgets its
addresses and routes.
"""

from __future__ import annotations

import errno

from boxes import system as os
from boxes.errors import BoxesError, ConfigError, refused
from boxes.linux import flags as k
from boxes.linux import syscalls
from boxes.linux.fd import Fds
from boxes.linux.netlink import string
from boxes.linux.rtnetlink import (
    IFA_ADDRESS,
    IFA_BROADCAST,
    IFA_CACHEINFO,
    IFA_F_HOMEADDRESS,
    IFA_F_MANAGETEMPADDR,
    IFA_F_MCAUTOJOIN,
    IFA_F_NODAD,
    IFA_F_NOPREFIXROUTE,
    IFA_F_OPTIMISTIC,
    IFA_F_PERMANENT,
    IFA_FLAGS,
    IFA_LABEL,
    IFA_LOCAL,
    IFA_PROTO,
    IFA_RT_PRIORITY,
    IFF_UP,
    RT_SCOPE_UNIVERSE,
    Rtnetlink,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from boxes.linux.rtnetlink import Address, Link

_AF_INET6 = 10
_IFNAMSIZ = 16
# What of an address its new owner is told. The other flags say how the address came about, or how it fares.
_KEPT = (IFA_ADDRESS, IFA_LOCAL, IFA_BROADCAST, IFA_CACHEINFO, IFA_RT_PRIORITY, IFA_PROTO)
_KEPT_FLAGS = (
    IFA_F_NODAD | IFA_F_OPTIMISTIC | IFA_F_HOMEADDRESS | IFA_F_MANAGETEMPADDR | IFA_F_NOPREFIXROUTE | IFA_F_MCAUTOJOIN
)
_RIGHTS = "it takes CAP_NET_ADMIN in both network namespaces"


class Move:
    """A device by its name here, and its name there: empty for the same, with ``%d`` for the first number that is free.
    `pointer` says who wants it."""

    __slots__ = ("name", "new_name", "pointer")

    def __init__(self, name: str, new_name: str, pointer: str) -> None:
        self.name = name
        self.new_name = new_name
        self.pointer = pointer


class _Moved:
    """What it takes to bring a device back. `index` is its number there, or 0 as long as it is here."""

    __slots__ = ("addresses", "index", "link")

    def __init__(self, link: Link, addresses: list[Address]) -> None:
        self.link = link
        self.addresses = addresses
        self.index = 0


class Transfer:
    """From the network namespace of this process to that of a descriptor, which it holds until it is closed."""

    def __init__(self, netns: int) -> None:
        self._moved: list[_Moved] = []
        self._fds = Fds()
        self._sockets: list[Rtnetlink] = []
        try:
            self._netns = self._fds.add(os.dup(netns))
            self._own = self._fds.add(os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC))
            self._here = self._socket()
            self._there = self._beyond()
        except OSError as error:
            self.close()
            raise refused("cannot reach the network namespace", error, hint=_hint(error)) from error

    def _socket(self) -> Rtnetlink:
        self._sockets.append(Rtnetlink())
        return self._sockets[-1]

    def _beyond(self) -> Rtnetlink:
        """A socket belongs to the namespace that it was made in: so this process, which has one thread, goes there."""
        syscalls.setns(self._netns, k.CLONE_NEWNET)
        try:
            return self._socket()
        finally:
            syscalls.setns(self._own, k.CLONE_NEWNET)

    def close(self) -> None:
        while self._sockets:
            self._sockets.pop().close()
        self._fds.close()

    def check(self, moves: list[Move]) -> None:
        """Whether each device is here, and its name free there, before the first is touched."""
        own, other = os.fstat(self._own), os.fstat(self._netns)
        if (own.st_dev, own.st_ino) == (other.st_dev, other.st_ino):
            raise ConfigError("the devices are in this network namespace already: it is the runtime's own")
        for move in moves:
            link = self._find(move)
            name = move.new_name or link.name
            if "%" not in name and self._there.link(name) is not None:
                text = f"the network namespace has a device '{name}' already"
                raise ConfigError(text, pointer=move.pointer)

    def _find(self, move: Move) -> Link:
        link = self._here.link(move.name)
        if link is None:
            raise ConfigError(f"there is no network device '{move.name}'", pointer=move.pointer)
        return link

    def move(self, move: Move) -> None:
        """Move one device, give it its addresses, set it up."""
        try:
            self._move(move)
        except OSError as error:
            stage = f"cannot move the network device '{move.name}'"
            raise refused(stage, error, pointer=move.pointer, hint=_hint(error)) from error

    def _move(self, move: Move) -> None:
        link = self._find(move)
        moved = _Moved(link, self._here.addresses(link.index))
        self._moved.append(moved)
        name = move.new_name or link.name
        # A number is chosen by the kernel, and only there: until then the device needs a name to be found by.
        passing = f"bx{os.getpid()}" if "%" in name else name
        try:
            self._here.set_link(link.index, name=passing, netns=self._netns)
        except OSError:
            if self._here.link_at(link.index) is None:  # moved, but not renamed: somebody took the name meanwhile
                moved.index = self._arrived(link.name).index
            raise
        moved.index = self._arrived(passing).index
        if passing != name:
            self._there.set_link(moved.index, name=name)
            name = self._arrived(None, moved.index).name
        for address in _in_order(moved.addresses):
            if address.flags & IFA_F_PERMANENT and address.scope == RT_SCOPE_UNIVERSE:
                self._there.add_address(moved.index, address, _given(address, link.name, name))
        self._there.set_link(moved.index, up=True)

    def _arrived(self, name: str | None, index: int = 0) -> Link:
        link = self._there.link_at(index) if name is None else self._there.link(name)
        if link is None:
            raise OSError(errno.ENODEV, "it has not arrived")
        return link

    def undo(self) -> list[BoxesError]:
        """Bring back what was moved: by its name, with all its addresses, up if it was. Returns what went wrong."""
        failures: list[BoxesError] = []
        while self._moved:
            moved = self._moved.pop()
            try:
                if moved.index:
                    self._bring_back(moved)
            except OSError as error:
                failures.append(refused(f"cannot bring the network device '{moved.link.name}' back", error))
        return failures

    def _bring_back(self, moved: _Moved) -> None:
        name = moved.link.name
        self._there.set_link(moved.index, name=name, netns=self._own)
        link = self._here.link(name)
        if link is None:
            raise OSError(errno.ENODEV, "it has not arrived")
        for address in _in_order(moved.addresses):
            try:
                self._here.add_address(link.index, address, _given(address, name, name))
            except OSError as error:
                if error.errno != errno.EEXIST:  # the kernel made it
                    raise
        if moved.link.flags & IFF_UP:
            self._here.set_link(link.index, up=True)


def _hint(error: OSError) -> str | None:
    return _RIGHTS if error.errno == errno.EPERM else None


def _in_order(addresses: list[Address]) -> list[Address]:
    """So that adding them gives the same order again: the kernel puts new ones of IPv6 before the others."""
    six = [address for address in addresses if address.family == _AF_INET6]
    return [address for address in addresses if address.family != _AF_INET6] + six[::-1]


def _given(address: Address, name: str, new_name: str) -> dict[int, bytes | str | int]:
    """The attributes of an address to be made again. A label (``eth0:1``) begins with the name of its device."""
    given: dict[int, bytes | str | int] = {
        kind: address.attributes[kind] for kind in _KEPT if kind in address.attributes
    }
    given[IFA_FLAGS] = address.flags & _KEPT_FLAGS
    label = string(address.attributes.get(IFA_LABEL, b""))
    if label.startswith(name) and len(os.fsencode(label)) - len(name) + len(new_name) < _IFNAMSIZ:
        given[IFA_LABEL] = new_name + label[len(name) :]
    return given
