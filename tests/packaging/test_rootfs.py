"""scripts/rootfs."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOTFS = Path(__file__).parents[2] / "scripts" / "rootfs"


def make(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([ROOTFS, *arguments], capture_output=True, text=True, check=False)


def test_busybox_root_is_complete_in_itself(tmp_path: Path) -> None:
    root = tmp_path / "bundle/rootfs"
    assert make("busybox", root).returncode == 0
    for link in ("bin/sh", "usr/bin/id", "sbin/ip"):
        assert (root / link).resolve() == root / "bin/busybox"
    assert (root / "etc/passwd").read_text().startswith("root:x:0:0:")
    assert (root / "tmp").stat().st_mode & 0o7777 == 0o1777
    assert {"dev", "proc", "sys", "root", "run"} <= {path.name for path in root.iterdir()}


def test_directory_with_something_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "kept").touch()
    refused = make("busybox", tmp_path)
    assert refused.returncode == 1
    assert refused.stderr == f"rootfs: '{tmp_path}' is not empty\n"
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


@pytest.mark.parametrize("arguments", [(), ("fedora", "x"), ("busybox",), ("busybox", "a", "b")])
def test_wrong_usage_shows_the_right_one(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    refused = make(*arguments)
    assert refused.returncode == 2
    assert "rootfs busybox DIR" in refused.stderr
