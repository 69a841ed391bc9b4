"""The mount namespace that those of scripts are copies of, and what is left below their roots."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

import boxes
from boxes.api import client
from boxes.container import bare, host
from boxes.linux import syscalls
from tests.support import reaper
from tests.support.bundle import Bundle
from tests.support.host import unmount
from tests.support.runtime import Runtime
from tests.support.scripts import Counter, counted

__all__ = ["counted"]
pytestmark = pytest.mark.requires("root", "scripts")
CLONE_NEWNS = 0x20000
EROFS = 30


def seen_in(namespace: int, *, unmounted: bool = False) -> dict[str, Any]:
    """What a process finds that joins it: names in its root, what making one gives, and whether `..` leads elsewhere.
    With `unmounted` below the root, which it takes away."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            syscalls.setns(namespace, CLONE_NEWNS)
            if unmounted:
                unmount("/")
                syscalls.setns(namespace, CLONE_NEWNS)
            found: dict[str, Any] = {"names": os.listdir("/"), "climbs": not os.path.samefile("/", "/..")}
            try:
                os.mkdir("/made")
            except OSError as error:
                found["made"] = error.errno
            os.write(writer, json.dumps(found).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader) as stream:
        text = stream.read()
    seen: dict[str, Any] = json.loads(text)
    return seen


def opened(program: str) -> int:
    with reaper.paused():  # the child is waited for there
        return bare.open_namespace(program)


def test_there_is_nothing_in_it() -> None:
    before = sorted(os.listdir("/proc/self/fd"))
    namespace = opened(str(host.inner_path()))
    try:
        assert os.readlink(f"/proc/self/fd/{namespace}") != os.readlink("/proc/self/ns/mnt")
        assert seen_in(namespace) == {"names": [], "climbs": False, "made": EROFS}
    finally:
        os.close(namespace)
    assert sorted(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("program", ["/bin/false", "/bin/true"])
def test_where_none_can_be_made_nobody_gets_anywhere(program: str) -> None:
    namespace = opened(program)
    with pytest.raises(OSError, match="Invalid argument"):
        syscalls.setns(namespace, CLONE_NEWNS)
    os.close(namespace)


def test_below_a_containers_root_there_is_nothing(box: Runtime, bundle: Bundle, counted: Counter) -> None:
    """Who may unmount the root itself: what is found by joining the mount namespace then."""
    text = "umount -l / && echo gone && read x"
    args = ["/bin/sh", "-c", text]
    config: Any = boxes.Config(args=args, rootfs=bundle.rootfs, user=(0, 0)).document()
    config["process"]["capabilities"] = {name: ["CAP_SYS_ADMIN"] for name in ("bounding", "effective", "permitted")}
    del config["linux"]["seccomp"]
    with boxes.popen(args, config=config, root=box.root, stdin=boxes.PIPE) as program:
        assert program.stdout is not None and program.stdin is not None
        assert program.stdout.read_line() == b"gone\n"
        namespace = os.open(f"/proc/{program.pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        assert seen_in(namespace) == {"names": [], "climbs": False, "made": EROFS}
        os.close(namespace)
    assert counted.used == 1


def test_below_a_sandboxs_root_there_is_nothing(box: Runtime, bundle: Bundle) -> None:
    """It is made by a worker, whose builder has the host's mounts; the first workers have no such namespace."""
    boxes.run(["true"], rootfs=bundle.rootfs, root=box.root).check()
    for _ in range(4):
        boxes.Sandbox(bundle.rootfs, root=box.root, layered=False).close()
    with boxes.Sandbox(bundle.rootfs, root=box.root, user=(0, 0)) as sandbox:
        namespace = os.open(f"/proc/{sandbox.pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        try:
            assert seen_in(namespace, unmounted=True) == {"names": [], "climbs": False, "made": EROFS}
        finally:
            os.close(namespace)
    client.shut_down()
