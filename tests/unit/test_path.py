"""What is made below a root that is not trusted: where links lead, from inside of it (`linux.path`)."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from boxes.linux import path as paths

Make = Callable[[int, str], int]
LOOP = os.strerror(errno.ELOOP)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    (tmp_path / "outside").mkdir()
    return tmp_path / "root"


@pytest.fixture
def root(tree: Path) -> Iterator[int]:
    fd = os.open(tree, os.O_PATH | os.O_DIRECTORY)
    before = set(os.listdir("/proc/self/fd"))
    yield fd
    assert set(os.listdir("/proc/self/fd")) <= before, "a descriptor is left open"
    os.close(fd)
    assert sorted(path.name for path in tree.parent.iterdir()) == ["outside", "root"]
    assert list((tree.parent / "outside").iterdir()) == []


def made(make: Make, root: int, path: str) -> str:
    """Where it was made, below the root."""
    fd = make(root, path)
    try:
        return os.readlink(f"/proc/self/fd/{fd}").removeprefix(os.readlink(f"/proc/self/fd/{root}"))
    finally:
        os.close(fd)


MAKERS = pytest.mark.parametrize("make", [paths.make_file, paths.make_directory])


@MAKERS
@pytest.mark.parametrize(
    ("link", "target", "found"),
    [
        ("etc/resolv.conf", "../run/systemd/resolve/stub", "/run/systemd/resolve/stub"),
        ("etc/resolv.conf", "../" * 30 + "run/stub", "/run/stub"),
        ("etc/resolv.conf", "/run/stub", "/run/stub"),
        ("etc/resolv.conf", "//run/./stub", "/run/stub"),
        ("etc/resolv.conf", "stub", "/etc/stub"),
        ("etc/resolv.conf", "../a/../b/stub", "/b/stub"),
        ("etc/resolv.conf", "/../../outside/stub", "/outside/stub"),
    ],
)
def test_a_link_that_dangles_is_followed_inside(
    tree: Path, root: int, make: Make, link: str, target: str, found: str
) -> None:
    (tree / "etc").mkdir()
    (tree / link).symlink_to(target)
    assert made(make, root, f"/{link}") == found
    assert (tree / found[1:]).is_dir() == (make is paths.make_directory)
    assert made(make, root, f"/{link}") == found, "and found again"


@MAKERS
def test_links_through_links_and_directory_links(tree: Path, root: int, make: Make) -> None:
    (tree / "data/deep").mkdir(parents=True)
    (tree / "short").symlink_to("data/deep")
    (tree / "data/deep/one").symlink_to("../two")
    (tree / "data/two").symlink_to("/short/../missing/three")
    assert made(make, root, "/short/one") == "/data/missing/three"
    (tree / "above").symlink_to("../../outside")
    assert made(make, root, "/above/made/here") == "/outside/made/here"


@MAKERS
def test_a_directory_link_to_the_real_outside_stays_inside(tree: Path, root: int, make: Make) -> None:
    (tree / "evil").symlink_to(tree.parent / "outside")
    inside = f"{tree.parent}/outside/made"
    assert made(make, root, "/evil/made") == inside


@MAKERS
@pytest.mark.parametrize("first", ["loop", "two/loop", "gone/x"])
def test_a_loop_is_one_clear_error(tree: Path, root: int, make: Make, first: str) -> None:
    (tree / "loop").symlink_to("loop")
    (tree / "two").symlink_to(".")
    (tree / "gone").symlink_to("missing/../gone")  # each turn of which makes nothing that ends it
    with pytest.raises(OSError, match=LOOP):
        made(make, root, first)


@MAKERS
def test_forty_links_and_no_more(tree: Path, root: int, make: Make) -> None:
    for number in range(50):
        (tree / f"l{number}").symlink_to(f"l{number + 1}")
    assert made(make, root, "l10") == "/l50"
    subprocess.run(["rm", "-r", tree / "l50"], check=True)
    with pytest.raises(OSError, match=LOOP):
        made(make, root, "l9")


@MAKERS
@pytest.mark.parametrize("magic", ["self/root", "self/cwd", "thread-self/root"])
def test_a_magic_link_is_refused(make: Make, magic: str) -> None:
    """Also where it lies behind what is missing, so that the kernel has not come to it."""
    root = os.open("/", os.O_PATH | os.O_DIRECTORY)
    try:
        with pytest.raises(OSError, match=LOOP):
            made(make, root, f"/proc/{magic}/tmp/boxes-no-such")
    finally:
        os.close(root)


def test_a_magic_link_behind_a_missing_name_is_refused(tree: Path, root: int) -> None:
    from tests.support import host

    (tree / "proc").mkdir()
    host.mount("/proc", str(tree / "proc"), None, 0x1000 | 0x4000)
    try:
        (tree / "link").symlink_to("missing/../proc/self/root/made")
        with pytest.raises(OSError, match=LOOP):
            made(paths.make_file, root, "/link")
        assert not Path("/made").exists()
    finally:
        host.unmount(str(tree / "proc"))


def test_a_file_where_a_directory_is_wanted(tree: Path, root: int) -> None:
    (tree / "file").touch()
    (tree / "link").symlink_to("file/x")
    with pytest.raises(NotADirectoryError):
        made(paths.make_file, root, "/link")
    with pytest.raises(NotADirectoryError):
        made(paths.make_directory, root, "/file")


def test_one_who_swaps_a_directory_for_a_link_leads_nothing_out(tree: Path, root: int) -> None:
    (tree / "a").mkdir()
    (tree / "evil").symlink_to(tree.parent / "outside")
    pid = os.fork()
    if pid == 0:
        try:
            _swap(str(tree / "a"), str(tree / "evil"))
        finally:
            os._exit(1)
    found: set[str] = set()
    try:
        for number in range(5000):
            if number >= 300 and found - {"/a"}:
                break
            (tree / f"link{number}").symlink_to(f"a/{number}/b/../made")
            with suppress(OSError):
                found.add(made(paths.make_file, root, f"/link{number}").rpartition(f"/{number}/")[0])
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert found - {"/a"}, "nothing was swapped"


def _swap(one: str, other: str) -> None:
    exchange = ctypes.CDLL(None).renameat2
    while True:
        exchange(-100, one.encode(), -100, other.encode(), 2)  # RENAME_EXCHANGE
