"""Networks by flags and by annotations: the namespaces that they mean, and `box network`."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import lan as lans
from tests.support.bundle import Bundle
from tests.support.lan import Lan
from tests.support.marks import not_for, requires
from tests.support.network import new_namespace
from tests.support.runtime import Runtime

pytestmark = [requires("root", "nft"), not_for("runc", "crun", reason="they make no networks")]

SHOW = "readlink /proc/self/ns/net; ip address show lo | grep -c 127.0.0.1"


@pytest.fixture
def lan(box: Runtime) -> Iterator[Lan]:
    with lans.made() as made:
        yield made
        box.close()


def own() -> str:
    return os.readlink("/proc/self/ns/net")


def test_none_is_a_new_namespace_with_loopback(lan: Lan, box: Runtime, bundle: Bundle) -> None:
    namespace, count = box.run(bundle.without_namespace("network").shell(SHOW), "--network", "none").ok().out.split()
    assert namespace != own() and count == "1"


def test_host_is_the_runtimes_own(lan: Lan, box: Runtime, bundle: Bundle) -> None:
    bundle.namespace("network").shell("readlink /proc/self/ns/net")
    assert box.run(bundle, "--network", "host").ok().out.strip() == own()


def test_ns_is_joined(lan: Lan, box: Runtime, bundle: Bundle) -> None:
    with new_namespace() as other:
        path = f"/proc/{os.getpid()}/fd/{other}"
        bundle.namespace("network").shell("readlink /proc/self/ns/net")
        found = box.run(bundle, "--network", f"ns:{path}").ok().out.strip()
        assert found == os.readlink(f"/proc/self/fd/{other}")
    box.run(bundle, "--network", "ns:/nonexistent").refused("flag --network: cannot open the namespace: '/nonexistent'")


def test_without_any_of_it_nothing_is_different(lan: Lan, box: Runtime, bundle: Bundle) -> None:
    bundle.without_namespace("network").shell("readlink /proc/self/ns/net")
    assert box.run(bundle).ok().out.strip() == own()
    assert not lans.STATE.exists()


def test_sysctls_of_the_network_are_not_the_hosts(lan: Lan, box: Runtime, bundle: Bundle) -> None:
    bundle.namespace("network").args("/bin/true").linux["sysctl"] = {"net.ipv4.ip_forward": "1"}
    box.run(bundle, "--network", "host").refused("/linux/sysctl/net.ipv4.ip_forward", "needs a namespace")


def test_annotations_ask_for_the_same(lan: Lan, box: Runtime, bundle: Bundle) -> None:
    bundle.config["annotations"] = {"boxes.network": "bridge", "boxes.network.dns": "192.0.2.1,192.0.2.2"}
    out = box.run(bundle.shell("ip address show eth0; cat /etc/resolv.conf")).ok().out
    assert "10.180.0.2/22" in out
    assert "nameserver 192.0.2.1\nnameserver 192.0.2.2\n" in out


def test_flags_become_annotations_and_win(lan: Lan, box: Runtime, bundle: Bundle) -> None:
    bundle.config["annotations"] = {"boxes.network": "host", "boxes.network.dns": "192.0.2.1"}
    container = box.create(bundle.args("/bin/true"), "--network", "bridge", "-p", "80:80", "-p", "81:81/udp")
    assert container.state()["annotations"] == {
        "boxes.network": "bridge",
        "boxes.network.publish": "80:80,81:81/udp",
        "boxes.network.dns": "192.0.2.1",
    }


@pytest.mark.parametrize(
    ("network", "path", "text"),
    [
        ("host", "", "the config has a network namespace of its own"),
        ("host", "/proc/1/ns/net", "the config has a network namespace of its own"),
        ("bridge", "/proc/1/ns/net", "the config joins another network namespace"),
        ("none", "/proc/1/ns/net", "the config joins another network namespace"),
        ("ns:/proc/2/ns/net", "/proc/1/ns/net", "the config joins another network namespace"),
        ("ns:/proc/1/ns/net", "", "the config joins another network namespace"),
        ("nope", "", "expected none, host, bridge"),
    ],
)
def test_an_annotation_does_not_loosen_what_the_config_says(
    lan: Lan, box: Runtime, bundle: Bundle, network: str, path: str, text: str
) -> None:
    bundle.namespace("network", path or None).config["annotations"] = {"boxes.network": network}
    box.run(bundle.args("/bin/true")).refused("/annotations/boxes.network: ", text)


def test_the_hostname_can_be_given(lan: Lan, box: Runtime, bundle: Bundle) -> None:
    bundle.without_namespace("uts").config.pop("hostname", None)
    assert box.run(bundle.shell("hostname"), "--hostname", "web").ok().out == "web\n"
    box.run(bundle, "--hostname", "x" * 65).refused("flag --hostname", "no host name")
    box.run(bundle, "--hostname", "a b").refused("flag --hostname: 'a b' is no host name")


@pytest.mark.parametrize(
    ("network", "text"),
    [
        ("cni:nope", "there is no CNI network 'nope'"),
        ("ns:/nope", "cannot open the namespace: '/nope'"),
        ("ns:/etc/passwd", "'/etc/passwd' is not a namespace"),
        ("bridge:nope", "there is no network 'nope'"),
    ],
)
def test_what_a_flag_names_is_told_of_the_flag(lan: Lan, box: Runtime, bundle: Bundle, network: str, text: str) -> None:
    box.run(bundle.args("/bin/true"), "--network", network).refused(f"flag --network: {text}")


def test_one_network_that_is_not_there_does_not_keep_the_others(lan: Lan, box: Runtime) -> None:
    box("network", "create", "web").ok()
    result = box("network", "rm", "nope", "web", "neither").refused("there is no network 'neither'")
    assert "there is no network 'nope'" in result.err
    box("network", "inspect", "web").refused("there is no network 'web'")


def test_try_takes_the_same_flags(lan: Lan, box: Runtime) -> None:
    out = box("try", "--network", "bridge", "--hostname", "web", "--", "cat", "/etc/hosts").ok().out
    assert "10.180.0.2" in out and " web " in out


def test_an_ordinary_user_is_told_of_pasta(lan: Lan, box: Runtime, bundle: Bundle) -> None:
    prefix = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--bounding-set", "-all")
    box.root.mkdir(exist_ok=True)
    os.chown(box.root, 65534, 65534)
    bundle.user_namespace(65534, 1).args("/bin/true")
    box.run(bundle, "--network", "bridge", prefix=prefix).refused("it takes root", "--network pasta")


def test_check_tells_what_stands_in_the_way(lan: Lan, box: Runtime, bundle: Bundle) -> None:
    bundle.args("/bin/true").config["annotations"] = {"boxes.network": "bridge:nope"}
    result = box("check", str(bundle.save().path))
    assert (result.code, "there is no network 'nope'" in result.out) == (1, True)
    bundle.config["annotations"] = {"boxes.network": "bridge"}
    assert box("check", str(bundle.save().path)).code == 0
    assert lan.left() == []


# ---- box network ----


def test_networks_are_made_listed_shown_and_removed(lan: Lan, box: Runtime) -> None:
    box("network", "create", "web", "--subnet", "fd09::/64", "--subnet", "10.9.0.0/24", "--mtu", "1400").ok()
    lines = [line.split() for line in box("network", "ls").ok().out.splitlines()]
    assert lines[1:] == [["default", "-", "bx-default", "0"], ["web", "10.9.0.0/24", "fd09::/64", "bx-web", "0"]]
    assert [network["name"] for network in box("network", "ls", "--format", "json").json()] == ["default", "web"]
    found = box("network", "inspect", "web").json()
    assert found["subnets"] == [
        {"subnet": "10.9.0.0/24", "gateway": "10.9.0.1"},
        {"subnet": "fd09::/64", "gateway": "fd09::1"},
    ]
    assert (found["mtu"], found["containers"]) == (1400, [])
    box("network", "rm", "web").ok()
    box("network", "inspect", "web").refused("there is no network 'web'")


def test_a_network_in_use_is_not_removed(lan: Lan, box: Runtime, bundle: Bundle) -> None:
    box("network", "create", "a-name-that-is-long").ok()
    container = box.create(bundle.args("/bin/true"), "--network", "bridge:a-name-that-is-long")
    box("network", "rm", "a-name-that-is-long").refused("in use", bundle.id)
    (shown,) = box("network", "inspect", "a-name-that-is-long").json()["containers"]
    assert shown["id"] == bundle.id
    container.delete("--force").ok()
    box("network", "rm", "a-name-that-is-long").ok()


@pytest.mark.parametrize(
    ("arguments", "texts"),
    [
        (("create", "default"), ("'default' is always there",)),
        (("create", "a/b"), ("'a/b' is no name of a network",)),
        (("create", "x", "--subnet", "10.9.0.1/24"), ("flag --subnet", "beyond its prefix", "10.9.0.0/24")),
        (("create", "x", "--subnet", "10.9.0.0"), ("flag --subnet", "ADDRESS/PREFIX")),
        (("create", "x", "--subnet", "10.9.0.0/31"), ("flag --subnet", "from 8 to 30")),
        (("create", "x", "--subnet", "fd00::/127"), ("flag --subnet", "from 8 to 126")),
        (("create", "x", "--subnet", "10.9.0.0/24", "--subnet", "10.8.0.0/24"), ("at most one of each family",)),
        (("create", "x", "--mtu", "100"), ("flag --mtu", "1280 to 65535")),
        (("create",), ("usage",)),
        (("create", "a", "b"), ("usage",)),
        (("ls", "x"), ("usage",)),
        (("ls", "--mtu", "1400"), ("belong to 'box network create'",)),
        (("rm", "nope"), ("there is no network 'nope'",)),
        (("inspect", "../x"), ("there is no network",)),
        (("prune",), ("'prune' where ls, create, inspect or rm",)),
    ],
)
def test_what_cannot_be(lan: Lan, box: Runtime, arguments: tuple[str, ...], texts: tuple[str, ...]) -> None:
    box("network", *arguments).refused(*texts)
    assert not any(lans.DEFINED.rglob("*.json"))


def test_networks_do_not_overlap(lan: Lan, box: Runtime) -> None:
    box("network", "create", "a", "--subnet", "10.9.0.0/16").ok()
    box("network", "create", "b", "--subnet", "10.9.8.0/24").refused("overlaps with 10.9.0.0/16 of network 'a'")
    box("network", "create", "a").refused("exists already")
    for name in ("c", "d"):
        box("network", "create", name).ok()
    subnets = [
        entry["subnet"] for network in box("network", "ls", "--format", "json").json() for entry in network["subnets"]
    ]
    assert len(subnets) == len(set(subnets)) == 5
    box("network", "rm", "a", "c", "d").ok()


# ---- what others left ----


def test_what_a_killed_process_left_of_a_network_goes_with_the_next_look(
    lan: Lan, box: Runtime, bundle: Bundle
) -> None:
    container = box.create(bundle.args("/bin/true"), "--network", "bridge")
    state = lans.STATE / "default" / "state.json"
    document = json.loads(state.read_text())
    box.close()
    lan.settle()
    # the bridge, its rules and the state as they are when the last one has left, and nobody has removed them
    assert container.id == bundle.id
    state.parent.mkdir()
    state.write_text(json.dumps(document | {"members": {}}))
    from tests.support.network import ip

    ip("link", "add", "bx-default", "type", "bridge")
    box("network", "ls").ok()
    assert lan.left() == []


def test_the_state_of_before_the_host_started_does_not_count(
    lan: Lan, box: Runtime, make_bundle: Callable[[], Bundle]
) -> None:
    state: Path = lans.STATE / "default" / "state.json"
    state.parent.mkdir(parents=True)
    document = {"boot": "earlier", "netns": 1, "subnets": ["10.1.0.0/24"], "members": {"x": {}}}
    state.write_text(json.dumps(document))
    out = box.run(make_bundle().shell("ip address show eth0"), "--network", "bridge").ok().out
    assert "10.180.0.2/22" in out


def test_a_network_of_cni_that_is_not_there_names_the_flag(lan: Lan, box: Runtime, bundle: Bundle) -> None:
    wanted = ("--network", "cni:no", "--cni-conf", "/nonexistent")
    box.run(bundle.args("/bin/true"), *wanted).refused("flag --network: there is no CNI network 'no' in '/nonexistent'")


@pytest.mark.parametrize("name", ["a b", "-a", "a" * 65, "a/b", "\u00e9"])
def test_a_host_name_that_is_none_is_refused(box: Runtime, bundle: Bundle, name: str) -> None:
    box.run(bundle.args("/bin/true"), "--hostname", name).refused(f"flag --hostname: '{name}' is no host name")


def test_what_is_wrong_with_an_allowed_network_is_said_once(lan: Lan, box: Runtime, bundle: Bundle) -> None:
    result = box.run(bundle.args("/bin/true"), "--network", "bridge", "--allow", "10.0.0.1/8")
    assert result.refused("flag --allow: '10.0.0.1/8': has host bits set").err.count("10.0.0.1/8") == 1


def test_networks_after_one_that_cannot_be_removed_are(lan: Lan, box: Runtime) -> None:
    box("network", "create", "last").ok()
    result = box("network", "rm", "no", "nor", "last")
    assert result.code == 1
    assert "no network 'no'" in result.err
    assert "no network 'nor'" in result.err
    assert "last" not in box("network", "ls").ok().out
