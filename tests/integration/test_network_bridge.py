"""`--network bridge`: containers, the host and what lies outside reach each other as docs/networking.md says.

Each test has a host of its own (tests/support/lan.py). Callers and listeners are sockets that the test makes in the
network namespaces of containers.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from boxes.container import network_cleanup
from tests.support import lan as lans
from tests.support.bundle import Bundle
from tests.support.host import mount, unmount
from tests.support.lan import HOST, HOST6, OUTSIDE, OUTSIDE6, Lan, listening
from tests.support.marks import not_for, requires
from tests.support.network import addresses, devices, ip, look, network_of
from tests.support.runtime import Container, Runtime, wait_until

pytestmark = [requires("root", "nft"), not_for("runc", "crun", reason="they make no networks")]

MS_BIND = 0x1000
Make = Callable[..., "On"]


class On:
    """A container on a network."""

    def __init__(self, container: Container) -> None:
        self.container = container
        self.pid = container.pid
        self.record: dict[str, Any] = json.loads((container.runtime.root / container.id / "state.json").read_text())[
            "network"
        ]
        self.address, *rest = (address for address, _ in self.record["addresses"])
        self.address6 = rest[0] if rest else ""

    def file(self, path: str) -> str:
        return self.container.exec("cat", path).ok().out

    def delete(self) -> None:
        self.container.delete("--force").ok()


@pytest.fixture
def lan(box: Runtime) -> Iterator[Lan]:
    with lans.made() as made:
        yield made
        box.close()


@pytest.fixture
def on(lan: Lan, box: Runtime, make_bundle: Callable[[], Bundle]) -> Make:
    """A function that runs a container on a network with more flags."""

    def make(*flags: str, network: str = "bridge") -> On:
        bundle = make_bundle().namespace("network").args("/bin/sleep", "100")
        return On(box.start(bundle, "--network", network, *flags))

    return make


def test_a_container_has_an_address_of_each_family_a_way_out_and_loopback(on: Make) -> None:
    one = on()
    with network_of(one.pid):
        assert addresses("eth0", "global") == [f"{one.address}/22", f"{one.address6}/64"]
        assert addresses("lo") == ["127.0.0.1/8", "::1/128"]
        assert look("route", "show", "default")[0]["gateway"] == "10.180.0.1"
        assert look("-6", "route", "show", "default")[0]["gateway"] == one.address6[:-1] + "1"
    assert one.address == "10.180.0.2"


def test_containers_of_a_network_reach_each_other_as_themselves(on: Make) -> None:
    one, two = on(), on()
    with listening(80, one.pid) as listener, network_of(two.pid):
        assert listener.met(one.address, 80) == two.address
        assert listener.met(one.address6, 80) == two.address6


def test_a_container_reaches_the_outside_as_the_host(on: Make, lan: Lan) -> None:
    one = on()
    with lan.outside():
        listener = lans.Listener(80)
    with network_of(one.pid):
        assert listener.met(OUTSIDE, 80) == HOST
        assert listener.met(OUTSIDE6, 80) == HOST6
    listener.close()


def test_the_host_reaches_its_containers(on: Make) -> None:
    one = on()
    with listening(80, one.pid) as listener:
        assert listener.met(one.address, 80) == "10.180.0.1"
        assert listener.met(one.address6, 80) is not None


def test_the_outside_reaches_published_ports_and_nothing_else(on: Make, lan: Lan) -> None:
    one = on("--publish", "8080:80")
    with listening(80, one.pid) as listener, lan.outside():
        assert listener.met(HOST, 8080) == OUTSIDE, "who calls is not hidden"
        assert listener.met(HOST6, 8080) == OUTSIDE6
        ip("route", "add", "10.180.0.0/22", "via", HOST)
        ip("-6", "route", "add", "fd00::/8", "via", HOST6)
        assert not listener.is_reached(one.address, 80)
        assert not listener.is_reached(one.address6, 80)


def test_published_ports_are_reached_from_the_host_by_loopback_and_by_its_address(on: Make) -> None:
    one = on("-p", "8080:80")
    with listening(80, one.pid) as listener:
        assert listener.met("127.0.0.1", 8080) == "10.180.0.1"
        assert listener.met(HOST, 8080) == HOST
        assert listener.met(HOST6, 8080) == HOST6
        with pytest.raises(ConnectionRefusedError):  # at once, so that who tries it first goes on to 127.0.0.1
            socket.create_connection(("::1", 8080), timeout=5)


def test_a_port_of_one_address_is_published_there_only(on: Make, lan: Lan) -> None:
    one = on("-p", "127.0.0.1:8080:80", "-p", f"[{HOST6}]:8081:80")
    with listening(80, one.pid) as listener:
        assert listener.met("127.0.0.1", 8080)
        assert not listener.is_reached(HOST, 8080)
        assert listener.met(HOST6, 8081)
        with lan.outside():
            assert not listener.is_reached(HOST, 8080)
            assert not listener.is_reached(HOST, 8081)
            assert listener.met(HOST6, 8081) == OUTSIDE6


def test_a_port_of_all_addresses_of_a_family_is_published_there_only(on: Make, lan: Lan) -> None:
    one = on("-p", "0.0.0.0:8080:80", "-p", "[::]:8081:80", "-p", "0.0.0.0:8082:80", "-p", "[::]:8082:81")
    with listening(80, one.pid) as listener:
        assert listener.met("127.0.0.1", 8080)
        assert not listener.is_reached("127.0.0.1", 8081)
        with lan.outside():
            assert listener.met(HOST, 8080) == listener.met(HOST, 8082) == OUTSIDE
            assert listener.met(HOST6, 8081) == OUTSIDE6
            assert not listener.is_reached(HOST6, 8080)
            assert not listener.is_reached(HOST, 8081)


def test_a_port_of_one_family_does_not_hinder_the_other(on: Make, box: Runtime, bundle: Bundle) -> None:
    on("-p", "0.0.0.0:8080:80")
    on("-p", "[::]:8080:80")
    for port in ("8080:80", "127.0.0.1:8080:80", f"[{HOST6}]:8080:80", "[::]:8080:81"):
        box.run(bundle, "--network", "bridge", "-p", port).refused("--publish: port 8080/tcp is published by")


def test_ports_of_udp_are_published(on: Make, lan: Lan) -> None:
    one = on("-p", "5300:53/udp")
    with listening(53, one.pid, socket.SOCK_DGRAM) as listener:
        assert listener.met("127.0.0.1", 5300)
        with lan.outside():
            assert listener.met(HOST, 5300) == OUTSIDE


@pytest.mark.parametrize("filtered", ["0", "1"])
def test_a_container_reaches_published_ports_and_its_own(on: Make, filtered: str) -> None:
    """Also where bridges hand their packets to the filters (br_netfilter), which sends them other ways."""
    switch = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
    if switch.exists():
        switch.write_text(filtered)
    one, two = on("-p", "8080:80"), on()
    with listening(80, one.pid) as listener:
        for caller in (two, one):
            with network_of(caller.pid):
                assert listener.met(HOST, 8080), f"from {caller.address}"
                assert listener.met("10.180.0.1", 8080), f"from {caller.address}"


def test_networks_reach_each_other_by_published_ports_only(on: Make, box: Runtime) -> None:
    box("network", "create", "other").ok()
    one, two = on("-p", "8080:80"), on(network="bridge:other")
    assert two.address == "10.180.0.2", "the default one had no subnet yet"
    with listening(80, one.pid) as listener, network_of(two.pid):
        assert not listener.is_reached(one.address, 80)
        assert not listener.is_reached(one.address6, 80)
        assert listener.met(HOST, 8080)
    two.delete()
    box("network", "rm", "other").ok()


def test_a_container_does_not_reach_the_hosts_loopback(on: Make) -> None:
    """Which the bridge could route, for the sake of published ports."""
    one = on("-p", "8080:80")
    with listening(7000, kind=socket.SOCK_DGRAM) as listener, network_of(one.pid):
        ip("address", "delete", "127.0.0.1/8", "dev", "lo")
        ip("route", "flush", "table", "local", "127.0.0.0/8")
        own = os.open("/proc/sys/net/ipv4/conf/eth0/route_localnet", os.O_WRONLY)
        os.write(own, b"1")
        os.close(own)
        ip("route", "add", "127.0.0.0/8", "via", "10.180.0.1", "src", one.address)
        assert not listener.is_reached("127.0.0.1", 7000)


def test_a_container_cannot_send_from_an_address_that_is_not_of_its_network(on: Make, lan: Lan) -> None:
    one = on()
    with lan.outside():
        listener = lans.Listener(53, socket.SOCK_DGRAM)
    with network_of(one.pid), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as caller:
        ip("address", "add", "198.51.100.7/32", "dev", "lo")
        caller.bind(("198.51.100.7", 0))
        caller.sendto(b"hello", (OUTSIDE, 53))
        with pytest.raises(TimeoutError):
            listener.socket.recv(16)
    listener.close()


# ---- names ----


def test_containers_of_a_network_know_each_other_by_id_and_hostname(on: Make) -> None:
    one = on("--hostname", "web")
    two = on()
    assert f"{one.address} {one.container.id} web " in two.file("/etc/hosts")
    assert f"{two.address} {two.container.id} " in one.file("/etc/hosts"), "one was there before"
    with listening(8000, one.pid) as listener:
        listener.socket.settimeout(5)
        bundle_sh = ("/bin/busybox", "nc", "-w", "2", "web", "8000", "-e", "/bin/true")
        two.container.exec(*bundle_sh).ok()
        connection, peer = listener.socket.accept()
        connection.close()
        assert peer[0].removeprefix("::ffff:") in (two.address, two.address6)
    one.delete()
    assert f"\n{one.address} " not in two.file("/etc/hosts")


def test_files_of_the_config_are_left_alone(on: Make, lan: Lan, box: Runtime, bundle: Bundle) -> None:
    own = bundle.host_directory("own", hosts="127.0.0.1 mine\n")
    bundle.namespace("network").mount("/etc/hosts", "bind", own / "hosts", "bind").shell("cat /etc/hosts")
    assert box.run(bundle, "--network", "bridge").ok().out == "127.0.0.1 mine\n"


def test_name_servers_are_those_asked_for(on: Make) -> None:
    one = on("--dns", "192.0.2.53", "--dns", "2001:db8::53")
    assert one.file("/etc/resolv.conf") == "nameserver 192.0.2.53\nnameserver 2001:db8::53\n"


# ---- addresses ----


def test_an_address_can_be_asked_for(on: Make, box: Runtime, make_bundle: Callable[[], Bundle]) -> None:
    box("network", "create", "small", "--subnet", "10.9.0.0/29", "--subnet", "fd09::/64").ok()
    one = on("--ip", "10.9.0.5", "--ip", "fd09::77", network="bridge:small")
    assert (one.address, one.address6) == ("10.9.0.5", "fd09::77")
    refused = make_bundle().args("/bin/true")
    for address, text in (
        ("10.9.0.5", f"container '{one.container.id}' has 10.9.0.5"),
        ("10.9.0.1", "is no address for a container of 10.9.0.0/29"),
        ("10.9.0.7", "is no address for a container"),
        ("10.8.0.1", "is no address for a container"),
    ):
        box.run(refused, "--network", "bridge:small", "--ip", address).refused("flag --ip", text)
    one.delete()
    box("network", "rm", "small").ok()


def test_a_pool_that_is_exhausted_is_an_error_and_recovers(
    on: Make, box: Runtime, make_bundle: Callable[[], Bundle]
) -> None:
    box("network", "create", "tiny", "--subnet", "10.9.0.0/30").ok()
    one = on(network="bridge:tiny")
    refused = make_bundle().args("/bin/true")
    box.run(refused, "--network", "bridge:tiny").refused("'tiny' has no address left in 10.9.0.0/30")
    one.delete()
    box.run(refused, "--network", "bridge:tiny").ok()
    box("network", "rm", "tiny").ok()


def test_an_address_rests_before_it_is_given_again(on: Make) -> None:
    one, two = on(), on()
    one.delete()
    three = on()
    assert (one.address, two.address, three.address) == ("10.180.0.2", "10.180.0.3", "10.180.0.4")


def test_the_mtu_is_that_of_the_way_out_or_as_defined(on: Make, box: Runtime) -> None:
    ip("link", "set", "lan0", "mtu", "1400")
    one = on()
    with network_of(one.pid):
        assert look("link", "show", "dev", "eth0")[0]["mtu"] == 1400
    box("network", "create", "jumbo", "--mtu", "9000").ok()
    two = on(network="bridge:jumbo")
    with network_of(two.pid):
        assert look("link", "show", "dev", "eth0")[0]["mtu"] == 9000
    two.delete()
    box("network", "rm", "jumbo").ok()


def test_a_host_without_ipv6_has_networks_of_ipv4(on: Make) -> None:
    Path("/proc/sys/net/ipv6/conf/default/disable_ipv6").write_text("1")
    one = on("-p", "8080:80")
    assert one.address6 == ""
    with listening(80, one.pid) as listener:
        assert listener.met("127.0.0.1", 8080)


def test_sysctls_of_the_device_are_set(on: Make, lan: Lan, box: Runtime, bundle: Bundle) -> None:
    bundle.namespace("network").linux["sysctl"] = {"net.ipv4.conf.eth0.arp_ignore": "1"}
    bundle.shell("cat /proc/sys/net/ipv4/conf/eth0/arp_ignore")
    assert box.run(bundle, "--network", "bridge").ok().out == "1\n"


def test_hooks_find_the_network(on: Make, lan: Lan, box: Runtime, bundle: Bundle) -> None:
    bundle.namespace("network").args("/bin/true")
    script = "nsenter -t $(sed 's/.*\"pid\":\\([0-9]*\\).*/\\1/') -n ip address show eth0 >&2; exit 1"
    bundle.hook("createRuntime", "/bin/sh", "-c", script, env=["PATH=/usr/sbin:/usr/bin:/sbin:/bin"])
    box.run(bundle, "--network", "bridge").refused("10.180.0.2/22")


def test_a_user_namespace_changes_nothing(on: Make, lan: Lan, box: Runtime, bundle: Bundle) -> None:
    bundle.user_namespace().args("/bin/sleep", "100")
    one, two = On(box.start(bundle, "--network", "bridge")), on()
    with listening(80, one.pid) as listener, network_of(two.pid):
        assert listener.met(one.address, 80) == two.address


# ---- what cannot be ----


def test_a_port_in_use_is_an_error(on: Make, lan: Lan, box: Runtime, make_bundle: Callable[[], Bundle]) -> None:
    one = on("-p", "8080:80")
    refused = make_bundle().args("/bin/true")
    for port in ("8080:81", "127.0.0.1:8080:81"):
        box.run(refused, "--network", "bridge", "-p", port).refused(
            f"flag --publish: port 8080/tcp is published by container '{one.container.id}'"
        )
    with listening(9090):
        box.run(refused, "--network", "bridge", "-p", "9090:80").refused("9090/tcp", "a program on this host listens")
    box.run(refused, "--network", "bridge", "-p", "203.0.113.1:80:80").refused("does not have the address 203.0.113.1")
    box.run(refused, "--network", "bridge", "-p", "8080:80/udp").ok()
    one.delete()
    box.run(refused, "--network", "bridge", "-p", "8080:80").ok()


def test_a_subnet_that_the_host_has_is_an_error(lan: Lan, box: Runtime, bundle: Bundle) -> None:
    for subnet in ("192.0.0.0/8", "192.0.2.128/25"):
        box("network", "create", "over", "--subnet", subnet).refused("overlaps with 192.0.2.0/24", "lan0")
    box("network", "create", "late", "--subnet", "10.9.0.0/24").ok()
    ip("address", "add", "10.9.0.77/24", "dev", "lan0")
    box.run(bundle.args("/bin/true"), "--network", "bridge:late").refused("overlaps with 10.9.0.0/24")
    box("network", "rm", "late").ok()


def test_the_default_subnet_is_one_that_nobody_has(on: Make) -> None:
    ip("address", "add", "10.180.1.1/16", "dev", "lan0")
    assert on().address == "10.181.0.2"


def test_a_network_that_is_not_there_is_an_error(lan: Lan, box: Runtime, bundle: Bundle) -> None:
    box.run(bundle.args("/bin/true"), "--network", "bridge:no").refused("there is no network 'no'", "network create no")


def test_a_bridge_takes_no_nft_but_its_policy_does(lan: Lan, box: Runtime, bundle: Bundle) -> None:
    path = "/usr/sbin/nft"
    mount("/dev/null", path, None, MS_BIND)
    try:
        box.run(bundle.args("/bin/true"), "--network", "bridge", "-p", "8080:80").ok()
        wanted = ("--network", "bridge", "--allow", "192.0.2.0/24")
        box.run(bundle.args("/bin/true"), *wanted).refused("no 'nft' on this host", "package nftables")
    finally:
        unmount(path)


def test_a_device_of_the_bridges_name_is_not_taken(lan: Lan, box: Runtime, bundle: Bundle) -> None:
    ip("link", "add", "bx-default", "type", "bridge")
    box.run(bundle.args("/bin/true"), "--network", "bridge").refused("a device 'bx-default' already")
    ip("link", "delete", "bx-default")


def test_a_program_that_is_not_there_leaves_nothing(lan: Lan, box: Runtime, bundle: Bundle) -> None:
    box.run(bundle.args("/nonexistent"), "--network", "bridge", "-p", "8080:80").refused("/nonexistent")
    lan.settle()


def test_deleting_by_force_what_is_gone_leaves_nothing_of_networks(on: Make, lan: Lan, box: Runtime) -> None:
    """At once: not when a process of its own has come to it."""
    one = on("-p", "8080:80")
    one.delete()
    assert lan.left(), "else nothing is tested"
    one.delete()
    assert lan.left() == []


def test_leases_of_containers_whose_directory_was_removed_can_be_freed(on: Make, lan: Lan, box: Runtime) -> None:
    box("network", "create", "other").ok()
    one, two = on("-p", "8080:80", network="bridge:other"), on(network="bridge:other")
    box("network", "rm", "--force", "other").refused("is in use, by", one.container.id, two.container.id)
    os.kill(one.pid, signal.SIGKILL)
    wait_until(lambda: one.record["veth"] not in devices(), "the device has gone")
    directory, aside = box.root / one.container.id, box.directory / "aside"
    directory.rename(aside)
    box("network", "rm", "other").refused("is in use, by", one.container.id, "box network rm --force other")
    box("network", "rm", "-f", "other").refused(f"is in use, by '{two.container.id}'")
    on("-p", "8080:80").delete()
    two.container.kill("KILL")
    wait_until(lambda: two.record["veth"] not in devices(), "the device has gone")
    box("network", "rm", "--force", "other").ok()
    assert "other" not in box("network", "ls").ok().out
    aside.rename(directory)
    one.delete()
    two.delete()


def test_a_process_that_cannot_be_made_does_not_stop_delete(monkeypatch: pytest.MonkeyPatch) -> None:
    def fork() -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr("boxes.container.network_cleanup.os.fork", fork)
    said: list[str] = []
    monkeypatch.setattr("boxes.container.network_cleanup.log.warning", said.append)
    network_cleanup.start()
    assert "no process" in said[0]


@pytest.fixture
def dropping(lan: Lan) -> None:
    """As dockerd has it, and another."""
    mine = "table inet mine { chain last { type filter hook forward priority 9; policy drop; }; }"
    for command in (
        "iptables -N DOCKER-USER; iptables -A FORWARD -j DOCKER-USER; iptables -P FORWARD DROP",
        f"nft '{mine}'",
    ):
        subprocess.run(["sh", "-ec", command], check=True)
    lan.rules = lans.ruleset()


@pytest.mark.usefixtures("dropping")
def test_a_host_that_drops_what_is_forwarded_lets_containers_through(on: Make, lan: Lan) -> None:
    one, two = on("-p", "8080:80"), on()
    assert one.container.errors.read_text() == ""
    shown = subprocess.run(["iptables", "-S", "FORWARD"], check=True, capture_output=True, text=True).stdout
    assert shown.count("bx-default") == 2, "by the second container no more were made"
    assert "-i bx-default" in shown
    assert 'oifname "bx-default" accept comment "boxes-default"' in lans.ruleset()
    with listening(80, one.pid) as listener, lan.outside():
        assert listener.met(HOST, 8080) == OUTSIDE
    with lan.outside():
        listener = lans.Listener(7)
    with network_of(two.pid):
        assert listener.met(OUTSIDE, 7) == HOST
    listener.close()
    one.delete()
    assert "bx-default" in lans.ruleset()
    two.delete()
    lan.settle()


@pytest.mark.usefixtures("dropping")
def test_what_was_flushed_comes_back_with_the_next_container(on: Make, lan: Lan) -> None:
    one = on("-p", "8080:80")
    subprocess.run(["sh", "-ec", "iptables -F FORWARD; iptables -A FORWARD -j DOCKER-USER"], check=True)
    on()
    with listening(80, one.pid) as listener, lan.outside():
        assert listener.met(HOST, 8080) == OUTSIDE


@pytest.mark.usefixtures("dropping")
def test_a_rule_against_a_container_holds_where_the_policy_does_not(on: Make, lan: Lan) -> None:
    subprocess.run(["iptables", "-I", "DOCKER-USER", "-s", OUTSIDE, "-j", "DROP"], check=True)
    lan.rules = lans.ruleset()
    one = on("-p", "8080:80")
    with listening(80, one.pid) as listener, lan.outside():
        assert not listener.is_reached(HOST, 8080)


def test_a_table_that_is_somebodys_own_is_told_of(on: Make, lan: Lan) -> None:
    text = "table inet theirs { flags owner; chain last { type filter hook forward priority 9; policy drop; }; }\n"
    with subprocess.Popen(["nft", "-i"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as owner:
        assert owner.stdin is not None
        owner.stdin.write(text)
        owner.stdin.flush()
        wait_until(lambda: "theirs" in lans.ruleset(), "the table")
        lan.rules = lans.ruleset()
        one = on()
        assert "drops what is forwarded, also for 'bx-default' (inet theirs last)" in one.container.errors.read_text()
        one.delete()
        lan.settle()
        owner.stdin.close()
    lan.rules = lans.ruleset()


def test_a_host_name_is_the_first_ones_and_an_id_is_always_known(on: Make, lan: Lan) -> None:
    one, two = on("--hostname", "same"), on("--hostname", "same")
    lines = [line.split() for line in (lans.STATE / "default/hosts").read_text().splitlines()]
    named = {words[0]: words[1:] for words in lines}
    assert named[one.address] == [one.container.id, "same"]
    assert named[two.address] == [two.container.id]
