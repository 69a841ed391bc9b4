"""Device nodes: the default ones, those of `linux.devices`, and the links in /dev (runtime-spec, config-linux.md#devices)."""

from __future__ import annotations

import os
import stat
from typing import Any

import pytest

from tests.support.bundle import Bundle
from tests.support.marks import not_for
from tests.support.runtime import Runtime

DEFAULT = {"null": "1:3", "zero": "1:5", "full": "1:7", "random": "1:8", "urandom": "1:9", "tty": "5:0"}


def device(path: str, kind: str, major: int = 0, minor: int = 0, **more: Any) -> dict[str, Any]:
    numbers = {} if kind == "p" else {"major": major, "minor": minor}
    return {"path": path, "type": kind, **numbers, **more}


def seen(box: Runtime, bundle: Bundle, path: str) -> str:
    """Type, mode, owner and decimal numbers of a node inside."""
    out = box.run(bundle.args("/bin/stat", "-c", "%F|%a|%u:%g|%t:%T", path)).ok().out.strip()
    kind, mode, owner, numbers = out.split("|")
    major, minor = (int(number, 16) for number in numbers.split(":"))
    return f"{kind} {mode} {owner} {major}:{minor}"


@pytest.mark.parametrize("name", DEFAULT)
def test_default_device_is_there(box: Runtime, bundle: Bundle, name: str) -> None:
    assert seen(box, bundle, f"/dev/{name}") == f"character special file 666 0:0 {DEFAULT[name]}"


def test_default_devices_work(box: Runtime, bundle: Bundle) -> None:
    script = "head -c 3 /dev/zero | od -An -tx1; head -c 4 /dev/urandom | wc -c; echo x > /dev/null; echo y > /dev/full"
    result = box.run(bundle.shell(script))
    assert result.out.split() == ["00", "00", "00", "4"]
    assert "No space left on device" in result.err


@pytest.mark.parametrize(
    "name, target",
    [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("ptmx", "pts/ptmx"),
    ],
)
def test_link_in_dev(box: Runtime, bundle: Bundle, name: str, target: str) -> None:
    assert box.run(bundle.args("/bin/readlink", f"/dev/{name}")).ok().out.strip() == target


def test_nothing_else_is_in_dev(box: Runtime, bundle: Bundle) -> None:
    listed = set(box.run(bundle.args("/bin/ls", "-A", "/dev")).ok().out.split())
    assert listed - {"core"} == {*DEFAULT, "fd", "stdin", "stdout", "stderr", "ptmx", "pts", "shm"}


def test_own_devpts_gives_terminals(box: Runtime, bundle: Bundle) -> None:
    assert box.run(bundle.args("/bin/stat", "-L", "-c", "%t:%T %a", "/dev/ptmx")).ok().out == "5:2 666\n"


def test_ptmx_of_the_host_s_devices_is_that_of_the_container(box: Runtime, bundle: Bundle) -> None:
    """`ctr run --privileged` lists all devices that the host has."""
    bundle.linux["devices"] = [{"path": "/dev/ptmx", "type": "c", "major": 5, "minor": 2, "fileMode": 0o666}]
    assert box.run(bundle.args("/bin/readlink", "/dev/ptmx")).ok().out == "pts/ptmx\n"


@pytest.mark.parametrize(
    "entry, expected",
    [
        (device("/dev/mine", "c", 1, 3), "character special file 666 0:0 1:3"),
        (device("/dev/mine", "u", 1, 5), "character special file 666 0:0 1:5"),
        (device("/dev/mine", "c", 10, 229, fileMode=0o640), "character special file 640 0:0 10:229"),
        (device("/dev/mine", "b", 7, 0, fileMode=0o600, uid=5, gid=6), "block special file 600 5:6 7:0"),
        (device("/dev/deep/er", "c", 1, 3, fileMode=0o777, uid=1000), "character special file 777 1000:0 1:3"),
        (device("/dev/big", "c", 1000, 300000, fileMode=0o600), "character special file 600 0:0 1000:300000"),
        (device("/opt/outside-of-dev", "c", 1, 7, gid=9), "character special file 666 0:9 1:7"),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{value['type']}-{value['path']}",
)
def test_configured_device_has_its_attributes(
    box: Runtime, bundle: Bundle, entry: dict[str, Any], expected: str
) -> None:
    bundle.linux["devices"] = [entry]
    assert seen(box, bundle, entry["path"]) == expected


def test_fifo_is_made(box: Runtime, bundle: Bundle) -> None:
    bundle.linux["devices"] = [device("/dev/pipe", "p", fileMode=0o622, uid=3, gid=4)]
    assert seen(box, bundle, "/dev/pipe") == "fifo 622 3:4 0:0"


def test_mode_does_not_depend_on_the_callers_umask(box: Runtime, bundle: Bundle) -> None:
    bundle.linux["devices"] = [device("/dev/mine", "c", 1, 3, fileMode=0o666)]
    prefix = ("/bin/sh", "-c", 'umask 077; exec "$@"', "sh")
    result = box.run(bundle.args("/bin/stat", "-c", "%a", "/dev/mine", "/dev/null"), prefix=prefix)
    assert result.ok().out == "666\n666\n"


def test_configured_device_replaces_a_default_one(box: Runtime, bundle: Bundle) -> None:
    bundle.linux["devices"] = [device("/dev/full", "c", 1, 7, fileMode=0o600, uid=7, gid=8)]
    assert seen(box, bundle, "/dev/full") == "character special file 600 7:8 1:7"


class TestExistingNode:
    """Without a mount on /dev the root filesystem's own nodes are met."""

    def test_of_the_same_device_is_kept(self, box: Runtime, bundle: Bundle) -> None:
        bundle.without_mount("/dev", "/dev/pts", "/dev/shm")
        os.mknod(bundle.rootfs / "dev/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        before = (bundle.rootfs / "dev/null").stat().st_ino
        assert seen(box, bundle, "/dev/null").endswith("1:3")
        assert (bundle.rootfs / "dev/null").stat().st_ino == before

    @not_for("runc", "crun", reason="they take it as it is")
    def test_of_another_device_is_refused_or_replaced(self, box: Runtime, bundle: Bundle) -> None:
        bundle.without_mount("/dev", "/dev/pts", "/dev/shm").linux["devices"] = [device("/dev/mine", "c", 1, 3)]
        os.mknod(bundle.rootfs / "dev/mine", stat.S_IFCHR | 0o600, os.makedev(1, 5))
        result = box.run(bundle.args("/bin/stat", "-c", "%t:%T", "/dev/mine"))
        assert (result.code == 1 and "/dev/mine" in result.err) or result.out == "1:3\n"

    def test_that_is_a_symlink_to_a_host_file_is_not_followed(self, box: Runtime, bundle: Bundle) -> None:
        outside = bundle.host_directory(victim="content")
        before = (outside / "victim").stat()
        bundle.without_mount("/dev", "/dev/pts", "/dev/shm").linux["devices"] = [device("/dev/mine", "c", 1, 3, uid=5)]
        (bundle.rootfs / "dev/mine").symlink_to(outside / "victim")
        box.run(bundle)
        after = (outside / "victim").stat()
        assert (after.st_mode, after.st_uid, after.st_ino) == (before.st_mode, before.st_uid, before.st_ino)
        assert (outside / "victim").read_text() == "content"


def test_bound_dev_is_left_as_it_is(box: Runtime, bundle: Bundle) -> None:
    bundle.without_mount("/dev/pts", "/dev/shm").without_mount("/dev").mount("/dev", "bind", "/dev", "rbind")
    listed = box.run(bundle.args("/bin/ls", "/dev")).ok().out.split()
    assert set(listed) == set(os.listdir("/dev"))


def test_devices_of_a_read_only_root_are_made(box: Runtime, bundle: Bundle) -> None:
    bundle.config["root"]["readonly"] = True
    bundle.linux["devices"] = [device("/dev/mine", "c", 1, 3, fileMode=0o600)]
    assert seen(box, bundle, "/dev/mine") == "character special file 600 0:0 1:3"
