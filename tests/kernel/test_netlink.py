"""Our netlink against pyroute2's, and against iproute2, in network namespaces of the test's own."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from struct import pack

import pytest
from pyroute2 import IPRoute

from boxes.linux import rtnetlink
from boxes.linux.netlink import attribute, attributes, string
from boxes.linux.rtnetlink import Rtnetlink
from tests.support.marks import requires
from tests.support.network import inside, ip, is_up, new_namespace

pytestmark = requires("root")


@pytest.fixture
def route() -> Iterator[Rtnetlink]:
    """In a new namespace with a pair of devices, one with addresses. This process is there too."""
    with new_namespace() as namespace, inside(namespace):
        ip("link", "add", "v0", "mtu", "1400", "type", "veth", "peer", "v1")
        ip("address", "add", "10.9.0.1/24", "dev", "v0", "label", "v0:one", "broadcast", "+")
        ip("address", "add", "10.9.0.2", "peer", "10.9.1.1/32", "dev", "v0", "noprefixroute")
        ip("address", "add", "fd09::1/64", "dev", "v0", "nodad", "valid_lft", "1000", "preferred_lft", "500")
        opened = Rtnetlink()
        yield opened
        opened.close()


@pytest.fixture
def peer(route: Rtnetlink) -> Iterator[IPRoute]:
    """The same namespace by pyroute2."""
    with IPRoute() as opened:
        yield opened


def test_attributes_are_what_they_were() -> None:
    given = attribute(3, "eth0") + attribute(8, 513) + attribute(1, b"\1\2\3") + attribute(0x8000 | 5, b"")
    assert given == b"\x09\0\3\0eth0\0\0\0\0" + b"\x08\0\x08\0" + pack("=I", 513) + b"\7\0\1\0\1\2\3\0" + b"\4\0\5\x80"
    assert attributes(b"head" + given, 4) == {3: b"eth0\0", 8: pack("=I", 513), 1: b"\1\2\3", 5: b""}
    assert string(b"eth0\0") == "eth0"


@pytest.mark.parametrize("data", [b"", b"\1", b"\3\0\1\0", b"\xff\0\1\0abc", b"\0\0\1\0"])
def test_attributes_that_are_cut_off_are_none(data: bytes) -> None:
    assert attributes(data) == {}


@pytest.mark.parametrize("name", ["lo", "v0", "v1"])
def test_a_link_is_what_others_see(route: Rtnetlink, peer: IPRoute, name: str) -> None:
    (theirs,) = peer.get_links(ifname=name)
    ours = route.link(name)
    assert ours is not None
    assert (ours.index, ours.flags, ours.name) == (theirs["index"], theirs["flags"], name)
    assert ours.attributes[4] == pack("=I", theirs.get_attr("IFLA_MTU"))
    again = route.link_at(ours.index)
    assert again is not None and again.name == name


def test_what_is_not_there_is_none(route: Rtnetlink) -> None:
    assert route.link("other") is None
    assert route.link_at(9999) is None


def test_addresses_are_what_others_see(route: Rtnetlink, peer: IPRoute) -> None:
    index = peer.link_lookup(ifname="v0")[0]
    theirs = [
        (
            a["family"],
            a["prefixlen"],
            a["scope"],
            a.get_attr("IFA_FLAGS"),
            a.get_attr("IFA_ADDRESS"),
            a.get_attr("IFA_LOCAL"),
        )
        for a in peer.get_addr(index=index)
    ]
    ours = []
    for address in route.addresses(index):
        values = [address.attributes.get(kind) for kind in (rtnetlink.IFA_ADDRESS, rtnetlink.IFA_LOCAL)]
        texts = [socket.inet_ntop(address.family, value) if value else None for value in values]
        ours.append((address.family, address.prefix, address.scope, address.flags, *texts))
    assert ours == theirs
    assert len(ours) == 3
    assert [string(a.attributes.get(rtnetlink.IFA_LABEL, b"")) for a in route.addresses(index)] == ["v0:one", "v0", ""]


def test_addresses_are_of_one_device_only(route: Rtnetlink) -> None:
    other = route.link("v1")
    assert other is not None
    assert route.addresses(other.index) == []


def test_an_address_can_be_made_again(route: Rtnetlink, peer: IPRoute) -> None:
    """On the other device, with all its attributes; those that count time may have gone on."""
    one, other = route.link("v0"), route.link("v1")
    assert one is not None and other is not None

    def seen(index: int) -> list[tuple[object, ...]]:
        names = ("IFA_ADDRESS", "IFA_LOCAL", "IFA_BROADCAST", "IFA_FLAGS")
        return [(a["prefixlen"], *(a.get_attr(name) for name in names)) for a in peer.get_addr(index=index)]

    for address in route.addresses(one.index):
        given = {kind: value for kind, value in address.attributes.items() if kind != rtnetlink.IFA_LABEL}
        route.add_address(other.index, address, dict(given))
    assert seen(other.index) == seen(one.index)


def test_a_link_is_renamed_and_set_up_and_down(route: Rtnetlink, peer: IPRoute) -> None:
    link = route.link("v0")
    assert link is not None
    route.set_link(link.index, name="new")
    assert peer.link_lookup(ifname="new") == [link.index]
    route.set_link(link.index, up=True)
    assert is_up("new")
    route.set_link(link.index, up=False)
    assert not is_up("new")
    route.set_link(link.index, name="any%d")
    assert peer.link_lookup(ifname="any0") == [link.index]


def test_a_link_goes_to_another_namespace(route: Rtnetlink, peer: IPRoute) -> None:
    link = route.link("v0")
    assert link is not None
    with new_namespace() as other:
        route.set_link(link.index, name="far", netns=other)
        assert peer.link_lookup(ifname="v0") == []
        with inside(other), IPRoute() as there:
            assert there.link_lookup(ifname="far")


def test_an_error_has_the_kernels_own_words(route: Rtnetlink) -> None:
    """NETLINK_EXT_ACK: which of the many reasons for EINVAL it is."""
    link = route.link("v0")
    assert link is not None
    with pytest.raises(OSError, match=r"Invalid argument|out of range") as caught:
        route.add_address(link.index, route.addresses(link.index)[0], {rtnetlink.IFA_LOCAL: b"\1"})
    assert "RTM_NEWADDR" in caught.value.call and "attribute" in caught.value.call  # type: ignore[attr-defined]


def test_an_error_is_the_kernels_number(route: Rtnetlink) -> None:
    with pytest.raises(OSError, match="No such device") as caught:
        route.set_link(9999, up=True)
    assert caught.value.errno == errno.ENODEV
    assert caught.value.call == "RTM_SETLINK(9999, up=True)"  # type: ignore[attr-defined]
    taken = route.link("v0")
    assert taken is not None
    with pytest.raises(FileExistsError):
        route.set_link(taken.index, name="v1")
    assert route.link("v0") is not None, "the next answer is that of the next request"


def test_a_dump_of_many_is_whole(route: Rtnetlink) -> None:
    one, link = route.link("v0"), route.link("v1")
    assert one is not None and link is not None
    like = route.addresses(one.index)[0]
    for number in range(1000):
        value = bytes((10, 8, number >> 8, number & 255))
        route.add_address(link.index, like, {rtnetlink.IFA_LOCAL: value, rtnetlink.IFA_ADDRESS: value})
    assert len(route.addresses(link.index)) == 1000


def test_the_socket_is_not_inherited(route: Rtnetlink) -> None:
    assert not os.get_inheritable(route._socket.fileno())
