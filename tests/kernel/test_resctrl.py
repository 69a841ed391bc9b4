"""Groups of resctrl, on a filesystem that behaves like it: tests/support/resctrl.py."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from boxes.apply import resctrl
from boxes.errors import BoxesError, ConfigError, KernelError
from boxes.plan.resctrl import group
from tests.support.marks import requires
from tests.support.resctrl import Tree

pytestmark = requires("root", "fuse")


@pytest.fixture
def tree(apart: None, directory: Path) -> Iterator[Tree]:
    made = Tree(directory / "resctrl")
    yield made
    made.close()


@pytest.fixture
def process() -> Iterator[int]:
    with subprocess.Popen(["sleep", "100"]) as started:
        yield started.pid
        started.kill()


def apply(tree: Tree, pid: int, rdt: dict[str, Any], id: str = "box") -> dict[str, Any]:
    """As the runtime does; taken back if it fails."""
    root, wanted = str(tree.path), group(rdt, id)
    with resctrl.Lock(root):
        record = resctrl.survey(root, wanted)
        try:
            resctrl.make(root, wanted, record)
            resctrl.enter(root, record, pid, wanted.pointer)
        except BoxesError:
            failed = record
        else:
            return record
    resctrl.remove(failed, complete=False)
    return {}


def refused(tree: Tree, rdt: dict[str, Any]) -> BoxesError:
    root, wanted = str(tree.path), group(rdt, "box")
    with pytest.raises(BoxesError) as caught:
        resctrl.make(root, wanted, resctrl.survey(root, wanted))
    return caught.value


@pytest.mark.parametrize(
    "mountinfo, expected",
    [
        (b"30 20 0:25 / /sys/fs/resctrl rw,nosuid - resctrl resctrl rw\n", "/sys/fs/resctrl"),
        (b"30 20 0:25 / /a\\040b rw shared:1 - resctrl none rw,cdp\n31 20 0:25 / /c rw - resctrl x rw", "/a b"),
        (b"30 20 0:25 /group /sys/fs/resctrl rw - resctrl resctrl rw\n", None),
        (b"30 20 0:25 / /sys/fs/resctrl rw - tmpfs resctrl rw\n30 20 0:25 / /resctrl rw - xfs - resctrl rw\n", None),
        (b"", None),
    ],
)
def test_the_filesystem_is_found_by_its_type(mountinfo: bytes, expected: str | None) -> None:
    assert resctrl.find(mountinfo) == expected


def test_this_host_is_asked() -> None:
    assert resctrl.mounted() in (None, "/sys/fs/resctrl")


@pytest.mark.parametrize("rdt", [{}, {"enableMonitoring": True}, {"l3CacheSchema": "L3:0=f", "memBwSchema": "MB:1=50"}])
def test_a_class_of_its_own_is_made_and_goes(tree: Tree, process: int, rdt: dict[str, Any]) -> None:
    record = apply(tree, process, rdt)
    assert tree.tasks("box") == [process]
    if "enableMonitoring" in rdt:
        assert tree.tasks("box/mon_groups/box") == [process]
    resctrl.remove(record, complete=True)
    assert tree.groups() == set()
    resctrl.remove(record, complete=True)


def test_schemata_are_written_in_their_order(tree: Tree, process: int) -> None:
    """The last one wins, though the kernel takes no value twice in one write."""
    apply(
        tree,
        process,
        {"schemata": ["L3:0=3", "MB:0=30"], "memBwSchema": "MB:0=20;1=70", "l3CacheSchema": "L3:0=f;1=1f"},
    )
    assert [line for line in tree.log() if "schemata" in line] == [
        "box/schemata: 'L3:0=f;1=1f\\n'",
        "box/schemata: 'MB:0=20;1=70\\n'",
        "box/schemata: 'L3:0=3\\nMB:0=30\\n'",
    ]
    assert tree.schemata("box") == ["L3:0=3;1=1f", "MB:0=30;1=70"]


def test_without_schemata_none_are_written(tree: Tree, process: int) -> None:
    (tree.path / "gold").mkdir()
    apply(tree, process, {"closID": "gold", "enableMonitoring": True})
    assert not [line for line in tree.log() if "schemata" in line]


def test_a_class_that_is_named_stays(tree: Tree, process: int) -> None:
    record = apply(tree, process, {"closID": "gold", "l3CacheSchema": "L3:0=f", "enableMonitoring": True})
    assert tree.groups() == {"gold", "gold/mon_groups/box"}
    resctrl.remove(record, complete=True)
    assert tree.groups() == {"gold"}
    again = apply(tree, process, {"closID": "gold", "l3CacheSchema": "L3:0=f"})
    assert tree.tasks("gold") == [process]
    resctrl.remove(again, complete=True)
    assert tree.groups() == {"gold"}


def test_a_class_that_was_there_stays_even_if_it_has_the_containers_name(tree: Tree, process: int) -> None:
    (tree.path / "box").mkdir()
    record = apply(tree, process, {"l3CacheSchema": "L3:1=7"})
    assert tree.tasks("box") == [process]
    assert tree.schemata("box")[0] == "L3:0=7ff;1=7"
    for complete in (False, True):
        resctrl.remove(record, complete=complete)
    assert tree.groups() == {"box"}


def test_the_root_is_a_class_too(tree: Tree, process: int) -> None:
    record = apply(tree, process, {"closID": "/", "enableMonitoring": True})
    assert tree.tasks() == [process]
    assert tree.tasks("mon_groups/box") == [process]
    resctrl.remove(record, complete=True)
    assert tree.groups() == set()


@pytest.mark.parametrize(
    "rdt",
    [
        {"l3CacheSchema": "L3:0=7ff;1=07f"},
        {"l3CacheSchema": " L3: 1=7F"},
        {"memBwSchema": "MB:0=20", "l3CacheSchema": "L3:0=7ff"},
        {"memBwSchema": "MB:0=15"},
        {"schemata": ["L3:0=1"]},
    ],
)
def test_a_class_that_matches_is_entered(tree: Tree, process: int, rdt: dict[str, Any]) -> None:
    """Numbers are compared, not text; of what is not said anything may be so; a bandwidth is rounded as the kernel does."""
    (tree.path / "gold").mkdir()
    (tree.path / "gold" / "schemata").write_text("L3:1=7f\nMB:0=20\n")
    apply(tree, process, {"closID": "gold", **rdt})
    assert tree.tasks("gold") == [process]


@pytest.mark.parametrize(
    "rdt, key",
    [
        ({"l3CacheSchema": "L3:0=7ff;1=f"}, "l3CacheSchema"),
        ({"l3CacheSchema": "L3:0=7ff;2=7ff"}, "l3CacheSchema"),
        ({"l3CacheSchema": "L3CODE:0=7ff"}, "l3CacheSchema"),
        ({"l3CacheSchema": "L3:0=rest"}, "l3CacheSchema"),
        ({"l3CacheSchema": "L3:0=7ff", "memBwSchema": "MB:0=25"}, "memBwSchema"),
    ],
)
def test_a_class_that_does_not_match_is_an_error(tree: Tree, rdt: dict[str, Any], key: str) -> None:
    (tree.path / "gold").mkdir()
    (tree.path / "gold" / "schemata").write_text("L3:1=7f\nMB:0=20\n")
    error = refused(tree, {"closID": "gold", **rdt})
    assert isinstance(error, ConfigError)
    assert error.pointer == f"/linux/intelRdt/{key}"
    assert tree.schemata("gold") == ["L3:0=7ff;1=7f", "MB:0=20;1=100"]


@pytest.mark.parametrize(
    "rdt, text",
    [
        ({"closID": "gold"}, "no class of service 'gold'"),
        ({"closID": "info", "l3CacheSchema": "L3:0=f"}, "'info' is not a class"),
        ({"closID": "mon_groups"}, "'mon_groups' is not a class"),
    ],
)
def test_a_class_that_is_not_there_is_an_error(tree: Tree, rdt: dict[str, Any], text: str) -> None:
    error = refused(tree, rdt)
    assert isinstance(error, ConfigError) and text in str(error)
    assert error.pointer == "/linux/intelRdt/closID"
    assert tree.groups() == set()


@pytest.mark.parametrize(
    "rdt, key, text",
    [
        ({"l3CacheSchema": "L3:0=5"}, "l3CacheSchema", "non-consecutive"),
        ({"schemata": ["L9:0=1"]}, "schemata", "unknown or unsupported resource name 'L9'"),
        ({"memBwSchema": "MB:0=5"}, "memBwSchema", "out of range"),
    ],
)
def test_the_kernels_reason_is_told(tree: Tree, rdt: dict[str, Any], key: str, text: str) -> None:
    error = refused(tree, rdt)
    assert isinstance(error, KernelError) and text in str(error)
    assert error.pointer == f"/linux/intelRdt/{key}"


def test_too_many_classes_is_told(tree: Tree) -> None:
    for name in "abc":
        (tree.path / name).mkdir()
    error = refused(tree, {})
    assert "out of CLOSIDs" in str(error) and "has no more" in str(error)


def test_too_many_monitoring_groups_is_told(tree: Tree, process: int) -> None:
    for name in "ab":
        (tree.path / "mon_groups" / name).mkdir()
    assert "out of RMIDs" in str(refused(tree, {"closID": "/", "enableMonitoring": True}))


def test_a_monitoring_group_of_somebody_else_is_not_taken(tree: Tree, process: int) -> None:
    (tree.path / "mon_groups" / "box").mkdir()
    error = refused(tree, {"closID": "/", "enableMonitoring": True})
    assert str(error) == "/linux/intelRdt/enableMonitoring: there is a monitoring group 'box' already"
    assert tree.groups() == {"mon_groups/box"}


@pytest.mark.parametrize("rdt, path", [({}, "box"), ({"closID": "/", "enableMonitoring": True}, "mon_groups/box")])
def test_what_somebody_else_makes_meanwhile_is_not_taken_back(tree: Tree, rdt: dict[str, Any], path: str) -> None:
    """Somebody who does not heed the lock."""
    root, wanted = str(tree.path), group(rdt, "box")
    record = resctrl.survey(root, wanted)
    (tree.path / path).mkdir()
    with pytest.raises(KernelError, match="file exists"):
        resctrl.make(root, wanted, record)
    resctrl.remove(record, complete=False)
    assert tree.groups() == {path}


@pytest.mark.parametrize("closid", [{}, {"closID": "gold"}])
def test_what_fails_is_taken_back(tree: Tree, process: int, closid: dict[str, str]) -> None:
    assert apply(tree, process, {**closid, "l3CacheSchema": "L3:0=5"}) == {}
    assert tree.groups() == set()


def test_a_class_that_others_have_entered_is_not_taken_back(tree: Tree, process: int) -> None:
    record = apply(tree, process, {"closID": "gold", "l3CacheSchema": "L3:0=f"})
    resctrl.remove(record, complete=False)
    assert tree.groups() == {"gold"}


def test_the_filesystem_is_locked_for_others_meanwhile(tree: Tree) -> None:
    with resctrl.Lock(str(tree.path)):
        code = subprocess.run(["flock", "--exclusive", "--nonblock", tree.path, "true"], stdin=-3).returncode
        assert code == 1
    subprocess.run(["flock", "--exclusive", "--nonblock", tree.path, "true"], stdin=-3, check=True)


def test_nothing_is_removed_where_nothing_is_mounted_any_more() -> None:
    record = {"root": "/no", "group": "/no/a", "makes": True, "lasting": True, "monitor": "/no/a/mon_groups/b"}
    resctrl.remove(record, complete=False)
    assert not os.path.exists("/no")
