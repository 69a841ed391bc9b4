"""Many creates and deletes in a row, with each manager, leave nothing: no cgroup, no unit, no D-Bus connection.

BOXES_PAIRS is how many; `scripts/test-vm` asks for 500.
"""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.support.bundle import Bundle
from tests.support.host import cgroup_roots
from tests.support.marks import requires
from tests.support.runtime import Runtime, wait_until

PAIRS = int(os.environ.get("BOXES_PAIRS", "25"))
pytestmark = pytest.mark.takes(60 + 5 * PAIRS)  # where the processor is emulated


def cgroups(*names: str) -> set[str]:
    """The host's cgroups whose paths contain one of these names."""
    paths = {path for root in set(cgroup_roots().values()) for path, _, _ in os.walk(root)}
    return {path for path in paths if any(name in path for name in names)}


def units() -> set[str]:
    listed = _out(
        "systemctl", "list-units", "--all", "--plain", "--no-legend", "--no-pager", "boxpairs-*", "boxpairs.*"
    )
    return {line.split()[0] for line in listed.splitlines()}


def connections() -> int:
    """Clients of the system's bus. A match ends with the connection that asked for it."""
    return len([line for line in _out("busctl", "list", "--unique", "--no-legend").splitlines() if line])


def _out(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def _pairs(box: Runtime, bundle: Bundle, *flags: str) -> None:
    log = box.directory / "create.log"
    for _ in range(PAIRS):
        with log.open("wb") as out:
            create = box.command(*flags, "create", *box.bundle_args(bundle))
            done = subprocess.run(create, stdin=subprocess.DEVNULL, stdout=out, stderr=out, timeout=20)
        assert done.returncode == 0, log.read_text()
        box("delete", "--force", bundle.id).ok()


LIMITS = {"memory": {"limit": 64 << 20}, "pids": {"limit": 20}, "cpu": {"shares": 512}}


def test_cgroupfs_leaves_no_cgroup(box: Runtime, bundle: Bundle) -> None:
    bundle.linux["resources"] = LIMITS
    bundle.save()
    _pairs(box, bundle)
    assert cgroups(bundle.id) == set()


def test_no_manager_makes_no_cgroup(box: Runtime, bundle: Bundle) -> None:
    bundle.linux.pop("resources", None)
    bundle.save()
    _pairs(box, bundle, "--cgroup-manager=disabled")
    assert cgroups(bundle.id) == set()


@requires("systemd")
def test_systemd_leaves_no_unit_and_no_client(box: Runtime, bundle: Bundle) -> None:
    bundle.linux.update(resources=LIMITS, cgroupsPath=f"boxpairs.slice:boxpairs:{bundle.id}")
    bundle.save()
    box.globals = ("--systemd-cgroup",)
    clients, held = connections(), descriptors(1)
    _pairs(box, bundle)
    wait_until(lambda: not {unit for unit in units() if unit.endswith(".scope")}, f"left: {units()}")
    subprocess.run(["systemctl", "stop", "boxpairs.slice"], check=True)
    wait_until(lambda: not cgroups("boxpairs"), f"left: {cgroups('boxpairs')}")
    wait_until(lambda: connections() <= clients, f"{clients} clients of the bus became {connections()}")
    assert descriptors(1) <= held + 5  # of systemd itself
