"""Bridges, pairs of devices, routes and tables, made by our netlink and seen by pyroute2, iproute2 and nft(8)."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator

import pytest
from pyroute2 import IPRoute

from boxes.errors import ExistsError
from boxes.linux import ruleset
from boxes.linux.nftables import Nftables
from boxes.linux.rtnetlink import Rtnetlink
from boxes.linux.ruleset import Changes
from boxes.network import bridge, leases, ports, rules
from boxes.network.addresses import Subnet
from tests.support.marks import requires
from tests.support.network import addresses, devices, inside, ip, look, new_namespace
from tests.support.runtime import wait_until

pytestmark = requires("root", "nft")

SUBNETS = [Subnet.parse("10.9.0.0/24"), Subnet.parse("fd09::/64")]
PAIR = bridge.Pair("bx-t", "vetht", [("10.9.0.2", 24), ("fd09::2", 64)], 1400, hairpin=True)


@pytest.fixture
def route() -> Iterator[Rtnetlink]:
    """In a new namespace. This process is there too."""
    with new_namespace() as namespace, inside(namespace):
        ip("link", "set", "lo", "up")
        opened = Rtnetlink()
        yield opened
        opened.close()


def test_a_bridge_is_made_once_and_what_lacks_is_added(route: Rtnetlink) -> None:
    for _ in range(2):
        bridge.make(route, "bx-t", SUBNETS, 1400)
        (link,) = look("link", "show", "dev", "bx-t")
        assert (link["linkinfo"]["info_kind"], link["mtu"], link["address"]) == ("bridge", 1400, "02:42:0a:09:00:01")
        assert addresses("bx-t", "global") == ["10.9.0.1/24", "fd09::1/64"]
        ip("address", "delete", "10.9.0.1/24", "dev", "bx-t")
    bridge.check_name(route, "bx-t", SUBNETS)
    with pytest.raises(ExistsError):
        bridge.check_name(route, "bx-t", SUBNETS[1:])


def test_a_pair_is_a_port_here_and_eth0_there(route: Rtnetlink) -> None:
    bridge.make(route, "bx-t", SUBNETS, 1400)
    with new_namespace() as there:
        bridge.attach(route, PAIR, there)
        wait_until(lambda: bridge.carries(route, "vetht"), "the port")
        (port,) = look("link", "show", "dev", "vetht")
        assert (port["master"], port["mtu"]) == ("bx-t", 1400)
        assert port["linkinfo"]["info_slave_data"]["hairpin"] is True
        with inside(there), IPRoute() as peer:
            (link,) = peer.get_links(ifname="eth0")
            assert (link.get_attr("IFLA_ADDRESS"), link.get_attr("IFLA_MTU")) == ("02:42:0a:09:00:02", 1400)
            assert addresses("eth0", "global") == ["10.9.0.2/24", "fd09::2/64"]
            gateways = [
                entry.get_attr("RTA_GATEWAY")
                for family in (socket.AF_INET, socket.AF_INET6)
                for entry in peer.get_routes(family=family, table=254)
                if entry["dst_len"] == 0 and entry.get_attr("RTA_GATEWAY")
            ]
            assert gateways == ["10.9.0.1", "fd09::1"]


def test_a_pair_is_left_to_the_kernel_if_its_namespace_is_going(route: Rtnetlink) -> None:
    bridge.make(route, "bx-t", SUBNETS, 1400)
    with new_namespace() as there:
        bridge.attach(route, PAIR, there)
        link = route.link("vetht")
        assert link is not None and route.has_living_peer(link)
        bridge.detach(route, "vetht")
        assert "vetht" not in devices(), "somebody is there, and may be for long"
        bridge.attach(route, PAIR, there)
        link = route.link("vetht")
        assert link is not None
    wait_until(lambda: not route.has_living_peer(link), "the end of the namespace")
    wait_until(lambda: "vetht" not in devices(), "the kernel")
    bridge.detach(route, "vetht")


def test_what_the_host_reaches_is_what_iproute2_sees(route: Rtnetlink) -> None:
    ip("link", "add", "v0", "type", "veth", "peer", "v1")
    ip("address", "add", "192.0.2.1/24", "dev", "v0")
    ip("address", "add", "2001:db8::1/64", "dev", "v0", "nodad")
    ip("link", "set", "v0", "up", "mtu", "1380")
    ip("link", "set", "v1", "up")
    ip("route", "add", "default", "via", "192.0.2.9")
    ip("route", "add", "blackhole", "198.51.100.0/24")
    ip("route", "add", "203.0.113.0/24", "via", "192.0.2.9", "table", "7")
    found = [(str(subnet), device) for subnet, device in bridge.used(route)]
    assert sorted(found) == [("192.0.2.0/24", "v0"), ("198.51.100.0/24", "a route"), ("2001:db8::/64", "v0")]
    assert bridge.mtu_of_host(route) == 1380


def loaded(changes: Changes) -> None:
    tables = Nftables()
    try:
        tables.commit(changes)
    finally:
        tables.close()


def listed() -> str:
    done = subprocess.run(["nft", "list", "ruleset"], check=True, capture_output=True, text=True)
    return done.stdout


PORTS = [("", 80, "10.9.0.2", 8080, "tcp"), ("", 80, "fd09::2", 8080, "tcp"), ("192.0.2.1", 53, "10.9.0.2", 53, "udp")]


def test_rules_are_made_added_to_replaced_and_deleted(route: Rtnetlink) -> None:
    tables = Nftables()
    assert not tables.has_table("inet", "boxes-t")
    loaded(rules.ruleset("t", "bx-t", SUBNETS, PORTS[:1], replace=False))
    assert tables.has_table("inet", "boxes-t")
    assert "tcp . 80 : 10.9.0.2 . 8080" in listed()
    loaded(rules.addition("t", PORTS))
    assert "tcp . 80 : fd09::2 . 8080" in listed()
    assert "192.0.2.1 . udp . 53 : 10.9.0.2 . 53" in listed()
    loaded(rules.ruleset("t", "bx-t", SUBNETS, [], replace=True))
    assert "10.9.0.2" not in listed()
    assert tables.delete_table("inet", "boxes-t") is True
    assert tables.delete_table("inet", "boxes-t") is False
    assert listed() == ""
    tables.close()


def test_rules_are_what_nft_makes_of_the_same_text(route: Rtnetlink) -> None:
    loaded(rules.ruleset("t", "bx-t", SUBNETS, PORTS, replace=False))
    text = listed()
    for line in (
        "elements = { tcp . 80 : 10.9.0.2 . 8080 }",
        "elements = { 192.0.2.1 . udp . 53 : 10.9.0.2 . 53 }",
        "type filter hook prerouting priority raw; policy accept;",
        "ip saddr != 10.9.0.0/24 ip saddr != 0.0.0.0 drop",
        "ip6 saddr != fd09::/64 ip6 saddr != fe80::/10 ip6 saddr != :: drop",
        "dnat ip6 to ip6 daddr . meta l4proto . th dport map @bound6",
        'oifname "bx-t" ip saddr 10.9.0.0/24 ct status dnat masquerade',
        "ct state established,related accept",
    ):
        assert f"\t{line}\n" in text
    subprocess.run(["nft", "delete", "table", "inet", "boxes-t"], check=True)
    subprocess.run(["nft", "-f", "-"], input=text, text=True, check=True)
    assert listed() == text, "it says what it means"


def test_changes_are_made_as_a_whole_or_not_at_all(route: Rtnetlink) -> None:
    loaded(rules.ruleset("t", "bx-t", SUBNETS, PORTS, replace=False))
    before = listed()
    wrong = rules.addition("t", [("", 81, "10.9.0.2", 81, "tcp")])
    wrong.rule("nowhere")
    with pytest.raises(FileNotFoundError):
        loaded(wrong)
    wrong = Changes("inet", "boxes-t")
    wrong.rule("published", ruleset.jump("published"))
    with pytest.raises(OSError, match="Too many links"):
        loaded(wrong)
    assert listed() == before
    loaded(rules.addition("t", [("", port, "10.9.0.2", port, "tcp") for port in range(1000, 6000)]))
    assert "tcp . 5999 : 10.9.0.2 . 5999" in listed()


def test_a_port_is_free_unless_somebody_listens(route: Rtnetlink) -> None:
    assert ports.refusal("", 80, "tcp") is None
    with socket.create_server(("127.0.0.1", 80)):
        assert ports.refusal("", 80, "tcp") == "a program on this host listens there"
        assert ports.refusal("127.0.0.1", 80, "tcp") is not None
        assert ports.refusal("", 80, "udp") is None
        assert ports.refusal("::1", 80, "tcp") is None
    assert ports.refusal("192.0.2.7", 80, "tcp") == "this host does not have the address 192.0.2.7"


def test_the_first_address_is_the_hosts() -> None:
    assert [leases.gateway(subnet) for subnet in SUBNETS] == ["10.9.0.1", "fd09::1"]
