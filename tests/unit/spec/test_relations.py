"""What the parts of a config demand of one another."""

from __future__ import annotations

from typing import Any

import pytest

from boxes.errors import ConfigError
from boxes.spec.sysctl import namespace_of, parts
from boxes.spec.validate import validate

MAPPING = [{"containerID": 0, "hostID": 1000, "size": 1}]


def config(*namespaces: str, top: dict[str, Any] | None = None, **linux: Any) -> dict[str, Any]:
    return {
        "ociVersion": "1.3.0",
        "root": {"path": "rootfs"},
        "linux": {"namespaces": [{"type": kind} for kind in namespaces], **linux},
        **(top or {}),
    }


def refusal(document: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as caught:
        validate(document)
    return str(caught.value)


@pytest.mark.parametrize(
    ("document", "text"),
    [
        (config("pid", top={"hostname": "h"}), "/hostname: needs a namespace of type 'uts' in /linux/namespaces"),
        (config("pid", top={"domainname": "d"}), "/domainname: needs a namespace of type 'uts' in /linux/namespaces"),
        (
            config("uts", uidMappings=MAPPING),
            "/linux/uidMappings: needs a namespace of type 'user' in /linux/namespaces",
        ),
        (
            config("uts", gidMappings=MAPPING),
            "/linux/gidMappings: needs a namespace of type 'user' in /linux/namespaces",
        ),
        (
            config("uts", timeOffsets={"boottime": {"secs": 1}}),
            "/linux/timeOffsets: needs a namespace of type 'time' in /linux/namespaces",
        ),
        (
            config("uts", netDevices={"eth0": {}}),
            "/linux/netDevices: needs a namespace of type 'network' in /linux/namespaces",
        ),
        (
            {"ociVersion": "1.3.0", "root": {"path": "r"}, "hostname": "h"},
            "/hostname: needs a namespace of type 'uts' in /linux/namespaces",
        ),
    ],
)
def test_a_setting_without_its_namespace_is_refused(document: dict[str, Any], text: str) -> None:
    assert refusal(document) == text


@pytest.mark.parametrize(
    "document",
    [
        config("uts", top={"hostname": "h", "domainname": "d"}),
        config("pid", top={"hostname": "", "domainname": ""}),
        config("user", uidMappings=MAPPING, gidMappings=MAPPING),
        config("pid", uidMappings=[], gidMappings=[], timeOffsets={}, netDevices={}, sysctl={}),
        config("time", timeOffsets={"boottime": {"secs": 1}}),
    ],
)
def test_a_setting_with_its_namespace_or_unset_is_accepted(document: dict[str, Any]) -> None:
    assert validate(document) == []


def test_time_offsets_of_a_joined_namespace_are_refused() -> None:
    document = config(timeOffsets={"boottime": {"secs": 1}})
    document["linux"]["namespaces"] = [{"type": "time", "path": "/proc/1/ns/time"}]
    assert refusal(document) == "/linux/timeOffsets: the offsets of a namespace that is joined by path cannot be set"


@pytest.mark.parametrize("option", ["idmap", "ridmap"])
def test_an_idmapped_mount_needs_a_mapping(option: str) -> None:
    mount = {"destination": "/a", "source": "/b", "options": ["rbind", option]}
    assert refusal(config("mount", top={"mounts": [{"destination": "/x"}, mount]})) == (
        "/mounts/1/options: an idmapped mount needs uidMappings and gidMappings of its own, "
        "or a namespace of type 'user'"
    )
    assert validate(config("user", top={"mounts": [mount]})) == []
    own = {**mount, "uidMappings": MAPPING, "gidMappings": MAPPING}
    assert validate(config("mount", top={"mounts": [own]})) == []


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("net.ipv4.ip_forward", "network"),
        ("net/ipv4/ip_forward", "network"),
        ("net.ipv4.conf.eth0/100.mtu", "network"),
        ("kernel.msgmax", "ipc"),
        ("kernel.sem", "ipc"),
        ("kernel/shm_rmid_forced", "ipc"),
        ("fs.mqueue.msg_max", "ipc"),
        ("kernel.domainname", "uts"),
        ("kernel.hostname", "uts"),
    ],
)
def test_a_sysctl_needs_the_namespace_it_belongs_to(name: str, kind: str) -> None:
    assert validate(config(kind, sysctl={name: "1"})) == []
    pointer = "/linux/sysctl/" + name.replace("/", "~1")
    assert refusal(config("pid", sysctl={name: "1"})) == (
        f"{pointer}: needs a namespace of type '{kind}' in /linux/namespaces"
    )


@pytest.mark.parametrize(
    "name",
    [
        "kernel.core_pattern",
        "kernel/core_pattern",
        "vm.swappiness",
        "kernel.shmmax.x",
        "fs.mqueue",
        "fs.file-max",
        "kernel.sem2",
        "netx.a",
        "user.max_user_namespaces",
        "kernel.msg",
    ],
)
def test_a_sysctl_of_the_whole_machine_is_refused(name: str) -> None:
    pointer = "/linux/sysctl/" + name.replace("/", "~1")
    assert refusal(config("pid", "ipc", "network", "uts", "user", sysctl={name: "1"})) == (
        f"{pointer}: the sysctl '{name}' is not namespaced: it would change the host"
    )


@pytest.mark.parametrize(
    "name",
    [
        "net",
        "net.",
        ".net",
        "net..ipv4",
        "/net/ipv4",
        "net/../kernel/core_pattern",
        "net./.x",
        "net/./a",
        "net/ipv4/..",
        "net.//.kernel",
        "..",
        "/",
        "",
        "net.ipv4.a\nb",
        "net.ipv4 x",
    ],
)
def test_what_is_no_name_of_a_sysctl_is_refused(name: str) -> None:
    assert parts(name) is None
    assert refusal(config("network", sysctl={name: "1"})).endswith(
        "expected the name of a kernel parameter, such as 'net.ipv4.ip_forward'"
    )


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("net.ipv4.ip_forward", ("net", "ipv4", "ip_forward")),
        ("net/ipv4/ip_forward", ("net", "ipv4", "ip_forward")),
        ("net.ipv4.conf.eth0/100.mtu", ("net", "ipv4", "conf", "eth0.100", "mtu")),
        ("net/ipv4/conf/eth0.100/mtu", ("net", "ipv4", "conf", "eth0.100", "mtu")),
    ],
)
def test_both_spellings_of_a_sysctl_name_the_same(name: str, found: tuple[str, ...]) -> None:
    assert parts(name) == found
    assert namespace_of(found) == "network"


def test_a_sysctl_given_in_both_spellings_is_refused() -> None:
    both = {"net.ipv4.ip_forward": "1", "net/ipv4/ip_forward": "0"}
    assert refusal(config("network", sysctl=both)) == (
        "/linux/sysctl/net~1ipv4~1ip_forward: is the same parameter as 'net.ipv4.ip_forward'"
    )


@pytest.mark.parametrize("key", ["hostname", "domainname"])
def test_a_name_is_not_set_in_two_ways(key: str) -> None:
    document = config("uts", top={key: "a"}, sysctl={f"kernel.{key}": "b"})
    assert refusal(document) == f"/linux/sysctl/kernel.{key}: '{key}' sets the same"
