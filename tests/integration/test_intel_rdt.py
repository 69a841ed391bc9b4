"""`linux.intelRdt` (runtime-spec, config-linux.md#intelrdt).

Few machines have resctrl. What is mounted instead behaves like it (tests/support/resctrl.py), but for its type; so the
runtime is started with another text for /proc/self/mountinfo. The last test is for the kernel's own.
"""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.architecture.test_import_budget import start_code
from tests.support import source
from tests.support.bundle import Bundle
from tests.support.host import mount, unmount
from tests.support.marks import not_for, requires
from tests.support.resctrl import Tree
from tests.support.runtime import Runtime

pytestmark = not_for("runc", "crun", reason="only box can be shown another mountinfo")

# Before what the launcher runs.
SHOW = """
import sys, posix
real, shown = posix.open, sys.argv.pop(1)
def opened(path, *more, **others):
    return real(shown if path == '/proc/self/mountinfo' else path, *more, **others)
posix.open = opened
"""


class Shown(Runtime):
    """The runtime, which sees the tree as a filesystem of type resctrl."""

    def __init__(self, box: Runtime, tree: Tree) -> None:
        super().__init__(Path("/usr/bin/python3"), box.directory)
        self.name = box.name
        self.mountinfo = self.directory / "mountinfo"
        text = Path("/proc/self/mountinfo").read_text()
        assert f" {tree.path} " in text
        self.mountinfo.write_text(text.replace(" - fuse resctrl ", " - resctrl resctrl "))

    def command(self, *args: str) -> list[str]:
        code = SHOW + start_code()
        program = [str(self.mountinfo), str(source.PACKAGE), "2", "0", "--root", str(self.root), *args]
        return [str(self.path), "-I", "-S", "-c", code, *program]


@pytest.fixture
def tree(box: Runtime, directory: Path) -> Iterator[Tree]:
    made = Tree(directory / "resctrl")
    yield made
    made.close()


@pytest.fixture
def rdt(box: Runtime, tree: Tree) -> Iterator[Runtime]:
    runtime = Shown(box, tree)
    yield runtime
    runtime.close()


def wants(bundle: Bundle, **wanted: Any) -> Bundle:
    bundle.linux["intelRdt"] = wanted
    return bundle.args("/bin/probe", "--catch")


@requires("fuse")
def test_a_container_has_a_class_of_its_own_until_it_is_deleted(rdt: Runtime, bundle: Bundle, tree: Tree) -> None:
    container = rdt.create(wants(bundle, l3CacheSchema="L3:0=f", memBwSchema="MB:1=70"))
    assert tree.groups() == {bundle.id}
    assert tree.tasks(bundle.id) == [container.pid]
    assert tree.schemata(bundle.id) == ["L3:0=f;1=7ff", "MB:0=100;1=70"]
    container.start().ok()
    container.kill("KILL").ok()
    container.wait()
    assert tree.groups() == {bundle.id}
    container.delete().ok()
    assert tree.groups() == set()


@requires("fuse")
def test_an_empty_object_asks_for_a_class_of_its_own_too(rdt: Runtime, bundle: Bundle, tree: Tree) -> None:
    rdt.create(wants(bundle)).delete("--force").ok()
    assert tree.log()[0] == f"mkdir {bundle.id}"
    assert tree.log()[-1] == f"rmdir {bundle.id}"


@requires("fuse")
def test_the_program_is_in_its_class_from_the_beginning(rdt: Runtime, bundle: Bundle, tree: Tree) -> None:
    """Threads and children of the builder, too: it was put there before it did anything."""
    bundle.hook("createContainer", "/bin/sh", "-c", f"cat {tree.path}/{bundle.id}/tasks > {bundle.path}/seen")
    container = rdt.create(wants(bundle))
    assert (bundle.path / "seen").read_text() == f"{container.pid}\n"


@requires("fuse")
def test_a_class_that_is_made_for_its_name_stays(rdt: Runtime, bundle: Bundle, tree: Tree) -> None:
    container = rdt.create(wants(bundle, closID="gold", schemata=["L3:0=f;1=f", "MB:0=20"]))
    assert tree.tasks("gold") == [container.pid]
    assert tree.schemata("gold") == ["L3:0=f;1=f", "MB:0=20;1=100"]
    container.delete("--force").ok()
    assert tree.groups() == {"gold"}


@requires("fuse")
def test_containers_share_a_class(rdt: Runtime, make_bundle: Any, tree: Tree) -> None:
    containers = [rdt.create(wants(make_bundle(), closID="gold", l3CacheSchema="L3:0=f")) for _ in range(2)]
    assert tree.tasks("gold") == [container.pid for container in containers]
    rdt.run(wants(make_bundle(), closID="gold", l3CacheSchema="L3:0=ff")).refused("/linux/intelRdt/l3CacheSchema: ")
    assert tree.schemata("gold")[0] == "L3:0=f;1=7ff"


@requires("fuse")
def test_a_class_that_is_only_named_is_entered(rdt: Runtime, bundle: Bundle, tree: Tree) -> None:
    rdt.run(wants(bundle, closID="gold")).refused("/linux/intelRdt/closID: there is no class of service 'gold'")
    (tree.path / "gold").mkdir()
    container = rdt.create(bundle)
    assert tree.tasks("gold") == [container.pid]


@requires("fuse")
def test_the_default_class(rdt: Runtime, bundle: Bundle, tree: Tree) -> None:
    container = rdt.create(wants(bundle, closID="/", enableMonitoring=True))
    assert tree.tasks() == tree.tasks(f"mon_groups/{bundle.id}") == [container.pid]
    container.delete("--force").ok()
    assert tree.groups() == set()


@requires("fuse")
@pytest.mark.parametrize("closid", [{}, {"closID": "gold"}])
def test_monitoring(rdt: Runtime, bundle: Bundle, tree: Tree, closid: dict[str, str]) -> None:
    (tree.path / "gold").mkdir()
    container = rdt.create(wants(bundle, enableMonitoring=True, **closid))
    name = closid.get("closID", bundle.id)
    assert tree.tasks(name) == tree.tasks(f"{name}/mon_groups/{bundle.id}") == [container.pid]
    container.delete("--force").ok()
    assert tree.groups() == {"gold"}


@requires("fuse")
@pytest.mark.parametrize("monitoring", [False, True])
def test_exec_enters_the_same(rdt: Runtime, bundle: Bundle, tree: Tree, monitoring: bool) -> None:
    container = rdt.running_shell(wants(bundle, enableMonitoring=monitoring))
    before = len(tree.log())
    container.exec("/bin/true").ok()
    entered = [line.partition(" by ")[0] for line in tree.log()[before:]]
    paths = [bundle.id, *([f"{bundle.id}/mon_groups/{bundle.id}"] if monitoring else [])]
    assert entered == [f"{path}/tasks: 0" for path in paths]


@requires("fuse")
def test_update_changes_the_class(rdt: Runtime, bundle: Bundle, tree: Tree) -> None:
    container = rdt.create(wants(bundle, l3CacheSchema="L3:0=f"))
    rdt("update", "--l3-cache-schema", "L3:0=ff", "--mem-bw-schema", "MB:1=30", container.id).ok()
    assert tree.schemata(bundle.id) == ["L3:0=ff;1=7ff", "MB:0=100;1=30"]


@requires("fuse")
@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (("--l3-cache-schema", "L3:0=ff", "--mem-bw-schema", "MB:7=30"), "/linux/intelRdt/memBwSchema"),
        (("--l3-cache-schema", "L3:0=ff", "--cpuset-cpus", "999"), "--cpuset-cpus"),
    ],
)
def test_update_that_fails_leaves_the_class(
    rdt: Runtime, bundle: Bundle, tree: Tree, flags: tuple[str, ...], named: str
) -> None:
    container = rdt.create(wants(bundle, l3CacheSchema="L3:0=f"))
    rdt("update", *flags, container.id).refused(named)
    assert tree.schemata(bundle.id) == ["L3:0=f;1=7ff", "MB:0=100;1=100"]


@requires("fuse")
def test_update_of_the_hosts_class_is_refused(rdt: Runtime, bundle: Bundle, tree: Tree) -> None:
    container = rdt.create(wants(bundle, closID="/"))
    rdt("update", "--l3-cache-schema", "L3:0=f", container.id).refused("no class of service of its own")
    assert tree.schemata("") == ["L3:0=7ff;1=7ff", "MB:0=100;1=100"]


@requires("fuse")
def test_exec_goes_on_where_the_class_is_gone(rdt: Runtime, bundle: Bundle, tree: Tree) -> None:
    container = rdt.running_shell(wants(bundle, enableMonitoring=True))
    (tree.path / bundle.id).rmdir()
    container.exec("/bin/true").ok()
    container.delete("--force").ok()


@requires("fuse")
@pytest.mark.parametrize(
    "wanted, texts",
    [
        ({"l3CacheSchema": "L3:0=5"}, ("/linux/intelRdt/l3CacheSchema: ", "non-consecutive 1-bits")),
        ({"closID": "gold", "schemata": ["L9:0=1"]}, ("/linux/intelRdt/schemata: ", "resource name 'L9'")),
        ({"closID": "a/b"}, ("/linux/intelRdt/closID: ",)),
        ({"closID": ".."}, ("/linux/intelRdt/closID: ",)),
        ({"closID": "info"}, ("/linux/intelRdt/closID: 'info' is not a class of service",)),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_stays(
    rdt: Runtime, bundle: Bundle, tree: Tree, wanted: dict[str, Any], texts: tuple[str, ...]
) -> None:
    rdt.run(wants(bundle, **wanted)).refused(*texts)
    assert tree.groups() == set()


@requires("fuse")
def test_too_many_classes(rdt: Runtime, bundle: Bundle, tree: Tree) -> None:
    for name in "abc":
        (tree.path / name).mkdir()
    rdt.run(wants(bundle)).refused("/linux/intelRdt: ", "out of CLOSIDs")


@requires("fuse")
def test_a_creation_that_fails_later_leaves_nothing(rdt: Runtime, bundle: Bundle, tree: Tree) -> None:
    wants(bundle, closID="gold", memBwSchema="MB:0=20", enableMonitoring=True).mount("/x", "bind", "/none", "bind")
    rdt.run(bundle).refused("/mounts/")
    assert tree.groups() == set()
    assert "mkdir gold" in tree.log()


@requires("fuse", "strace")
@pytest.mark.parametrize("closid", [{}, {"closID": "gold"}])
@pytest.mark.parametrize("call", ["mkdir", "write"])
def test_delete_takes_away_what_a_killed_runtime_left(
    rdt: Runtime, bundle: Bundle, tree: Tree, call: str, closid: dict[str, str]
) -> None:
    """Killed with the class made, and with its monitoring group made and nobody in it."""
    wants(bundle, l3CacheSchema="L3:0=f", enableMonitoring=True, **closid)
    name = closid.get("closID", bundle.id)
    where = f"{tree.path}/{name}/" + ("mon_groups" if call == "mkdir" else "mon_groups/" + bundle.id + "/tasks")
    path = where + f"/{bundle.id}" if call == "mkdir" else where
    options = ["-qq", "-o", "/dev/null", "-P", path, "-e", f"inject={call}:signal=KILL:when=1"]
    command = ["strace", *options, *rdt.command("create", *rdt.bundle_args(bundle))]
    assert subprocess.run(command, stdin=-3, stdout=-3, stderr=-3, timeout=20).returncode == -signal.SIGKILL
    assert tree.groups() >= {name}
    rdt("delete", "--force", bundle.id).ok()
    assert tree.groups() == set()


@requires("fuse")
def test_members_of_older_versions_are_ignored(rdt: Runtime, bundle: Bundle, tree: Tree) -> None:
    """Version 1.3 has taken them out."""
    rdt.create(wants(bundle, enableCMT=True, enableMBM=True))
    assert tree.groups() == {bundle.id}


@requires("fuse")
def test_without_the_member_nothing_is_touched(rdt: Runtime, bundle: Bundle, tree: Tree) -> None:
    rdt.run(bundle).ok()
    assert tree.log() == []


def test_without_the_filesystem_it_is_refused(box: Runtime, bundle: Bundle) -> None:
    if " - resctrl " in Path("/proc/self/mountinfo").read_text():
        unmount("/sys/fs/resctrl")
    box.run(wants(bundle, closID="gold")).refused("/linux/intelRdt: no resctrl filesystem is mounted")


@requires("resctrl")
def test_the_kernels_own(box: Runtime, bundle: Bundle, directory: Path) -> None:
    where = directory / "resctrl"
    where.mkdir()
    mount("resctrl", str(where), "resctrl")
    try:
        container = box.create(wants(bundle, enableMonitoring=(where / "mon_groups").exists()))
        assert str(container.pid) in (where / bundle.id / "tasks").read_text().split()
        container.delete("--force").ok()
        assert not (where / bundle.id).exists()
    finally:
        unmount(str(where))
        where.rmdir()
