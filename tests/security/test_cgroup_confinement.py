"""Cgroups: a container is in its own from the first instruction on, names no other, and is refused devices and memory by it.

GHSA-g54h-m393-cpwq, CVE-2023-25809, CVE-2025-47291, CVE-2022-0492, and names that climb, as crun before 1.28 let them.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.bundle import Bundle
from tests.support.cgroup import Cgroup
from tests.support.host import cgroup_roots, own_cgroup
from tests.support.leaks import CgroupParent
from tests.support.marks import not_for
from tests.support.runtime import ENVIRONMENT, Container, Runtime, wait_until
from tests.support.tally import Row, some

CLIMBING = [
    *(
        "..",
        "../..",
        "/..",
        "/../..",
        "../x",
        "a/../../b",
        "a/../..",
        "./..",
        "../{victim}",
        "/../{victim}",
        "a/../../{victim}",
    ),
    *(
        "memory:..",
        "memory:../{victim}",
        "memory,pids:../..",
        ":..",
        "missing",
        "a\nb",
        "x" * 300,
        "../" * 40 + "{victim}",
    ),
]


class Victim:
    """Another's cgroup beside the container's, in each hierarchy, with a process in it."""

    def __init__(self, parent: CgroupParent) -> None:
        self.name = "victim"
        self.directories = [directory / self.name for directory in parent.directories]
        self.process = subprocess.Popen(["sleep", "100"], env=ENVIRONMENT)
        for directory in self.directories:
            directory.mkdir()
            for file in ("cpuset.cpus", "cpuset.mems"):
                if (directory / file).exists() and (directory.parent / file).exists():
                    (directory / file).write_text((directory.parent / file).read_text())
            (directory / "cgroup.procs").write_text(str(self.process.pid))

    def unharmed(self) -> None:
        assert self.process.poll() is None
        for directory in self.directories:
            assert (directory / "cgroup.procs").read_text().split() == [str(self.process.pid)]

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for directory in self.directories:
            wait_until(lambda place=directory: not (place / "cgroup.procs").read_text(), "the victim's end")
            directory.rmdir()


@pytest.fixture
def victim(cgroup_parent: CgroupParent) -> Iterator[Victim]:
    made = Victim(cgroup_parent)
    yield made
    made.close()


@pytest.mark.parametrize("path", CLIMBING, ids=repr)
@not_for("runc", "crun", reason="they enter some of them")
def test_subgroup_of_exec_is_below_the_containers(box: Runtime, bundle: Bundle, victim: Victim, path: str) -> None:
    container = box.running_shell(bundle)
    path = path.format(victim=victim.name)
    result = container.exec("/bin/probe", flags=("--cgroup", path))
    assert result.code == 255, result.out
    assert result.err.count("\n") == 1 or "\n" in path
    victim.unharmed()


PATHS = [
    *("/{parent}/{id}/../victim", "/{parent}/victim", "/../{parent}/victim", "/{parent}/a/../../{parent}/victim"),
    *("/{parent}/./victim", "//{parent}//victim/", "/{parent}/victim/."),
]


@pytest.mark.parametrize("path", PATHS)
@not_for("runc", "crun", reason="they share it")
def test_anothers_cgroup_is_not_taken_by_whatever_name(
    box: Runtime, bundle: Bundle, victim: Victim, cgroup_parent: CgroupParent, path: str
) -> None:
    """Nor are its processes ended by `delete --force`."""
    bundle.linux["cgroupsPath"] = path.format(parent=cgroup_parent.name, id=bundle.id)
    result, reader, _ = box.spawn("create", bundle)
    os.close(reader)
    result.refused()
    box("delete", "--force", bundle.id)
    victim.unharmed()


@pytest.mark.parametrize("path", ["/", "//", "/.", "/..", "/../..", "/a/..", "..", "../..", "../../../../../.."])
@not_for("runc", "crun", reason="they take some of them")
def test_root_of_a_hierarchy_is_nobodys(box: Runtime, bundle: Bundle, path: str) -> None:
    """What is set there, or ended there, is the host's."""
    bundle.linux["cgroupsPath"] = path
    result = box.run(bundle.args("/bin/probe"))
    if result.code == 0:
        lines = result.report()["cgroup"].splitlines()
        found = {line.split(":", 2)[2] for line in lines}
        assert not found & {"/", own_cgroup("memory")}
    else:
        result.refused()


@pytest.fixture(params=["plain", "user namespace", "shared pids", "cgroup namespace"])
def shaped(bundle: Bundle, request: pytest.FixtureRequest) -> Bundle:
    if request.param == "user namespace":
        bundle.user_namespace()
    elif request.param == "shared pids":
        bundle.without_namespace("pid").without_mount("/proc", "/sys")
        bundle.mount("/proc", "bind", "/proc", "rbind")
    elif request.param == "cgroup namespace":
        bundle.namespace("cgroup")
    return bundle


def memberships(pid: int) -> set[str]:
    """Its cgroups in the hierarchies that are mounted here: another namespace may have more."""
    lines = [line.split(":", 2) for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines()]
    return {path for _, names, path in lines if set(names.split(",")) & set(cgroup_roots())}


@pytest.mark.parametrize("verb", ["create", "start", "exec"])
def test_process_is_there_before_its_first_instruction(box: Runtime, shaped: Bundle, verb: str) -> None:
    """CVE-2025-47291. What the first instruction sees is what the host says."""
    wanted = {str(shaped.linux["cgroupsPath"])}
    if verb == "create":
        container = box.create(shaped)
        assert memberships(container.pid) == wanted
    elif verb == "start":
        container = box.start(shaped.args("/bin/probe", "--hang"))
        container.readline()
        assert memberships(container.pid) == wanted
    else:
        container = box.running_shell(shaped)
        pid = shaped.path / "pid"
        process = box.popen(
            "exec", "--pid-file", str(pid), container.id, "/bin/sleep", "100", stdin=-3, stdout=-3, stderr=-3
        )
        wait_until(lambda: pid.exists() and pid.read_text(), "the pid")
        assert memberships(int(pid.read_text())) == wanted
        process.kill()
        process.wait()


DEVICES = [
    *("b 8 0", "b 8 1", "b 259 0", "b 7 0", "b 252 0", "b 253 0", "b 254 0", "b 1 0"),
    *(
        "c 1 1",
        "c 1 2",
        "c 1 4",
        "c 1 11",
        "c 10 1",
        "c 10 237",
        "c 10 229",
        "c 4 0",
        "c 4 64",
        "c 5 1",
        "c 29 0",
        "c 90 0",
        "c 249 0",
    ),
]


@pytest.mark.parametrize("device", some(DEVICES, 5))
@pytest.mark.parametrize("resources", [None, {}, {"devices": []}, {"pids": {"limit": 50}}], ids=repr)
def test_device_that_was_not_given_is_denied(
    box: Runtime, bundle: Bundle, device: str, resources: dict[str, object] | None
) -> None:
    """GHSA-g54h-m393-cpwq: without a list all were allowed."""
    bundle.capabilities("CAP_MKNOD").process["noNewPrivileges"] = False
    if resources is not None:
        bundle.linux["resources"] = resources
    said = box.run(bundle.shell(f"mknod /tmp/node {device} && /bin/probe --open /tmp/node || echo refused")).out
    assert said in ("Operation not permitted\n", "refused\n")


def test_control_opens_a_device_from_outside_of_the_cgroup(bundle: Bundle, tally: Row) -> None:
    node = bundle.path / "node"
    os.mknod(node, 0o20666, os.makedev(1, 11))
    os.close(os.open(node, os.O_WRONLY | os.O_NONBLOCK))
    tally.red("no cgroup", True)


def test_memory_that_runs_out_runs_out_inside_alone(
    box: Runtime, make_bundle: Callable[[], Bundle], victim: Victim
) -> None:
    other = box.running_shell(make_bundle())
    bundle = make_bundle()
    bundle.linux["resources"] = {"memory": {"limit": 16 << 20, "swap": 16 << 20}}
    result = box.run(bundle.shell("dd if=/dev/zero of=/dev/null bs=100M count=1"))
    assert result.code == 137
    assert other.status == "running"
    victim.unharmed()


@pytest.mark.parametrize("user", [False, True])
def test_hierarchies_cannot_be_mounted_anew(box: Runtime, bundle: Bundle, user: bool) -> None:
    """CVE-2022-0492: release_agent runs as the host's root."""
    if user:
        bundle.user_namespace().capabilities("CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE").namespace("cgroup")
    script = "for c in pids memory rdma; do mount -t cgroup -o $c cgroup /mnt && "
    script += "for f in /mnt/release_agent /mnt/*/release_agent; do [ ! -w $f ] || echo $f; done; umount /mnt; done 2>/dev/null; true"
    assert box.run(bundle.shell(script)).ok().out == ""


@pytest.mark.parametrize("user", [False, True])
def test_cgroups_are_read_only_where_the_hosts_show(box: Runtime, bundle: Bundle, user: bool) -> None:
    """CVE-2023-25809: without a cgroup namespace, in a user namespace, they were the host's and writable."""
    if user:
        bundle.user_namespace()
    bundle.mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid", "noexec", "nodev", "relatime", "ro")
    script = "find /sys/fs/cgroup -type d | while read d; do mkdir $d/made && echo $d; done 2>/dev/null; "
    script += "find /sys/fs/cgroup -name cgroup.procs | while read f; do /bin/probe --open $f; done | sort -u"
    said = box.run(bundle.shell(script)).ok().out.split("\n")
    assert set(said) <= {"Read-only file system", "Permission denied", ""}


def test_limits_are_of_the_container_alone(box: Runtime, bundle: Bundle) -> None:
    roots = cgroup_roots()
    before = {name: (root / "cgroup.procs").read_text().count("\n") > 0 for name, root in roots.items()}
    bundle.linux["resources"] = {"memory": {"limit": 32 << 20}, "pids": {"limit": 40}}
    container: Container = box.running_shell(bundle)
    cgroups = Cgroup(container.pid)
    assert (cgroups.read("memory"), cgroups.read("pids")) == (str(32 << 20), "40")
    assert before == {name: (root / "cgroup.procs").read_text().count("\n") > 0 for name, root in roots.items()}


def test_control_joins_the_name_to_the_containers(cgroup_parent: CgroupParent, victim: Victim, tally: Row) -> None:
    """What a runtime does which only joins strings."""
    directory = victim.directories[0]
    own = directory.parent / "container"
    own.mkdir()
    process = subprocess.Popen(["sleep", "100"])
    Path(os.path.join(own, "../victim"), "cgroup.procs").write_text(str(process.pid))
    entered = str(process.pid) in (directory / "cgroup.procs").read_text().split()
    process.kill()
    process.wait()
    own.rmdir()
    tally.red("naive join of a subgroup", entered)


def test_control_runc_shares_the_cgroup_of_another(
    peer: Callable[[str], Runtime], bundle: Bundle, victim: Victim, cgroup_parent: CgroupParent, tally: Row
) -> None:
    runtime = peer("runc")
    bundle.linux["cgroupsPath"] = f"/{cgroup_parent.name}/victim"
    result, reader, _ = runtime.spawn("create", bundle)
    os.close(reader)
    runtime("delete", "--force", bundle.id)
    tally.red("runc 1.1.5 in another's cgroup", result.code == 0 or victim.process.poll() is not None)
