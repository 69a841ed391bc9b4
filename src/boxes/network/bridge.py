"""A bridge of the host, and pairs of devices of which one end is a port of it and the other a container's."""

from __future__ import annotations

import errno
from _socket import AF_INET, AF_INET6

from boxes import system as os
from boxes.errors import ExistsError
from boxes.linux import flags as k
from boxes.linux import syscalls
from boxes.linux.rtnetlink import IFLA_ADDRESS, IFLA_MTU, Rtnetlink
from boxes.network import BRIDGES, leases
from boxes.network.addresses import Subnet, family_of, packed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from boxes.linux.rtnetlink import Link

_MTU = 1500
INSIDE = "eth0"  # what a container calls its device
_FORWARDING = {AF_INET: "/proc/sys/net/ipv4/ip_forward", AF_INET6: "/proc/sys/net/ipv6/conf/all/forwarding"}


def has_ipv6() -> bool:
    try:
        return _read("/proc/sys/net/ipv6/conf/default/disable_ipv6") == "0"
    except OSError:
        return False


def used(route: Rtnetlink) -> list[tuple[Subnet, str]]:
    """The subnets that the host reaches, and by which of its devices."""
    names = {link.index: link.name for link in route.links()}
    found = []
    for family in (AF_INET, AF_INET6):
        for entry in route.routes(family):
            name = names.get(entry.device, "")
            if entry.prefix and not entry.destination.startswith((b"\xfe\x80", b"\xff")):
                first = int.from_bytes(entry.destination, "big")
                found.append((Subnet(family, first, entry.prefix), name or "a route"))
    return found


def mtu_of_host(route: Rtnetlink) -> int:
    """What the way to everywhere carries."""
    for entry in route.routes(AF_INET):
        link = route.link_at(entry.device) if not entry.prefix and entry.device else None
        if link is not None:
            return int.from_bytes(link.attributes[IFLA_MTU], "little")
    return _MTU


def make(route: Rtnetlink, name: str, subnets: Sequence[Subnet], mtu: int) -> None:
    """The bridge, up, with the first address of each subnet; what is there of it already stays."""
    link = route.link(name)
    if link is None:
        route.add_bridge(name, leases.mac(leases.gateway(subnets[0])), mtu)
        link = _found(route, name)
    _heed_no_router(name)
    for subnet in subnets:
        if subnet.family == AF_INET6:
            # by its link-local address it asks for neighbours, and it is to do so at once; it has none before a port
            _write(f"/proc/sys/net/ipv6/conf/{name}/accept_dad", "0")
        try:
            route.new_address(link.index, subnet.family, packed(leases.gateway(subnet)), subnet.prefix)
        except FileExistsError:
            pass  # by one who did not get further
        if subnet.family == AF_INET:
            _write(f"/proc/sys/net/ipv4/conf/{name}/route_localnet", "1")
        _forward(subnet.family)


def _heed_no_router(name: str) -> None:
    """A container is not the host's. Also without a subnet of IPv6 the bridge has a link-local address."""
    try:
        _write(f"/proc/sys/net/ipv6/conf/{name}/accept_ra", "0")
    except FileNotFoundError:
        pass  # a kernel without IPv6


def check_name(route: Rtnetlink, name: str, subnets: Sequence[Subnet]) -> None:
    """Raise ExistsError if there is a device of this name that is none of ours."""
    link = route.link(name)
    if link is not None and link.attributes.get(IFLA_ADDRESS) != leases.mac(leases.gateway(subnets[0])):
        raise ExistsError(f"there is a device '{name}' already that is no bridge of boxes")


def _forward(family: int) -> None:
    """Let the host route. Of IPv6 it would stop to heed its own routers then, unless told to go on (accept_ra=2):
    those behind the devices that it has, not behind bridges of ours or what others make later."""
    path = _FORWARDING[family]
    if _read(path) != "0":
        return
    if family == AF_INET6:
        for name in os.listdir("/proc/sys/net/ipv6/conf"):
            heeds = f"/proc/sys/net/ipv6/conf/{name}/accept_ra"
            if name not in ("all", "default") and not name.startswith(BRIDGES) and _read(heeds) == "1":
                _write(heeds, "2")
    _write(path, "1")


def _read(path: str) -> str:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, 64).decode().strip()
    finally:
        os.close(fd)


def _write(path: str, value: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, value.encode())
    finally:
        os.close(fd)


def _found(route: Rtnetlink, name: str) -> Link:
    link = route.link(name)
    if link is None:
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV), name)
    return link


class Pair:
    """Two devices to be made: `veth` is a port of `bridge`, the other is the container's and has `addresses`, each with
    the length of its prefix. `hairpin`: whether what leaves by the port can come back by it: bridges with br_netfilter
    send a container's packets for its own published port straight back."""

    def __init__(
        self, bridge: str, veth: str, addresses: Sequence[tuple[str, int]], mtu: int, *, hairpin: bool
    ) -> None:
        self.bridge = bridge
        self.veth = veth
        self.addresses = addresses
        self.mtu = mtu
        self.hairpin = hairpin


def attach(route: Rtnetlink, pair: Pair, netns: int) -> None:
    """Make the pair, and give the container's end its addresses and a way out, by the first address of each subnet."""
    mac = leases.mac(pair.addresses[0][0])
    route.add_veth(pair.veth, _found(route, pair.bridge).index, INSIDE, mac, pair.mtu, netns)
    if pair.hairpin:
        route.set_hairpin(pair.veth)
    there = _beyond(netns)
    try:
        index = _found(there, INSIDE).index
        there.set_link(index, up=True)
        for address, prefix in pair.addresses:
            family = family_of(address)
            subnet = Subnet.parse(f"{address}/{prefix}")
            there.new_address(index, family, packed(address), prefix)
            there.add_default_route(family, packed(leases.gateway(subnet)))
    finally:
        there.close()


def _beyond(netns: int) -> Rtnetlink:
    """A socket belongs to the namespace that it was made in: so this process, which has one thread, goes there."""
    own = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        syscalls.setns(netns, k.CLONE_NEWNET)
        try:
            return Rtnetlink()
        finally:
            syscalls.setns(own, k.CLONE_NEWNET)
    finally:
        os.close(own)


def carries(route: Rtnetlink, veth: str) -> bool:
    """Whether a port takes part in its bridge. The kernel sees to that some time after both ends are up; since Linux
    6.8 by the time that it is asked."""
    return _found(route, veth).is_operational


def is_attached(route: Rtnetlink, veth: str) -> bool:
    """Whether a pair is there, and the kernel is not about to remove it. The namespace of a container that has just
    ended is kept for some milliseconds more, by the sockets that were in it."""
    link = route.link(veth)
    return link is not None and route.has_living_peer(link)


def detach(route: Rtnetlink, veth: str) -> None:
    """Remove a pair, unless the kernel is doing so: to be told to takes it 15 ms, of which the caller would have to
    wait for each."""
    if is_attached(route, veth):
        route.delete_link(veth)
