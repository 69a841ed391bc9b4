"""Scopes on a machine with cgroup v1, beside v2 or alone: systemd.unified_cgroup_hierarchy=0 on the kernel's command
line. There systemd makes cgroups in the hierarchies it knows, and we in the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.bundle import Bundle
from tests.support.host import cgroup_roots
from tests.support.marks import not_for, requires
from tests.support.runtime import Runtime
from tests.vm.conftest import SLICE, left, systemctl

pytestmark = requires("cgroup1")

MIB = 1 << 20
STAY = ("/bin/sleep", "1000")


def place(bundle: Bundle, controller: str) -> Path:
    return cgroup_roots()[controller] / SLICE / f"bt-{bundle.id}.scope"


def value(bundle: Bundle, controller: str, file: str) -> str:
    return (place(bundle, controller) / file).read_text().strip()


def test_it_is_in_the_scope_in_every_hierarchy(box: Runtime, bundle: Bundle) -> None:
    container = box.create(bundle.args(*STAY))
    lines = Path(f"/proc/{container.pid}/cgroup").read_text().splitlines()
    assert {line.split(":", 2)[2] for line in lines} == {f"/{SLICE}/bt-{bundle.id}.scope"}


@not_for("runc", "crun", reason="they leave some")
def test_delete_leaves_nothing_in_any(box: Runtime, bundle: Bundle) -> None:
    box.start(bundle.args(*STAY)).delete("--force").ok()
    assert left() == []


@pytest.mark.parametrize(
    ("resources", "controller", "file", "expected"),
    [
        ({"memory": {"limit": 64 * MIB}}, "memory", "memory.limit_in_bytes", f"{64 * MIB}"),
        ({"cpu": {"shares": 512}}, "cpu", "cpu.shares", "512"),
        ({"cpu": {"quota": 20000, "period": 50000}}, "cpu", "cpu.cfs_quota_us", "20000"),
        ({"pids": {"limit": 17}}, "pids", "pids.max", "17"),
        ({"cpu": {"cpus": "0"}}, "cpuset", "cpuset.cpus", "0"),
    ],
    ids=str,
)
def test_limits_survive_a_reload(
    box: Runtime, bundle: Bundle, resources: Any, controller: str, file: str, expected: str
) -> None:
    bundle.linux["resources"] = resources
    box.start(bundle.args(*STAY))
    for _ in range(2):
        assert value(bundle, controller, file) == expected
        systemctl("daemon-reload")


def test_device_rules_survive_a_reload(box: Runtime, bundle: Bundle) -> None:
    rules: list[dict[str, Any]] = [
        {"allow": False, "access": "rwm"},
        {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rw"},
        {"allow": True, "type": "b", "major": 8, "access": "r"},
    ]
    bundle.linux["resources"] = {"devices": rules}
    box.start(bundle.args(*STAY))
    before = set(value(bundle, "devices", "devices.list").splitlines())
    assert {"c 10:229 rw", "b 8:* r", "c 1:3 rwm"} <= before and "a *:* rwm" not in before
    systemctl("daemon-reload")
    assert set(value(bundle, "devices", "devices.list").splitlines()) == before


@not_for("runc", "crun", reason="they let systemd undo it")
def test_rules_that_systemd_would_undo_are_refused(box: Runtime, bundle: Bundle) -> None:
    rules = [{"allow": True, "access": "rwm"}, {"allow": False, "type": "c", "major": 1, "minor": 4, "access": "rwm"}]
    bundle.linux["resources"] = {"devices": rules}
    box.run(bundle).refused("/linux/resources/devices", "systemd cannot allow all devices but some")


def test_exec_enters_it(box: Runtime, bundle: Bundle) -> None:
    container = box.start(bundle.args(*STAY))
    out = container.exec("/bin/cat", "/proc/self/cgroup").ok().out
    assert {line.split(":", 2)[2] for line in out.splitlines()} == {f"/{SLICE}/bt-{bundle.id}.scope"}


def test_memory_kills(box: Runtime, bundle: Bundle) -> None:
    bundle.linux["resources"] = {"memory": {"limit": 32 * MIB}}
    bundle.shell("head -c 64m /dev/zero > /dev/shm/x")
    assert box.run(bundle).code in (137, 1)
