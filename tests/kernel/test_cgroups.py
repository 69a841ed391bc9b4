"""Cgroups on this host's kernel, v1 or v2, whichever is there: made, entered, limited, killed and removed."""

from __future__ import annotations

import itertools
import os
import select
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from boxes.cgroups.layout import Layout, below, detect, memberships
from boxes.cgroups.manager import Manager, from_record, open_manager, paths_of
from boxes.cgroups.settings import Setting
from boxes.errors import ConfigError, KernelError, StateError, UnsupportedError
from boxes.plan.resources import settings
from tests.support.marks import requires

pytestmark = requires("root")

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def layout() -> Layout:
    return detect()


@pytest.fixture
def path(layout: Layout) -> Iterator[str]:
    """A cgroupsPath below a parent of the test's own; nothing of it may be left."""
    if layout.kind == "none":
        pytest.skip("needs cgroups")
    parent = f"boxes-cg-{os.getpid()}-{next(_numbers)}"
    yield f"/{parent}/box"
    left = [directory for found in layout.hierarchies if (directory := Path(found.mount_point, parent)).exists()]
    for directory in left:
        subprocess.run(["find", directory, "-depth", "-type", "d", "-exec", "rmdir", "{}", ";"], check=True)
    assert left == []


@pytest.fixture
def manager(layout: Layout, path: str) -> Iterator[Manager]:
    found = open_manager(layout, path, "box", rootless=False)
    yield found
    found.kill_all(signal.SIGKILL)
    found.remove(10)
    assert_no_descriptors()


@pytest.fixture
def spawn() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start Python that begins once something is written to its stdin."""
    started = []

    def start(code: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-I", "-S", "-c", f"import os, sys, time\nos.read(0, 1)\n{code}"]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            pipe.close()


def enter(manager: Manager, process: subprocess.Popen[bytes]) -> None:
    early, late = manager.entries(born=False)
    write_to(early + late, process.pid)


def write_to(entries: list[int], pid: int) -> None:
    for fd in entries:
        os.write(fd, str(pid).encode())
        os.close(fd)


def begin(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.write(b"\n")


def told(process: subprocess.Popen[bytes]) -> str:
    begin(process)
    assert process.stdout is not None
    return process.stdout.read().decode()


def limited(manager: Manager, resources: dict[str, Any]) -> Manager:
    manager.make()
    manager.apply(settings(resources, manager.kind))
    return manager


def value(manager: Manager, legacy: tuple[str, str], unified: str) -> str:
    """The content of a file, which has another name on each version."""
    controller, file = legacy
    directory = next(d for d in manager.directories if manager.kind == "unified" or controller in d.controllers)
    return Path(directory.path, unified if manager.kind == "unified" else file).read_text().strip()


def assert_no_descriptors() -> None:
    targets = [os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if fd_exists(fd)]
    assert [target for target in targets if "cgroup" in target or "pidfd" in target] == []


def fd_exists(fd: str) -> bool:
    return os.path.lexists(f"/proc/self/fd/{fd}")


def test_detect_agrees_with_the_kernel(layout: Layout) -> None:
    for found in layout.hierarchies:
        with open(Path(found.mount_point, *found.own, "cgroup.procs")) as file:
            assert str(os.getpid()) in file.read().split()


def test_all_that_is_made_is_removed(manager: Manager, path: str) -> None:
    manager.make()
    assert all(Path(directory.path).is_dir() for directory in manager.directories)

    manager.remove()

    assert not any(Path(directory.mount_point, path.split("/")[1]).exists() for directory in manager.directories)
    manager.remove()


def test_the_record_of_before_removes_what_a_killed_runtime_made(manager: Manager) -> None:
    record = manager.record()
    for count, directory in enumerate(manager.directories):
        if count % 2:
            directory.make()  # the runtime was killed in the midst of it

    from_record(record).remove()

    assert not any(Path(directory.path).exists() for directory in manager.directories)
    manager.close()


def test_the_mode_of_a_cgroup_does_not_depend_on_the_umask(manager: Manager) -> None:
    before = os.umask(0o077)
    try:
        manager.make()
    finally:
        assert os.umask(before) == 0o077
    assert {stat.S_IMODE(os.stat(directory.path).st_mode) for directory in manager.directories} == {0o755}


def test_what_was_there_before_stays(layout: Layout, path: str) -> None:
    first = layout.hierarchies[0]
    there = Path(first.mount_point, path[1:])
    there.mkdir(parents=True)
    manager = open_manager(layout, path, "box", rootless=False)
    manager.make()

    from_record(manager.record()).remove()

    manager.close()
    assert there.is_dir()
    assert not any(Path(found.mount_point, path[1:]).exists() for found in layout.hierarchies[1:])
    there.rmdir()
    there.parent.rmdir()


def test_a_parent_stays_while_another_container_is_in_it(layout: Layout, path: str) -> None:
    one = open_manager(layout, path, "one", rootless=False)
    one.make()
    two = open_manager(layout, f"{path}-2", "two", rootless=False)
    two.make()

    one.remove()
    assert all(Path(directory.path).is_dir() for directory in two.directories)
    two.remove()
    one.remove()  # the parent is what the first made, and may be removed when all have gone


def test_of_two_that_make_the_same_cgroup_one_fails(manager: Manager, layout: Layout, path: str) -> None:
    second = open_manager(layout, path, "second", rootless=False)
    manager.make()

    with pytest.raises(KernelError, match="file exists") as caught:
        second.make()
    assert caught.value.pointer is None
    second.close()


def test_a_parent_that_goes_away_meanwhile_is_made_again(layout: Layout, path: str) -> None:
    one = open_manager(layout, path, "one", rootless=False)
    one.make()
    two = open_manager(layout, f"{path}-2", "two", rootless=False)

    one.remove()
    two.make()
    two.remove()


def test_a_process_is_put_into_every_hierarchy(
    manager: Manager, layout: Layout, path: str, spawn: Callable[..., Any]
) -> None:
    manager.make()
    process = spawn("")
    enter(manager, process)

    membership = memberships(Path(f"/proc/{process.pid}/cgroup").read_bytes())

    assert all(below(found.root, membership[found.label]) == path[1:].split("/") for found in layout.hierarchies)
    assert manager.processes() == [process.pid]
    assert paths_of(layout, process.pid) == manager.paths()
    assert all(Path(cgroup, "cgroup.procs").exists() for cgroup, _ in manager.paths())


def test_memory_is_joined_late_only(manager: Manager, spawn: Callable[..., Any]) -> None:
    manager.make()
    process = spawn("")

    first, last = manager.entries(born=False)
    write_to(first, process.pid)
    for fd in last:
        os.close(fd)

    late = [directory for directory in manager.directories if process.pid not in directory.processes()]
    if manager.kind == "legacy":
        assert [directory.controllers for directory in late] == [("memory",)]
    else:
        assert late == manager.directories


def test_a_cgroup_with_processes_is_refused_unless_it_is_shared(
    manager: Manager, layout: Layout, path: str, spawn: Callable[..., Any]
) -> None:
    manager.make()
    process = spawn("")
    enter(manager, process)
    other = open_manager(layout, path, "other", rootless=False)

    with pytest.raises(StateError, match=str(process.pid)) as caught:
        other.make()
    assert caught.value.pointer is None
    other.make(shared=True)
    with pytest.raises(StateError):
        from_record(other.record()).kill_all(signal.SIGKILL)
    other.remove()
    other.close()
    assert process.poll() is None and manager.processes() == [process.pid]


def test_a_strangers_cgroup_of_the_same_name_is_left_alone(
    manager: Manager, layout: Layout, path: str, spawn: Callable[..., Any]
) -> None:
    old = open_manager(layout, path, "old", rootless=False)
    old.make()
    record = old.record()
    old.remove()
    manager.make()
    process = spawn("")
    enter(manager, process)

    stale = from_record(record)
    assert stale.processes() == []
    stale.kill_all(signal.SIGKILL)
    stale.thaw()
    stale.remove()
    stale.close()

    assert process.poll() is None and manager.processes() == [process.pid]


def test_a_process_past_the_limit_of_memory_is_killed(manager: Manager, spawn: Callable[..., Any]) -> None:
    limited(manager, {"memory": {"limit": 16 << 20, "swap": 16 << 20}})
    process = spawn("x = bytearray(64 << 20)\nprint('survived')")
    enter(manager, process)

    assert told(process) == ""
    assert process.wait() == -signal.SIGKILL
    assert value(manager, ("memory", "memory.limit_in_bytes"), "memory.max") == str(16 << 20)


def test_memory_limits_change_in_both_directions(manager: Manager) -> None:
    limited(manager, {"memory": {"limit": 64 << 20, "swap": 64 << 20}})

    for size in (256 << 20, 32 << 20):
        manager.apply(settings({"memory": {"limit": size, "swap": size}}, manager.kind))
        assert value(manager, ("memory", "memory.limit_in_bytes"), "memory.max") == str(size)
    manager.apply(settings({"memory": {"limit": -1}}, manager.kind))
    assert value(manager, ("memory", "memory.limit_in_bytes"), "memory.max") in ("max", "9223372036854771712")


def test_no_more_tasks_than_the_limit_of_pids(manager: Manager, spawn: Callable[..., Any]) -> None:
    limited(manager, {"pids": {"limit": 3}})
    code = """
made = 0
try:
    for _ in range(9):
        if os.fork() == 0:
            time.sleep(60)
            os._exit(0)
        made += 1
except BlockingIOError:
    pass
print(made, flush=True)
os._exit(0)
"""
    process = spawn(code)
    enter(manager, process)

    begin(process)
    assert process.stdout.readline() == b"2\n"


def test_cpus_and_quota_hold(manager: Manager, spawn: Callable[..., Any]) -> None:
    limited(manager, {"cpu": {"cpus": "0", "mems": "0", "shares": 512, "quota": 5000, "period": 50000}})
    code = """
end = time.monotonic() + 1.5
while time.monotonic() < end:
    pass
print(sorted(os.sched_getaffinity(0)), time.process_time() < 0.75)
"""
    process = spawn(code)
    enter(manager, process)

    assert told(process) == "[0] True\n"
    assert value(manager, ("cpu", "cpu.shares"), "cpu.weight") in ("512", "59")


def test_without_a_cpuset_of_its_own_a_container_has_its_parents_cpus(
    manager: Manager, spawn: Callable[..., Any]
) -> None:
    manager.make()
    process = spawn("print(len(os.sched_getaffinity(0)))")
    enter(manager, process)

    assert told(process) == f"{os.cpu_count()}\n"


DEVICES = """
def tried(path, flags):
    try:
        os.close(os.open(path, flags))
        return "open"
    except PermissionError:
        return "denied"
print(tried("/dev/zero", os.O_RDWR), tried("/dev/kmsg", os.O_RDONLY), tried("/dev/kmsg", os.O_WRONLY))
"""


@pytest.mark.parametrize(
    ("devices", "expected"),
    [
        (None, "open denied denied"),
        ([{"allow": False, "access": "rwm"}], "open denied denied"),
        ([{"allow": True, "type": "c", "major": 1, "minor": 11, "access": "r"}], "open open denied"),
        ([{"allow": True, "type": "c", "major": 1, "access": "w"}], "open denied open"),
        ([{"allow": True, "access": "rwm"}], "open open open"),
        ([{"allow": False, "type": "c", "major": 1, "minor": 5, "access": "w"}], "denied denied denied"),
        (
            [{"allow": True, "access": "rwm"}, {"allow": False, "type": "c", "major": 1, "minor": 11, "access": "w"}],
            "open open denied",
        ),
    ],
)
def test_devices(
    manager: Manager, spawn: Callable[..., Any], devices: list[dict[str, Any]] | None, expected: str
) -> None:
    limited(manager, {"devices": devices})
    process = spawn(DEVICES)
    enter(manager, process)

    assert told(process).strip() == expected


def test_later_device_rules_replace_the_earlier_ones(manager: Manager, spawn: Callable[..., Any]) -> None:
    limited(manager, {})
    for allow in (True, False, True):
        with from_record(manager.record()) as again:
            again.apply(settings({"devices": [{"allow": allow, "access": "rwm"}]}, manager.kind))
    process = spawn(DEVICES)
    enter(manager, process)

    assert told(process).strip() == "open open open"


def test_a_block_device_made_inside_cannot_be_opened(
    manager: Manager, spawn: Callable[..., Any], tmp_path: Path
) -> None:
    limited(manager, {})
    code = f"""
node = {str(tmp_path / "disk")!r}
os.mknod(node, 0o60600, os.makedev(254, 0))
try:
    os.open(node, os.O_RDONLY)
except PermissionError:
    print("denied")
"""
    process = spawn(code)
    enter(manager, process)

    assert told(process) == "denied\n"


def test_a_refused_value_says_where_it_was_asked_for(manager: Manager) -> None:
    manager.make()

    with pytest.raises(KernelError) as caught:
        manager.apply(settings({"cpu": {"cpus": "4096"}}, manager.kind))

    facts = caught.value.facts()
    assert facts["pointer"] == "/linux/resources/cpu/cpus"
    assert str(facts["call"]).endswith('cpuset.cpus", "4096")') and str(facts["path"]).endswith("/box/cpuset.cpus")


def test_a_limit_that_the_host_lacks_is_an_error(manager: Manager) -> None:
    manager.make()

    with pytest.raises(UnsupportedError) as caught:
        manager.apply([Setting("nonesuch", "nonesuch.max", "1", "/linux/resources/unified/nonesuch.max")])

    assert caught.value.pointer == "/linux/resources/unified/nonesuch.max"


def test_huge_pages_that_the_machine_lacks_are_an_error(manager: Manager) -> None:
    manager.make()

    with pytest.raises(UnsupportedError) as caught:
        manager.apply(settings({"hugepageLimits": [{"pageSize": "3MB", "limit": 1}]}, manager.kind))

    assert caught.value.pointer == "/linux/resources/hugepageLimits/0/limit"


def test_kill_all_reaches_what_forks_meanwhile(manager: Manager, spawn: Callable[..., Any]) -> None:
    limited(manager, {"pids": {"limit": 60}})
    code = "while True:\n    try:\n        os.fork()\n    except OSError:\n        pass"
    process = spawn(code)
    enter(manager, process)
    begin(process)
    while len(manager.processes()) < 40:
        pass

    manager.kill_all(signal.SIGKILL)

    assert process.wait(10) == -signal.SIGKILL
    manager.remove(10)


def test_other_signals_reach_all_processes(manager: Manager, spawn: Callable[..., Any]) -> None:
    manager.make()
    processes = [spawn("time.sleep(60)") for _ in range(3)]
    for process in processes:
        enter(manager, process)

    manager.kill_all(signal.SIGTERM)

    assert [process.wait(10) for process in processes] == [-signal.SIGTERM] * 3
    assert not manager.is_frozen()


COUNTER = "while True:\n    os.write(1, b'.')\n    time.sleep(0.001)"


def test_frozen_processes_stand_still_and_go_on(manager: Manager, spawn: Callable[..., Any]) -> None:
    manager.make()
    process = spawn(COUNTER)
    enter(manager, process)
    begin(process)
    output = process.stdout.fileno()
    os.read(output, 1)

    manager.freeze()
    assert manager.is_frozen()
    while select.select([output], [], [], 0)[0]:
        os.read(output, 65536)
    time.sleep(0.1)
    assert select.select([output], [], [], 0)[0] == []

    manager.thaw()
    assert not manager.is_frozen()
    assert os.read(output, 1)


def test_frozen_processes_can_be_killed(manager: Manager, spawn: Callable[..., Any]) -> None:
    manager.make()
    process = spawn(COUNTER)
    enter(manager, process)
    begin(process)
    manager.freeze()

    manager.kill_all(signal.SIGKILL)

    assert process.wait(10) == -signal.SIGKILL


def test_a_frozen_cgroup_is_refused(layout: Layout, path: str) -> None:
    parent = open_manager(layout, path, "parent", rootless=False)
    parent.make()
    parent.freeze()
    inside = open_manager(layout, f"{path}/inside", "inside", rootless=False)

    with pytest.raises(StateError, match="frozen"):
        inside.make()

    inside.remove()
    parent.thaw()
    parent.remove()


def test_removal_waits_for_the_end_of_a_killed_process(manager: Manager, spawn: Callable[..., Any]) -> None:
    manager.make()
    process = spawn("x = bytearray(200 << 20)\nprint('ready', flush=True)\ntime.sleep(60)")
    enter(manager, process)
    begin(process)
    assert process.stdout.readline() == b"ready\n"

    manager.kill_all(signal.SIGKILL)
    manager.remove()

    assert not any(Path(directory.path).exists() for directory in manager.directories)


def test_removal_gives_up_in_time_and_names_the_processes(manager: Manager, spawn: Callable[..., Any]) -> None:
    manager.make()
    process = spawn("")
    enter(manager, process)
    before, cpu = time.monotonic(), time.process_time()

    with pytest.raises(KernelError, match=str(process.pid)):
        manager.remove(0.3)

    assert 0.25 < time.monotonic() - before < 5
    assert time.process_time() - cpu < 0.2  # it slept
    assert manager.processes() == [process.pid]


def test_cgroups_below_the_containers_are_removed_however_deep(manager: Manager) -> None:
    manager.make()
    for directory in manager.directories[-2:]:
        fd = os.open(directory.path, os.O_RDONLY)
        for _ in range(20):  # deeper than a path can be long
            name = "d" * 240
            os.mkdir(name, dir_fd=fd)
            os.mkdir("beside", dir_fd=fd)
            inner = os.open(name, os.O_RDONLY, dir_fd=fd)
            os.close(fd)
            fd = inner
        os.close(fd)
    assert manager.processes() == []

    manager.remove()

    assert not any(Path(directory.path).exists() for directory in manager.directories)


def test_an_ordinary_user_without_a_cgroup_goes_without_or_is_told(path: str) -> None:
    code = f"""
import os, sys
sys.path.insert(0, {os.path.abspath("src")!r})
from boxes.cgroups import layout, manager
from boxes.cgroups.settings import Setting
from boxes.errors import BoxesError
from boxes.plan.resources import settings
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
found = layout.detect()
without = manager.open_manager(found, None, "box", rootless=True)
without.make()
without.apply(settings(None, without.kind))
print(len(without.directories))
for attempt in (
    lambda: without.apply(settings({{"pids": {{"limit": 3}}}}, without.kind)),
    lambda: manager.open_manager(found, {path!r}, "box", rootless=True).make(),
):
    try:
        attempt()
    except BoxesError as error:
        print(error.code, error.pointer)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "0\nunsupported /linux/resources/pids/limit\nkernel None\n"


def test_the_name_of_a_file_is_no_cgroup(layout: Layout, path: str) -> None:
    manager = open_manager(layout, "/cgroup.procs", "box", rootless=False)

    with pytest.raises(KernelError):
        manager.make()

    manager.remove()
    manager.close()


def test_the_root_is_refused_before_anything_happens(layout: Layout) -> None:
    with pytest.raises(ConfigError):
        open_manager(layout, "/../..", "box", rootless=False)


def test_fifty_cgroups_leave_nothing(layout: Layout, path: str) -> None:
    for _ in range(50):
        manager = open_manager(layout, path, "box", rootless=False)
        manager.make()
        manager.remove()
    assert_no_descriptors()
