"""Subnets and addresses: which is next."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boxes.network import leases
from boxes.network.addresses import Subnet


def test_addresses_are_given_in_turn() -> None:
    subnet = Subnet.parse("10.0.0.0/29")
    found: list[str] = []
    last = ""
    for _ in range(7):
        last = leases.next_free(subnet, (), last) or ""
        found.append(last)
    assert found == [f"10.0.0.{number}" for number in (2, 3, 4, 5, 6, 2, 3)]


def test_what_is_taken_is_passed_over_until_nothing_is_left() -> None:
    subnet = Subnet.parse("10.0.0.0/29")
    assert leases.next_free(subnet, {"10.0.0.2", "10.0.0.3"}, "") == "10.0.0.4"
    assert leases.next_free(subnet, {f"10.0.0.{number}" for number in range(8)}, "10.0.0.5") is None


@pytest.mark.parametrize(
    ("text", "usable"), [("10.0.0.0/30", ["10.0.0.2"]), ("fd00::/126", ["fd00::2", "fd00::3"]), ("10.0.0.0/31", [])]
)
def test_neither_the_network_nor_the_host_nor_broadcast(text: str, usable: list[str]) -> None:
    subnet = Subnet.parse(text)
    found = [subnet.address(offset) for offset in range(subnet.size)]
    assert [address for address in found if leases.usable(subnet, address)] == usable
    assert leases.next_free(subnet, usable, "") is None


def test_a_subnet_that_nobody_has() -> None:
    assert str(leases.free_subnet([])) == "10.180.0.0/22"
    assert str(leases.free_subnet([Subnet.parse("10.180.1.0/24"), Subnet.parse("10.180.4.0/22")])) == "10.180.8.0/22"
    assert leases.free_subnet([Subnet.parse("10.0.0.0/8")]) is None


def test_random_subnets_are_unique_local() -> None:
    assert str(leases.random_subnet(b"\x01\x02\x03\x04\x05")) == "fd01:203:405::/64"


def test_hardware_addresses_are_local_and_no_groups() -> None:
    for address in ("255.255.255.255", "fd00::ffff:ffff:ffff"):
        mac = leases.mac(address)
        assert len(mac) == 6 and mac[0] & 3 == 2


networks = st.ip_addresses().flatmap(
    lambda address: st.integers(0, address.max_prefixlen).map(
        lambda prefix: ipaddress.ip_network(f"{address}/{prefix}", strict=False)
    )
)


@settings(deadline=None)
@given(networks, networks)
def test_subnets_are_those_of_the_standard_library(
    one: ipaddress.IPv4Network | ipaddress.IPv6Network, other: ipaddress.IPv4Network | ipaddress.IPv6Network
) -> None:
    ours, theirs = Subnet.parse(str(one)), Subnet.parse(str(other))
    assert ours.overlaps(theirs) == (one.version == other.version and one.overlaps(other))
    assert ipaddress.ip_network(str(ours)) == one
    assert ours.size == one.num_addresses
    assert ours.has(str(other[0])) == (one.version == other.version and other[0] in one)


@pytest.mark.parametrize(
    "text", ["", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0/8", "::/129", "10.0.0.0/٣", "a"]
)
def test_what_is_no_subnet(text: str) -> None:
    with pytest.raises(ValueError, match="is no"):
        Subnet.parse(text)
