"""What a container may reach, with real packets: a host, a container on its bridge, a neighbour, and the world outside.

The host is a network namespace of the test's own, and so are the others. Servers need not be processes: a socket that
listens completes connections by itself.
"""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from boxes.linux import procfs
from boxes.network import companion, dns_notes, egress, egress_rules
from boxes.network.egress_policy import Policy
from tests.support import dns
from tests.support.marks import requires
from tests.support.network import inside, ip, look, new_namespace

pytestmark = requires("root", "nft", "dnsmasq")

MAC = "02:00:00:00:00:02"
OWN, OWN6, GATEWAY, GATEWAY6, NEIGHBOUR = "10.9.0.2", "fd09::2", "10.9.0.1", "fd09::1", "10.9.0.3"
WEB, WEB6, OTHER, OTHER6, RESOLVER = "8.20.0.1", "2a00:20::1", "8.20.0.2", "2a00:20::2", "8.20.0.53"
RECORDS = [
    "local-ttl=120",
    f"host-record=web.example.org,{WEB},{WEB6}",
    f"host-record=other.example.org,{OTHER},{OTHER6}",
    f"host-record=a.b.example.net,{OTHER}",
    "cname=alias.example.org,web.example.org",
    "host-record=rebound.example.org,10.9.0.3",
    f"host-record=mixed.example.org,{WEB}",
    f"host-record=mixed.example.org,{GATEWAY}",
    "host-record=metadata.example.org,169.254.169.254",
    "host-record=mapped.example.org,::ffff:10.9.0.3",
    "host-record=host.example.org,8.20.0.254",
    "txt-record=web.example.org,hello",
    *(f"host-record=many.example.org,8.21.0.{number}" for number in range(1, 101)),
    "address=/tunnel.example.com/8.20.0.9",
]


class World:
    """The namespaces; this process is in the host's."""

    def __init__(self, directory: Path) -> None:
        self.stack = ExitStack()
        self.directory = directory
        self.host, self.outside, self.neighbour = (self.stack.enter_context(new_namespace()) for _ in range(3))
        self.stack.enter_context(inside(self.host))
        self.process = subprocess.Popen(["unshare", "--net", "sleep", "100"])
        self.container = self._namespace_of(self.process.pid)
        self.started: companion.Companion | None = None
        self._wire()

    def _namespace_of(self, pid: int) -> int:
        own = os.fstat(self.host).st_ino
        while os.stat(f"/proc/{pid}/ns/net").st_ino == own:
            time.sleep(0.005)
        return os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    def _wire(self) -> None:
        for namespace in (self.host, self.outside, self.neighbour, self.container):
            with inside(namespace):
                for name in ("all", "default"):  # addresses are there at once
                    Path(f"/proc/sys/net/ipv6/conf/{name}/accept_dad").write_text("0")
        ip("link", "set", "lo", "up")
        ip("link", "add", "br0", "type", "bridge")
        self._port("vc", self.container, MAC, OWN, OWN6)
        self._port("vn", self.neighbour, "02:00:00:00:00:03", NEIGHBOUR, "fd09::3")
        ip("address", "add", f"{GATEWAY}/24", "dev", "br0")
        ip("address", "add", f"{GATEWAY6}/64", "dev", "br0", "nodad")
        ip("link", "set", "br0", "up")
        self.gateway = str(look("link", "show", "dev", "br0")[0]["address"])
        ip("link", "add", "out", "type", "veth", "peer", "in", "netns", f"/proc/{os.getpid()}/fd/{self.outside}")
        ip("address", "add", "8.20.0.254/24", "dev", "out")
        ip("address", "add", "2a00:20::fe/64", "dev", "out", "nodad")
        ip("link", "set", "out", "up")
        with inside(self.outside):
            ip("link", "set", "lo", "up")
            for address in (WEB, OTHER, RESOLVER):
                ip("address", "add", f"{address}/24", "dev", "in")
            for address in (WEB6, OTHER6):
                ip("address", "add", f"{address}/64", "dev", "in", "nodad")
            ip("link", "set", "in", "up")
            ip("route", "add", "default", "via", "8.20.0.254")
            ip("route", "add", "default", "via", "2a00:20::fe")
        for name in ("net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"):
            Path("/proc/sys", name).write_text("1")

    def _port(self, name: str, namespace: int, mac: str, *addresses: str) -> None:
        ip(
            "link",
            "add",
            name,
            "type",
            "veth",
            "peer",
            "eth0",
            "address",
            mac,
            "netns",
            f"/proc/{os.getpid()}/fd/{namespace}",
        )
        ip("link", "set", name, "master", "br0", "up")
        with inside(namespace):
            ip("link", "set", "lo", "up")
            ip("link", "set", "eth0", "up")
            ip("address", "add", f"{addresses[0]}/24", "dev", "eth0")
            ip("address", "add", f"{addresses[1]}/64", "dev", "eth0", "nodad")
            ip("route", "add", "default", "via", GATEWAY)
            ip("route", "add", "default", "via", GATEWAY6)

    def allow(self, *entries: str) -> None:
        pidfd = os.pidfd_open(self.process.pid)
        given = egress.Forwarding(Policy(entries), [RESOLVER], f"{self.directory}/egress", self.process.pid, pidfd)
        port = egress_rules.Port("vc", MAC, [OWN, OWN6])
        self.started = egress.on_bridge(given, "boxes-test", port, lambda born: None)
        os.close(pidfd)

    def listen(self, namespace: int, address: str, port: int, kind: int = socket.SOCK_STREAM) -> socket.socket:
        with inside(namespace):
            made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind)
            self.stack.enter_context(made)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.settimeout(0.5)
            made.bind((address, port))
            if kind == socket.SOCK_STREAM:
                made.listen(50)
        return made

    def reaches(self, address: str, port: int, *, source: int | None = None) -> bool:
        """Whether a connection is made from the container."""
        with inside(self.container if source is None else source):
            made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
        with made:
            made.settimeout(1.5)
            try:
                made.connect((address, port))
            except OSError:
                return False
            return True

    def resolve(self, name: str, kind: str = "A", **more: Any) -> dns.Reply:
        with inside(self.container):
            return dns.ask(name, kind, **more)

    def refused(self) -> dict[tuple[str, str, int], int]:
        return {
            (entry["address"], entry["protocol"], entry["port"]): entry["packets"]
            for entry in egress.Watch("boxes-test").refusals()
        }

    def notes(self) -> dict[str, Any]:
        """What the forwarder has written down, when it has had the time."""
        deadline = time.monotonic() + 5
        while not (found := dns_notes.read(f"{self.directory}/egress")) and time.monotonic() < deadline:
            time.sleep(0.02)
        return found

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        if self.started is not None:
            companion.end(self.started.pid, self.started.started)
        os.close(self.container)
        self.stack.close()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.close()


@pytest.fixture
def resolver(world: World) -> Iterator[None]:
    with ExitStack() as stack:
        with inside(world.outside):
            stack.enter_context(dns.server(RESOLVER, *RECORDS))
        yield


@pytest.fixture
def web(world: World) -> None:
    for address in (WEB, WEB6, OTHER, OTHER6):
        for port in (80, 443):
            world.listen(world.outside, address, port)


# ---- networks ----


def test_without_a_policy_all_is_reachable(world: World, web: None) -> None:
    """Else the rest would prove nothing."""
    world.listen(world.neighbour, NEIGHBOUR, 80)
    world.listen(world.host, GATEWAY, 80)
    for address in (WEB, WEB6, OTHER, OTHER6, NEIGHBOUR, GATEWAY):
        assert world.reaches(address, 80), address


def test_nothing_is_reachable_but_what_is_allowed(world: World, web: None) -> None:
    world.listen(world.neighbour, NEIGHBOUR, 80)
    world.listen(world.host, GATEWAY, 80)
    world.allow(f"{WEB}:443", f"[{WEB6}]:443/tcp")
    assert world.reaches(WEB, 443)
    assert world.reaches(WEB6, 443)
    for address, port in [(WEB, 80), (WEB6, 80), (OTHER, 443), (OTHER6, 443), (NEIGHBOUR, 80), (GATEWAY, 80)]:
        assert not world.reaches(address, port), address
    refused = world.refused()
    assert set(refused) == {
        (WEB, "tcp", 80), (WEB6, "tcp", 80), (OTHER, "tcp", 443), (OTHER6, "tcp", 443), (NEIGHBOUR, "tcp", 80), (GATEWAY, "tcp", 80),
    }  # fmt: skip


def test_refusal_is_told_at_once(world: World) -> None:
    world.allow("none")
    began = time.monotonic()
    assert not world.reaches(WEB, 80)
    assert not world.reaches(WEB6, 80)
    assert time.monotonic() - began < 1


def test_network_neighbour_and_host_can_be_allowed(world: World, web: None) -> None:
    world.listen(world.neighbour, NEIGHBOUR, 80)
    world.listen(world.host, GATEWAY, 80)
    world.allow("8.20.0.0/24:80", f"{NEIGHBOUR}:80-90", f"{GATEWAY}", "2a00:20::/32")
    for address, port in [(WEB, 80), (OTHER, 80), (NEIGHBOUR, 80), (GATEWAY, 80), (OTHER6, 443)]:
        assert world.reaches(address, port), address
    assert not world.reaches(WEB, 443)


def test_udp_and_echo_go_by_the_same_rules(world: World) -> None:
    received = world.listen(world.outside, WEB, 5000, socket.SOCK_DGRAM)
    world.allow(f"{WEB}:5000/udp", OTHER)
    with inside(world.container), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"yes", (WEB, 5000))
        data, source = received.recvfrom(100)
        assert (data, source[0]) == (b"yes", OWN)
        received.sendto(b"answer", source)
        assert sender.recv(100) == b"answer"
        sender.sendto(b"no", (WEB, 5001))
    assert ping(world, OTHER)
    assert not ping(world, WEB)
    assert world.refused()[(WEB, "icmp", 0)] == 1


def ping(world: World, address: str, *, source: int | None = None) -> bool:
    """Whether an echo request is answered."""
    with inside(world.container if source is None else source):
        made = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    with made:
        made.settimeout(0.5)
        made.connect((address, 0))
        made.send(struct.pack(">BBHHH", 8, 0, 0xF7F8, 7, 0))
        try:
            return heard(made)[20:21] == b"\0"
        except OSError:  # what is refused is told
            return False


# ---- what others begin ----


def test_others_reach_the_container_as_before(world: World) -> None:
    world.listen(world.container, OWN, 8080)
    world.listen(world.container, OWN6, 8080)
    world.allow("none")
    for source in (world.host, world.neighbour, world.outside):
        assert world.reaches(OWN, 8080, source=source)
        assert world.reaches(OWN6, 8080, source=source)
    assert ping(world, OWN, source=world.neighbour)
    assert world.refused() == {}


def test_who_was_answered_cannot_be_connected_to(world: World) -> None:
    """A flow is two addresses and two ports: not a way to another port of the same peer."""
    world.listen(world.container, OWN, 8080)
    world.listen(world.outside, WEB, 80)
    world.allow("none")
    assert world.reaches(OWN, 8080, source=world.outside)
    assert not world.reaches(WEB, 80)


# ---- names ----


def test_resolved_name_is_reachable_and_only_then(world: World, web: None, resolver: None) -> None:
    world.allow("web.example.org:443")
    assert not world.reaches(WEB, 443)
    assert world.resolve("web.example.org").addresses == [WEB]
    assert world.reaches(WEB, 443)
    assert not world.reaches(WEB, 80)
    assert not world.reaches(WEB6, 443)
    assert world.resolve("WEB.Example.org", "AAAA").addresses == [WEB6]
    assert world.reaches(WEB6, 443)


def test_other_name_is_refused_and_noted(world: World, resolver: None) -> None:
    world.allow("web.example.org:443", "*.example.net")
    for name in ("other.example.org", "example.net", "secret.tunnel.example.com", "xweb.example.org"):
        assert world.resolve(name).code == "REFUSED"
    assert world.resolve("a.b.example.net").addresses == [OTHER]
    assert "other.example.org" in world.notes()["refused"]


def test_name_over_a_stream(world: World, web: None, resolver: None) -> None:
    world.allow("web.example.org:443")
    assert world.resolve("other.example.org", stream=True).code == "REFUSED"
    assert world.resolve("web.example.org", stream=True).addresses == [WEB]
    assert world.reaches(WEB, 443)


def test_long_answer_is_cut_off_and_comes_by_stream(world: World, resolver: None) -> None:
    world.allow("many.example.org")
    reply = world.resolve("many.example.org")
    assert (reply.cut_off, reply.addresses) == (True, [])
    assert len(world.resolve("many.example.org", stream=True).addresses) == 100


def test_another_name_of_an_allowed_one(world: World, web: None, resolver: None) -> None:
    world.allow("alias.example.org:443")
    assert world.resolve("alias.example.org").addresses == [WEB]
    assert world.reaches(WEB, 443)
    assert world.resolve("web.example.org").code == "REFUSED"


@pytest.mark.parametrize("name", ["rebound", "metadata", "host"])
def test_name_cannot_lead_to_private_addresses_or_the_host(world: World, resolver: None, name: str) -> None:
    world.listen(world.neighbour, NEIGHBOUR, 80)
    world.listen(world.host, "8.20.0.254", 80)
    world.allow("*.example.org")
    reply = world.resolve(f"{name}.example.org")
    assert (reply.code, reply.addresses) == ("REFUSED", [])
    assert not world.reaches(NEIGHBOUR, 80)
    assert not world.reaches("8.20.0.254", 80)
    assert f"{name}.example.org" in world.notes()["withheld"]


def test_mapped_address_is_withheld(world: World, resolver: None) -> None:
    world.allow("*.example.org")
    assert world.resolve("mapped.example.org", "AAAA").addresses == []


def test_public_address_is_kept_beside_a_private_one(world: World, web: None, resolver: None) -> None:
    world.allow("mixed.example.org")
    assert world.resolve("mixed.example.org").addresses == [WEB]
    assert world.reaches(WEB, 80)


def test_private_address_can_be_allowed_for_a_name(world: World, resolver: None) -> None:
    world.listen(world.neighbour, NEIGHBOUR, 80)
    world.allow("rebound.example.org@10.9.0.0/24:80")
    assert world.resolve("rebound.example.org").addresses == [NEIGHBOUR]
    assert world.reaches(NEIGHBOUR, 80)


def test_address_is_reachable_as_long_as_the_answer_is_good(
    world: World, web: None, resolver: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from boxes.network import dns_forwarder

    monkeypatch.setattr(dns_forwarder, "SHORTEST", 1)
    monkeypatch.setattr(dns_forwarder, "LONGEST", 1)
    monkeypatch.setattr(dns_forwarder, "GRACE", 1)
    world.allow("web.example.org:443")
    assert world.resolve("web.example.org").ttls == [1]
    with inside(world.container):
        kept = socket.create_connection((WEB, 443), 2)
    time.sleep(2.3)
    assert not world.reaches(WEB, 443)
    kept.send(b"what was begun goes on")
    assert acknowledged(kept)
    assert world.resolve("web.example.org").addresses == [WEB]
    assert world.reaches(WEB, 443)
    kept.close()


def acknowledged(stream: socket.socket) -> bool:
    """Whether nothing is left in the queue of what was sent: tcp(7), SIOCOUTQ."""
    import fcntl

    for _ in range(50):
        if struct.unpack("i", fcntl.ioctl(stream, 0x5411, b"\0" * 4))[0] == 0:
            return True
        time.sleep(0.02)
    return False


def test_question_is_asked_in_other_words(world: World, resolver: None) -> None:
    """What a container sends beyond name and kind goes no further, and strange questions get an error."""
    world.allow("web.example.org")
    with inside(world.container):
        plain = dns.question("web.example.org")
        assert dns.send(plain[:-4] + struct.pack(">HH", 1, 3)).code == "FORMERR"  # of another class
        assert dns.send(plain[:-5]).code == "FORMERR"
        assert dns.send(struct.pack(">HHHHHH", 1, 0x2800, 1, 0, 0, 0) + plain[12:]).code == "FORMERR"  # an update
    assert world.resolve("web.example.org", "HTTPS").kinds == []
    assert world.resolve("web.example.org", "TXT").kinds == [16]


def test_no_server_is_an_error_and_not_a_way_out(world: World, web: None) -> None:
    world.allow("web.example.org")
    assert world.resolve("web.example.org").code == "SERVFAIL"
    assert not world.reaches(WEB, 80)
    assert RESOLVER in world.notes()["failure"]


def test_other_servers_of_names_cannot_be_asked(world: World, resolver: None) -> None:
    world.allow("web.example.org")
    for stream in (False, True):
        with inside(world.container), pytest.raises(OSError, match=r"No route|refused"):
            dns.ask("other.example.org", server=(RESOLVER, 53), stream=stream)
    assert {(RESOLVER, "udp", 53), (RESOLVER, "tcp", 53)} <= set(world.refused())


# ---- what an attacker with CAP_NET_RAW tries ----


@contextmanager
def raw(world: World) -> Iterator[Callable[[bytes], object]]:
    """Frames, as they are, from the container's device."""
    with inside(world.container):
        made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        made.bind(("eth0", 0))
    with made:
        yield made.send


def frame(payload: bytes, kind: int, *, source: str = MAC, target: str = "ff:ff:ff:ff:ff:ff") -> bytes:
    return bytes.fromhex((target + source).replace(":", "")) + struct.pack(">H", kind) + payload


def udp(source: str, target: str, *, fragment: int = 0) -> bytes:
    """IPv4 with a datagram to port 7777; the checksum of UDP is left out."""
    data = struct.pack(">HHHH", 7777, 7777, 12, 0) + b"data"
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(data), 1, fragment, 64, 17, 0)
    head += socket.inet_aton(source) + socket.inet_aton(target)
    total = sum(struct.unpack(">10H", head))
    total = (total & 0xFFFF) + (total >> 16)
    return head[:10] + struct.pack(">H", ~(total + (total >> 16)) & 0xFFFF) + head[12:] + data


def heard(receiver: socket.socket, size: int = 100) -> bytes:
    try:
        return receiver.recv(size)
    except TimeoutError:
        return b""


def test_forged_source_address_goes_nowhere(world: World) -> None:
    receiver = world.listen(world.outside, WEB, 7777, socket.SOCK_DGRAM)
    with raw(world) as send:
        send(frame(udp("10.9.0.77", WEB), 0x0800, target=world.gateway))
        assert heard(receiver) == b"data"  # else the test would prove nothing
        world.allow("8.20.0.0/24")
        send(frame(udp("10.9.0.77", WEB), 0x0800, target=world.gateway))
        send(frame(udp(OWN, WEB), 0x0800, source="02:00:00:00:00:09", target=world.gateway))
        assert heard(receiver) == b""
        send(frame(udp(OWN, WEB), 0x0800, target=world.gateway))
        assert heard(receiver) == b"data"
    assert egress.Watch("boxes-test").counters()["spoofed"] == 2


def test_frame_to_a_neighbour_goes_by_the_same_rules(world: World) -> None:
    receiver = world.listen(world.neighbour, NEIGHBOUR, 7777, socket.SOCK_DGRAM)
    world.allow(f"{NEIGHBOUR}:80")
    with raw(world) as send:
        send(frame(udp(OWN, NEIGHBOUR), 0x0800, target="02:00:00:00:00:03"))
        send(frame(udp(OWN, NEIGHBOUR), 0x0800))
    assert heard(receiver) == b""


@pytest.mark.parametrize("fragment", [0x2000, 0x0002])
def test_fragments_are_refused(world: World, fragment: int) -> None:
    world.allow("8.20.0.0/24:7777")
    with raw(world) as send:
        send(frame(udp(OWN, WEB, fragment=fragment), 0x0800, target=world.gateway))
    assert egress.Watch("boxes-test").counters()["refused"] == 1


@pytest.mark.parametrize("kind", [0x8100, 0x88A8, 0x88CC, 0x8864])
def test_frames_of_other_protocols_go_nowhere(world: World, kind: int) -> None:
    """Such as those of a virtual network, which hide what is in them."""
    world.allow("8.20.0.0/24")
    with inside(world.neighbour), socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as receiver:
        receiver.bind(("eth0", 3))
        receiver.settimeout(0.3)
        with raw(world) as send:
            send(frame(struct.pack(">HH", 5, 0x0800) + udp(OWN, WEB), kind))
        while found := heard(receiver, 2000):
            assert b"data" not in found


def arp(sender: str, mac: str = MAC) -> bytes:
    return (
        struct.pack(">HHBBH", 1, 0x0800, 6, 4, 2)
        + bytes.fromhex(mac.replace(":", ""))
        + socket.inet_aton(sender)
        + bytes(10)
    )


def test_addresses_of_others_cannot_be_claimed(world: World) -> None:
    """By ARP, or by neighbour discovery."""
    world.allow("8.20.0.0/24")
    advert = struct.pack(">BBHI", 136, 0, 0, 0x20000000) + socket.inet_pton(socket.AF_INET6, GATEWAY6)
    head = struct.pack(">IHBB", 6 << 28, len(advert), 58, 255) + socket.inet_pton(socket.AF_INET6, OWN6)
    head += socket.inet_pton(socket.AF_INET6, "ff02::1")
    with raw(world) as send:
        send(frame(arp(GATEWAY), 0x0806))
        send(frame(arp(OWN, "02:00:00:00:00:09"), 0x0806))
        send(frame(head + advert, 0x86DD))
    assert egress.Watch("boxes-test").counters()["spoofed"] == 3


def test_container_is_no_router(world: World) -> None:
    """Router advertisements, from its link-local address."""
    world.allow("2a00:20::/32")
    source = socket.inet_pton(socket.AF_INET6, egress_rules.Port("vc", MAC, []).link_local)
    advert = struct.pack(">BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0)
    head = struct.pack(">IHBB", 6 << 28, len(advert), 58, 255) + source + socket.inet_pton(socket.AF_INET6, "ff02::1")
    with raw(world) as send:
        send(frame(head + advert, 0x86DD))
    assert egress.Watch("boxes-test").counters()["spoofed"] == 1


def test_header_extensions_are_refused(world: World, web: None) -> None:
    """They move what is looked at; whoever needs them is not here."""
    world.allow(f"[{WEB6}]:80")
    options = struct.pack(">BBBBI", 6, 0, 1, 4, 0) + bytes(20)
    head = struct.pack(">IHBB", 6 << 28, len(options), 60, 64)
    head += socket.inet_pton(socket.AF_INET6, OWN6) + socket.inet_pton(socket.AF_INET6, WEB6)
    with raw(world) as send:
        send(frame(head + options, 0x86DD, target=world.gateway))
    assert world.refused() == {(WEB6, "ipv6-opts", 0): 1}


# ---- its process, and what is left ----


def test_forwarder_ends_with_the_container(world: World) -> None:
    world.allow("web.example.org")
    assert world.started is not None
    pidfd = os.pidfd_open(world.started.pid)
    world.process.kill()
    assert procfs.has_ended(pidfd, 5)
    os.close(pidfd)


def test_rules_go_by_their_name_once_or_twice(world: World) -> None:
    world.allow("web.example.org")
    egress.remove("boxes-test")
    egress.remove("boxes-test")
    assert subprocess.run(["nft", "list", "tables"], capture_output=True, check=True).stdout == b""


def test_full_set_refuses_and_stays_closed(world: World, web: None) -> None:
    """More destinations than are noted: the others are refused, and counted."""
    world.allow("none")
    with raw(world) as send:
        for number in range(600):
            send(frame(udp(OWN, f"8.22.{number // 256}.{number % 256}"), 0x0800, target=GATE))
    assert len(world.refused()) == 512
    assert egress.Watch("boxes-test").counters()["refused"] == 600
    assert not world.reaches(WEB, 80)


GATE = "02:00:00:00:00:01"
