"""`--allow` on a bridge, by the command line; what the rules do is in tests/kernel/test_egress.py."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.support import dns
from tests.support.bundle import Bundle
from tests.support.host import mount, unmount
from tests.support.marks import not_for, requires
from tests.support.network import inside, ip, network_of, new_namespace
from tests.support.runtime import Runtime, wait_until

pytestmark = [
    not_for("runc", "crun", reason="it is no matter of the specification's"),
    requires("root", "nft", "dnsmasq"),
]

HOST, WEB, RESOLVER = "8.20.0.254", "8.20.0.1", "8.20.0.53"
POLICY = ("--network=bridge", "--allow=web.example.org:443", f"--dns={RESOLVER}")


@pytest.fixture(autouse=True)
def host(box: Runtime) -> Iterator[int]:
    """The namespace that the runtime is started in, and a /run/boxes and /var/lib/boxes that nobody else sees."""
    places = ["/run/boxes", "/var/lib/boxes"]
    for place in places:
        os.makedirs(place, exist_ok=True)
        mount("tmpfs", place, "tmpfs", 0)
    try:
        with new_namespace() as namespace, inside(namespace):
            ip("link", "set", "lo", "up")
            yield namespace
            box.close()
    finally:
        for place in places:
            unmount(place)


@pytest.fixture(autouse=True)
def outside(host: int) -> Iterator[int]:
    """A server of names, and one that listens at two ports."""
    with new_namespace() as namespace, ExitStack() as stack:
        ip("link", "add", "out", "type", "veth", "peer", "in", "netns", f"/proc/{os.getpid()}/fd/{namespace}")
        ip("address", "add", f"{HOST}/24", "dev", "out")
        ip("link", "set", "out", "up")
        ip("route", "add", "default", "via", WEB)
        with inside(namespace):
            ip("link", "set", "lo", "up")
            for address in (WEB, RESOLVER):
                ip("address", "add", f"{address}/24", "dev", "in")
            ip("link", "set", "in", "up")
            for port in (80, 443):
                made = stack.enter_context(socket.socket())
                made.bind((WEB, port))
                made.listen(5)
            stack.enter_context(dns.server(RESOLVER, f"host-record=web.example.org,{WEB}", "local-ttl=120"))
        yield namespace


def reaches(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), 5).close()
    except OSError:
        return False
    return True


def tables() -> list[str]:
    done = subprocess.run(["nft", "list", "tables", "netdev"], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_policy_holds_and_goes_with_the_container(box: Runtime, bundle: Bundle) -> None:
    container = box.start(bundle.args("/bin/sleep", "100"), *POLICY)
    with network_of(container.pid):
        assert not reaches(WEB, 443)
        assert dns.ask("web.example.org").addresses == [WEB]
        assert reaches(WEB, 443)
        assert not reaches(WEB, 80)
    assert len(tables()) == 1
    container.delete("--force").ok()
    assert tables() == []


def test_program_inside_asks_the_forwarder(box: Runtime, bundle: Bundle) -> None:
    bundle.shell("cat /etc/resolv.conf")
    assert box.run(bundle, *POLICY).out == "nameserver 127.0.0.1\n"
    assert tables() == []


def test_mount_of_the_configs_own_is_warned_of(box: Runtime, bundle: Bundle) -> None:
    made = bundle.host_directory(**{"resolv.conf": "nameserver 8.8.8.8\n"})
    bundle.mount("/etc/resolv.conf", "bind", made / "resolv.conf", "bind", "ro").shell("cat /etc/resolv.conf")
    result = box.run(bundle, *POLICY)
    assert result.out == "nameserver 8.8.8.8\n"
    assert "/etc/resolv.conf: the config has a mount there: names that are allowed are known at 127.0.0.1" in result.err


def test_annotation_is_as_good(box: Runtime, bundle: Bundle) -> None:
    bundle.namespace("network").config["annotations"] = {
        "boxes.network": "bridge", "boxes.network.allow": f"{WEB}:443, {HOST}:1-1024/tcp",
    }  # fmt: skip
    container = box.create(bundle)
    with network_of(container.pid):
        assert reaches(WEB, 443)
        assert not reaches(WEB, 80)


def test_neighbour_is_none_by_itself(box: Runtime, bundle: Bundle, make_bundle: object) -> None:
    """Two on one bridge, of which one is held: it cannot begin, but can be talked to."""
    held = box.create(bundle, *POLICY)
    assert callable(make_bundle)
    free = box.create(make_bundle(), "--network=bridge")
    with ExitStack() as stack:
        addresses = []
        for container in (held, free):
            with network_of(container.pid):
                made = stack.enter_context(socket.socket())
                made.bind(("0.0.0.0", 80))
                made.listen(5)
                addresses.append(_own())
        with network_of(free.pid):
            assert reaches(addresses[0], 80)
        with network_of(held.pid):
            assert not reaches(addresses[1], 80)


def _own() -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.connect((WEB, 9))
        return str(made.getsockname()[0])


def test_published_port_works_as_ever(box: Runtime, bundle: Bundle, outside: int) -> None:
    container = box.create(bundle, *POLICY, "--publish=8080:80")
    with network_of(container.pid):
        made = socket.socket()
        made.bind(("0.0.0.0", 80))
        made.listen(5)
    with made, inside(outside):
        assert reaches(HOST, 8080)


def test_what_is_refused_is_told(box: Runtime, bundle: Bundle) -> None:
    container = box.create(bundle, *POLICY)
    with network_of(container.pid):
        assert not reaches(WEB, 80)
        assert dns.ask("www.example.org").code == "REFUSED"
    wait_until(lambda: bool(box("egress", "-f", "json", bundle.id).json()["names"]), "note")
    found = box("egress", "--format=json", bundle.id).json()
    assert found["allowed"] == ["web.example.org:443"]
    assert found["packets"] == {"refused": 1, "spoofed": 0}
    assert [(entry["address"], entry["port"]) for entry in found["destinations"]] == [(WEB, 80)]
    assert found["names"]["refused"] == {"www.example.org": 1}
    text = box("egress", bundle.id).ok().out
    assert f"refused    {WEB}:80/tcp  1 packets" in text
    assert "refused    www.example.org  1 questions" in text


def test_without_a_policy_there_is_nothing_to_tell(box: Runtime, bundle: Bundle) -> None:
    box.create(bundle)
    box("egress", bundle.id).refused("has no policy")


def test_forwarder_that_dies_leaves_it_closed(box: Runtime, bundle: Bundle) -> None:
    container = box.create(bundle, *POLICY)
    (pid,) = (int(path.parent.name) for path in Path("/proc").glob("[0-9]*/comm") if _comm(path) == "box: dns")
    with network_of(container.pid):
        assert dns.ask("web.example.org").code == "NOERROR"
        os.kill(pid, 9)
        with suppress(ConnectionRefusedError):
            time.sleep(0.1)
            dns.ask("web.example.org")
        assert not reaches(WEB, 80)
        assert reaches(WEB, 443)
    container.delete("--force").ok()
    assert tables() == []


def _comm(path: Path) -> str:
    with suppress(OSError):
        if path.parent.joinpath("stat").read_text().rpartition(")")[2].split()[1] == str(os.getpid()):
            return path.read_text().strip()
    return ""


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("10.0.0.1/8", "'10.0.0.1/8': has host bits set"),
        ("example.org:0", "'example.org:0': a port is a number from 1 to 65535"),
        ("example.org:80/sctp", "'sctp' is neither 'tcp' nor 'udp'"),
        ("ex ample.org", "'ex ample.org': neither a network nor a name"),
        ("*.*.org", "neither a network nor a name"),
        ("bücher.example", "other scripts are written as in DNS, 'xn--…'"),
        ("db@inside:80", "'inside' is not a network"),
        ("1.2.3", "'1.2.3'"),
        ("", "neither a network nor a name"),
    ],
)
def test_wrong_entry_is_refused_by_flag(box: Runtime, bundle: Bundle, entry: str, expected: str) -> None:
    box.run(bundle, "--network=bridge", f"--allow={entry}").refused("flag --allow: ", expected)


def test_policy_without_a_network_is_refused(box: Runtime, bundle: Bundle) -> None:
    box.run(bundle, "--allow=none").refused("flag --allow: this needs a network")
    box.run(bundle, "--network=host", "--allow=none").refused("flag --allow: this means nothing to the network 'host'")


def test_forwarder_has_no_more_rights_than_its_rules_need(box: Runtime, bundle: Bundle) -> None:
    """And nobody without CAP_SYS_PTRACE on the host looks into it, not even with its user and more rights than it."""
    container = box.start(bundle.args("/bin/sleep", "100"), *POLICY)
    record = json.loads((box.root / container.id / "state.json").read_text())["network"]["egress"]
    pid = record["process"][0]
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    net_admin = f"{1 << 12:016x}"
    assert [status[f"Cap{name}"] for name in ("Inh", "Prm", "Eff", "Bnd", "Amb")] == [
        "0" * 16,
        net_admin,
        net_admin,
        "0" * 16,
        "0" * 16,
    ]
    assert status["NoNewPrivs"] == "1"
    seen = subprocess.run(
        ["setpriv", "--bounding-set=-sys_ptrace", "--inh-caps=-all", "cat", f"/proc/{pid}/mem"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Permission denied" in seen.stderr, seen
    with network_of(container.pid):
        assert dns.ask("web.example.org").addresses == [WEB]
        assert reaches(WEB, 443), "it adds to the rules"
        assert dns.ask("other.example.org").addresses == []
    wait_until(lambda: (box.root / container.id / "egress.json").exists(), "notes", 5)
