"""Tests that need systemd as PID 1, and cgroup v2: scripts/test-vm runs them in a virtual machine.

Every container here is made with --systemd-cgroup, and every test is also a test that no unit is left, and no cgroup.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.bundle import Bundle
from tests.support.host import CGROUPS
from tests.support.runtime import Runtime, executable, wait_until

SLICE = "boxtest.slice"


class SystemdRuntime(Runtime):
    def command(self, *args: str) -> list[str]:
        return [str(self.path), "--root", str(self.root), "--systemd-cgroup", *args]


def systemctl(*args: str) -> str:
    return subprocess.run(["systemctl", "--no-pager", *args], check=True, capture_output=True, text=True).stdout


def left() -> list[str]:
    """Units of ours that systemd knows, in whatever state, and cgroups."""
    listed = systemctl("list-units", "--all", "--plain", "--no-legend", "bt-*", "box-*", "boxtest*")
    found = [line.split()[0] for line in listed.splitlines() if not line.split()[0].endswith(".slice")]
    return found + [str(path) for pattern in ("bt-*", "box-*") for path in CGROUPS.rglob(pattern) if path.is_dir()]


@pytest.fixture
def box(directory: Path, apart: None) -> Iterator[Runtime]:
    runtime = SystemdRuntime(executable(), directory)
    yield runtime
    runtime.close()
    wait_until(lambda: not left(), f"left behind: {left()}", 5)


@pytest.fixture
def make_bundle(make_bundle: Callable[[], Bundle]) -> Callable[[], Bundle]:
    def make() -> Bundle:
        bundle = make_bundle()
        bundle.linux["cgroupsPath"] = f"{SLICE}:bt:{bundle.id}"
        return bundle

    return make


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "vm" in item.path.parts:
            item.add_marker(pytest.mark.requires("root", "systemd"))
            if "legacy" not in item.path.name:
                item.add_marker(pytest.mark.requires("cgroup2"))
