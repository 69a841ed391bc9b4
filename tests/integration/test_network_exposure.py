"""What `--network bridge` does not open: who is on the wire, or in a container, tries what a network must not allow."""

from __future__ import annotations

import socket
import struct
from pathlib import Path

import pytest

from tests.integration.test_network_bridge import Make
from tests.integration.test_network_bridge import lan as lan
from tests.integration.test_network_bridge import on as on
from tests.support.bundle import Bundle
from tests.support.lan import HOST, HOST6, OUTSIDE, OUTSIDE6, Lan, Listener, listening
from tests.support.marks import not_for, requires
from tests.support.network import addresses, ip, look, network_of
from tests.support.runtime import Runtime, wait_until

pytestmark = [requires("root", "nft"), not_for("runc", "crun", reason="they make no networks")]


def test_a_neighbour_of_the_host_does_not_reach_ports_of_its_loopback(on: Make, lan: Lan) -> None:
    """Who is on the same wire can send to 127.0.0.1, and rules see it before the kernel finds that it cannot be."""
    one = on("-p", "127.0.0.1:8080:80", "-p", "8081:80")
    with listening(80, one.pid) as listener, lan.outside():
        assert listener.met(HOST, 8081) == OUTSIDE
        ip("address", "delete", "127.0.0.1/8", "dev", "lo")
        ip("route", "flush", "table", "local", "127.0.0.0/8")
        Path("/proc/sys/net/ipv4/conf/lan1/route_localnet").write_text("1")
        ip("route", "add", "127.0.0.0/8", "via", HOST, "src", OUTSIDE)
        assert not listener.is_reached("127.0.0.1", 8080)
        assert not listener.is_reached("127.0.0.1", 8081)


@pytest.mark.parametrize("routes", ["0", "1"])
def test_a_container_cannot_be_the_hosts_router(on: Make, lan: Lan, routes: str) -> None:
    """Not even where the host begins to route, and is told to go on heeding routers, which it does elsewhere."""
    Path("/proc/sys/net/ipv6/conf/all/forwarding").write_text(routes)
    one = on()
    with network_of(one.pid):
        _advertise("eth0")
    with lan.outside():
        _advertise("lan1")
    if routes == "0":
        wait_until(lambda: "lan0" in _learned(), "the host's own router")
    assert "bx-default" not in _learned()
    assert not any(address.startswith("2001:db8:bad:") for address in addresses("bx-default"))
    assert Path("/proc/sys/net/ipv6/conf/default/accept_ra").read_text() == "1\n", "others' bridges"


def test_a_container_of_a_network_of_ipv4_cannot_be_the_hosts_router(on: Make, box: Runtime) -> None:
    Path("/proc/sys/net/ipv6/conf/all/forwarding").write_text("0")
    box("network", "create", "four", "--subnet", "10.9.0.0/24").ok()
    one = on(network="bridge:four")
    with network_of(one.pid):
        _advertise("eth0")
    with listening(80) as listener, network_of(one.pid):
        assert listener.met("10.9.0.1", 80), "what was sent before is there too"
    assert _learned() == []
    one.delete()
    box("network", "rm", "four").ok()


def _advertise(device: str) -> None:
    """As a router that knows a way to everywhere, and a prefix. RFC 4861, 4.2 and 4.6.2."""
    wait_until(lambda: not _is_tentative(device), "link-local address")
    router = struct.pack(">BBHBBHII", 134, 0, 0, 64, 0x08, 1800, 0, 0)
    prefix = struct.pack(">BBBBIII", 3, 4, 64, 0xC0, 86400, 86400, 0)
    prefix += socket.inet_pton(socket.AF_INET6, "2001:db8:bad::")
    with socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as caller:
        caller.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
        caller.sendto(router + prefix, ("ff02::1", 0, 0, socket.if_nametoindex(device)))


def _is_tentative(device: str) -> bool:
    return any(address.get("tentative") for address in look("-6", "address", "show", "dev", device)[0]["addr_info"])


def _learned() -> list[str]:
    """Devices behind which there are routers that said so."""
    return [route["dev"] for route in look("-6", "route", "show", "default") if route.get("protocol") == "ra"]


def test_a_port_that_could_not_be_reached_is_an_error(lan: Lan, box: Runtime, bundle: Bundle) -> None:
    bundle.args("/bin/true")
    box.run(bundle, "--network", "bridge", "-p", "[::1]:8080:80").refused(
        "flag --publish", "[::1]:8080/tcp", "loopback"
    )
    box("network", "create", "four", "--subnet", "10.9.0.0/24").ok()
    box.run(bundle, "--network", "bridge:four", "-p", f"[{HOST6}]:8080:80").refused(
        f"flag --publish: network 'four' has no subnet for {HOST6}"
    )
    box("network", "rm", "four").ok()


def test_a_network_of_ipv6_on_a_host_without_it_is_an_error(lan: Lan, box: Runtime, bundle: Bundle) -> None:
    box("network", "create", "six", "--subnet", "fd09::/64").ok()
    Path("/proc/sys/net/ipv6/conf/default/disable_ipv6").write_text("1")
    box.run(bundle.args("/bin/true"), "--network", "bridge:six").refused("network 'six'", "this host has no IPv6")
    box("network", "rm", "six").ok()


# ---- flows of UDP ----


def test_a_flow_of_udp_goes_on_to_the_next_container_of_its_port(on: Make, lan: Lan) -> None:
    """Who sends from one port all the time is remembered by the kernel, and not looked at again."""
    with lan.outside():
        callers = [_caller(OUTSIDE, 4444), _caller(OUTSIDE6, 4444)]
    callers.append(_caller("127.0.0.1", 4444))
    targets = (HOST, HOST6, "127.0.0.1")
    try:
        on()  # so that the rules stay
        for _ in range(2):
            for caller, target in zip(callers, targets, strict=True):
                caller.sendto(b"early", (target, 5300))
            one = on("-p", "5300:53/udp")
            with listening(53, one.pid, socket.SOCK_DGRAM) as listener:
                for caller, target in zip(callers, targets, strict=True):
                    caller.sendto(b"late", (target, 5300))
                    listener.socket.settimeout(5)
                    assert listener.socket.recv(16) == b"late", target
            one.delete()
    finally:
        for caller in callers:
            caller.close()


def test_flows_of_udp_to_others_are_left_alone(on: Make, lan: Lan) -> None:
    """Which go through the host to the same port."""
    other = on()
    with lan.outside():
        server = Listener(53, socket.SOCK_DGRAM)
    with network_of(other.pid):
        caller = _caller("0.0.0.0", 4444)
    try:
        caller.sendto(b"hello", (OUTSIDE, 53))
        server.socket.settimeout(5)
        _, peer = server.socket.recvfrom(16)
        on("-p", "53:53/udp")
        server.socket.sendto(b"answer", peer)
        caller.settimeout(5)
        assert caller.recv(16) == b"answer"
    finally:
        caller.close()
        server.close()


def _caller(address: str, port: int) -> socket.socket:
    made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    made.bind((address, port))
    return made
