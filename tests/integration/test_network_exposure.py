"""What `--network bridge` does not open: who is on the wire, or in a container, tries what a network must not allow."""

from __future__ import annotations

from pathlib import Path

from tests.integration.test_network_bridge import Make
from tests.integration.test_network_bridge import lan as lan
from tests.integration.test_network_bridge import on as on
from tests.support.lan import HOST, OUTSIDE, Lan, listening
from tests.support.marks import not_for, requires
from tests.support.network import ip

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
        assert listener.met("127.0.0.1", 8080) is None
        assert listener.met("127.0.0.1", 8081) is None
