"""Where a container's cgroups are: cgroupsPath against the layout of the host. Directories stand for hierarchies."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boxes.cgroups.layout import Hierarchy, Layout
from boxes.cgroups.manager import disabled, from_record, open_manager
from boxes.cgroups.settings import DeviceRules, Setting
from boxes.errors import ConfigError, UnsupportedError, UsageError

PIDS = Hierarchy("/nowhere/pids", ("pids",), own="/me")
MEMORY = Hierarchy("/nowhere/memory", ("memory",), own="/")
NAMED = Hierarchy("/nowhere/systemd", (), "systemd", own="/user.slice")
BESIDE = Hierarchy("/nowhere/unified", (), unified=True, own="/user.slice/me")
LEGACY = Layout("legacy", [MEMORY, PIDS, NAMED, BESIDE])
UNIFIED = Layout("unified", [BESIDE])
NONE = Layout("none", [])


def paths(layout: Layout, path: str | None) -> list[str]:
    return [found.path for found in open_manager(layout, path, "box1", rootless=False).directories]


def test_an_absolute_path_counts_from_each_mount_point() -> None:
    assert paths(LEGACY, "/a/b") == [f"/nowhere/{name}/a/b" for name in ("memory", "pids", "systemd", "unified")]
    assert paths(UNIFIED, "/a/b") == ["/nowhere/unified/a/b"]


def test_a_relative_path_counts_from_the_runtimes_own_cgroup_on_v1() -> None:
    assert paths(LEGACY, "a/b") == [
        "/nowhere/memory/a/b",
        "/nowhere/pids/me/a/b",
        "/nowhere/systemd/user.slice/a/b",
        "/nowhere/unified/user.slice/me/a/b",
    ]


def test_a_relative_path_is_beside_the_runtimes_own_cgroup_on_v2() -> None:
    assert paths(UNIFIED, "a") == ["/nowhere/unified/user.slice/a"]


@pytest.mark.parametrize("path", [None, ""])
def test_without_a_path_the_id_is_the_name(path: str | None) -> None:
    assert paths(LEGACY, path)[:2] == ["/nowhere/memory/box1", "/nowhere/pids/me/box1"]


@pytest.mark.parametrize(
    ("path", "place"),
    [("/../../x", "x"), ("/a/../../b", "b"), ("//a/.//b/", "a/b"), ("/a/../b", "b"), ("/.../x", ".../x")],
)
def test_dots_end_at_the_root(path: str, place: str) -> None:
    assert paths(UNIFIED, path) == [f"/nowhere/unified/{place}"]


def test_dots_of_a_relative_path_end_where_it_begins() -> None:
    assert paths(LEGACY, "../../../x")[1] == "/nowhere/pids/me/x"


@given(st.lists(st.sampled_from(["..", ".", "", "a", "..."]), min_size=1, max_size=8), st.booleans())
def test_no_path_leaves_its_root(names: list[str], absolute: bool) -> None:
    path = ("/" if absolute else "") + "/".join(names)
    try:
        found = paths(LEGACY, path)
    except ConfigError:
        return
    assert all(".." not in place.split("/") and place.startswith("/nowhere/") for place in found)
    if path:
        assert all(len(place.split("/")) > 3 for place in found)


@pytest.mark.parametrize("path", ["/", "/..", ".", "..", "a/..", "/a\nb", "a\0"])
def test_a_path_which_names_no_cgroup_of_its_own_is_refused(path: str) -> None:
    with pytest.raises(ConfigError) as caught:
        paths(LEGACY, path)
    assert caught.value.pointer is None


def test_the_record_is_enough_to_come_back() -> None:
    manager = open_manager(LEGACY, "/a", "box1", rootless=False)

    again = from_record(json.loads(json.dumps(manager.record())))

    assert again.record() == manager.record() and type(again) is type(manager)
    assert again.paths() == manager.paths()


def test_memory_is_entered_last() -> None:
    assert open_manager(LEGACY, "/a", "box1", rootless=False).paths() == [
        ("/nowhere/pids/a", False),
        ("/nowhere/systemd/a", False),
        ("/nowhere/unified/a", True),
        ("/nowhere/memory/a", False),
    ]


def test_exec_may_name_a_cgroup_below_the_containers() -> None:
    manager = open_manager(LEGACY, "/a", "box1", rootless=False)

    assert manager.paths({"": "sub"})[0] == ("/nowhere/pids/a/sub", False)
    assert manager.paths({"memory": "/m/"})[-2:] == [("/nowhere/unified/a", True), ("/nowhere/memory/a/m", False)]


@pytest.mark.parametrize("subgroups", [{"": ".."}, {"": "../.."}, {"": "a/../../b"}, {"pids": ".."}, {"nonsense": "a"}])
def test_exec_cannot_leave_the_containers_cgroup(subgroups: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        open_manager(LEGACY, "/a", "box1", rootless=False).paths(subgroups)


def test_without_hierarchies_a_path_is_an_error_and_no_path_is_none() -> None:
    with pytest.raises(UnsupportedError) as caught:
        open_manager(NONE, "/a", "box1", rootless=False)
    assert caught.value.pointer is None
    assert open_manager(NONE, None, "box1", rootless=False).directories == []


def test_without_cgroups_a_limit_is_an_error_with_its_place() -> None:
    with pytest.raises(UnsupportedError) as caught:
        disabled().apply([Setting("pids", "pids.max", "3", "/linux/resources/pids/limit")])
    assert caught.value.pointer == "/linux/resources/pids/limit"


def test_without_cgroups_device_rules_are_left_out_by_choice_only() -> None:
    rules = DeviceRules(allow=False, base=[], rules=[], pointer=None)

    disabled().apply([rules])
    open_manager(NONE, None, "box1", rootless=True).apply([rules])
    with pytest.raises(UnsupportedError):
        open_manager(NONE, None, "box1", rootless=False).apply([rules])


def test_where_none_may_be_made_an_ordinary_user_goes_without(tmp_path: Path) -> None:
    # A cgroupfs that cannot be written to gives EACCES, EPERM or EROFS.
    layout = Layout("unified", [Hierarchy("/proc/self", (), unified=True, own="/")])
    manager = open_manager(layout, None, "box1", rootless=True)
    manager.forgiven = (*manager.forgiven, 2)  # procfs says ENOENT

    manager.make()

    assert manager.entry_fd() is None and manager.processes() == [] and manager.record()["directories"] == []
    with pytest.raises(UnsupportedError) as caught:
        manager.apply([Setting("memory", "memory.max", "1", "/linux/resources/memory/limit")])
    assert caught.value.hint is not None and "delegated" in caught.value.hint
    manager.remove()
