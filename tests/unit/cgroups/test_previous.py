"""What puts a file of a cgroup back: the kernel tells some otherwise than it takes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from boxes.cgroups.directory import Directory
from boxes.cgroups.manager import Manager
from boxes.cgroups.previous import previous
from boxes.cgroups.settings import Setting


class Unified(Manager):
    kind = "unified"


def restoring(tmp_path: Path, file: str, held: str, value: str, instead: tuple[str, str] | None = None) -> list[str]:
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / file).write_text(held)
    with Unified([Directory(str(tmp_path), ["c"], (), 1)]) as manager:
        asked = Setting("x", file if instead is None else "absent", value, "/x", instead=instead)
        return [f"{each.file}={each.value}" for each in previous(manager, [asked])]


@pytest.mark.parametrize(
    ("file", "held", "value", "expected"),
    [
        ("memory.max", "max\n", "4096", "max"),
        ("cpu.max", "max 100000\n", "5000 10000", "max 100000"),
        ("cpuset.cpus", "\n", "0", "\n"),
        ("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n", "1", "0"),
        ("blkio.throttle.read_bps_device", "8:0 100\n8:16 200\n", "8:16 5", "8:16 200"),
        ("blkio.throttle.read_bps_device", "8:0 100\n", "8:16 5", "8:16 0"),
        (
            "io.max",
            "8:0 rbps=9 wbps=max riops=max wiops=max\n",
            "8:0 rbps=5",
            "8:0 rbps=9 wbps=max riops=max wiops=max",
        ),
        ("io.max", "", "8:0 rbps=5", "8:0 rbps=max wbps=max riops=max wiops=max"),
        ("io.weight", "default 100\n8:0 50\n", "200", "default 100"),
        ("io.weight", "default 100\n8:0 50\n", "8:0 70", "8:0 50"),
        ("io.weight", "default 100\n", "8:0 70", "8:0 default"),
        ("net_prio.ifpriomap", "lo 0\neth0 3\n", "eth0 5", "eth0 3"),
        (
            "rdma.max",
            "mlx4_0 hca_handle=2 hca_object=max\n",
            "mlx4_0 hca_handle=5",
            "mlx4_0 hca_handle=2 hca_object=max",
        ),
    ],
)
def test_what_is_held_is_put_back(tmp_path: Path, file: str, held: str, value: str, expected: str) -> None:
    assert restoring(tmp_path, file, held, value) == [f"{file}={expected}"]


def test_file_that_is_written_in_place_of_another_is_put_back(tmp_path: Path) -> None:
    assert restoring(tmp_path, "io.weight", "default 100\n", "300", instead=("io.weight", "3")) == [
        "io.weight=default 100"
    ]


def test_missing_file_needs_nothing(tmp_path: Path) -> None:
    (tmp_path / "c").mkdir()
    with Unified([Directory(str(tmp_path), ["c"], (), 1)]) as manager:
        assert previous(manager, [Setting("x", "absent", "1", "/x")]) == []


def test_share_that_idleness_takes_is_put_back(tmp_path: Path) -> None:
    (tmp_path / "c").mkdir()
    (tmp_path / "c/cpu.idle").write_text("0\n")
    (tmp_path / "c/cpu.weight").write_text("77\n")
    with Unified([Directory(str(tmp_path), ["c"], (), 1)]) as manager:
        found = previous(manager, [Setting("cpu", "cpu.idle", "1", "/cpu/idle")])
    assert [(each.file, each.value) for each in found] == [("cpu.idle", "0"), ("cpu.weight", "77")]
