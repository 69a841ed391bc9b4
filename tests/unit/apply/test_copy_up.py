"""Copying a directory by descriptors, whatever is in it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from boxes.apply.copy_up import copy_up


@pytest.fixture
def source(tmp_path: Path) -> Path:
    directory = tmp_path / "source"
    directory.mkdir()
    return directory


def copied(source: Path) -> Path:
    target = source.parent / "target"
    target.mkdir()
    fds = [os.open(path, os.O_PATH | os.O_DIRECTORY) for path in (source, target)]
    try:
        copy_up(*fds)
    finally:
        for fd in fds:
            os.close(fd)
    return target


def test_files_keep_content_mode_and_times(source: Path) -> None:
    (source / "a").write_bytes(os.urandom(100_000))
    (source / "a").chmod(0o4750)
    os.utime(source / "a", ns=(1_000_000_001, 2_000_000_002))
    target = copied(source)
    assert (target / "a").read_bytes() == (source / "a").read_bytes()
    facts = (target / "a").stat()
    assert (stat.S_IMODE(facts.st_mode), facts.st_mtime_ns) == (0o4750, 2_000_000_002)


def test_directories_keep_mode_and_times_though_they_are_filled(source: Path) -> None:
    (source / "d/e").mkdir(parents=True)
    (source / "d/e/f").write_text("x")
    (source / "d/e").chmod(0o555)
    os.utime(source / "d", ns=(1, 2_000_000_002))
    target = copied(source)
    assert (target / "d/e/f").read_text() == "x"
    assert stat.S_IMODE((target / "d/e").stat().st_mode) == 0o555
    assert (target / "d").stat().st_mtime_ns == 2_000_000_002


def test_links_are_copied_not_followed(source: Path) -> None:
    (source.parent / "secret").write_text("secret")
    (source / "link").symlink_to("../secret")
    (source / "dangling").symlink_to("/nowhere")
    target = copied(source)
    assert os.readlink(target / "link") == "../secret"
    assert os.readlink(target / "dangling") == "/nowhere"


def test_fifos_and_sockets_are_made_anew(source: Path) -> None:
    os.mkfifo(source / "fifo", 0o640)
    os.mknod(source / "socket", stat.S_IFSOCK | 0o600)
    target = copied(source)
    assert stat.S_ISFIFO((target / "fifo").stat().st_mode)
    assert stat.S_ISSOCK((target / "socket").stat().st_mode)


def test_extended_attributes_are_copied(source: Path) -> None:
    (source / "a").write_text("")
    os.setxattr(source / "a", "user.test", b"value")
    assert os.getxattr(copied(source) / "a", "user.test") == b"value"


def test_names_may_be_anything(source: Path) -> None:
    names = [b"-a", b"a\nb", b"\xff\xfe", "ä".encode(), b" ", b"..."]
    for name in names:
        (source / os.fsdecode(name)).write_text("x")
    assert sorted(os.listdir(os.fsencode(copied(source)))) == sorted(names)


def test_trees_may_be_deep(source: Path) -> None:
    deep = source
    for _ in range(300):
        deep = deep / "d"
    deep.mkdir(parents=True)
    (deep / "end").write_text("x")
    assert (copied(source) / deep.relative_to(source) / "end").read_text() == "x"


def test_what_is_there_already_is_an_error(source: Path) -> None:
    (source / "a").write_text("new")
    (source.parent / "target").mkdir()
    (source.parent / "target/a").write_text("old")
    fds = [os.open(path, os.O_PATH | os.O_DIRECTORY) for path in (source, source.parent / "target")]
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(FileExistsError):
        copy_up(*fds)
    assert len(os.listdir("/proc/self/fd")) == before
    for fd in fds:
        os.close(fd)
    assert (source.parent / "target/a").read_text() == "old"


def test_no_descriptor_is_left(source: Path) -> None:
    (source / "d").mkdir()
    (source / "d/a").write_text("")
    before = len(os.listdir("/proc/self/fd"))
    copied(source)
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("where", [[], [0], [5 << 20], [0, 3 << 20, (64 << 20) - 1]])
def test_holes_stay_holes(source: Path, where: list[int]) -> None:
    with open(source / "sparse", "wb") as file:
        file.truncate(64 << 20)
        for offset in where:
            file.seek(offset)
            file.write(b"x")
    copy = copied(source) / "sparse"
    assert copy.stat().st_size == 64 << 20
    assert copy.stat().st_blocks * 512 < 1 << 20
    with open(copy, "rb") as file:
        for offset in where:
            file.seek(offset)
            assert file.read(1) == b"x"


def test_hard_links_are_files_of_their_own(source: Path) -> None:
    (source / "a").write_text("x")
    os.link(source / "a", source / "b")
    target = copied(source)
    assert [(target / name).read_text() for name in "ab"] == ["x", "x"]


@pytest.mark.parametrize("kind", [stat.S_IFIFO, stat.S_IFSOCK])
def test_fifos_and_sockets_are_made(source: Path, kind: int) -> None:
    os.mknod(source / "a", kind | 0o640)
    facts = (copied(source) / "a").lstat()
    assert (stat.S_IFMT(facts.st_mode), stat.S_IMODE(facts.st_mode)) == (kind, 0o640 & ~umask())


def umask() -> int:
    found = os.umask(0)
    os.umask(found)
    return found
