"""Moving devices between two network namespaces that the test makes, and back."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from boxes.errors import ConfigError, KernelError
from boxes.network.devices import Move, Transfer
from tests.support.marks import requires
from tests.support.network import addresses, devices, inside, ip, is_up, look, new_namespace

pytestmark = requires("root")

# In the kernel's order: of IPv4 the first of each network, then the others; of IPv6 the newest first.
GLOBAL = ["10.9.0.1/24", "10.9.7.1/16", "10.9.0.2/24", "fd09::3/64", "fd09::2/64", "fd09::1/64"]
P = "/p"


@pytest.fixture
def here() -> Iterator[int]:
    """This process is in a namespace with the devices v0, which is up and has addresses, v1 and v2."""
    with new_namespace() as namespace, inside(namespace):
        ip("link", "add", "v0", "mtu", "1400", "type", "veth", "peer", "v1")
        ip("link", "add", "v2", "type", "veth", "peer", "v3")
        ip("link", "set", "v0", "address", "02:00:00:00:00:77", "alias", "the first")
        ip("link", "set", "v1", "up")
        ip("address", "add", "10.9.0.1/24", "dev", "v0", "label", "v0:one", "broadcast", "+")
        for entry in (GLOBAL[2], GLOBAL[1]):
            ip("address", "add", entry, "dev", "v0")
        for entry in reversed(GLOBAL[3:]):
            ip("address", "add", entry, "dev", "v0", "nodad")
        ip("address", "add", "169.254.9.1/16", "dev", "v0", "scope", "link")
        ip("address", "add", "10.9.9.9/24", "dev", "v0", "valid_lft", "1000", "preferred_lft", "1000")
        ip("address", "add", "fd0a::1/64", "dev", "v0", "valid_lft", "1000", "preferred_lft", "500", "nodad")
        ip("link", "set", "v0", "up")
        yield namespace


@pytest.fixture
def there(here: int) -> Iterator[int]:
    with new_namespace() as namespace:
        yield namespace


@pytest.fixture
def transfer(there: int) -> Iterator[Transfer]:
    opened = Transfer(there)
    yield opened
    opened.close()


def described(name: str) -> dict[str, Any]:
    """All that ip(8) knows, but for times that pass and the index."""
    (found,) = look("address", "show", "dev", name)
    for entry in found["addr_info"]:
        for lifetime in ("valid_life_time", "preferred_life_time"):
            entry[lifetime] = entry[lifetime] // 100
        entry.pop("tentative", None)
    for volatile in ("ifindex", "operstate"):
        found.pop(volatile)
    return dict(found)


def test_permanent_global_addresses_come_along_and_no_other(transfer: Transfer, there: int) -> None:
    transfer.move(Move("v0", "", P))
    assert "v0" not in devices()
    with inside(there):
        assert addresses("v0", "global") == GLOBAL
        assert [entry for entry in addresses("v0") if entry not in GLOBAL and not entry.startswith("fe80")] == []
        assert is_up("v0")


def test_attributes_of_device_and_addresses_are_kept(transfer: Transfer, there: int) -> None:
    transfer.move(Move("v0", "new", P))
    with inside(there):
        found = described("new")
    assert (found["mtu"], found["address"], found["ifalias"]) == (1400, "02:00:00:00:00:77", "the first")
    first = found["addr_info"][0]
    assert (first["label"], first["broadcast"]) == ("new:one", "10.9.0.255")
    assert [entry.get("nodad") for entry in found["addr_info"] if entry["local"].startswith("fd")] == [True] * 3


def test_a_label_that_would_be_too_long_is_dropped(transfer: Transfer, there: int) -> None:
    transfer.move(Move("v0", "a23456789012345", P))
    with inside(there):
        assert addresses("a23456789012345", "global") == GLOBAL


def test_a_number_in_the_name_is_chosen_there(transfer: Transfer, there: int) -> None:
    with inside(there):
        ip("link", "add", "eth0", "type", "veth", "peer", "eth2")
    for name in ("v0", "v2"):
        transfer.move(Move(name, "eth%d", P))
    with inside(there):
        assert devices() == {"lo", "eth0", "eth1", "eth2", "eth3"}
        assert addresses("eth1", "global") == GLOBAL
        assert look("address", "show", "dev", "eth1")[0]["addr_info"][0]["label"] == "eth1:one"


def test_a_device_may_have_its_old_name_taken_there(transfer: Transfer, there: int) -> None:
    """It is never called so there, not even in passing."""
    with inside(there):
        ip("link", "add", "v0", "type", "veth", "peer", "v9")
    transfer.move(Move("v0", "other", P))
    with inside(there):
        assert addresses("other", "global") == GLOBAL
        assert addresses("v0") == []


def test_a_device_may_be_wanted_by_another_of_its_names(transfer: Transfer, there: int) -> None:
    ip("link", "property", "add", "dev", "v0", "altname", "enp9s9")
    transfer.move(Move("enp9s9", "", P))
    with inside(there):
        assert devices() == {"lo", "v0"}
        assert look("link", "show", "dev", "v0")[0]["altnames"] == ["enp9s9"]


@pytest.mark.parametrize("new_name", ["", "renamed", "eth%d"])
def test_undo_brings_all_back(transfer: Transfer, there: int, new_name: str) -> None:
    before = described("v0")
    transfer.move(Move("v0", new_name, P))
    transfer.move(Move("v2", "", P))
    assert transfer.undo() == []
    assert devices() == {"lo", "v0", "v1", "v2", "v3"}
    assert described("v0") == before
    assert not is_up("v2")
    with inside(there):
        assert devices() == {"lo"}
    assert transfer.undo() == []


def test_undo_of_a_move_that_failed_half_way(transfer: Transfer, there: int) -> None:
    """The name was free when it was checked: the kernel moves the device, and then cannot rename it."""
    before = described("v0")
    transfer.check([Move("v0", "taken", P)])
    with inside(there):
        ip("link", "add", "taken", "type", "veth", "peer", "v9")
    with pytest.raises(KernelError) as caught:
        transfer.move(Move("v0", "taken", P))
    assert caught.value.pointer == P
    assert transfer.undo() == []
    assert described("v0") == before
    with inside(there):
        assert devices() == {"lo", "taken", "v9"}


def test_an_address_that_cannot_be_had_is_an_error(transfer: Transfer, there: int) -> None:
    before = described("v0")
    with inside(there), open("/proc/sys/net/ipv6/conf/default/disable_ipv6", "w") as file:
        file.write("1")
    with pytest.raises(KernelError, match="IPv6 is disabled") as caught:
        transfer.move(Move("v0", "", P))
    assert caught.value.pointer == P
    assert transfer.undo() == []
    assert described("v0") == before


def test_undo_tells_what_it_cannot_bring_back(transfer: Transfer, there: int) -> None:
    transfer.move(Move("v2", "", P))
    transfer.move(Move("v0", "", P))
    ip("link", "add", "v2", "type", "veth", "peer", "v9")
    (failure,) = transfer.undo()
    assert "'v2'" in str(failure) and "file exists" in str(failure)
    assert set(addresses("v0", "global")) == {*GLOBAL, "10.9.9.9/24", "fd0a::1/64"}


@pytest.mark.parametrize(
    "moves, pointer, text",
    [
        ([Move("v0", "", "/a"), Move("none", "", "/b")], "/b", "no network device 'none'"),
        ([Move("v0", "", "/a"), Move("none", "new", "/b")], "/b", "no network device 'none'"),
        ([Move("v0", "", "/a"), Move("v2", "lo", "/b")], "/b", "a device 'lo' already"),
        ([Move("v0", "", "/a"), Move("lo", "", "/b")], "/b", "a device 'lo' already"),
    ],
)
def test_what_is_wrong_is_found_before_anything_moves(
    transfer: Transfer, there: int, moves: list[Move], pointer: str, text: str
) -> None:
    with pytest.raises(ConfigError, match=text) as caught:
        transfer.check(moves)
    assert caught.value.pointer == pointer


def test_a_device_that_cannot_move_stays(transfer: Transfer) -> None:
    with pytest.raises(KernelError, match=r"immutable|invalid argument"):
        transfer.move(Move("lo", "other", P))
    assert transfer.undo() == []
    assert "lo" in devices()


def test_the_own_namespace_is_refused(here: int) -> None:
    transfer = Transfer(here)
    with pytest.raises(ConfigError, match="already"):
        transfer.check([Move("v0", "x", P)])
    transfer.close()


def test_what_is_no_network_namespace_is_refused(here: int) -> None:
    before = os.listdir("/proc/self/fd")
    fd = os.open("/proc/self/ns/uts", os.O_RDONLY)
    with pytest.raises(KernelError, match="setns"):
        Transfer(fd)
    os.close(fd)
    assert os.listdir("/proc/self/fd") == before


def test_closing_leaves_no_descriptor(here: int, there: int) -> None:
    before = os.listdir("/proc/self/fd")
    Transfer(there).close()
    assert os.listdir("/proc/self/fd") == before
