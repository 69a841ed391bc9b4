"""Configs made from typed fields."""

from __future__ import annotations

import json
from typing import Any

import pytest

from boxes.errors import UsageError
from boxes.spec import Bind, Config, Limits
from boxes.spec.config import from_bytes


def document(**fields: Any) -> Any:
    given: dict[str, Any] = {"args": ["true"], "rootfs": "/root", "rootless": False}
    return Config(**(given | fields)).document()


@pytest.mark.parametrize("rootless", [False, True])
@pytest.mark.parametrize("network", ["none", "host", "bridge", "ns:/run/netns/x"])
def test_what_is_made_is_valid(rootless: bool, network: str) -> None:
    limits = Limits(memory=1 << 20, cpus=1.5, pids=3, file_size=1, cpu_seconds=1)
    made = document(rootless=rootless, network=network, limits=limits, binds=[Bind("/etc", "/x")], env={"A": "1"})
    assert from_bytes(json.dumps(made).encode()).warnings == []


def test_what_is_not_asked_for_is_locked() -> None:
    made = document()
    assert made["root"] == {"path": "/root", "readonly": True}
    assert made["process"]["user"] == {"uid": 65534, "gid": 65534}
    assert made["process"]["noNewPrivileges"] is True
    assert made["process"]["capabilities"] == {"bounding": [], "effective": [], "permitted": []}
    assert {each["type"] for each in made["linux"]["namespaces"]} == {"pid", "ipc", "uts", "mount", "cgroup", "network"}
    assert made["linux"]["resources"]["devices"] == [{"allow": False, "access": "rwm"}]
    assert made["linux"]["seccomp"]["syscalls"]
    assert all("nosuid" in mount["options"] for mount in made["mounts"])


def test_limits_have_the_kernels_terms() -> None:
    made = Limits(memory=1 << 20, cpus=0.5, pids=3).resources()
    assert made == {
        "memory": {"limit": 1 << 20, "swap": 1 << 20},
        "cpu": {"quota": 50_000, "period": 100_000},
        "pids": {"limit": 3},
    }


@pytest.mark.parametrize("fields", [{"memory": 0}, {"cpus": -1.0}, {"pids": True}, {"memory": "1g"}])
def test_limits_that_make_no_sense_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="is to be more than 0"):
        Limits(**fields).resources()


@pytest.mark.parametrize("fields", [{"args": "true"}, {"args": []}, {"publish": ["80:80"]}, {"allow": []}])
def test_fields_that_make_no_sense_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        document(**fields)


def test_networks_are_asked_for_by_annotations() -> None:
    made = document(
        network="bridge:x", publish=["80:80", "53:53/udp"], allow=["example.org:443"], annotations={"a": "b"}
    )
    assert made["annotations"] == {
        "boxes.network": "bridge:x",
        "boxes.network.publish": "80:80,53:53/udp",
        "boxes.network.allow": "example.org:443",
        "a": "b",
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rootfs", 5),
        ("env", "x"),
        ("env", {"a": 5}),
        ("limits", 5),
        ("user", "bob"),
        ("network", 7),
        ("binds", ["x"]),
        ("args", [1]),
        ("publish", "8080:80"),
        ("allow", 5),
    ],
)
def test_wrong_kinds_are_named(name: str, value: Any) -> None:
    with pytest.raises(UsageError, match=f"'{name}' is"):
        document(**({"network": "bridge"} | {name: value}))
