"""What entries of a policy mean, and which addresses an answer of DNS may make reachable."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from boxes.network.egress_policy import Policy, is_public

ALL = (("tcp", "udp"), 0, 0)


@pytest.mark.parametrize(
    ("entry", "network", "service"),
    [
        ("10.0.0.0/8", "10.0.0.0/8", ALL),
        ("192.0.2.1", "192.0.2.1/32", ALL),
        ("192.0.2.1:443", "192.0.2.1/32", (("tcp", "udp"), 443, 443)),
        ("10.0.0.0/8:53/udp", "10.0.0.0/8", (("udp",), 53, 53)),
        ("10.0.0.0/8:8000-8100/tcp", "10.0.0.0/8", (("tcp",), 8000, 8100)),
        ("fd00::/8", "fd00::/8", ALL),
        ("fd00::1", "fd00::1/128", ALL),
        ("[fd00::/8]", "fd00::/8", ALL),
        ("[fd00::1]:80", "fd00::1/128", (("tcp", "udp"), 80, 80)),
        ("::/0", "::/0", ALL),
    ],
)
def test_networks(entry: str, network: str, service: object) -> None:
    policy = Policy([entry])
    assert [(str(found), of) for found, of in policy.networks] == [(network, service)]
    assert policy.names == []


@pytest.mark.parametrize(
    ("entry", "name", "wild", "within", "service"),
    [
        ("example.org", "example.org", False, "None", ALL),
        ("Example.ORG.", "example.org", False, "None", ALL),
        ("db", "db", False, "None", ALL),
        ("_srv._tcp.example.org:5060/udp", "_srv._tcp.example.org", False, "None", (("udp",), 5060, 5060)),
        ("*.example.org:443", "example.org", True, "None", (("tcp", "udp"), 443, 443)),
        ("*", "", True, "None", ALL),
        ("db@10.0.0.0/8:5432", "db", False, "10.0.0.0/8", (("tcp", "udp"), 5432, 5432)),
        ("db@[fd00::/8]:5432/tcp", "db", False, "fd00::/8", (("tcp",), 5432, 5432)),
        ("1.example.org", "1.example.org", False, "None", ALL),
    ],
)
def test_names(entry: str, name: str, wild: bool, within: str, service: object) -> None:
    policy = Policy([entry])
    (found,) = policy.names
    assert (found.name, found.wild, str(found.within), found.service) == (name, wild, within, service)
    assert policy.networks == []


@pytest.mark.parametrize(
    "entry",
    [
        "", ".", "a..b", "-a.b", "a-.b", "a b", "*a.b", "a.*.b", "**", "10.0.0.1/8", "1.2.3", "1.2.3.4.5", "300.1.1.1", "a:", "a:0",
        "a:65536", "a:5-4", "a:80/", "a:80/TCP", ":80", "fd00::1:80/tcp", "fd00::/129", "[fd00::1", "a@b", "a@", "@10.0.0.0/8",
        "a@10.0.0.1/8", "http://a", "a/b", f"{'a' * 64}.b", f"{'a.' * 127}b.c", "a\n", "a\x00b", "é.org", "ａ.org",
    ],
)  # fmt: skip
def test_what_is_neither_is_refused(entry: str) -> None:
    with pytest.raises(ValueError, match="'"):
        Policy([entry])


def test_none_is_nothing() -> None:
    policy = Policy(["none"])
    assert (policy.networks, policy.names, policy.services) == ([], [], [])


@pytest.mark.parametrize(
    ("entry", "name", "expected"),
    [
        ("example.org", "example.org", True),
        ("example.org", "www.example.org", False),
        ("*.example.org", "www.example.org", True),
        ("*.example.org", "a.b.example.org", True),
        ("*.example.org", "example.org", False),
        ("*.example.org", "badexample.org", False),
        ("*", "anything.at.all", True),
        ("example.org", "example\\046org", False),
    ],
)
def test_name_is_matched_by_whole_labels(entry: str, name: str, expected: bool) -> None:
    assert bool(Policy([entry]).matching(name)) is expected


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0", "10.1.2.3", "100.64.0.1", "127.0.0.1", "169.254.169.254", "172.16.0.1", "192.168.0.1", "192.0.2.1", "198.18.0.1",
        "224.0.0.1", "240.0.0.1", "255.255.255.255", "::", "::1", "fe80::1", "fc00::1", "fd00::1", "ff02::1", "ff0e::1", "2001:db8::1",
        "::ffff:8.8.8.8", "::ffff:10.0.0.1", "64:ff9b::10.0.0.1", "2002:0a00:0001::1", "2001:0:1:2:3:4:5:6", "64:ff9b:1::1",
    ],
)  # fmt: skip
def test_special_addresses_are_not_the_publics(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700::1", "64:ff9b::8.8.8.8"])
def test_public_addresses(address: str) -> None:
    assert is_public(ip_address(address))


def test_address_that_is_allowed_by_itself_may_be_a_names() -> None:
    policy = Policy(["example.org:80", "10.0.0.0/8:80", "10.9.0.0/16:443"])
    (name,) = policy.names
    assert policy.may_be(ip_address("10.1.2.3"), name, local=False)
    assert policy.may_be(ip_address("8.8.8.8"), name, local=False)
    assert not policy.may_be(ip_address("8.8.8.8"), name, local=True)
    assert not policy.may_be(ip_address("192.168.0.1"), name, local=False)
    (other,) = Policy(["example.org:443"]).names
    assert not Policy(["example.org:443", "10.0.0.0/8:80"]).may_be(ip_address("10.1.2.3"), other, local=False)


def test_name_within_a_network_is_nowhere_else() -> None:
    (name,) = (policy := Policy(["db@10.0.0.0/8"])).names
    assert policy.may_be(ip_address("10.1.2.3"), name, local=True)
    assert not policy.may_be(ip_address("8.8.8.8"), name, local=False)
