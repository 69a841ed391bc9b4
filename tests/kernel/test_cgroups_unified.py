"""What is particular to cgroup v2 alone."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from boxes.cgroups.layout import Layout
from boxes.cgroups.manager import Manager, open_manager
from boxes.errors import StateError, UnsupportedError
from boxes.linux.syscalls import clone3
from boxes.plan.resources import settings
from tests.kernel.test_cgroups import begin, enter, layout, manager, path, spawn
from tests.support.marks import requires

__all__ = ["layout", "manager", "path", "spawn"]
pytestmark = requires("root", "cgroup2")


def place(manager: Manager) -> Path:
    return Path(manager.directories[0].path)


def test_a_container_has_every_controller_of_its_host(manager: Manager) -> None:
    manager.make()

    host = Path(manager.directories[0].mount_point, "cgroup.controllers").read_text().split()
    assert (place(manager) / "cgroup.controllers").read_text().split() == host


def test_a_clone_starts_in_the_cgroup(manager: Manager) -> None:
    manager.make()
    fd = manager.entry_fd()
    assert fd is not None
    end, other = os.pipe()

    pid, pidfd = clone3(0, cgroup=fd)
    if pid == 0:
        os.write(other, Path("/proc/self/cgroup").read_bytes())
        os._exit(0)
    os.close(other)

    assert os.read(end, 4096).decode().strip() == f"0::/{'/'.join(manager.directories[0].names)}"
    os.waitpid(pid, 0)
    os.close(end)
    os.close(pidfd)


def test_files_by_name(manager: Manager) -> None:
    manager.make()

    manager.apply(settings({"unified": {"memory.high": "8388608", "pids.max": "7"}}, "unified"))

    assert (place(manager) / "memory.high").read_text() == "8388608\n"
    assert (place(manager) / "pids.max").read_text() == "7\n"


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("nonesuch.max", "controller 'nonesuch' is not available"),
        ("memory.nonesuch", "the kernel has no 'memory.nonesuch'"),
    ],
)
def test_files_that_the_kernel_lacks_are_an_error(manager: Manager, file: str, text: str) -> None:
    manager.make()

    with pytest.raises(UnsupportedError, match=text) as caught:
        manager.apply(settings({"unified": {file: "1"}}, "unified"))
    assert caught.value.pointer == f"/linux/resources/unified/{file}"


def test_a_controller_that_cannot_be_enabled_names_the_cgroup(
    layout: Layout, path: str, manager: Manager, spawn: Callable[..., Any]
) -> None:
    manager.make()
    process = spawn("")
    enter(manager, process)  # and now the container's cgroup can have no children with controllers
    inside = open_manager(layout, f"{path}/inside", "inside", rootless=False)
    inside.make()

    with pytest.raises(UnsupportedError) as caught:
        inside.apply(settings({"memory": {"limit": 1 << 20}}, "unified"))

    assert caught.value.path == f"{place(manager)}/inside" and "processes in a cgroup above" in str(caught.value)
    inside.remove()
    inside.close()


def test_block_io(manager: Manager) -> None:
    manager.make()
    disk = ":".join(Path("/proc/partitions").read_text().split()[4:6])
    major, minor = map(int, disk.split(":"))

    block = {
        "throttleReadBpsDevice": [{"major": major, "minor": minor, "rate": 1048576}],
        "throttleWriteIOPSDevice": [{"major": major, "minor": minor, "rate": 100}],
    }
    manager.apply(settings({"blockIO": block}, "unified"))

    assert (place(manager) / "io.max").read_text() == f"{disk} rbps=1048576 wbps=max riops=max wiops=100\n"


def test_huge_pages(manager: Manager) -> None:
    manager.make()

    manager.apply(settings({"hugepageLimits": [{"pageSize": "2MB", "limit": 4 << 20}]}, "unified"))

    assert (place(manager) / "hugetlb.2MB.max").read_text() == f"{4 << 20}\n"
    assert (place(manager) / "hugetlb.2MB.rsvd.max").read_text() == f"{4 << 20}\n"


def test_a_limit_below_the_use_is_refused_where_that_is_asked_for(manager: Manager, spawn: Callable[..., Any]) -> None:
    manager.make()
    process = spawn("x = bytearray(32 << 20)\nprint('ready', flush=True)\ntime.sleep(60)")
    enter(manager, process)
    process.stdin.write(b"\n")
    assert process.stdout.readline() == b"ready\n"

    with pytest.raises(StateError) as caught:
        manager.apply(settings({"memory": {"limit": 1 << 20, "checkBeforeUpdate": True}}, "unified"))

    assert caught.value.pointer == "/linux/resources/memory/limit"
    assert process.poll() is None


def test_a_delegated_cgroup_has_its_files_and_no_limits(manager: Manager) -> None:
    manager.make()

    manager.delegate(100000, 100000)

    owned = {file.name for file in place(manager).iterdir() if file.stat().st_uid == 100000}
    assert {"cgroup.procs", "cgroup.subtree_control", "cgroup.threads"} <= owned
    assert "memory.max" not in owned and "pids.max" not in owned
    assert place(manager).stat().st_uid == 100000


@pytest.mark.parametrize("names", [["below"], ["deep", "below"]])
def test_a_process_is_put_into_a_cgroup_below_with_all_controllers(
    manager: Manager, spawn: Callable[..., Any], names: list[str]
) -> None:
    manager.make()
    process = spawn("")
    enter(manager, process)

    manager.put_below(process.pid, names)
    manager.delegate(100000, -1, names)

    below = place(manager).joinpath(*names)
    assert (below / "cgroup.procs").read_text().split() == [str(process.pid)]
    assert (below / "cgroup.controllers").read_text() == (place(manager) / "cgroup.controllers").read_text()
    assert (below.stat().st_uid, place(manager).stat().st_uid) == (100000, 0)
    assert (below / "cgroup.procs").stat().st_uid == 100000
    assert manager.processes() == [process.pid]
    manager.kill_all(signal.SIGKILL)
    process.wait(10)
    manager.remove(10)
    assert not place(manager).exists()


def test_a_threaded_cgroup_is_refused(layout: Layout, path: str, manager: Manager) -> None:
    manager.make()
    parent = place(manager)
    (parent / "threads").mkdir()
    (parent / "threads" / "cgroup.type").write_text("threaded")
    inside = open_manager(layout, f"{path}/threads/inside", "inside", rootless=False)

    with pytest.raises(UnsupportedError, match="domain invalid"):
        inside.make()
    inside.remove()
    inside.close()


def test_signals_of_a_tree_with_children(manager: Manager, spawn: Callable[..., Any]) -> None:
    manager.make()
    (place(manager) / "sub").mkdir()
    process = spawn("")
    (place(manager) / "sub" / "cgroup.procs").write_text(str(process.pid))

    assert manager.processes() == [process.pid]
    manager.kill_all(signal.SIGTERM)

    assert process.wait(10) == -signal.SIGTERM


def test_a_weight_of_block_io_is_set_or_refused_with_its_place(manager: Manager) -> None:
    manager.make()
    weights = [place(manager) / name for name in ("io.bfq.weight", "io.weight")]

    if any(file.exists() for file in weights):
        manager.apply(settings({"blockIO": {"weight": 500}}, "unified"))
        assert any(file.exists() and file.read_text() in ("default 500\n", "default 4950\n") for file in weights)
    else:
        with pytest.raises(UnsupportedError) as caught:
            manager.apply(settings({"blockIO": {"weight": 500}}, "unified"))
        assert caught.value.pointer == "/linux/resources/blockIO/weight"


def test_kill_all_where_the_kernel_has_no_cgroup_kill(
    manager: Manager, spawn: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    manager.make()
    manager.apply(settings({"pids": {"limit": 60}}, "unified"))
    monkeypatch.setattr(type(manager), "_kill", lambda self: False)
    process = spawn("while True:\n    try:\n        os.fork()\n    except OSError:\n        pass")
    enter(manager, process)
    begin(process)
    while len(manager.processes()) < 40:
        pass

    manager.kill_all(signal.SIGKILL)

    assert process.wait(10) == -signal.SIGKILL
    manager.remove(10)
