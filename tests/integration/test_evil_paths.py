"""Root filesystems that try to lead the runtime out of them. The host's canaries must stay as they are.

The recipes are those of published advisories; each test names what was attacked. Tests run in a mount namespace of their
own, and never write to what a leak would give.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.bundle import Bundle
from tests.support.marks import not_for, red_for
from tests.support.runtime import Runtime
from tests.support.terminal import ConsoleSocket

VULNERABLE = "1.1.5 is vulnerable"
DESTINATIONS = ["/proc", "/sys", "/dev/pts", "/dev/shm", "/opt/a/b"]


class Outside:
    """A host directory whose tree is compared before and after."""

    def __init__(self, bundle: Bundle) -> None:
        self.path = bundle.host_directory(marker="canary", ptmx="canary", null="canary")
        (self.path / "deep").mkdir()
        self.before = self.tree()

    def tree(self) -> list[tuple[Any, ...]]:
        found = []
        for directory, names, files in os.walk(self.path):
            for name in sorted([".", *names, *files]):
                path = Path(directory, name)
                info = path.lstat()
                content = path.read_bytes() if stat.S_ISREG(info.st_mode) else b""
                found.append((str(path), info.st_mode, info.st_uid, info.st_gid, info.st_ino, content))
        return sorted(found)

    def unchanged(self) -> None:
        assert self.tree() == self.before


@pytest.fixture
def outside(bundle: Bundle) -> Outside:
    return Outside(bundle)


def plant(bundle: Bundle, destination: str, kind: str, outside: Path) -> None:
    """Put something evil at a destination below the root filesystem."""
    place = bundle.rootfs / destination.lstrip("/")
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.is_dir():
        place.rmdir()
    if kind == "absolute symlink":
        place.symlink_to(outside)
    elif kind == "climbing symlink":
        place.symlink_to("../" * 20 + str(outside).lstrip("/"))
    elif kind == "loop":
        place.symlink_to(place.name)
    elif kind == "dangling symlink":
        place.symlink_to(outside / "made-by-runtime")
    elif kind == "fifo":
        os.mkfifo(place)
    elif kind == "file":
        place.write_text("")
    elif kind == "closed directory":
        place.mkdir(mode=0)


# Found here with runc 1.1.5, as the advisories say: each is a control, which shows that the test can fail.
RED = red_for("runc", reason=VULNERABLE)
KINDS = ["absolute symlink", "climbing symlink", "loop", "dangling symlink", "fifo", "file", "closed directory"]


@pytest.mark.parametrize(
    "destination, kind",
    [(destination, kind) for destination in DESTINATIONS for kind in KINDS]
    + [pytest.param("/dev", kind, marks=[RED] if kind in KINDS[:2] else []) for kind in KINDS],
)
def test_planted_destination_leads_nowhere(
    box: Runtime, bundle: Bundle, outside: Outside, destination: str, kind: str
) -> None:
    if destination == "/opt/a/b":
        bundle.mount(destination, "tmpfs", "tmpfs")
    elif destination in ("/dev/pts", "/dev/shm"):
        bundle.without_mount("/dev")
    plant(bundle, destination, kind, outside.path)
    before = time.monotonic()
    result = box.run(bundle.args("/bin/true"), timeout=10)
    assert time.monotonic() - before < 5
    assert result.code in (0, 1)
    assert "Traceback" not in result.err
    outside.unchanged()


@pytest.mark.parametrize("readonly", [False, True])
@pytest.mark.parametrize("target", ["absolute", "climbing"])
@RED
def test_dev_that_is_a_symlink_is_not_populated(
    box: Runtime, bundle: Bundle, outside: Outside, target: str, readonly: bool
) -> None:
    """CVE-2026-41579, CVE-2026-47766: the runtime's own links and nodes went through it."""
    bundle.without_mount("/dev", "/dev/pts", "/dev/shm").config["root"]["readonly"] = readonly
    plant(bundle, "/dev", f"{target} symlink", outside.path)
    box.run(bundle)
    outside.unchanged()


@pytest.mark.parametrize("link", ["fd", "stdin", "stdout", "stderr", "ptmx", "core", "console", "null", "zero", "tty"])
@not_for("crun", reason="1.8 is vulnerable")
def test_names_that_the_runtime_makes_in_dev_are_not_followed(
    box: Runtime, bundle: Bundle, outside: Outside, link: str
) -> None:
    bundle.without_mount("/dev", "/dev/pts", "/dev/shm")
    (bundle.rootfs / "dev" / link).symlink_to(outside.path / "marker")
    box.run(bundle)
    outside.unchanged()


class TestProcAndSys:
    """CVE-2019-19921, CVE-2023-27561, CVE-2025-52881: a false /proc takes labels and sysctls."""

    @pytest.mark.parametrize("destination", ["/proc", "/sys"])
    @pytest.mark.parametrize("target", ["/tmp", "tmp", "./tmp/../tmp"])
    def test_as_a_symlink_are_refused(self, box: Runtime, bundle: Bundle, destination: str, target: str) -> None:
        (bundle.rootfs / destination.lstrip("/")).rmdir()
        (bundle.rootfs / destination.lstrip("/")).symlink_to(target)
        box.run(bundle).refused(destination)

    @pytest.mark.parametrize("destination", ["/proc", "/proc/self", "/proc/self/attr", "/proc/sys", "/proc/1"])
    def test_directory_of_the_host_on_proc_is_refused(
        self, box: Runtime, bundle: Bundle, outside: Outside, destination: str
    ) -> None:
        box.run(bundle.mount(destination, "bind", outside.path, "bind")).refused()

    @pytest.mark.parametrize(
        "destination",
        ["/proc/self", *(pytest.param(place, marks=RED) for place in ("/proc/self/attr", "/proc/sys/net"))],
    )
    def test_tmpfs_on_proc_is_refused(self, box: Runtime, bundle: Bundle, destination: str) -> None:
        box.run(bundle.mount(destination, "tmpfs", "tmpfs")).refused()

    @pytest.mark.parametrize("name", ["cpuinfo", "meminfo", "stat", "uptime", "loadavg"])
    def test_files_that_lxcfs_gives_are_allowed(self, box: Runtime, bundle: Bundle, name: str) -> None:
        file = bundle.host_directory("lxcfs", **{name: "faked\n"}) / name
        assert (
            box.run(bundle.mount(f"/proc/{name}", "bind", file, "bind").args("/bin/cat", f"/proc/{name}")).ok().out
            == "faked\n"
        )

    def test_sysctl_is_not_written_to_a_file_below_a_false_proc(
        self, box: Runtime, bundle: Bundle, outside: Outside
    ) -> None:
        fake = bundle.host_directory("fake")
        (fake / "sys/net/core").mkdir(parents=True)
        (fake / "sys/net/core/somaxconn").write_text("untouched")
        bundle.namespace("network").without_mount("/proc").mount("/proc", "bind", fake, "bind")
        bundle.linux["sysctl"] = {"net.core.somaxconn": "77"}
        result = box.run(bundle)
        assert result.code == 1 or (fake / "sys/net/core/somaxconn").read_text() == "untouched"


class TestMasks:
    """CVE-2025-31133: masks were made of the container's /dev/null."""

    @pytest.mark.parametrize(
        "planted",
        [
            *(pytest.param(kind, marks=RED) for kind in ("symlink to proc", "fifo")),
            "symlink outside",
            "file",
            "missing",
            "zero",
            "directory",
        ],
    )
    def test_do_not_come_from_the_containers_dev(
        self, box: Runtime, bundle: Bundle, outside: Outside, planted: str
    ) -> None:
        devices = bundle.host_directory("devices")
        null = devices / "null"
        if planted == "symlink to proc":
            null.symlink_to("/proc/sys/kernel/core_pattern")
        elif planted == "symlink outside":
            null.symlink_to(outside.path / "marker")
        elif planted == "file":
            null.write_text("not null")
        elif planted == "fifo":
            os.mkfifo(null)
        elif planted == "zero":
            os.mknod(null, stat.S_IFCHR | 0o666, os.makedev(1, 5))
        elif planted == "directory":
            null.mkdir()
        bundle.without_mount("/dev", "/dev/pts", "/dev/shm").mount("/dev", "bind", devices, "bind", "ro")
        bundle.linux["maskedPaths"] = ["/etc/passwd", "/proc/keys"]
        result = box.run(bundle.args("/bin/probe"), timeout=10)
        outside.unchanged()
        if result.code == 0:
            mounts = result.report().mounts()
            for path in ("/etc/passwd", "/proc/keys"):
                assert "core_pattern" not in mounts[path].root
                assert "marker" not in mounts[path].root

    def test_do_not_follow_a_symlink_out_of_the_root(self, box: Runtime, bundle: Bundle, outside: Outside) -> None:
        (bundle.rootfs / "etc/link").symlink_to(outside.path / "marker")
        bundle.linux.update(maskedPaths=["/etc/link"], readonlyPaths=["/etc/link"])
        box.run(bundle)
        outside.unchanged()
        assert (outside.path / "marker").read_text() == "canary"


class TestConsole:
    """CVE-2025-52565, CVE-2026-88264: /dev/console, /dev/ptmx and /dev/pts/0 as links."""

    @pytest.mark.parametrize("readonly", [False, True])
    @pytest.mark.parametrize("name", ["console", "ptmx", "pts", "tty"])
    @not_for("crun", reason="1.8 is vulnerable")
    def test_link_in_dev_is_not_followed(
        self, box: Runtime, bundle: Bundle, outside: Outside, name: str, readonly: bool
    ) -> None:
        bundle.without_mount("/dev", "/dev/pts", "/dev/shm").config["root"]["readonly"] = readonly
        bundle.process["terminal"] = True
        (bundle.rootfs / "dev" / name).symlink_to(outside.path / ("deep" if name == "pts" else "marker"))
        socket = ConsoleSocket(bundle.path / "console-socket")
        result, reader, _ = box.spawn("create", bundle, "--console-socket", str(socket.path))
        os.close(reader)
        socket.close()
        assert result.code in (0, 1)
        outside.unchanged()

    def test_descriptor_that_is_sent_is_a_terminal_of_devpts(self, box: Runtime, bundle: Bundle) -> None:
        bundle.process["terminal"] = True
        socket = ConsoleSocket(bundle.path / "console-socket")
        box.create(bundle, "--console-socket", str(socket.path))
        master = socket.receive()
        assert stat.S_ISCHR(os.fstat(master).st_mode)
        assert os.isatty(master)
        os.close(master)
        socket.close()


class TestStandardStreams:
    """CVE-2026-88265: /dev/null on a stream was opened again inside, through what lies there."""

    @pytest.mark.parametrize("uid", [0, 1000])
    @not_for("crun", reason="1.8 is vulnerable")
    def test_dev_null_is_not_opened_again_inside(
        self, box: Runtime, bundle: Bundle, outside: Outside, uid: int
    ) -> None:
        bundle.without_mount("/dev", "/dev/pts", "/dev/shm").process["user"] = {"uid": uid, "gid": uid}
        (bundle.rootfs / "dev/null").symlink_to(outside.path / "marker")
        (bundle.rootfs / "tmp").chmod(0o1777)
        box.run(bundle.args("/bin/probe", "--to", "/tmp/report"))
        outside.unchanged()

    def test_the_hosts_dev_null_keeps_its_owner(self, box: Runtime, bundle: Bundle) -> None:
        before = os.stat("/dev/null")
        bundle.process["user"] = {"uid": 1000, "gid": 1000}
        container = box.create(bundle)
        container.start().ok()
        after = os.stat("/dev/null")
        assert (after.st_uid, after.st_gid, after.st_mode) == (before.st_uid, before.st_gid, before.st_mode)


class TestIdentity:
    """CVE-2022-29162, GHSA-q3j5: inheritable capabilities, and numbers that are names."""

    @not_for("runc", "crun", reason="they look HOME up there")
    def test_user_files_of_the_image_do_not_stop_or_slow_it(self, box: Runtime, bundle: Bundle) -> None:
        for name in ("passwd", "group"):
            (bundle.rootfs / "etc" / name).unlink()
            os.mkfifo(bundle.rootfs / "etc" / name)
        box.run(bundle.args("/bin/true"), timeout=5).ok()

    @not_for("runc", reason="it looks the user up there, and gives up after 64 KiB")
    def test_large_user_file_costs_nothing(self, box: Runtime, bundle: Bundle) -> None:
        with open(bundle.rootfs / "etc/passwd", "wb") as file:
            file.truncate(4 << 30)
        bundle.process["env"].append("HOME=/")
        before = time.monotonic()
        box.run(bundle.args("/bin/true"), timeout=10).ok()
        assert time.monotonic() - before < 2


class TestIdentifier:
    """An id that climbs: crun 1.8 removed the parent of --root for `..`. Only in this tree of canaries, and only box."""

    VERBS = ("start", "state", "kill", "delete", "delete --force", "exec", "ps", "create", "run")

    @pytest.mark.parametrize("identifier", [".", "..", "../..", "./x", "x/..", "...", ".hidden"])
    @pytest.mark.parametrize("verb", VERBS)
    @not_for("runc", "crun", reason="crun would remove the canaries")
    def test_is_refused_by_every_verb(self, box: Runtime, bundle: Bundle, verb: str, identifier: str) -> None:
        root = box.directory / "one/two/root"
        root.mkdir(parents=True)
        for directory in (root, root.parent, root.parent.parent):
            (directory / "canary").write_text("alive")
        more = ["--bundle", str(bundle.save().path)] if verb in ("create", "run") else []
        tail = ["/bin/true"] if verb == "exec" else []
        result = box.bare("--root", str(root), *verb.split(), *more, identifier, *tail)
        result.refused(code=255 if verb == "exec" else 1)
        for directory in (root, root.parent, root.parent.parent):
            assert (directory / "canary").read_text() == "alive"
        assert list(root.iterdir()) == [root / "canary"]


def test_link_below_the_state_directory_is_not_followed_by_delete(
    box: Runtime, bundle: Bundle, outside: Outside
) -> None:
    container = box.start(bundle)
    container.wait()
    (box.root / bundle.id / "evil").symlink_to(outside.path)
    container.delete().ok()
    outside.unchanged()


def test_hard_limits_of_paths_are_clean_errors(box: Runtime, make_bundle: Callable[[], Bundle]) -> None:
    for destination in ("/" + "a" * 300, "/" + "/a" * 3000, "/" + "x/" * 2500):
        result = box.run(make_bundle().mount(destination, "tmpfs", "tmpfs"), timeout=10)
        assert result.code == 1
        assert "Traceback" not in result.err


def test_five_hundred_mounts_work_or_are_refused(box: Runtime, bundle: Bundle) -> None:
    for number in range(500):
        bundle.mount(f"/mnt/{number}", "tmpfs", "tmpfs")
    assert box.run(bundle.args("/bin/sh", "-c", "grep -c ' /mnt/' /proc/self/mountinfo")).ok().out == "500\n"


def test_source_of_seventy_thousand_bytes_is_a_clean_error(box: Runtime, bundle: Bundle) -> None:
    """CVE-2021-43784: a length of 16 bits wrapped."""
    result = box.run(bundle.mount("/mnt", "bind", "/" + "x" * 70_000, "bind"), timeout=10)
    assert result.code == 1
    assert "Traceback" not in result.err
