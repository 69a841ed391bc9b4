"""What is not supported is refused, with its place, and nothing else is."""

from __future__ import annotations

from typing import Any

import pytest

from boxes.errors import ConfigError, UnsupportedError
from boxes.plan.refusals import idmapped, refuse

MAPPING = [{"containerID": 0, "hostID": 1000, "size": 1}]


def with_mount(**mount: Any) -> dict[str, Any]:
    other = {"destination": "/proc", "type": "proc", "options": ["nosuid", "ro"]}
    return {"mounts": [other, {"destination": "/a", "source": "/a", **mount}]}


NO_DESCRIPTORS = [
    {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
    {"type": "RLIMIT_NOFILE", "soft": 0, "hard": 9},
]


@pytest.mark.parametrize(
    "config, pointer",
    [
        *(
            (with_mount(options=["ro", option], type="tmpfs"), "/mounts/1/options/1")
            for option in ("copy-symlink", "src-nofollow", "dest-nofollow")
        ),
        (with_mount(options=["bind", "remount", "dest-nofollow"]), "/mounts/1/options/2"),
        (with_mount(options=["tmpcopyup"], type="ext4"), "/mounts/1/options/0"),
        (with_mount(options=["ro", "idmap"], type="tmpfs"), "/mounts/1"),
        (with_mount(uidMappings=MAPPING, gidMappings=MAPPING, type="ext4"), "/mounts/1"),
        (with_mount(uidMappings=MAPPING, gidMappings=MAPPING, options=["bind", "remount"]), "/mounts/1"),
    ],
)
def test_unsupported_is_refused_with_its_place(config: dict[str, Any], pointer: str) -> None:
    with pytest.raises(UnsupportedError) as error:
        refuse(config)
    assert error.value.pointer == pointer


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"linux": {}, "mounts": []},
        {"linux": {"netDevices": {"eth0": {}}, "intelRdt": {}}},
        with_mount(options=["bind", "ro", "size=1"]),
        with_mount(options=["rbind", "copy-symlink", "src-nofollow", "dest-nofollow"]),
        with_mount(options=["src-nofollow"], type="bind"),
        with_mount(uidMappings=[], gidMappings=[]),
        with_mount(uidMappings=MAPPING, gidMappings=MAPPING, options=["rbind", "ridmap"]),
        with_mount(options=["tmpcopyup", "mode=755"], type="tmpfs"),
        {"annotations": {"run.oci.keep_original_groups": "1"}},
        {"process": {"scheduler": {"policy": "SCHED_DEADLINE"}}},
        {"process": {"scheduler": {"policy": "SCHED_RR"}}, "hooks": {"startContainer": [{"path": "/a"}]}},
        {"linux": {"resources": {"pids": {"limit": 2}}}, "hooks": {"startContainer": [{"path": "/a"}]}},
        {"linux": {"resources": {"pids": {"limit": -1}}}, "hooks": {"startContainer": [{"path": "/a"}]}},
        {"linux": {"resources": {"pids": {"limit": 1}}}, "hooks": {"createContainer": [{"path": "/a"}]}},
        {"linux": {"resources": {"memory": {"limit": 4096}}}},
        {"linux": {"resources": {"memory": {"limit": 0}}}},
        {"linux": {"resources": {"memory": {"limit": -1}}}},
        {"process": {"rlimits": NO_DESCRIPTORS}, "hooks": {"createContainer": [{"path": "/a"}]}},
        {"process": {"rlimits": []}, "hooks": {"startContainer": [{"path": "/a"}]}},
    ],
)
def test_the_rest_is_not(config: dict[str, Any]) -> None:
    refuse(config)


def test_hooks_of_a_process_that_cannot_fork_are_refused() -> None:
    process = {"scheduler": {"policy": "SCHED_DEADLINE", "flags": []}}
    config = {"process": process, "hooks": {"startContainer": [{"path": "/a"}]}}
    with pytest.raises(ConfigError, match="RESET_ON_FORK") as error:
        refuse(config)
    assert error.value.pointer == "/process/scheduler/policy"
    process["scheduler"]["flags"] = ["SCHED_FLAG_RESET_ON_FORK"]
    refuse(config)


@pytest.mark.parametrize("limit", [0, 1])
def test_hooks_in_a_container_of_one_process_are_refused(limit: int) -> None:
    config = {"linux": {"resources": {"pids": {"limit": limit}}}, "hooks": {"startContainer": [{"path": "/a"}]}}
    with pytest.raises(ConfigError, match="too few") as error:
        refuse(config)
    assert error.value.pointer == "/linux/resources/pids/limit"


def test_hooks_without_descriptors_are_refused() -> None:
    config = {"process": {"rlimits": NO_DESCRIPTORS}, "hooks": {"startContainer": [{"path": "/a"}]}}
    with pytest.raises(ConfigError, match="without descriptors") as error:
        refuse(config)
    assert error.value.pointer == "/process/rlimits/1/soft"


@pytest.mark.parametrize("limit", [1, 4095])
def test_less_memory_than_a_page_is_refused(limit: int) -> None:
    with pytest.raises(ConfigError, match="less than a page") as error:
        refuse({"linux": {"resources": {"memory": {"limit": limit}}}})
    assert error.value.pointer == "/linux/resources/memory/limit"


@pytest.mark.parametrize(
    "mount, expected",
    [
        ({"options": ["bind", "ro"]}, False),
        ({"options": ["bind", "idmap"]}, True),
        ({"options": ["rbind", "ridmap=uids=0-1-1;gids=0-1-1"]}, True),
        ({"options": ["bind"], "uidMappings": MAPPING}, True),
        ({"options": ["bind", "idmapped"]}, False),
    ],
)
def test_mounts_with_other_owners_are_known_before_anything_is_made(mount: dict[str, Any], expected: bool) -> None:
    assert idmapped(with_mount(**mount)) is expected
