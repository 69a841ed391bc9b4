"""Masks, read-only paths, the console and the standard streams, none of which may come from what lies in the
container's /dev, nor go where a link of the image leads.

CVE-2025-31133, CVE-2025-62161, CVE-2025-52565, CVE-2026-88264, CVE-2026-88265, GHSA-3q8j-pf29-vwv8.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.bundle import Bundle
from tests.support.canaries import Outside
from tests.support.marks import not_for, red_for
from tests.support.probe import parse_mountinfo
from tests.support.runtime import Runtime
from tests.support.tally import Row
from tests.support.terminal import ConsoleSocket

RED = red_for("runc", reason="1.1.5 is vulnerable")
BARE_DEV = ("/dev", "/dev/pts", "/dev/shm")


def plant_null(bundle: Bundle, planted: str, outside: Outside) -> None:
    """A /dev bound from the host, with something else than the null device in it; and masks."""
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
    bundle.without_mount(*BARE_DEV).mount("/dev", "bind", devices, "bind", "ro")
    bundle.linux["maskedPaths"] = ["/etc/passwd", "/proc/keys", "/home"]
    bundle.args("/bin/probe")


def null_of_the_host() -> tuple[str, str]:
    """Which file of which filesystem that is: here a node of the tests' own, bound on /dev/null."""
    found = [mount for mount in parse_mountinfo(Path("/proc/self/mountinfo").read_text()) if mount.point == "/dev/null"]
    return found[-1].root, found[-1].kind


def plant_masked(place: Path, kind: str) -> None:
    if kind == "file":
        place.write_text("secret")
    elif kind == "directory":
        place.mkdir()
        (place / "file").write_text("secret")
    elif kind == "fifo":
        os.mkfifo(place)
    elif kind in ("socket", "device"):
        os.mknod(place, (stat.S_IFSOCK if kind == "socket" else stat.S_IFCHR) | 0o666, os.makedev(1, 5))
    else:
        place.symlink_to("target" if kind == "link to a file" else "/nowhere")


class TestMasks:
    """CVE-2025-31133: masks were made of the container's /dev/null, or left out where it was missing."""

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
        plant_null(bundle, planted, outside)
        mounts = box.run(bundle, timeout=10).report().mounts()
        outside.unchanged()
        for path in ("/etc/passwd", "/proc/keys"):
            assert (mounts[path].root, mounts[path].kind) == null_of_the_host()
        assert mounts["/home"].kind == "tmpfs" and "ro" in mounts["/home"].options

    def test_control_masks_with_what_a_link_leads_to(
        self, peer: Callable[[str], Runtime], bundle: Bundle, outside: Outside, tally: Row
    ) -> None:
        runtime = peer("runc")
        plant_null(bundle, "symlink to proc", outside)
        result = runtime.run(bundle, timeout=10)
        seen = result.report().mounts()["/proc/keys"].root if result.code == 0 else ""
        tally.red("runc 1.1.5 mask", "core_pattern" in seen)

    def test_cover_every_configured_path_that_is_there(self, box: Runtime, bundle: Bundle) -> None:
        masked = ["/proc/keys", "/proc/timer_list", "/proc/sysrq-trigger", "/etc/group", "/var", "/nowhere"]
        readonly = ["/proc/sys", "/proc/bus", "/proc/irq", "/home", "/etc/passwd", "/nowhere"]
        bundle.linux.update(maskedPaths=masked, readonlyPaths=readonly)
        mounts = box.probe(bundle).mounts()
        for path in masked + readonly:
            if path == "/nowhere" or (path.startswith("/proc") and not os.path.exists(path)):
                continue
            assert path in mounts, path
            if path in readonly or path == "/var":
                assert "ro" in mounts[path].options

    def test_do_not_follow_a_symlink_out_of_the_root(self, box: Runtime, bundle: Bundle, outside: Outside) -> None:
        (bundle.rootfs / "etc/link").symlink_to(outside.path / "marker")
        bundle.linux.update(maskedPaths=["/etc/link"], readonlyPaths=["/etc/link"])
        box.run(bundle)
        outside.unchanged()
        assert (outside.path / "marker").read_text() == "canary"

    @pytest.mark.parametrize("kind", ["file", "fifo", "socket", "directory", "device", "link to a file", "link away"])
    def test_of_any_kind_of_file_neither_hang_nor_leave_it_open(self, box: Runtime, bundle: Bundle, kind: str) -> None:
        place = bundle.rootfs / "etc/masked"
        (bundle.rootfs / "etc/target").write_text("secret")
        plant_masked(place, kind)
        bundle.linux["maskedPaths"] = ["/etc/masked"]
        target = "/etc/target" if kind == "link to a file" else ""
        seen = box.run(bundle.shell(f"timeout 2 cat /etc/masked /etc/masked/file {target} < /dev/null"), timeout=10)
        assert "secret" not in seen.out


def create_with_terminal(runtime: Runtime, bundle: Bundle) -> int:
    bundle.process["terminal"] = True
    socket = ConsoleSocket(bundle.path / "console-socket")
    result, reader, _ = runtime.spawn("create", bundle, "--console-socket", str(socket.path))
    os.close(reader)
    socket.close()
    return result.code


class TestConsole:
    """CVE-2025-52565, CVE-2026-88264: /dev/console, /dev/ptmx and /dev/pts/0 as links."""

    @pytest.mark.parametrize("readonly", [False, True])
    @pytest.mark.parametrize("name", ["console", "ptmx", "pts", "tty"])
    @not_for("crun", reason="1.8 is vulnerable")
    def test_link_in_dev_is_not_followed(
        self, box: Runtime, bundle: Bundle, outside: Outside, name: str, readonly: bool
    ) -> None:
        bundle.without_mount(*BARE_DEV).config["root"]["readonly"] = readonly
        (bundle.rootfs / "dev" / name).symlink_to(outside.path / ("deep" if name == "pts" else "marker"))
        assert create_with_terminal(box, bundle) in (0, 1)
        outside.unchanged()

    @pytest.mark.parametrize("kind", ["tmpfs", "bind"])
    def test_terminal_of_what_is_no_devpts_is_refused(
        self, box: Runtime, bundle: Bundle, outside: Outside, kind: str
    ) -> None:
        """A ptmx planted where devpts should be would be opened with the runtime's rights."""
        bundle.without_mount(*BARE_DEV)
        (bundle.rootfs / "dev/pts").mkdir()
        (bundle.rootfs / "dev/pts/ptmx").symlink_to("/dev/zero")
        if kind == "tmpfs":
            bundle.mount("/dev/pts", "tmpfs", "tmpfs")
        assert create_with_terminal(box, bundle) == 1
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

    def test_masks_lie_over_a_console_that_is_bound_on_them(self, box: Runtime, bundle: Bundle) -> None:
        """The console was bound before the masks: on what a link made of it, nothing masked it again."""
        (bundle.rootfs / "dev/console").symlink_to("/proc/sysrq-trigger")
        bundle.without_mount(*BARE_DEV).mount("/dev/pts", "devpts", "devpts", "newinstance", "ptmxmode=0666")
        bundle.linux["readonlyPaths"] = ["/proc/sysrq-trigger"]
        assert create_with_terminal(box, bundle) in (0, 1)


def null_on_streams(bundle: Bundle, uid: int, outside: Outside) -> Bundle:
    bundle.without_mount(*BARE_DEV).process["user"] = {"uid": uid, "gid": uid}
    (bundle.rootfs / "dev/null").symlink_to("/mnt/marker")
    return bundle.mount("/mnt", "bind", outside.path, "bind").args("/bin/true")


class TestStandardStreams:
    """CVE-2026-88265: /dev/null on a stream was opened again inside, through what lies there."""

    @pytest.mark.parametrize("uid", [0, 1000])
    @not_for("crun", reason="1.8 is vulnerable")
    def test_dev_null_is_not_opened_again_inside(
        self, box: Runtime, bundle: Bundle, outside: Outside, uid: int
    ) -> None:
        box.run(null_on_streams(bundle, uid, outside))
        outside.unchanged()

    def test_control_opens_it_again(
        self, peer: Callable[[str], Runtime], bundle: Bundle, outside: Outside, tally: Row
    ) -> None:
        runtime = peer("crun")
        runtime.run(null_on_streams(bundle, 1000, outside))
        tally.red("crun 1.8.1 /dev/null", outside.changed())

    def test_the_hosts_dev_null_keeps_its_owner(self, box: Runtime, bundle: Bundle) -> None:
        before = os.stat("/dev/null")
        bundle.process["user"] = {"uid": 1000, "gid": 1000}
        container = box.create(bundle)
        container.start().ok()
        after = os.stat("/dev/null")
        assert (after.st_uid, after.st_gid, after.st_mode) == (before.st_uid, before.st_gid, before.st_mode)
