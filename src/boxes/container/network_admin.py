"""Networks, for whoever administers them: listed, made, looked at and removed."""

from __future__ import annotations

from boxes import log
from boxes.container import network_cleanup, network_joining
from boxes.container import network_records as records
from boxes.container.network_records import Lock, Network
from boxes.errors import BoxesError, ConfigError, ExistsError, NotFoundError, StateError, UsageError, refused
from boxes.linux.rtnetlink import Rtnetlink
from boxes.network import bridge as device
from boxes.network import leases
from boxes.network.addresses import AF_INET, AF_INET6, Subnet
from boxes.plan.networking import DEFAULT, NAME_RULE, is_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_SMALLEST = {AF_INET: 30, AF_INET6: 126}  # the longest prefix that leaves an address for a container
_LEAST_MTU, _MOST_MTU = {AF_INET: 68, AF_INET6: 1280}, 65535


def listing() -> list[dict[str, Any]]:
    """All there are, by name."""
    _sweep()
    return [describe(name) for name in sorted({DEFAULT, *records.definitions(), *_in_use()})]


def _in_use() -> set[str]:
    return {network.name for network in records.all_in_use()}


def describe(name: str) -> dict[str, Any]:
    """A network's subnets, their gateways, its bridge, and the containers on it. The default one has no subnets as long
    as nobody is on it. Raises NotFoundError."""
    if not is_name(name) or not records.exists(name):
        raise NotFoundError(f"there is no network '{name}'")
    network = records.in_use(name)
    definition = records.definition(name) or {}
    if network is None:
        network = Network(name, {"subnets": [], **definition})
    members = [
        {key: member[key] for key in ("id", "names", "addresses", "ports", "veth", "directory")}
        for member in network.members.values()
    ]
    return {
        "name": name,
        "driver": "bridge",
        "bridge": network.bridge,
        "subnets": [{"subnet": str(subnet), "gateway": leases.gateway(subnet)} for subnet in network.subnets],
        "mtu": network.mtu or None,
        "containers": sorted(members, key=lambda member: str(member["id"])),
    }


def create(name: str, subnets: list[str], mtu: int | None) -> None:
    """Define a network that outlives the host. Its bridge is made when the first container comes."""
    if not is_name(name):
        raise UsageError(f"'{name}' is no name of a network", hint=NAME_RULE)
    if name == DEFAULT:
        raise ExistsError(f"network '{DEFAULT}' is always there")
    _sweep()
    with Lock():
        if records.exists(name):
            raise ExistsError(f"network '{name}' exists already")
        wanted = [_parsed(text) for text in subnets]
        if len({subnet.family for subnet in wanted}) < len(wanted):
            raise UsageError("flag --subnet: at most one of each family")
        route = Rtnetlink()
        try:
            used = device.used(route)
            chosen = sorted(wanted, key=lambda subnet: subnet.bits) or [
                Subnet.parse(text) for text in network_joining.choose(used)
            ]
            _check_mtu(mtu, chosen)
            _check_others(chosen, name)
            network_joining.check_overlap(chosen, used, but="", name=name)
        finally:
            route.close()
        try:
            records.define(name, {"subnets": [str(subnet) for subnet in chosen], "mtu": mtu})
        except OSError as error:
            raise refused("cannot keep the network", error) from error


def _parsed(text: str) -> Subnet:
    try:
        subnet = Subnet.parse(text)
    except ValueError as error:
        raise UsageError(f"flag --subnet: {error}") from None
    if "/" not in text or subnet.prefix > _SMALLEST[subnet.family] or subnet.prefix < 8:
        longest = _SMALLEST[subnet.family]
        raise UsageError(f"flag --subnet: '{text}' where ADDRESS/PREFIX is wanted, PREFIX from 8 to {longest}")
    if subnet.is_special:
        raise UsageError(f"flag --subnet: '{text}' is loopback, link-local, multicast or not to be used")
    if subnet.first != Subnet.parse(text.partition("/")[0]).first:
        raise UsageError(f"flag --subnet: '{text}' has bits beyond its prefix", hint=f"did you mean {subnet}?")
    return subnet


def _check_mtu(mtu: int | None, subnets: list[Subnet]) -> None:
    if mtu is not None:
        least = max(_LEAST_MTU[subnet.family] for subnet in subnets)
        if not least <= mtu <= _MOST_MTU:
            raise UsageError(f"flag --mtu: {mtu} where {least} to {_MOST_MTU} is wanted")


def _check_others(subnets: list[Subnet], name: str) -> None:
    for other, found in records.definitions().items():
        for text in found["subnets"]:
            for subnet in subnets:
                if subnet.overlaps(Subnet.parse(text)):
                    raise ConfigError(f"the subnet {subnet} overlaps with {text} of network '{other}'")
        if records.bridge_name(other) == records.bridge_name(name):
            raise ExistsError(f"the bridge of network '{name}' would have the name of that of '{other}'")


def remove(name: str, *, force: bool = False) -> None:
    """Forget a network that nobody is on. By force, leases count for nothing of containers that are there no more, or
    have no process."""
    if force:
        _free(name)
    _sweep()
    with Lock():
        if not is_name(name) or not records.exists(name):
            raise NotFoundError(f"there is no network '{name}'")
        network = records.in_use(name)
        if network is not None and network.members:
            holders = ", ".join(sorted(f"'{member['id']}'" for member in network.members.values())[:5])
            hint = f"box network rm --force {name}" if _gone(network) else None
            raise StateError(f"network '{name}' is in use, by {holders}", hint=hint)
        if name == DEFAULT:
            return  # it is gone with the last one that used it
        try:
            records.undefine(name)
        except OSError as error:
            raise refused("cannot remove the network", error) from error


def _free(name: str) -> None:
    with Lock():
        network = records.in_use(name) if is_name(name) else None
        if network is None:
            return
        for member in _gone(network):
            log.warning(f"container '{member['id']}' ({member['directory']}) is taken off network '{name}'")
            network_joining.leave(network, member)


def _gone(network: Network) -> list[dict[str, Any]]:
    """Those whose network namespace has gone: they have no process, perhaps no directory either. This is asked of the
    device, which the kernel removes with the namespace: a directory may be in another mount namespace."""
    route = Rtnetlink()
    try:
        return [
            {**member, "token": token}
            for token, member in network.members.items()
            if not device.is_attached(route, member["veth"])
        ]
    finally:
        route.close()


def _sweep() -> None:
    """What a process that was killed has left of networks that nobody is on."""
    try:
        network_cleanup.sweep(bridges=True)
    except (BoxesError, OSError) as error:
        log.warning(f"ignoring: {error}")
