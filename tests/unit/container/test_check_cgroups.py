"""What `check` says of cgroups, asked of directories that look like a hierarchy."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from boxes.cgroups import layout as layouts
from boxes.cgroups.layout import Hierarchy, Layout
from boxes.container import check_cgroups
from boxes.container.findings import Findings
from boxes.container.options import CreateOptions

PATH = "/above/c1"


def cgroup(path: Path, controllers: str, handed: str = "", processes: str = "", files: str = "") -> Path:
    """A cgroup of v2: what it has, and what it hands down."""
    path.mkdir(parents=True, exist_ok=True)
    for name, content in (
        ("cgroup.controllers", controllers),
        ("cgroup.subtree_control", handed),
        ("cgroup.procs", processes),
        *((name, "") for name in files.split()),
    ):
        (path / name).write_text(content)
    return path


@pytest.fixture
def found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that gives the findings for resources, on a host whose hierarchy is a directory."""

    def run(resources: dict[str, Any], *, path: str | None = PATH, hierarchies: list[Hierarchy] | None = None) -> Any:
        kind: Any = "unified" if hierarchies is None else "legacy"
        listed = hierarchies or [Hierarchy(str(tmp_path), (), unified=True)]
        monkeypatch.setattr(layouts, "detect", lambda: Layout(kind, listed))
        config = {"linux": {"resources": resources, **({"cgroupsPath": path} if path else {})}}
        check: Any = SimpleNamespace(
            config=config,
            findings=Findings(config, lambda config: []),
            options=CreateOptions(),
            privileged=True,
            facts=SimpleNamespace(nested=False, id="c1"),
        )
        check_cgroups.check(check)
        return [(finding.error.pointer, finding.error.hint) for finding in check.findings.found]

    return run


def test_what_a_parent_hands_down_can_be_limited(found: Any, tmp_path: Path) -> None:
    cgroup(tmp_path, "memory pids cpu", "memory pids")
    cgroup(tmp_path / "above", "memory pids", "memory pids", files="memory.max memory.low pids.max")
    assert found({"memory": {"limit": 1 << 20}, "pids": {"limit": 5}}) == []


def test_what_a_parent_can_be_told_to_hand_down_can_be_limited(found: Any, tmp_path: Path) -> None:
    cgroup(tmp_path, "memory pids")
    assert found({"memory": {"limit": 1 << 20}}) == []


def test_controllers_that_are_not_there_are_told(found: Any, tmp_path: Path) -> None:
    cgroup(tmp_path, "pids", "pids")
    assert [pointer for pointer, _ in found({"memory": {"limit": 1 << 20}, "pids": {"limit": 5}})] == [
        "/linux/resources/memory/limit"
    ]


def test_no_limit_needs_no_controller(found: Any, tmp_path: Path) -> None:
    cgroup(tmp_path, "")
    assert found({"memory": {"limit": -1}, "pids": {"limit": -1}}) == []


def test_a_parent_with_processes_hands_nothing_down(found: Any, tmp_path: Path) -> None:
    """The root alone has no type, and may have both."""
    cgroup(tmp_path, "memory", "memory")
    above = cgroup(tmp_path / "above", "memory", processes="1\n")
    (above / "cgroup.type").write_text("domain\n")
    assert [pointer for pointer, _ in found({"memory": {"limit": 1 << 20}})] == ["/linux/resources/memory/limit"]


def test_files_that_this_kernel_lacks_are_told(found: Any, tmp_path: Path) -> None:
    cgroup(tmp_path, "cpu", "cpu")
    cgroup(tmp_path / "above", "cpu", "cpu", files="cpu.max cpu.weight")
    assert [pointer for pointer, _ in found({"cpu": {"idle": 1, "shares": 100}})] == ["/linux/resources/cpu/idle"]


def test_a_cgroup_with_processes_is_another_containers(found: Any, tmp_path: Path) -> None:
    cgroup(tmp_path, "")
    cgroup(tmp_path / "above/c1", "", processes="17\n")
    assert found({}) == [("/linux/cgroupsPath", None)]


def test_v1_is_asked_for_its_files(found: Any, tmp_path: Path) -> None:
    for name in ("memory", "pids"):
        (tmp_path / name / "other").mkdir(parents=True)
    (tmp_path / "memory/other/memory.limit_in_bytes").touch()
    hierarchies = [Hierarchy(str(tmp_path / name), (name,)) for name in ("memory", "pids")]
    limits = {"memory": {"limit": 1 << 20, "swap": 1 << 21}, "cpu": {"shares": 5}}
    assert [pointer for pointer, _ in found(limits, hierarchies=hierarchies)] == [
        "/linux/resources/memory/swap",
        "/linux/resources/cpu/shares",
    ]


def test_values_are_checked_too_and_all_of_them(found: Any, tmp_path: Path) -> None:
    cgroup(tmp_path, "cpu pids")
    wrong = {"cpu": {"idle": 2}, "pids": {"limit": -5}}
    assert {pointer for pointer, _ in found(wrong)} == {"/linux/resources/cpu/idle", "/linux/resources/pids/limit"}


def test_the_root_of_the_hierarchy_is_no_containers(found: Any, tmp_path: Path) -> None:
    cgroup(tmp_path, "")
    assert [pointer for pointer, _ in found({}, path="/..")] == ["/linux/cgroupsPath"]
