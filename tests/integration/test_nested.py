"""A runtime in a container: as root of its user namespace, and as an ordinary user there.

The outer container sees the host's programs and this checkout, and has the bundle of the inner one at /inner.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.bundle import Bundle
from tests.support.marks import not_for
from tests.support.probe import CAPABILITIES, Report
from tests.support.runtime import CHECKOUT, Result, Runtime

pytestmark = not_for("runc", "crun", reason="it is about containers of this runtime in each other")

HOST, SIZE, USER = 100000, 65536, 1000
MASKED = ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"]
READONLY = ["/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus", "/proc/fs"]


class Nest:
    """Two bundles, and how the inner one is run."""

    def __init__(self, box: Runtime, outer: Bundle, inner: Bundle) -> None:
        self.box, self.outer, self.inner = box, outer, inner
        self.prefix: list[str] = []
        self.owner = HOST
        outer.user_namespace(HOST, SIZE).without_namespace("network")
        outer.without_mount("/sys")
        del inner.linux["cgroupsPath"]
        for path in ("/usr", "/lib", "/lib64", str(CHECKOUT), "/etc/alternatives"):
            if Path(path).exists():
                outer.mount(path, "bind", path, "rbind", "ro")
        outer.mount("/run", "tmpfs", "tmpfs", "mode=1777").mount("/inner", "bind", inner.path, "bind", "dev", "suid")
        outer.capabilities(*(f"CAP_{name}" for name in CAPABILITIES))
        outer.process["env"] = ["PATH=/usr/sbin:/usr/bin:/bin", "HOME=/run", "XDG_RUNTIME_DIR=/run"]
        outer.process["noNewPrivileges"] = False

    def run(self) -> Result:
        self.inner.save()
        for directory, names, files in os.walk(self.inner.path):
            for name in (".", *names, *files):
                os.chown(Path(directory, name), self.owner, self.owner, follow_symlinks=False)
        command = [str(CHECKOUT / "bin/box"), "run", "--bundle", "/inner", "nested"]
        return self.box.run(self.outer.args(*self.prefix, *command))

    def run_probe(self) -> Report:
        self.inner.args("/bin/probe")
        return self.run().report()


@pytest.fixture
def nest(box: Runtime, make_bundle: Callable[[], Bundle]) -> Nest:
    return Nest(box, make_bundle(), make_bundle())


@pytest.fixture
def rootless(nest: Nest) -> Nest:
    """The inner runtime is an ordinary user's of the outer container."""
    own = [{"containerID": 0, "hostID": USER, "size": 1}]
    nest.inner.namespace("user").linux.update(uidMappings=own, gidMappings=own)
    nest.prefix = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "--inh-caps=-all"]
    nest.owner = HOST + USER
    return nest


def read_only(seen: Report, below: str) -> bool:
    """Whether each mount at or below a place is."""
    found = [mount for point, mount in seen.mounts().items() if f"{point}/".startswith(f"{below}/")]
    return bool(found) and all("ro" in mount.options for mount in found)


def test_root_of_a_user_namespace_runs_a_container(nest: Nest) -> None:
    nest.inner.without_mount("/sys").args("/bin/probe")
    seen = nest.run().report()
    assert seen["uids"] == [0, 0, 0]
    assert seen["uid_map"].split() == ["0", str(HOST), str(SIZE)]


def test_ordinary_user_in_a_container_runs_a_container(rootless: Nest) -> None:
    rootless.inner.without_mount("/sys").args("/bin/probe")
    seen = rootless.run().report()
    assert seen["uids"] == [0, 0, 0]
    assert seen["uid_map"].split() == ["0", str(USER), "1"]


def test_root_in_a_container_makes_a_user_namespace(nest: Nest) -> None:
    rows = [{"containerID": 0, "hostID": 2000, "size": 1000}]
    nest.inner.namespace("user").without_mount("/sys").linux.update(uidMappings=rows, gidMappings=rows)
    nest.owner = HOST + 2000
    seen = nest.run_probe()
    assert seen["uid_map"].split() == ["0", "2000", "1000"]


@pytest.mark.parametrize("who", ["nest", "rootless"])
class TestSys:
    def test_of_the_outer_is_bound_where_the_network_is_the_hosts(self, who: str, request: Any) -> None:
        nest: Nest = request.getfixturevalue(who)
        nest.outer.mount("/sys", "sysfs", "sysfs", "ro")
        seen = nest.run_probe()
        assert seen.mounts()["/sys"].kind == "sysfs"
        assert read_only(seen, "/sys")

    def test_is_new_with_a_network_of_its_own(self, who: str, request: Any) -> None:
        nest: Nest = request.getfixturevalue(who)
        nest.outer.namespace("network").mount("/sys", "sysfs", "sysfs", "ro")
        nest.inner.namespace("network").shell("ls /sys/class/net")
        assert nest.run().ok().out == "lo\n"

    def test_without_one_outside_is_an_error_with_a_hint(self, who: str, request: Any) -> None:
        nest: Nest = request.getfixturevalue(who)
        nest.run().refused("/mounts/4: ", "operation not permitted", "network namespace")


def test_sys_that_is_covered_outside_is_covered_inside(rootless: Nest) -> None:
    rootless.outer.namespace("network").mount("/sys", "sysfs", "sysfs", "ro").linux["maskedPaths"] = ["/sys/kernel"]
    rootless.inner.namespace("network").shell("ls -A /sys/kernel; ls /sys/class")
    assert "net\n" in rootless.run().ok().out
    assert "mm" not in rootless.run().out.split()


@pytest.mark.parametrize("field, paths", [("maskedPaths", MASKED), ("readonlyPaths", READONLY)])
def test_proc_that_is_covered_outside_is_named_as_the_cause(rootless: Nest, field: str, paths: list[str]) -> None:
    rootless.outer.linux[field] = paths
    rootless.inner.without_mount("/sys")
    rootless.run().refused("/mounts/0: cannot mount on '/proc'", "parts of /proc are masked or read-only")


def test_proc_that_is_covered_outside_is_no_hindrance_without_a_new_user_namespace(nest: Nest) -> None:
    """The masks are its own then: it could take them away."""
    nest.outer.linux.update(maskedPaths=MASKED, readonlyPaths=READONLY)
    nest.inner.without_mount("/sys").shell("echo /proc/[0-9]*")
    assert nest.run().ok().out == "/proc/1\n"


@pytest.mark.parametrize("who", ["nest", "rootless"])
@pytest.mark.parametrize("namespaced", [False, True])
def test_cgroups_of_a_container_without_are_an_empty_read_only_directory(
    who: str, namespaced: bool, request: Any
) -> None:
    nest: Nest = request.getfixturevalue(who)
    nest.inner.without_mount("/sys").mount("/sys/fs/cgroup", "cgroup", "cgroup", "rw")
    if namespaced:
        nest.inner.namespace("cgroup")
    nest.inner.shell("ls -A /sys/fs/cgroup; touch /sys/fs/cgroup/x || true")
    result = nest.run().ok()
    assert result.out == ""
    assert "Read-only file system" in result.err
