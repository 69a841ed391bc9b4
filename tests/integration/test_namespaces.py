"""`linux.namespaces`: new ones, shared ones, and those joined by path (runtime-spec, config-linux.md#namespaces)."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest

from tests.support.bundle import Bundle
from tests.support.host import mount, unmount
from tests.support.marks import not_for, requires
from tests.support.runtime import Runtime, read_line

# The names of config.json, and those of /proc/PID/ns.
KINDS = {
    "pid": "pid",
    "network": "net",
    "ipc": "ipc",
    "uts": "uts",
    "mount": "mnt",
    "cgroup": "cgroup",
    "user": "user",
    "time": "time",
}
OLD = [kind for kind in KINDS if kind != "time"]


def own(kind: str) -> str:
    """This process' namespace, as a link's text."""
    return os.readlink(f"/proc/self/ns/{KINDS[kind]}")


@pytest.fixture
def holder() -> Iterator[subprocess.Popen[bytes]]:
    """A process in new namespaces of every kind but user and time, whose first child is theirs."""
    script = "echo up; exec sleep 1000"
    command = [
        "unshare",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
        "-n",
        "-i",
        "-u",
        "-m",
        "-C",
        "sh",
        "-c",
        script,
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, bufsize=0) as process:
        assert read_line(process.stdout) == "up"
        yield process
        process.kill()


def child_of(process: subprocess.Popen[bytes]) -> int:
    with open(f"/proc/{process.pid}/task/{process.pid}/children") as file:
        return int(file.read().split()[0])


@pytest.mark.parametrize("kind", ["pid", "network", "ipc", "uts", "mount", "cgroup"])
def test_configured_namespace_is_new(box: Runtime, bundle: Bundle, kind: str) -> None:
    seen = box.probe(bundle.namespace(kind))["namespaces"]
    assert seen[KINDS[kind]].startswith(f"{KINDS[kind]}:[")
    assert seen[KINDS[kind]] != own(kind)


@not_for("runc", reason="1.1 has no time namespaces")
def test_configured_time_namespace_is_new(box: Runtime, bundle: Bundle) -> None:
    assert box.probe(bundle.namespace("time"))["namespaces"]["time"] != own("time")


def test_configured_user_namespace_is_new(box: Runtime, bundle: Bundle) -> None:
    assert box.probe(bundle.user_namespace())["namespaces"]["user"] != own("user")


@pytest.mark.parametrize("kind", ["network", "ipc", "uts", "cgroup", "user", "time"])
def test_namespace_that_is_not_configured_is_the_runtimes(box: Runtime, bundle: Bundle, kind: str) -> None:
    bundle.without_namespace(kind)
    if kind == "ipc":
        bundle.without_mount("/dev/mqueue")
    assert box.probe(bundle)["namespaces"][KINDS[kind]] == own(kind)


def test_without_a_pid_namespace_the_process_has_a_host_pid(box: Runtime, bundle: Bundle) -> None:
    container = box.start(bundle.without_namespace("pid").args("/bin/probe", "--hang"))
    assert f'"pid":{container.pid},' in container.readline()


@pytest.mark.parametrize("kind", ["network", "ipc", "uts", "cgroup"])
def test_namespace_is_joined_by_path(box: Runtime, bundle: Bundle, holder: subprocess.Popen[bytes], kind: str) -> None:
    path = f"/proc/{child_of(holder)}/ns/{KINDS[kind]}"
    bundle.namespace(kind, path)
    assert box.probe(bundle)["namespaces"][KINDS[kind]] == os.readlink(path)


def test_pid_namespace_is_joined_by_path(box: Runtime, bundle: Bundle, holder: subprocess.Popen[bytes]) -> None:
    path = f"/proc/{child_of(holder)}/ns/pid"
    bundle.namespace("pid", path)
    seen = box.probe(bundle)
    assert seen["namespaces"]["pid"] == os.readlink(path)
    assert seen["pid"] > 1


def test_proc_mount_shows_the_joined_pid_namespace(
    box: Runtime, bundle: Bundle, holder: subprocess.Popen[bytes]
) -> None:
    bundle.namespace("pid", f"/proc/{child_of(holder)}/ns/pid").args("/bin/cat", "/proc/1/cmdline")
    assert box.run(bundle).ok().out == "sleep\x001000\x00"


@not_for("runc", reason="it needs the mount namespace's root to be its own")
def test_mount_namespace_is_joined_by_path(box: Runtime, bundle: Bundle, holder: subprocess.Popen[bytes]) -> None:
    path = f"/proc/{child_of(holder)}/ns/mnt"
    bundle.namespace("mount", path).without_mount("/dev", "/dev/pts", "/dev/shm", "/sys")
    assert box.probe(bundle)["namespaces"]["mnt"] == os.readlink(path)


@pytest.mark.parametrize(
    "kinds",
    [
        ("network", "ipc"),
        ("uts", "cgroup"),
        ("network", "ipc", "uts"),
        ("pid", "network"),
        ("pid", "ipc", "uts"),
        ("pid", "network", "ipc", "uts", "cgroup"),
    ],
    ids="+".join,
)
def test_several_namespaces_are_joined(
    box: Runtime, bundle: Bundle, holder: subprocess.Popen[bytes], kinds: tuple[str, ...]
) -> None:
    expected = {}
    for kind in kinds:
        path = f"/proc/{child_of(holder)}/ns/{KINDS[kind]}"
        bundle.namespace(kind, path)
        expected[KINDS[kind]] = os.readlink(path)
    seen = box.probe(bundle)["namespaces"]
    assert {name: seen[name] for name in expected} == expected


@pytest.mark.parametrize(
    "new",
    [
        ("mount",),
        ("mount", "pid"),
        ("mount", "network"),
        ("mount", "uts", "ipc", "cgroup"),
        ("mount", "pid", "network", "ipc", "uts", "cgroup"),
    ],
    ids="+".join,
)
def test_exactly_the_configured_namespaces_are_new(box: Runtime, bundle: Bundle, new: tuple[str, ...]) -> None:
    bundle.linux["namespaces"] = [{"type": kind} for kind in new]
    seen = box.probe(bundle)["namespaces"]
    assert {kind for kind in KINDS if seen[KINDS[kind]] != own(kind)} == set(new)


@not_for("runc", reason="1.1 has no time namespaces")
def test_all_eight_namespaces_are_new_at_once(box: Runtime, bundle: Bundle) -> None:
    bundle.user_namespace()
    for kind in KINDS:
        bundle.namespace(kind)
    seen = box.probe(bundle)["namespaces"]
    assert [kind for kind in KINDS if seen[KINDS[kind]] == own(kind)] == []


def test_all_but_time_are_new_at_once(box: Runtime, bundle: Bundle) -> None:
    bundle.user_namespace()
    for kind in OLD:
        bundle.namespace(kind)
    seen = box.probe(bundle)["namespaces"]
    assert [kind for kind in OLD if seen[KINDS[kind]] == own(kind)] == []


@not_for("runc", reason="1.1 has no time namespaces")
@requires("time namespace")
class TestTimeOffsets:
    def test_shift_the_clocks(self, box: Runtime, bundle: Bundle) -> None:
        bundle.namespace("time").linux["timeOffsets"] = {"monotonic": {"secs": 86400}, "boottime": {"secs": 1000000}}
        before = time.clock_gettime(time.CLOCK_MONOTONIC), time.clock_gettime(time.CLOCK_BOOTTIME)
        seen = box.probe(bundle)
        assert 86399 <= seen["monotonic"] - before[0] <= 86460
        assert 999999 <= seen["boottime"] - before[1] <= 1000060

    def test_work_in_a_user_namespace(self, box: Runtime, bundle: Bundle) -> None:
        bundle.user_namespace().namespace("time").linux["timeOffsets"] = {"boottime": {"secs": 5000, "nanosecs": 10}}
        before = time.clock_gettime(time.CLOCK_BOOTTIME)
        assert 4999 <= box.probe(bundle)["boottime"] - before <= 5060

    def test_work_beside_a_joined_namespace(
        self, box: Runtime, bundle: Bundle, holder: subprocess.Popen[bytes]
    ) -> None:
        bundle.namespace("time").namespace("network", f"/proc/{child_of(holder)}/ns/net")
        bundle.linux["timeOffsets"] = {"monotonic": {"secs": 7777}}
        before = time.clock_gettime(time.CLOCK_MONOTONIC)
        assert 7776 <= box.probe(bundle)["monotonic"] - before <= 7837

    def test_without_a_time_namespace_are_refused(self, box: Runtime, bundle: Bundle) -> None:
        bundle.linux["timeOffsets"] = {"monotonic": {"secs": 1}}
        box.run(bundle).refused("/linux/timeOffsets")


class TestPath:
    @pytest.mark.parametrize("kind", ["network", "ipc", "uts", "pid", "mount", "cgroup", "user"])
    def test_of_another_kind_is_refused(
        self, box: Runtime, bundle: Bundle, holder: subprocess.Popen[bytes], kind: str
    ) -> None:
        wrong = "uts" if kind != "uts" else "ipc"
        box.run(bundle.namespace(kind, f"/proc/{child_of(holder)}/ns/{wrong}")).refused()

    def test_that_does_not_exist_is_refused_and_named(self, box: Runtime, bundle: Bundle) -> None:
        box.run(bundle.namespace("network", "/run/netns/missing")).refused("/run/netns/missing")

    @pytest.mark.parametrize("path", ["/etc/passwd", "/dev/null", "/"])
    def test_of_no_namespace_is_refused(self, box: Runtime, bundle: Bundle, path: str) -> None:
        box.run(bundle.namespace("network", path)).refused()

    def test_of_a_bound_namespace_file_works(
        self, box: Runtime, bundle: Bundle, holder: subprocess.Popen[bytes]
    ) -> None:
        place = bundle.path / "netns"
        place.touch()
        source = f"/proc/{child_of(holder)}/ns/net"
        mount(source, str(place), None, 4096)
        try:
            assert box.probe(bundle.namespace("network", place))["namespaces"]["net"] == os.readlink(source)
        finally:
            unmount(str(place))


@not_for("runc", reason="it makes the mounts on the host")
class TestWithoutAMountNamespace:
    """The root filesystem is entered, but the host's mounts are never altered (`leaves_nothing` compares them)."""

    def test_process_is_confined_to_the_root_filesystem(self, box: Runtime, bundle: Bundle) -> None:
        bundle.without_namespace("mount").config["mounts"] = []
        result = box.run(bundle.args("/bin/ls", "/"))
        assert result.ok().out.split() == sorted(path.name for path in bundle.rootfs.iterdir())

    def test_mounts_are_refused_or_left_out_with_a_warning(self, box: Runtime, bundle: Bundle) -> None:
        result = box.run(bundle.without_namespace("mount").args("/bin/ls", "/proc"))
        assert "/mounts" in result.err
        assert result.code == 1 or result.out == ""


def test_hostname_of_a_joined_uts_namespace_is_seen(box: Runtime, make_bundle: Callable[[], Bundle]) -> None:
    first, second = make_bundle(), make_bundle()
    first.config["hostname"] = "shared-name"
    container = box.running_shell(first)
    second.namespace("uts", f"/proc/{container.pid}/ns/uts")
    assert box.probe(second)["hostname"] == "shared-name"


def test_network_of_a_new_namespace_has_loopback_alone(box: Runtime, bundle: Bundle) -> None:
    bundle.namespace("network").args("/bin/ls", "/sys/class/net")
    assert box.run(bundle).ok().out.split() == ["lo"]
