"""Mounts of type cgroup: by hierarchy, cgroup namespace, user namespace, and what may be written.

Runtime-spec: config-linux.md, "Control groups" and "Cgroup ownership". Whatever is asked for, nothing of the host's
hierarchy but the container's own part can be written to (CVE-2023-25809).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.bundle import Bundle
from tests.support.host import lacks
from tests.support.marks import not_for, requires
from tests.support.probe import Mount
from tests.support.runtime import Runtime

NAMESPACES = ["shared", "new", "joined", "the runtime's own"]
# Make a cgroup below the container's.
WRITE = "d=/sys/fs/cgroup; [ ! -d $d/pids ] || d=$d/pids; mkdir $d/made && rmdir $d/made && echo wrote; true"
ROOTS = "ls /sys/fs/cgroup/*/release_agent /sys/fs/cgroup/release_agent; true"  # v1: only in the root of a hierarchy

pytestmark = not_for("runc", "crun", reason="they show the host's hierarchy in some of these cases")


@pytest.fixture(params=[False, True], ids=["root", "user namespace"])
def user(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture(params=NAMESPACES)
def namespace(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def container(box: Runtime, bundle: Bundle, make_bundle: Callable[[], Bundle], user: bool, namespace: str) -> Bundle:
    """A bundle with this cgroup namespace, in a user namespace or not."""
    if user:
        bundle.user_namespace()
    if namespace == "new":
        bundle.namespace("cgroup")
    elif namespace == "joined":
        other = box.running_shell(make_bundle().namespace("cgroup"))
        bundle.namespace("cgroup", f"/proc/{other.pid}/ns/cgroup")
    elif namespace == "the runtime's own":
        bundle.namespace("cgroup", "/proc/self/ns/cgroup")
    return bundle


def show(bundle: Bundle, *options: str, kind: str = "cgroup") -> Bundle:
    return bundle.mount("/sys/fs/cgroup", kind, "cgroup", "nosuid", "noexec", "nodev", "relatime", *options)


def of_cgroups(box: Runtime, bundle: Bundle) -> dict[str, Mount]:
    mounts = box.probe(bundle).mounts()
    return {point: mount for point, mount in mounts.items() if mount.kind in ("cgroup", "cgroup2")}


@pytest.mark.parametrize("option", ["ro", "rw", ""])
def test_shows_the_containers_part(box: Runtime, container: Bundle, namespace: str, user: bool, option: str) -> None:
    mounts = of_cgroups(box, show(container, *([option] if option else [])))
    assert mounts
    writable = option != "ro" and (namespace in ("new", "joined") or not user)
    for mount in mounts.values():
        assert {"nosuid", "noexec", "nodev"} <= mount.options
        assert ("rw" in mount.options) is writable
        assert mount.root.endswith(container.id) or (mount.root == "/" and namespace in ("new", "joined"))


def test_never_shows_the_root_of_a_hierarchy(box: Runtime, container: Bundle, namespace: str, user: bool) -> None:
    assert box.run(show(container, "rw").shell(ROOTS)).ok().out == ""


@pytest.mark.parametrize("option", ["ro", "rw"])
def test_can_be_written_to_by_who_may(box: Runtime, container: Bundle, namespace: str, user: bool, option: str) -> None:
    """The root of a user namespace owns its cgroup on v2 alone, and sees it alone in a cgroup namespace of its own."""
    wrote = box.run(show(container, option).shell(WRITE)).ok().out == "wrote\n"
    owns = not user or (namespace == "new" and lacks("cgroup2") is None)
    assert wrote is (option == "rw" and owns)


@requires("cgroup1")
class TestLegacy:
    @pytest.mark.parametrize("kind", ["cgroup", "cgroup2"])
    def test_has_a_directory_for_each_hierarchy(self, box: Runtime, bundle: Bundle, kind: str) -> None:
        hosts = {
            line.split(" ")[4] for line in Path("/proc/self/mountinfo").read_text().splitlines() if " - cgroup" in line
        }
        assert set(of_cgroups(box, show(bundle, "ro", kind=kind))) == {p for p in hosts if p.startswith("/sys/fs/")}

    @pytest.mark.parametrize("option", ["ro", "rw"])
    def test_directory_above_is_a_tmpfs(self, box: Runtime, bundle: Bundle, option: str) -> None:
        seen = box.probe(show(bundle.namespace("cgroup"), option)).mounts()["/sys/fs/cgroup"]
        assert seen.kind == "tmpfs"
        assert option in seen.options

    def test_limit_is_seen_inside(self, box: Runtime, bundle: Bundle) -> None:
        bundle.linux["resources"] = {"pids": {"limit": 33}}
        assert box.run(show(bundle, "ro").args("/bin/cat", "/sys/fs/cgroup/pids/pids.max")).ok().out == "33\n"


@requires("cgroup2")
class TestUnified:
    def test_is_one_mount(self, box: Runtime, bundle: Bundle) -> None:
        assert list(of_cgroups(box, show(bundle, "ro"))) == ["/sys/fs/cgroup"]

    def test_limit_is_seen_inside(self, box: Runtime, bundle: Bundle) -> None:
        bundle.linux["resources"] = {"pids": {"limit": 33}}
        assert box.run(show(bundle, "ro").args("/bin/cat", "/sys/fs/cgroup/pids.max")).ok().out == "33\n"

    @pytest.mark.parametrize("uid", [0, 1000])
    def test_belongs_to_the_process_that_can_write_to_it(
        self, box: Runtime, bundle: Bundle, user: bool, uid: int
    ) -> None:
        if user:
            bundle.user_namespace()
        bundle.process["user"] = {"uid": uid, "gid": 0}
        script = "stat -c %u /sys/fs/cgroup /sys/fs/cgroup/cgroup.procs /sys/fs/cgroup/pids.max"
        found = box.run(show(bundle.namespace("cgroup"), "rw").shell(script)).ok().out.split()
        assert found[:2] == [str(uid)] * 2
        assert found[2] == ("65534" if user else "0")

    @pytest.mark.parametrize("option, namespaces", [("ro", ["cgroup"]), ("rw", [])])
    def test_stays_the_runtimes_else(self, box: Runtime, bundle: Bundle, option: str, namespaces: list[str]) -> None:
        for kind in namespaces:
            bundle.namespace(kind)
        bundle.process["user"] = {"uid": 1000, "gid": 0}
        assert box.run(show(bundle, option).args("/bin/stat", "-c", "%u", "/sys/fs/cgroup")).ok().out == "0\n"


def test_without_a_cgroup_is_an_empty_directory(box: Runtime, bundle: Bundle) -> None:
    bundle.namespace("cgroup").shell("ls -A /sys/fs/cgroup; touch /sys/fs/cgroup/x; true")
    arguments = box.bundle_args(show(bundle, "rw"))
    result = box("--cgroup-manager", "disabled", "run", *arguments).ok()
    assert result.out == ""
    assert "Read-only file system" in result.err
