"""Paths of the host are looked up on the host, also when the container's root is already mounted.

A `..` that comes to the root of a mount namespace goes on in what is mounted over it. If that is the container's root,
a source such as /etc/resolv.conf, which often is a link to ../run/…, is a file of the image, or one of the host's that
a link of the image leads to; and so is a hook.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

import boxes
from boxes.api import client
from boxes.spec import Bind
from tests.support import host
from tests.support.bundle import Bundle
from tests.support.marks import not_for
from tests.support.runtime import Runtime
from tests.support.tally import Row

MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x40000


def decoy(bundle: Bundle) -> Path:
    """A file of the host, and in the image, at the same path, a link to another one of the host."""
    outside = bundle.host_directory(file="of the host", secret="secret")
    planted = bundle.rootfs / str(outside / "file").lstrip("/")
    planted.parent.mkdir(parents=True)
    planted.symlink_to(outside / "secret")
    return outside / "file"


def by_dots(file: Path) -> Path:
    return Path(f"/{file.parts[1]}/..{file}")


def by_link(file: Path) -> Path:
    """As /etc/resolv.conf can be: a link that goes up to the root."""
    link = file.with_name("link")
    link.symlink_to("../" * (len(link.parts) - 2) + str(file).lstrip("/"))
    return link


WAYS = [pytest.param(by_dots, id="dots"), pytest.param(by_link, id="link")]
SHAPES = ["plain", "user namespace", "user namespace out of reach"]


def shaped(bundle: Bundle, shape: str) -> None:
    if shape.startswith("user namespace"):
        bundle.user_namespace()
        os.chown(bundle.rootfs, 100000, 100000)
    if shape.endswith("out of reach"):
        os.chown(bundle.path, 1234, 1234)
        bundle.path.chmod(0o700)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("shape", SHAPES)
def test_source_is_a_file_of_the_host(box: Runtime, bundle: Bundle, way: Callable[[Path], Path], shape: str) -> None:
    file = decoy(bundle)
    bundle.mount("/mnt", "bind", way(file), "bind").args("/bin/cat", "/mnt")
    (bundle.rootfs / "mnt").rmdir()
    shaped(bundle, shape)
    assert box.run(bundle).ok().out == "of the host"


@pytest.mark.parametrize("way", WAYS)
def test_source_is_a_file_of_the_host_without_pivot_root(
    box: Runtime, bundle: Bundle, way: Callable[[Path], Path]
) -> None:
    file = decoy(bundle)
    bundle.mount("/home", "bind", way(file).parent, "rbind").args("/bin/cat", "/home/file")
    assert box.run(bundle, "--no-pivot").ok().out == "of the host"


@not_for("runc", "crun", reason="they are no library")
@pytest.mark.parametrize("way", WAYS)
def test_source_is_a_file_of_the_host_from_python(box: Runtime, bundle: Bundle, way: Callable[[Path], Path]) -> None:
    file = decoy(bundle)
    bind = Bind(way(file), "/tmp/it")
    try:
        for _ in range(3):  # the first makes the template
            done = boxes.run(["/bin/cat", "/tmp/it"], rootfs=bundle.rootfs, binds=[bind], root=box.root)
            assert done.stdout == b"of the host"
    finally:
        client.shut_down()


@pytest.mark.parametrize("source", ["/", "/proc/..", "/proc/self/root"])
@pytest.mark.parametrize("flags", [(), ("--no-pivot",)], ids=" ".join)
def test_root_of_the_host_is_what_is_bound(box: Runtime, bundle: Bundle, source: str, flags: tuple[str, ...]) -> None:
    file = decoy(bundle)
    bundle.mount("/mnt", "bind", source, "rbind", "ro")
    bundle.shell(f"cat /mnt{file}; touch /mnt{file.parent}/new 2>/dev/null || echo , and read-only")
    assert box.run(bundle, *flags).ok().out == "of the host, and read-only\n"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("shape", SHAPES)
def test_hook_is_a_program_of_the_host(box: Runtime, bundle: Bundle, way: Callable[[Path], Path], shape: str) -> None:
    file = decoy(bundle)
    said = file.with_name("said")
    said.touch(0o666)
    said.chmod(0o666)
    file.write_text(f"#!/bin/sh\necho host >>{said}\n")
    file.with_name("secret").write_text(f"#!/bin/sh\necho image >>{said}\n")
    for each in (file, file.with_name("secret")):
        each.chmod(0o755)
    bundle.hook("createContainer", way(file)).args("/bin/true")
    shaped(bundle, shape)
    if shape.endswith("out of reach"):
        assert box.run(bundle).code == 1  # nor is the hook within reach
        assert said.read_text() == ""
    else:
        box.run(bundle).ok()
        assert said.read_text() == "host\n"


def test_hook_finds_the_mounts_of_the_container_below_its_root(box: Runtime, bundle: Bundle) -> None:
    """createContainer: the mounts are there, and what a hook mounts below the root is the container's, too."""
    outside = bundle.host_directory(file="by the hook")
    script = bundle.path / "hook"
    script.write_text(f"#!/bin/sh\ntest -c {bundle.rootfs}/dev/null && mount --bind {outside} {bundle.rootfs}/home\n")
    script.chmod(0o755)
    bundle.hook("createContainer", script).args("/bin/cat", "/home/file")
    assert box.run(bundle).ok().out == "by the hook"


@pytest.mark.parametrize("propagation", ["shared", "rshared", "slave", "private"])
def test_root_in_a_shared_mount_does_not_show_on_the_host(box: Runtime, bundle: Bundle, propagation: str) -> None:
    """The mount that the root's directory is in has peers on the host."""
    host.mount(str(bundle.path), str(bundle.path), None, MS_BIND)
    try:
        host.mount(None, str(bundle.path), None, 1 << 20)  # MS_SHARED
        before = Path("/proc/self/mountinfo").read_text()
        bundle.linux["rootfsPropagation"] = propagation
        box.create(bundle.args("/bin/sleep", "60"))
        assert Path("/proc/self/mountinfo").read_text() == before
        box("delete", "--force", bundle.id).ok()
    finally:
        host.unmount(str(bundle.path))


def test_control_that_mounts_over_the_root_is_led_into_the_image(bundle: Bundle, tally: Row) -> None:
    file = decoy(bundle)
    reader, writer = os.pipe()
    if os.fork() == 0:
        try:
            host.unshare_mounts()
            host.mount(str(bundle.rootfs), "/", None, MS_BIND | MS_REC)
            os.write(writer, by_dots(file).read_bytes())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as stream:
        found = stream.read()
    tally.red("naive mount over the root", found == "secret")
