"""`--network cni:NAME`, with the plugins of the distribution and some of the test's own.

The host is a network namespace of the test's own, with files of CNI's that nobody else sees.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support import dns
from tests.support.bundle import Bundle
from tests.support.cni import Plugins
from tests.support.host import mount, unmount
from tests.support.marks import not_for, requires
from tests.support.network import addresses, devices, inside, ip, look, network_of, new_namespace
from tests.support.runtime import Runtime

pytestmark = [
    not_for("runc", "crun", reason="it is no matter of the specification's"),
    requires("root", "cni plugins", "iptables", "dnsmasq"),
]

BIN = "/usr/lib/cni"
OUTSIDE, WEB = "8.20.0.53", "8.20.0.1"


@pytest.fixture(autouse=True)
def host(box: Runtime) -> Iterator[int]:
    """The namespace that the runtime is started in. Containers are deleted while it is there."""
    with new_namespace() as namespace, inside(namespace):
        mount("tmpfs", "/var/lib/cni", "tmpfs")
        ip("link", "set", "lo", "up")
        try:
            yield namespace
            box.close()
        finally:
            subprocess.run(["umount", "/var/lib/cni"], check=True)


@pytest.fixture
def outside(host: int) -> Iterator[int]:
    with new_namespace() as namespace:
        ip("link", "add", "out", "type", "veth", "peer", "in", "netns", f"/proc/{os.getpid()}/fd/{namespace}")
        ip("address", "add", "8.20.0.254/24", "dev", "out")
        ip("link", "set", "out", "up")
        Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
        with inside(namespace):
            ip("link", "set", "lo", "up")
            for address in (OUTSIDE, WEB):
                ip("address", "add", f"{address}/24", "dev", "in")
            ip("link", "set", "in", "up")
            ip("route", "add", "default", "via", "8.20.0.254")
        yield namespace


@pytest.fixture
def plugins(directory: Path) -> Plugins:
    return Plugins(directory)


def bridge(**more: Any) -> dict[str, Any]:
    return {
        "type": "bridge",
        "bridge": "cni7",
        "isGateway": True,
        "ipMasq": True,
        "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.88.7.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]},
        **more,
    }


PORTMAP = {"type": "portmap", "capabilities": {"portMappings": True}}
FIREWALL, TUNING = {"type": "firewall", "backend": "iptables"}, {"type": "tuning", "capabilities": {"mac": True}}
BANDWIDTH = {"type": "bandwidth", "capabilities": {"bandwidth": True}}


def network(plugins: Plugins, *listed: dict[str, Any], name: str = "net", **more: Any) -> tuple[str, ...]:
    """What to say to `create`."""
    plugins.network(name, *(listed or (bridge(),)), cniVersion="1.0.0", **more)
    return (f"--network=cni:{name}", f"--cni-conf={plugins.conf}", f"--cni-bin={BIN}:{plugins.bin}")


def rules() -> str:
    """Without what is there for good once plugins have run: their own chains."""
    done = subprocess.run(["iptables-save"], capture_output=True, text=True, check=True)
    return "\n".join(line for line in done.stdout.splitlines() if "10.88.7." in line)


def listens(namespace: int, address: str, port: int, stack: ExitStack) -> None:
    with inside(namespace):
        made = stack.enter_context(socket.socket())
        made.bind((address, port))
        made.listen(5)


def reaches(address: str, port: int, timeout: float = 5) -> bool:
    try:
        socket.create_connection((address, port), timeout).close()
    except OSError:
        return False
    return True


def left() -> list[str]:
    """What a container has left: leases, results, devices, rules."""
    files = [str(path) for path in Path("/var/lib/cni").rglob("*") if path.is_file()]
    kept = [path for path in files if not path.endswith(("/lock", "/last_reserved_ip.0"))]
    return kept + [f"device {name}" for name in devices() if name.startswith("veth")] + rules().splitlines()


def test_container_is_attached_and_deleted(box: Runtime, bundle: Bundle, plugins: Plugins) -> None:
    container = box.create(bundle, *network(plugins, bridge(), PORTMAP, FIREWALL, TUNING))
    with network_of(container.pid):
        assert devices() == {"lo", "eth0"}
        assert addresses("eth0", "global") == ["10.88.7.2/24"]
        (route,) = (route for route in look("route") if route["dst"] == "default")
        assert route["gateway"] == "10.88.7.1"
    kept = json.loads(Path(f"/var/lib/cni/results/net-{bundle.id}-eth0").read_text())
    assert kept["result"]["ips"][0]["address"] == "10.88.7.2/24"
    assert rules()
    container.delete("--force").ok()
    assert left() == []


def test_failed_creation_leaves_nothing(box: Runtime, bundle: Bundle, plugins: Plugins) -> None:
    bundle.hook("createRuntime", "/bin/false")
    box.spawn("create", bundle, *network(plugins, bridge(), PORTMAP, FIREWALL))[0].refused("hook")
    assert left() == []


def test_error_of_a_plugin_is_one_line_and_leaves_nothing(box: Runtime, bundle: Bundle, plugins: Plugins) -> None:
    plugins.plugin("failing")
    plugins.answers("failing", "ADD", {"code": 107, "msg": "no luck", "details": "today"}, 1)
    flags = network(plugins, bridge(), {"type": "failing"})
    text = f"CNI plugin 'failing' (ADD, '{plugins.conf}/net.conflist'): no luck: today [code 107]"
    box.spawn("create", bundle, *flags)[0].refused(text)
    assert left() == []
    assert not (box.root / bundle.id).exists()


def test_port_is_published(box: Runtime, bundle: Bundle, plugins: Plugins, outside: int) -> None:
    flags = network(plugins, bridge(), PORTMAP)
    container = box.create(bundle, *flags, "--publish=8080:80", "-p", "8.20.0.254:8081:81/udp")
    with ExitStack() as stack:
        namespace = os.open(f"/proc/{container.pid}/ns/net", os.O_RDONLY)
        stack.callback(os.close, namespace)
        listens(namespace, "0.0.0.0", 80, stack)
        with inside(outside):
            assert reaches("8.20.0.254", 8080)
            assert not reaches("8.20.0.254", 8081, 0.3)
    assert "udp" in subprocess.run(["iptables-save", "-tnat"], capture_output=True, text=True, check=True).stdout
    container.delete("--force").ok()
    with inside(outside):
        assert not reaches("8.20.0.254", 8080, 0.3)


def test_port_of_a_family_is_published_there_only(box: Runtime, bundle: Bundle, plugins: Plugins) -> None:
    ranges = [[{"subnet": "10.88.7.0/24"}], [{"subnet": "fd88:7::/64"}]]
    routes = [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]
    both = bridge(ipam={"type": "host-local", "ranges": ranges, "routes": routes})
    flags = network(plugins, both, PORTMAP)
    container = box.create(bundle, *flags, "-p", "0.0.0.0:8080:80", "-p", "[::]:8081:80", "-p", "8082:80")
    published = {}
    for program in ("iptables-save", "ip6tables-save"):
        done = subprocess.run([program, "-tnat"], capture_output=True, text=True, check=True).stdout
        published[program] = {line.split("--dport ")[1][:4] for line in done.splitlines() if "-j DNAT" in line}
    assert published == {"iptables-save": {"8080", "8082"}, "ip6tables-save": {"8081", "8082"}}
    container.delete("--force").ok()


def test_port_without_who_publishes_is_refused(box: Runtime, bundle: Bundle, plugins: Plugins) -> None:
    result = box.spawn("create", bundle, *network(plugins), "--publish=8080:80")[0]
    result.refused("flag --publish", f"'{plugins.conf}/net.conflist' has no plugin that publishes ports")


def test_address_is_asked_for_either_way(box: Runtime, bundle: Bundle, plugins: Plugins) -> None:
    flags = network(plugins)
    container = box.create(bundle, *flags, "--ip=10.88.7.77")
    with network_of(container.pid):
        assert addresses("eth0", "global") == ["10.88.7.77/24"]
    container.delete("--force").ok()
    flags = network(plugins, bridge(capabilities={"ips": True}))
    container = box.create(bundle, *flags, "--ip=10.88.7.78")
    with network_of(container.pid):
        assert addresses("eth0", "global") == ["10.88.7.78/24"]


def test_capabilities_by_annotations(box: Runtime, bundle: Bundle, plugins: Plugins) -> None:
    limits = {"ingressRate": 8000000, "ingressBurst": 8000000, "egressRate": 16000000, "egressBurst": 16000000}
    bundle.config["annotations"] = {
        "boxes.network.capability.mac": '"02:11:22:33:44:55"',
        "boxes.network.capability.bandwidth": json.dumps(limits),
    }
    container = box.create(bundle, *network(plugins, bridge(), TUNING, BANDWIDTH))
    with network_of(container.pid):
        assert look("link", "show", "dev", "eth0")[0]["address"] == "02:11:22:33:44:55"
    disciplines = subprocess.run(["tc", "qdisc"], capture_output=True, text=True, check=True).stdout
    assert "rate 8Mbit" in disciplines
    assert "rate 16Mbit" in disciplines
    container.delete("--force").ok()
    assert left() == []


def test_annotations_choose_the_network(box: Runtime, bundle: Bundle, plugins: Plugins) -> None:
    network(plugins)
    bundle.config["annotations"] = {
        "boxes.network": "cni:net", "boxes.network.cni-conf": str(plugins.conf), "boxes.network.cni-bin": BIN,
    }  # fmt: skip
    container = box.create(bundle.namespace("network"))
    with network_of(container.pid):
        assert addresses("eth0", "global") == ["10.88.7.2/24"]


def test_servers_of_names_come_from_the_network(box: Runtime, bundle: Bundle, plugins: Plugins) -> None:
    names = {"nameservers": ["10.88.7.1", "fd00::53"], "search": ["example.org"], "options": ["ndots:2"]}
    flags = network(plugins, bridge(dns=names))
    bundle.shell("cat /etc/resolv.conf")
    assert box.run(bundle, *flags).out == (
        "nameserver 10.88.7.1\nnameserver fd00::53\nsearch example.org\noptions ndots:2\n"
    )
    assert box.run(bundle, *flags, "--dns=9.9.9.9").out.startswith("nameserver 9.9.9.9\n")
    assert left() == []


def test_run_leaves_nothing(box: Runtime, bundle: Bundle, plugins: Plugins) -> None:
    bundle.shell("exit 3")
    assert box.run(bundle, *network(plugins, bridge(), PORTMAP, FIREWALL), "-p", "8080:80").code == 3
    assert left() == []


def test_same_id_elsewhere_is_refused_and_left_alone(box: Runtime, bundle: Bundle, plugins: Plugins) -> None:
    flags = network(plugins)
    box.create(bundle, *flags)
    bundle.linux["cgroupsPath"] += "-2"
    bundle.save()
    command = [*box.command("create", *box.bundle_args(bundle, *flags))]
    command[command.index(str(box.root))] = str(box.directory / "other")
    done = subprocess.run(command, capture_output=True, text=True, stdin=-3, check=False)
    assert done.returncode == 1
    assert "has an attachment" in done.stderr
    assert Path(f"/var/lib/cni/results/net-{bundle.id}-eth0").exists()


def test_plugin_that_cannot_take_back_does_not_hold_the_container(
    box: Runtime, bundle: Bundle, plugins: Plugins
) -> None:
    """Its result is kept, and the next container of this id begins by taking back."""
    flags = network(plugins)
    container = box.create(bundle, *flags)
    subprocess.run(["iptables", "-t", "nat", "-F"], check=True)
    subprocess.run(["iptables", "-t", "nat", "-X"], check=True)
    assert "ignoring: CNI plugin 'bridge' (DEL" in container.delete("--force").ok().err
    assert Path(f"/var/lib/cni/results/net-{bundle.id}-eth0").exists()
    container = box.create(bundle, *flags)
    container.delete("--force").ok()
    assert left() == []


# ---- the rest of the protocol ----


def test_check_tells_what_is_missing(box: Runtime, bundle: Bundle, plugins: Plugins) -> None:
    container = box.create(bundle, *network(plugins))
    box("cni", "check", bundle.id).ok()
    with network_of(container.pid):
        ip("address", "flush", "dev", "eth0")
    box("cni", "check", bundle.id).refused("CNI plugin 'bridge' (CHECK, ")


def test_check_is_for_containers_of_cni(box: Runtime, bundle: Bundle) -> None:
    box.create(bundle)
    box("cni", "check", bundle.id).refused("is on no network of CNI")


def test_network_that_is_not_ready_is_told_before_anything_is_made(
    box: Runtime, bundle: Bundle, plugins: Plugins
) -> None:
    plugins.plugin("full")
    plugins.answers("full", "STATUS", {"code": 50, "msg": "no addresses left"}, 1)
    plugins.network("net", {"type": "full"})
    flags = (f"--cni-conf={plugins.conf}", f"--cni-bin={plugins.bin}")
    text = f"CNI plugin 'full' (STATUS, '{plugins.conf}/net.conflist'): no addresses left [code 50]"
    box("cni", "status", *flags, "net").refused(text)
    box.spawn("create", bundle, "--network=cni:net", *flags)[0].refused(text)
    assert plugins.order() == ["STATUS full", "STATUS full"]


def test_garbage_of_containers_that_are_gone_is_collected(box: Runtime, bundle: Bundle, plugins: Plugins) -> None:
    """And nothing of those that are there."""
    name, *flags = network(plugins, bridge())
    container = box.create(bundle, name, *flags)
    kept = Path(f"/var/lib/cni/results/net-{bundle.id}-eth0")
    stale = json.loads(kept.read_text()) | {"containerId": "gone", "netns": "/run/nowhere"}
    Path("/var/lib/cni/results/net-gone-eth0").write_text(json.dumps(stale))
    Path("/var/lib/cni/networks/net/10.88.7.9").write_text("gone\r\neth0")
    box("cni", "gc", *flags, "net").ok()
    assert kept.exists()
    assert not Path("/var/lib/cni/results/net-gone-eth0").exists()
    assert not Path("/var/lib/cni/networks/net/10.88.7.9").exists()
    assert Path("/var/lib/cni/networks/net/10.88.7.2").exists()
    with network_of(container.pid):
        assert addresses("eth0", "global") == ["10.88.7.2/24"]


# ---- beside another ----

PODMAN = """
[network]
network_backend = "cni"
network_config_dir = "{conf}"
cni_plugin_dirs = ["{bin}"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
[engine.runtimes]
crun = ["{box}"]
"""


@contextmanager
def by_podman(box: Runtime, bundle: Bundle, plugins: Plugins) -> Iterator[int]:
    """The pid of a container on the same network, published alike. The runtime is `box`, under a name that podman
    believes can do without cgroups."""
    conf = box.directory / "containers.conf"
    conf.write_text(PODMAN.format(conf=plugins.conf, bin=BIN, box=box.path))
    null = box.directory / "null"
    os.mknod(null, 0o20666, os.makedev(1, 3))
    null.chmod(0o666)
    mount(str(null), "/dev/null", None, 4096)
    environment = {"PATH": os.environ["PATH"], "CONTAINERS_CONF": str(conf)}
    at = [f"--root={box.directory}/storage", f"--runroot={box.directory}/run", "--storage-driver=vfs", "--runtime=crun"]

    def podman(*args: str) -> str:
        command = ["podman", *at, *args]
        done = subprocess.run(command, env=environment, stdin=-3, stdout=-1, text=True, check=True, timeout=50)
        return done.stdout.strip()

    try:
        flags = ["--cgroups=disabled", "--ulimit=nofile=512:512", "--ulimit=nproc=512:512", "--log-driver=none"]
        flags += ["--name=peer", "--network=net", "--publish=8080:80", "--rootfs", str(bundle.rootfs)]
        podman("run", "-d", *flags, "/bin/sleep", "100")
        try:
            yield int(podman("inspect", "peer", "--format={{.State.Pid}}"))
        finally:
            podman("rm", "-f", "-t", "0", "peer")
            unmount("/run/netns")  # podman has made it a mount
    finally:
        unmount("/dev/null")


def seen(pid: int, outside: int) -> dict[str, Any]:
    """What a container has of a network, and what the outside has of it."""
    namespace = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
    with ExitStack() as stack:
        stack.callback(os.close, namespace)
        listens(namespace, "0.0.0.0", 80, stack)
        with inside(namespace):
            links = [(link["ifname"], link["mtu"], link["flags"]) for link in look("link")]
            routes = [(route["dst"], route.get("gateway"), route["dev"]) for route in look("route")]
            found = {"links": links, "routes": routes, "addresses": addresses("eth0", "global")}
        with inside(outside):
            found["published"] = reaches("8.20.0.254", 8080)
    return found


@pytest.mark.engines
@requires("podman")
def test_result_is_podmans(box: Runtime, bundle: Bundle, plugins: Plugins, outside: int) -> None:
    flags = network(plugins, bridge(), PORTMAP, {"type": "firewall"}, {"type": "tuning"})
    plugins.network("net", bridge(), PORTMAP, {"type": "firewall"}, {"type": "tuning"}, cniVersion="0.4.0")
    container = box.create(bundle.args("/bin/sleep", "100"), *flags, "--publish=8080:80")
    ours = seen(container.pid, outside)
    container.delete("--force").ok()
    Path("/var/lib/cni/networks/net/last_reserved_ip.0").unlink()
    with by_podman(box, bundle, plugins) as pid:
        assert seen(pid, outside) == ours
    assert ours["published"]
    assert left() == []


# ---- with --allow ----


def test_policy_holds_on_a_network_of_cni(box: Runtime, bundle: Bundle, plugins: Plugins, outside: int) -> None:
    with ExitStack() as stack:
        with inside(outside):
            stack.enter_context(dns.server(OUTSIDE, f"host-record=web.example.org,{WEB}", "local-ttl=120"))
        for port in (80, 443):
            listens(outside, WEB, port, stack)
        flags = network(plugins)
        container = box.create(bundle, *flags, "--allow=web.example.org:443", f"--dns={OUTSIDE}")
        with network_of(container.pid):
            assert not reaches(WEB, 443)
            assert dns.ask("web.example.org").addresses == [WEB]
            assert dns.ask("www.example.org").code == "REFUSED"
            assert reaches(WEB, 443)
            assert not reaches(WEB, 80)
        container.delete("--force").ok()
    assert left() == []
    assert "boxes-" not in subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True).stdout
