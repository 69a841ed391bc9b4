"""What CRIU is told of a config."""

from __future__ import annotations

from typing import Any

import pytest

from boxes.errors import ConfigError, UnsupportedError
from boxes.plan import checkpoint
from boxes.plan.checkpoint import CriuOptions
from boxes.plan.facts import Facts
from boxes.plan.namespaces import Namespaces


def facts(config: dict[str, Any]) -> Facts:
    return Facts(id="id", bundle="/bundle", rootfs="/bundle/rootfs", namespaces=Namespaces(config))


def config(*mounts: dict[str, Any], kinds: tuple[str, ...] = ("mount", "pid"), **linux: Any) -> dict[str, Any]:
    return {
        "root": {"path": "rootfs"},
        "mounts": list(mounts),
        "linux": {"namespaces": [{"type": kind} for kind in kinds], **linux},
    }


BIND = {"destination": "/data/", "type": "bind", "source": "volume", "options": ["rbind"]}
PROC = {"destination": "/proc", "type": "proc", "source": "proc"}


def targets(given: dict[str, Any]) -> list[tuple[str, str, bool]]:
    return [(each.target, each.source, each.recursive) for each in checkpoint.bound(given, facts(given))]


def test_binds_are_of_the_host() -> None:
    assert targets(config(PROC, BIND)) == [("/data", "/bundle/volume", True)]
    assert targets(config(BIND, kinds=("pid",))) == []


def test_in_a_user_namespace_devices_are_too() -> None:
    mapping = [{"containerID": 0, "hostID": 1000, "size": 1}]
    given = config(PROC, kinds=("mount", "user"), uidMappings=mapping, gidMappings=mapping)
    assert ("/dev/null", "/dev/null", False) in targets(given)


def test_rows_of_mountinfo() -> None:
    (row,) = checkpoint.mounts("36 35 0:3 /a\\040b /x\\011y rw master:1 - ext4 /dev/root rw\n")
    assert (row.id, row.device, row.root, row.target, row.kind) == (36, "0:3", "/a b", "/x\ty", "ext4")


@pytest.mark.parametrize(
    ("target", "path", "rest"),
    [("/a", "/a/b", "/b"), ("/a", "/ab", None), ("/a", "/a", None), ("/", "/b", "/b"), ("/a", "/b", None)],
)
def test_below(target: str, path: str, rest: str | None) -> None:
    assert checkpoint.below(target, path) == rest


def test_namespaces_by_path() -> None:
    given = config()
    given["linux"]["namespaces"] += [{"type": "network", "path": "/n"}, {"type": "ipc", "path": "/i"}]
    assert checkpoint.external_namespaces(facts(given)) == [("network", "net", "extRootNetNS")]
    assert checkpoint.joined_namespaces(facts(given)) == [{"kind": "ipc", "path": "/i"}]
    given["linux"]["namespaces"] = [{"type": "time", "path": "/t"}]
    with pytest.raises(UnsupportedError) as caught:
        checkpoint.joined_namespaces(facts(given))
    assert caught.value.pointer == "/linux/namespaces/0"


@pytest.mark.parametrize(
    ("given", "pointer"),
    [
        (config(netDevices={"eth0": {}}), "/linux/netDevices"),
        (config(PROC, BIND | {"options": ["bind", "idmap"]}), "/mounts/1"),
        (config(BIND | {"uidMappings": [{"containerID": 0, "hostID": 0, "size": 1}]}), "/mounts/0"),
    ],
)
def test_what_would_be_lost_is_refused(given: dict[str, Any], pointer: str) -> None:
    with pytest.raises(UnsupportedError) as caught:
        checkpoint.refuse(given)
    assert caught.value.pointer == pointer


def test_the_file_of_options() -> None:
    assert checkpoint.config_file({}) is None
    assert checkpoint.config_file({"annotations": {"org.criu.config": ""}}) == ""
    assert checkpoint.config_file({"annotations": {"org.criu.config": "/f"}}) == "/f"
    with pytest.raises(ConfigError):
        checkpoint.config_file({"annotations": {"org.criu.config": "f"}})


def test_requests() -> None:
    asked = CriuOptions("i", parent_path="../p", page_server=("h", 1), switches=("tcp-established",))
    found = checkpoint.dump(asked)
    assert found["parent_image"] == "../p" and found["track_memory"] is True
    assert found["page_server"] == {"address": "h", "port": 1} and found["tcp_established"] is True
    assert found["leave_running"] is False
    assert checkpoint.dump(CriuOptions("i", pre_dump=True))["leave_running"] is True
    assert checkpoint.restore(CriuOptions("i", lsm_profile="selinux:x"))["lsm_profile"] == "selinux:x"
