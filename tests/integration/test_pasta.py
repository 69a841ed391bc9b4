"""`--network pasta`: a network for whom the host gives no rights, by root and by an ordinary user.

The host is a network namespace of the test's own, with one device and routes to nowhere.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import dns
from tests.support.bundle import Bundle
from tests.support.host import children, mount, unmount
from tests.support.marks import not_for, requires
from tests.support.network import addresses, devices, inside, ip, network_of, new_namespace
from tests.support.runtime import Container, Runtime, wait_until

pytestmark = [
    not_for("runc", "crun", reason="it is no matter of the specification's"),
    requires("root", "pasta", "slirp4netns", "nft", "dnsmasq"),
]

UID = 54321
AS_USER = ("setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups", "--inh-caps=-all")
HOST, HOST6, WEB, RESOLVER = "8.20.0.254", "2a00:20::fe", "8.20.0.1", "8.20.0.53"


@pytest.fixture(autouse=True)
def host(box: Runtime) -> Iterator[int]:
    """The namespace that the runtime is started in; the device for all users, as udev makes it."""
    tun = box.directory / "tun"
    os.mknod(tun, 0o20666, os.makedev(10, 200))
    tun.chmod(0o666)
    mount(str(tun), "/dev/net/tun", None, 4096)
    try:
        with new_namespace() as namespace, inside(namespace):
            for name in ("all", "default"):
                Path(f"/proc/sys/net/ipv6/conf/{name}/accept_dad").write_text("0")
            ip("link", "set", "lo", "up")
            ip("link", "add", "out", "type", "veth", "peer", "in")
            ip("address", "add", f"{HOST}/24", "dev", "out")
            ip("address", "add", f"{HOST6}/64", "dev", "out")
            for device in ("in", "out"):
                ip("link", "set", device, "up")
            ip("route", "add", "default", "via", WEB)
            ip("route", "add", "default", "via", "2a00:20::1")
            yield namespace
            box.close()
    finally:
        unmount("/dev/net/tun")


@pytest.fixture
def outside(host: int) -> Iterator[int]:
    """Another namespace at the other end."""
    with new_namespace() as namespace:
        ip("link", "set", "in", "netns", f"/proc/{os.getpid()}/fd/{namespace}")
        with inside(namespace):
            ip("link", "set", "lo", "up")
            for address in (WEB, RESOLVER):
                ip("address", "add", f"{address}/24", "dev", "in")
            ip("link", "set", "in", "up")
        yield namespace


@pytest.fixture
def slirp(apart: None) -> Iterator[None]:
    """A host without pasta."""
    mount("/dev/null", "/usr/bin/pasta", None, 4096)
    yield
    unmount("/usr/bin/pasta")


Create = Callable[..., Container]


@pytest.fixture(params=["root", "user namespace", "user"])
def create(request: pytest.FixtureRequest, box: Runtime, bundle: Bundle) -> Create:
    """A function that makes a container by the runtime of root, of root with a user namespace, or of a user."""
    if request.param == "user namespace":
        bundle.user_namespace()
    if request.param == "user":
        del bundle.linux["cgroupsPath"]
        bundle.without_mount("/sys").namespace("user")
        own = [{"containerID": 0, "hostID": UID, "size": 1}]
        bundle.linux.update(uidMappings=own, gidMappings=own)
    bundle.args("/bin/sleep", "100")
    bundle.capabilities()

    def made(*flags: str) -> Container:
        if request.param != "user":
            return box.create(bundle, "--network=pasta", *flags)
        for directory, names, files in os.walk(box.directory):
            for name in (".", *names, *files):
                os.chown(Path(directory, name), UID, UID, follow_symlinks=False)
        os.chmod(box.directory, 0o755)
        bundle.save()
        os.chown(bundle.path / "config.json", UID, UID)
        return box.create(bundle, "--network=pasta", *flags, prefix=AS_USER)

    return made


def listener(address: str = "0.0.0.0", port: int = 80, kind: int = socket.SOCK_STREAM) -> socket.socket:
    made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind)
    made.bind((address, port))
    made.settimeout(3)
    if kind == socket.SOCK_STREAM:
        made.listen(5)
    return made


def reaches(address: str, port: int) -> bool:
    """Whether a connection is made and stays: pasta takes it before it knows."""
    try:
        with socket.create_connection((address, port), 3) as made:
            made.settimeout(0.3)
            try:
                return made.recv(1) != b""
            except TimeoutError:
                return True
    except OSError:
        return False


def companions() -> set[str]:
    """The programs that go with containers, and live."""
    names = set()
    for pid in children():
        try:
            text = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            continue
        if text.rpartition(") ")[2][0] not in "ZX":
            names.add(text.partition("(")[2].rpartition(")")[0])
    return {name for name in names if name.startswith(("passt", "pasta", "slirp", "box: ")) and name != "box: init"}


# ---- networks ----


def test_container_has_the_addresses_of_the_host(create: Create) -> None:
    container = create()
    with network_of(container.pid):
        assert devices() == {"lo", "out"}
        assert addresses("out", "global")[0] == f"{HOST}/24"
        assert f"{HOST6}/64" in addresses("out", "global")


def test_outside_is_reachable(create: Create, outside: int) -> None:
    with inside(outside):
        web = listener(WEB)
    with web, network_of(create().pid):
        assert reaches(WEB, 80)


def test_ports_are_published(create: Create) -> None:
    container = create("--publish=127.0.0.1:8080:80", "-p", "8053:53/udp", "-p", "[::1]:8081:80")
    with network_of(container.pid):
        web, names = listener("::"), listener(port=53, kind=socket.SOCK_DGRAM)
    with web, names:
        for address, port in (("127.0.0.1", 8080), ("::1", 8081)):
            with socket.create_connection((address, port), 3):
                web.accept()[0].close()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
            made.sendto(b"question", (HOST, 8053))
            assert names.recv(100) == b"question"


def test_ports_of_a_family_are_published_there_only(create: Create) -> None:
    container = create("-p", "0.0.0.0:8080:80", "-p", "[::]:8081:80", "-p", "8082:80")
    with network_of(container.pid):
        web = listener("::")
    with web:
        reached = {(a, p) for a in ("127.0.0.1", "::1") for p in (8080, 8081, 8082) if reaches(a, p)}
    both = {("127.0.0.1", 8082), ("::1", 8082)}
    assert reached == both | {("127.0.0.1", 8080), ("::1", 8081)}


def test_no_other_port_of_either_side_is_shared(create: Create) -> None:
    container = create()
    with listener("127.0.0.1", 8081), network_of(container.pid):
        assert not reaches("127.0.0.1", 8081)
        assert not reaches(WEB, 8081)  # the gateway is not the host
        inner = listener("0.0.0.0", 8082)
    with inner:
        assert not reaches("127.0.0.1", 8082)


def test_it_ends_with_the_container_and_not_before(create: Create) -> None:
    container = create()
    container.start().ok()
    assert companions() >= {"box: follower"}
    assert len(companions()) == 2
    os.kill(container.pid, 9)
    wait_until(lambda: companions() == set(), "companion")


def test_delete_leaves_no_process(create: Create) -> None:
    container = create("--publish=8080:80")
    container.delete("--force").ok()
    wait_until(lambda: companions() == set(), "companion")


def test_port_that_is_taken_is_one_line(box: Runtime, bundle: Bundle) -> None:
    with listener("127.0.0.1", 8080):
        result, reader, _ = box.spawn("create", bundle, "--network=pasta", "--publish=127.0.0.1:8080:80")
    os.close(reader)
    result.refused("box: pasta has ended:", "8080")
    assert companions() == set()
    assert not (box.root / bundle.id).exists()


def test_servers_of_names(box: Runtime, bundle: Bundle) -> None:
    bundle.shell("cat /etc/resolv.conf")
    assert box.run(bundle, "--network=pasta", "--dns=9.9.9.9").out == "nameserver 9.9.9.9\n"


@pytest.mark.usefixtures("slirp")
class TestSlirp:
    """Where pasta is missing."""

    def test_ports_are_published(self, create: Create) -> None:
        container = create("--publish=127.0.0.1:8080:80")
        with network_of(container.pid):
            assert addresses("tap0", "global")[0] == "10.0.2.100/24"
            web = listener()
        with web, socket.create_connection(("127.0.0.1", 8080), 3):
            web.accept()[0].close()
        container.delete("--force").ok()
        wait_until(lambda: companions() == set(), "companion")

    def test_outside_is_reachable(self, create: Create, outside: int) -> None:
        with inside(outside):
            web = listener(WEB)
        with web, network_of(create().pid):
            assert reaches(WEB, 80)

    def test_address_of_ipv6_is_refused(self, box: Runtime, bundle: Bundle) -> None:
        box.run(bundle, "--network=pasta", "-p", "[::1]:8081:80").refused("slirp4netns cannot publish ports on [::1]")


# ---- with --allow ----


def test_policy_holds(create: Create, outside: int) -> None:
    with inside(outside):
        servers = [listener(WEB, port) for port in (80, 443)]
        served = dns.server(RESOLVER, f"host-record=web.example.org,{WEB}", "local-ttl=120")
        served.__enter__()
    try:
        container = create("--allow=web.example.org:443", f"--dns={RESOLVER}", "--publish=127.0.0.1:8080:80")
        with network_of(container.pid):
            began = time.monotonic()
            assert not reaches(WEB, 443)
            assert dns.ask("www.example.org").code == "REFUSED"
            assert dns.ask("web.example.org").addresses == [WEB]
            assert reaches(WEB, 443)
            assert not reaches(WEB, 80)
            assert time.monotonic() - began < 5
            own = listener()
        with own, socket.create_connection(("127.0.0.1", 8080), 3):
            own.accept()[0].close()
        container.delete("--force").ok()
    finally:
        served.__exit__(None, None, None)
        for each in servers:
            each.close()
    wait_until(lambda: companions() == set(), "companion")


@pytest.mark.parametrize("name", ["CAP_NET_ADMIN", "CAP_NET_RAW"])
def test_container_that_could_undo_the_policy_is_refused(box: Runtime, bundle: Bundle, name: str) -> None:
    bundle.capabilities(name)
    box.run(bundle, "--network=pasta", "--allow=none").refused("flag --allow: the container keeps", name)
