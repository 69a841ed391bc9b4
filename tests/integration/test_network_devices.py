"""`linux.netDevices` (runtime-spec, config-linux.md#network-devices).

Each test has a network namespace of its own, with devices that it makes there: it stands for the host's.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.bundle import Bundle
from tests.support.marks import not_for, requires
from tests.support.network import addresses, devices, inside, ip, is_up, look, network_of, new_namespace
from tests.support.runtime import Runtime

pytestmark = not_for("runc", "crun", reason="the distribution's version does not know the field")

HOST = {"lo", "v0", "v1", "v2", "v3"}


@pytest.fixture(autouse=True)
def host() -> Iterator[int]:
    """The namespace that the runtime is started in."""
    with new_namespace() as namespace, inside(namespace):
        ip("link", "add", "v0", "mtu", "1400", "type", "veth", "peer", "v1")
        ip("link", "add", "v2", "type", "veth", "peer", "v3")
        ip("address", "add", "10.9.0.1/24", "dev", "v0")
        ip("address", "add", "fd09::1/64", "dev", "v0", "nodad")
        ip("address", "add", "169.254.9.1/16", "dev", "v0", "scope", "link")
        ip("link", "set", "v0", "up")
        ip("link", "set", "v1", "up")
        yield namespace


def wants(bundle: Bundle, **wanted: Any) -> Bundle:
    bundle.namespace("network").linux["netDevices"] = wanted
    return bundle.args("/bin/probe", "--catch")


def test_a_device_moves_with_its_addresses_and_is_up(box: Runtime, bundle: Bundle) -> None:
    container = box.create(wants(bundle, v0={}))
    assert devices() == HOST - {"v0"}
    with network_of(container.pid):
        assert devices() == {"lo", "v0"}
        assert addresses("v0", "global") == ["10.9.0.1/24", "fd09::1/64"]
        assert "169.254.9.1/16" not in addresses("v0")
        assert is_up("v0")
        assert look("link", "show", "dev", "v0")[0]["mtu"] == 1400


@pytest.mark.parametrize("name, expected", [("eth0", "eth0"), ("", "v0"), ("net%d", "net0"), ("a23456789012345",) * 2])
def test_a_device_has_its_new_name(box: Runtime, bundle: Bundle, name: str, expected: str) -> None:
    container = box.create(wants(bundle, v0={"name": name}))
    with network_of(container.pid):
        assert devices() == {"lo", expected}
        assert addresses(expected, "global") == ["10.9.0.1/24", "fd09::1/64"]


def test_the_program_finds_it(box: Runtime, bundle: Bundle) -> None:
    result = box.run(wants(bundle, v0={"name": "eth0"}).shell("cat /proc/net/dev; ip address show eth0"))
    assert "eth0:" in result.ok().out
    assert "10.9.0.1/24" in result.out


def test_devices_change_names_with_one_another(box: Runtime, bundle: Bundle) -> None:
    container = box.create(wants(bundle, v0={"name": "v2"}, v2={"name": "v0"}))
    with network_of(container.pid):
        assert addresses("v2", "global") == ["10.9.0.1/24", "fd09::1/64"]
        assert addresses("v0", "global") == []
        assert is_up("v0")


def test_templates_are_numbered(box: Runtime, bundle: Bundle) -> None:
    container = box.create(wants(bundle, v0={"name": "eth%d"}, v2={"name": "eth%d"}))
    with network_of(container.pid):
        assert devices() == {"lo", "eth0", "eth1"}
        assert addresses("eth0", "global") == ["10.9.0.1/24", "fd09::1/64"]


def test_a_device_moves_into_a_namespace_that_is_joined(box: Runtime, bundle: Bundle) -> None:
    with new_namespace() as other:
        with inside(other):
            ip("link", "add", "v0", "type", "veth", "peer", "x")
        path = Path(f"/proc/{os.getpid()}/fd/{other}")
        bundle = wants(bundle, v0={"name": "eth%d"}, v2={"name": "second"}).namespace("network", path)
        container = box.start(bundle)
        with inside(other):
            assert devices() == {"lo", "v0", "x", "eth0", "second"}
            assert addresses("eth0", "global") == ["10.9.0.1/24", "fd09::1/64"]
        container.delete("--force").ok()
        with inside(other):
            assert "eth0" in devices(), "whoever owns the namespace owns it now"


def test_a_device_moves_into_a_user_namespace(box: Runtime, bundle: Bundle) -> None:
    container = box.start(wants(bundle.user_namespace(), v0={"name": "eth0"}))
    with network_of(container.pid):
        assert addresses("eth0", "global") == ["10.9.0.1/24", "fd09::1/64"]
    shown = container.exec("/bin/sh", "-c", "ip address show eth0", flags=("--cap", "CAP_NET_ADMIN"))
    assert "10.9.0.1/24" in shown.ok().out


def test_kernel_parameters_of_the_device_can_be_set(box: Runtime, bundle: Bundle) -> None:
    bundle = wants(bundle, v0={"name": "eth0"}).shell("cat /proc/sys/net/ipv4/conf/eth0/forwarding")
    bundle.linux["sysctl"] = {"net.ipv4.conf.eth0.forwarding": "1"}
    assert box.run(bundle).ok().out == "1\n"


def test_hooks_find_the_device(box: Runtime, bundle: Bundle) -> None:
    out = bundle.path / "out"
    script = f"cat /proc/net/dev > {out}"
    box.run(wants(bundle, v0={"name": "eth0"}).args("/bin/true").hook("createContainer", "/bin/sh", "-c", script)).ok()
    assert "eth0:" in out.read_text()


def test_a_virtual_device_ends_with_the_container(box: Runtime, bundle: Bundle) -> None:
    """With its namespace, by the kernel's doing; that may take a moment, and nobody waits for it."""
    box.run(wants(bundle, v2={}).args("/bin/true")).ok()
    assert "v2" not in devices()


@pytest.mark.parametrize(
    "wanted, texts",
    [
        ({"none": {}}, ("/linux/netDevices/none: ", "no network device 'none'")),
        ({"v0": {}, "v2": {"name": "lo"}}, ("/linux/netDevices/v2: ", "a device 'lo' already")),
        ({"v0": {}, "v2": {"name": "v0"}}, ("/linux/netDevices/v2: ",)),
        ({"v0": {}, "lo": {"name": "x"}}, ("/linux/netDevices/lo: ", "cannot move the network device 'lo'")),
        ({"v0": {"name": "a/b"}}, ("/linux/netDevices/v0/name: ",)),
        ({"v0": {"name": "a b"}}, ("/linux/netDevices/v0/name: ",)),
        ({"v0": {"name": ".."}}, ("/linux/netDevices/v0/name: ",)),
        ({"v0": {"name": "%d%d"}}, ("/linux/netDevices/v0/name: ",)),
        ({"v0": {"name": "a234567890123456"}}, ("/linux/netDevices/v0/name: ",)),
        ({"a234567890123456": {}}, ("/linux/netDevices/a234567890123456: ",)),
    ],
)
def test_what_cannot_be_is_refused_and_all_stays(
    box: Runtime, bundle: Bundle, wanted: dict[str, Any], texts: tuple[str, ...]
) -> None:
    before = addresses("v0")
    box.run(wants(bundle, **wanted)).refused(*texts)
    assert devices() == HOST
    assert addresses("v0") == before
    assert is_up("v0")


def test_a_name_that_is_taken_in_a_joined_namespace_is_refused(box: Runtime, bundle: Bundle) -> None:
    with new_namespace() as other:
        with inside(other):
            ip("link", "add", "v0", "type", "veth", "peer", "x")
        bundle = wants(bundle, v0={}).namespace("network", f"/proc/{os.getpid()}/fd/{other}")
        box.run(bundle).refused("/linux/netDevices/v0: ", "a device 'v0' already")
    assert devices() == HOST


def test_without_a_network_namespace_is_refused(box: Runtime, bundle: Bundle) -> None:
    wants(bundle, v0={}).without_namespace("network")
    box.run(bundle).refused("/linux/netDevices: needs a namespace of type 'network'")


def test_the_runtimes_own_namespace_is_refused(box: Runtime, bundle: Bundle) -> None:
    box.run(wants(bundle, v0={"name": "x"}).namespace("network", "/proc/self/ns/net")).refused(
        "/linux/netDevices: ", "is the host's"
    )
    assert devices() == HOST


def break_mounts(bundle: Bundle) -> None:
    bundle.mount("/x", "bind", "/does/not/exist", "bind")


def break_hook(bundle: Bundle) -> None:
    bundle.hook("createRuntime", "/bin/false")


def break_program(bundle: Bundle) -> None:
    bundle.args("/does/not/exist")


@pytest.mark.parametrize("broken", [break_mounts, break_hook, break_program])
def test_a_run_that_fails_gives_the_device_back(box: Runtime, bundle: Bundle, broken: Any) -> None:
    before = addresses("v0")
    wants(bundle, v0={"name": "eth0"}, v2={"name": "eth1"})
    broken(bundle)
    assert box.run(bundle).code != 0
    assert devices() == HOST
    assert addresses("v0") == before
    assert (is_up("v0"), is_up("v2")) == (True, False)


def test_a_device_comes_back_from_a_joined_namespace(box: Runtime, bundle: Bundle) -> None:
    with new_namespace() as other:
        break_mounts(wants(bundle, v0={"name": "eth0"}).namespace("network", f"/proc/{os.getpid()}/fd/{other}"))
        assert box.run(bundle).code == 1
        with inside(other):
            assert devices() == {"lo"}
    assert devices() == HOST


@requires("strace")
def test_a_runtime_killed_with_the_device_away_leaves_nothing(box: Runtime, bundle: Bundle) -> None:
    """The first message to the builder is "go": what was lent by then ends, or goes home, with the namespace."""
    options = ["-qq", "-o", "/dev/null", "-e", "trace=sendto", "-e", "inject=sendto:signal=KILL:when=5+"]
    arguments = box.bundle_args(wants(bundle, v0={"name": "eth0"}))
    command = ["strace", *options, *box.command("create", *arguments)]
    assert subprocess.run(command, stdin=-3, stdout=-3, stderr=-3, timeout=20).returncode == -signal.SIGKILL
    box("delete", "--force", bundle.id).ok()


def test_rights_are_missing_is_said(box: Runtime, bundle: Bundle) -> None:
    """Root without CAP_NET_ADMIN."""
    prefix = ("setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin")
    result = box.run(wants(bundle, v0={}), prefix=prefix)
    result.refused("/linux/netDevices/v0: ", "CAP_NET_ADMIN")
    assert devices() == HOST


def test_nothing_is_moved_for_an_empty_object(box: Runtime, bundle: Bundle) -> None:
    bundle.linux["netDevices"] = {}
    box.run(bundle.args("/bin/true")).ok()
    assert devices() == HOST
