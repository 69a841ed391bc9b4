"""Root filesystems that try to lead the runtime out of them: links, pipes and files at each place where it makes or
mounts something. The host's canaries stay as they are.

CVE-2026-41579, CVE-2026-47766, CVE-2019-18837, CVE-2024-5154, CVE-2025-24965, CVE-2026-87766, CVE-2014-9357.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import host
from tests.support.bundle import Bundle
from tests.support.canaries import Outside
from tests.support.marks import not_for
from tests.support.runtime import Runtime
from tests.support.tally import Row, some

MOUNTED = ["/proc", "/sys", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/sys/fs/cgroup", "/opt/a/b", "/opt/a/file"]
KINDS = [
    "absolute symlink",
    "climbing symlink",
    "loop",
    "dangling symlink",
    "symlink above",
    "fifo",
    "file",
    "closed directory",
]
ZOO = [(place, kind, readonly) for place in MOUNTED for kind in KINDS for readonly in (False, True)]
# All that the runtime itself may make below a root filesystem.
NAMES = [
    *(
        f"dev/{name}"
        for name in "fd stdin stdout stderr ptmx core console null zero full random urandom tty pts shm".split()
    ),
    *(f"etc/{name}" for name in ("mtab", "passwd", "group", "resolv.conf", "hostname", "hosts")),
    ".pivot_root",
    "oldroot",
    ".krun_config.json",
    "notify",
    "run/notify",
]


def plant(bundle: Bundle, destination: str, kind: str, outside: Path) -> None:
    """Put something evil at a destination below the root filesystem, or at the directory that it is in."""
    place = bundle.rootfs / destination.lstrip("/")
    if kind == "symlink above" and place.parent != bundle.rootfs:
        place = place.parent
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.is_dir():
        place.rmdir()
    if kind in ("absolute symlink", "symlink above"):
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


def mount_at(bundle: Bundle, destination: str) -> None:
    """Let the config mount there, and nothing above it."""
    if destination.startswith("/dev/"):
        bundle.without_mount("/dev", "/dev/pts", "/dev/shm")
    kinds = {"/dev/pts": "devpts", "/dev/mqueue": "mqueue", "/sys/fs/cgroup": "cgroup"}
    if destination == "/sys/fs/cgroup":
        bundle.without_mount("/sys").namespace("cgroup")
    if destination == "/opt/a/file":
        file = bundle.host_directory("bound", file="bound") / "file"
        bundle.mount(destination, "bind", file, "bind")
    elif destination not in ("/proc", "/sys", "/dev"):
        kind = kinds.get(destination, "tmpfs")
        bundle.mount(destination, kind, kind)


@pytest.mark.parametrize("destination, kind, readonly", some(ZOO, 44))
def test_planted_destination_leads_nowhere(
    box: Runtime, bundle: Bundle, outside: Outside, destination: str, kind: str, readonly: bool
) -> None:
    mount_at(bundle, destination)
    plant(bundle, destination, kind, outside.path)
    bundle.config["root"]["readonly"] = readonly
    before = time.monotonic()
    result = box.run(bundle.args("/bin/true"), timeout=10)
    assert time.monotonic() - before < 5
    assert result.code in (0, 1)
    assert "Traceback" not in result.err
    outside.unchanged()


def with_dev_outside(bundle: Bundle, target: str, outside: Path) -> None:
    bundle.without_mount("/dev", "/dev/pts", "/dev/shm")
    plant(bundle, "/dev", f"{target} symlink", outside)


@pytest.mark.parametrize("readonly", [False, True])
@pytest.mark.parametrize("target", ["absolute", "climbing"])
def test_dev_that_is_a_symlink_is_not_populated(
    box: Runtime, bundle: Bundle, outside: Outside, target: str, readonly: bool
) -> None:
    """CVE-2026-41579, CVE-2026-47766: the runtime's own links and nodes went through it."""
    bundle.config["root"]["readonly"] = readonly
    with_dev_outside(bundle, target, outside.path)
    box.run(bundle)
    outside.unchanged()


@pytest.mark.parametrize("name", ["runc", "crun"])
def test_control_populates_a_dev_that_is_a_symlink(
    peer: Callable[[str], Runtime], bundle: Bundle, outside: Outside, tally: Row, name: str
) -> None:
    runtime = peer(name)
    with_dev_outside(bundle, "absolute", outside.path)
    print(runtime.run(bundle))
    tally.red(f"{runtime.name} /dev", outside.changed())


@pytest.mark.parametrize("target", ["marker", "deep", "missing"])
@pytest.mark.parametrize("link", some(NAMES, 8))
@not_for("crun", reason="1.8 is vulnerable")
def test_names_that_the_runtime_makes_are_not_followed(
    box: Runtime, bundle: Bundle, outside: Outside, link: str, target: str
) -> None:
    bundle.without_mount("/dev", "/dev/pts", "/dev/shm")
    (bundle.rootfs / link).unlink(missing_ok=True)
    (bundle.rootfs / link).symlink_to(outside.path / target)
    box.run(bundle)
    outside.unchanged()


def test_link_inside_the_root_is_followed(box: Runtime, bundle: Bundle) -> None:
    """`/var/run → /run` is in every image: what refuses all links is no defence."""
    (bundle.rootfs / "var/run").symlink_to("/run")
    bundle.mount("/var/run/made", "tmpfs", "tmpfs")
    assert box.run(bundle.args("/bin/stat", "-f", "-c", "%T", "/run/made")).ok().out == "tmpfs\n"


def test_link_below_the_state_directory_is_not_followed_by_delete(
    box: Runtime, bundle: Bundle, outside: Outside
) -> None:
    container = box.start(bundle)
    container.wait()
    (box.root / bundle.id / "evil").symlink_to(outside.path)
    container.delete().ok()
    outside.unchanged()


def test_mount_below_the_state_directory_is_not_emptied_by_delete(
    box: Runtime, bundle: Bundle, outside: Outside
) -> None:
    container = box.start(bundle)
    container.wait()
    place = box.root / bundle.id / "bound"
    place.mkdir()
    host.mount(str(outside.path), str(place), None, 0x1000)
    try:
        container.delete("--force")
        outside.unchanged()
    finally:
        host.unmount(str(place))
        place.rmdir()
    box("delete", "--force", bundle.id)
    outside.unchanged()
