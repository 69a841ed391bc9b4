"""A container joins a network of the host, and leaves it: `record` is that of `container.networks.bridge`.

Who holds the lock of networks may do all of this. Rules follow from leases, and are replaced as a whole: whatever a
killed process left, the next change puts right.
"""

from __future__ import annotations

import time

from boxes import log
from boxes import system as os
from boxes.cgroups import wait
from boxes.container import network_cleanup
from boxes.container import network_records as records
from boxes.container.network_records import Lock, Network
from boxes.errors import ConfigError, NotFoundError, StateError, UnsupportedError, refused
from boxes.linux.nftables import Nftables
from boxes.linux.rtnetlink import Rtnetlink
from boxes.network import bridge, firewall, leases, names, ports, rules
from boxes.network.addresses import AF_INET, Subnet, family_of
from boxes.plan.networking import DEFAULT, IP, NETWORK, PUBLISH, overlap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from boxes.linux.ruleset import Changes

_PATIENCE = 2.0  # seconds


def prepare(record: dict[str, Any], save: Callable[[], None]) -> Callable[[], None]:
    """The lease, the bridge, the names and the rules."""
    with Lock():
        name = record["network"]
        network = records.in_use(name) or _new(name, record)
        _join(network, record)
        save()
        network.save()
        _make(network, record)
        rest = _make_rules(network, record["ports"])
        os.write_file(f"{record['directory']}/resolv.conf", names.resolver(record["servers"]))
    return lambda: _complete(rest, record)


def _make_rules(network: Network, ports: list[list[Any]]) -> Callable[[], None]:
    """What there is not of them. What is returned waits until the kernel has freed those that were replaced, some
    10 ms, in which there is better to do."""
    tables = Nftables()
    kept = False
    try:
        there = tables.has_table("inet", rules.table(network.name))
        if not there or len(network.members) == 1:  # what is there is of those who have left
            tables.commit(_rules(network, replace=there))
            kept = there
        elif ports:
            tables.commit(rules.addition(network.name, _all_published(network)))
        families = ["ip" if subnet.family == AF_INET else "ip6" for subnet in network.subnets]
        for text in firewall.let_through(tables, network.name, network.bridge, families):
            log.warning(text)
    except OSError as error:
        raise refused(f"cannot make the rules of network '{network.name}'", error) from error
    finally:
        if not kept:
            tables.close()
    return tables.close


def _complete(rest: Callable[[], None], record: dict[str, Any]) -> None:
    rest()
    _forget_flows(record)


def _forget_flows(record: dict[str, Any]) -> None:
    """When the rules are there, or gone."""
    if any(protocol == "udp" for *_, protocol in record["ports"]):
        from boxes.network import flows

        try:
            flows.forget(_published(record["ports"], [address for address, _ in record["addresses"]]))
        except OSError as error:
            log.debug(f"ignoring: {error}")  # a kernel without nf_conntrack_netlink


def _join(network: Network, record: dict[str, Any]) -> None:
    """Enter a lease for the container."""
    _check_ports(network, record)
    addresses = []
    for subnet in network.subnets:
        address = _address(network, subnet, record)
        network.last[str(subnet.family)] = address
        addresses.append([address, subnet.prefix])
    taken = {text for member in network.members.values() for text in member["names"]}
    known = [text for text in record["names"] if text == record["id"] or text not in taken]
    record |= {"addresses": addresses, "mtu": network.mtu, "names": known}
    network.members[record["token"]] = {
        "id": record["id"],
        "directory": record["directory"],
        "veth": record["veth"],
        "addresses": [address for address, _ in addresses],
        "ports": record["ports"],
        "names": record["names"],
    }


def _new(name: str, record: dict[str, Any]) -> Network:
    """One that comes into use: its subnets are nobody else's now."""
    found = records.definition(name)
    route = Rtnetlink()
    try:
        used = bridge.used(route)
        if found is None:
            if name != DEFAULT:
                raise NotFoundError(f"{record['places'][NETWORK]}: there is no network '{name}'")
            found = {"subnets": choose(used)}
        network = Network(name, found)
        network.mtu = network.mtu or bridge.mtu_of_host(route)
        if not bridge.has_ipv6():
            network.keep_family(AF_INET)
        if not network.subnets:
            text = f"network '{name}' has a subnet of IPv6 only, and this host has no IPv6"
            raise UnsupportedError(f"{record['places'][NETWORK]}: {text}")
        bridge.check_name(route, network.bridge, network.subnets)
        check_overlap(network.subnets, used, but=network.bridge, name=name)
    finally:
        route.close()
    return network


def choose(used: list[tuple[Subnet, str]]) -> list[str]:
    """Subnets that nobody has, neither the host, see bridge.used, nor a network."""
    taken = [subnet for subnet, _ in used]
    taken += [Subnet.parse(text) for found in records.definitions().values() for text in found["subnets"]]
    taken += [subnet for network in records.all_in_use() for subnet in network.subnets]
    four = leases.free_subnet(taken)
    if four is None:
        raise StateError(f"no subnet of {leases.POOL} is free", hint="box network create NAME --subnet CIDR")
    six = [str(leases.random_subnet(os.urandom(5)))] if bridge.has_ipv6() else []
    return [str(four), *six]


def check_overlap(subnets: list[Subnet], used: list[tuple[Subnet, str]], *, but: str, name: str) -> None:
    """With what the host has, by other devices than `but`."""
    for subnet in subnets:
        for other, device in used:
            if device != but and subnet.overlaps(other):
                text = f"the subnet {subnet} of network '{name}' overlaps with {other} of this host ({device})"
                raise ConfigError(text)


def _address(network: Network, subnet: Subnet, record: dict[str, Any]) -> str:
    taken = network.taken()
    place = record["places"][IP]
    for address in record["wanted"]:
        if family_of(address) != subnet.family:
            if not any(other.family == family_of(address) for other in network.subnets):
                raise ConfigError(f"{place}: network '{network.name}' has no subnet for {address}")
            continue
        if not leases.usable(subnet, address):
            raise ConfigError(f"{place}: {address} is no address for a container of {subnet}")
        if address in taken:
            holder = next(member["id"] for member in network.members.values() if address in member["addresses"])
            raise StateError(f"{place}: container '{holder}' has {address}")
        return str(address)
    found = leases.next_free(subnet, taken, network.last.get(str(subnet.family), ""))
    if found is None:
        count = len(network.members)
        raise StateError(f"network '{network.name}' has no address left in {subnet}: {count} containers are on it")
    return found


def _check_ports(network: Network, record: dict[str, Any]) -> None:
    if not record["ports"]:
        return
    held = [
        (port, member["id"])
        for other in records.all_in_use()
        for member in other.members.values()
        for port in member["ports"]
    ]
    for address, host, _, protocol in record["ports"]:
        if address and not any(subnet.family == family_of(address) for subnet in network.subnets):
            raise ConfigError(f"{record['places'][PUBLISH]}: network '{network.name}' has no subnet for {address}")
        shown = f"{record['places'][PUBLISH]}: port {host}/{protocol}"
        for other, holder in held:
            if other[1] == host and other[3] == protocol and overlap(address, other[0]):
                raise StateError(f"{shown} is published by container '{holder}'")
        reason = ports.refusal(address, host, protocol)
        if reason:
            raise StateError(f"{shown} cannot be published: {reason}")


def _make(network: Network, record: dict[str, Any]) -> None:
    hosts = names.Hosts(network.hosts)
    try:
        hosts.add([address for address, _ in record["addresses"]], record["names"])
    finally:
        hosts.close()
    route = Rtnetlink()
    try:
        bridge.make(route, network.bridge, network.subnets, network.mtu)
    except OSError as error:
        raise refused(f"cannot make the bridge of network '{network.name}'", error) from error
    finally:
        route.close()


def _rules(network: Network, *, replace: bool) -> Changes:
    return rules.ruleset(network.name, network.bridge, network.subnets, _all_published(network), replace=replace)


def _all_published(network: Network) -> list[rules.Published]:
    members = network.members.values()
    return [port for member in members for port in _published(member["ports"], member["addresses"])]


def _published(ports: list[list[Any]], addresses: list[str]) -> list[rules.Published]:
    return [
        (address, host, own, inside, protocol)
        for address, host, inside, protocol in ports
        for own in addresses
        if not address or family_of(address) == family_of(own)
    ]


def attach(record: dict[str, Any], netns: int) -> Callable[[], None]:
    route = Rtnetlink()
    try:
        addresses = [(address, prefix) for address, prefix in record["addresses"]]
        made = bridge.Pair(record["bridge"], record["veth"], addresses, record["mtu"], hairpin=bool(record["ports"]))
        bridge.attach(route, made, netns)
        bridge.carries(route, made.veth)
    except OSError as error:
        raise refused(f"cannot attach the container to network '{record['network']}'", error) from error
    finally:
        route.close()
    return lambda: _wait(made.veth)


def _wait(veth: str) -> None:
    """Let no hook and no program begin with a network that does not carry what they send yet."""
    route = Rtnetlink()
    try:
        if not wait.until(lambda: bridge.carries(route, veth), time.monotonic() + _PATIENCE):
            log.warning(f"the device '{veth}' of the container's network is not up after {_PATIENCE} s")
    except OSError as error:
        raise refused("cannot look at the container's network device", error) from error
    finally:
        route.close()


def release(record: dict[str, Any]) -> None:
    name = record["network"]
    with Lock():
        try:
            network = records.in_use(name)
            if network is None:
                records.forget(name)
                return
            leave(network, record)
        except OSError as error:
            raise refused(f"cannot take the container off network '{name}'", error) from error
    if network.leaving or not network.members:
        network_cleanup.start()


def leave(network: Network, record: dict[str, Any]) -> None:
    """The lease last: until then the addresses and ports are nobody else's. Of `record`: token, veth and ports."""
    member = network.members.pop(record["token"], None)
    if member is None:
        return
    route = Rtnetlink()
    try:
        if bridge.is_attached(route, record["veth"]):
            network.leaving.append(record["veth"])
    finally:
        route.close()
    hosts = names.Hosts(network.hosts)
    hosts.remove(member["addresses"])
    hosts.close()
    if network.members and record["ports"]:
        tables = Nftables()
        try:
            tables.commit(_rules(network, replace=True))
        finally:
            tables.close()
    network.save()
