"""Home directories from a root filesystem's passwd, which may be anything."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from boxes.apply.passwd import home, parse

TEXT = b"""root:x:0:0:root:/root:/bin/sh
# a comment
user:x:1000:1000::/home/user:/bin/sh
again:x:1000:1000::/elsewhere:/bin/sh
short:x:7
empty:x:8:8:::
bad:x:nine:9::/nine:
spaces:x:10:10::/with space:/bin/sh
bytes:x:11:11::/\xff:/bin/sh
nul:x:12:12::/a\0b:/bin/sh
last:x:4294967294:0::/last"""


@pytest.mark.parametrize(
    "uid, expected",
    [
        (0, "/root"),
        (1000, "/home/user"),
        (7, None),
        (8, None),
        (9, None),
        (10, "/with space"),
        (11, "/\udcff"),
        (12, None),
        (4294967294, "/last"),
        (5, None),
    ],
)
def test_home_is_that_of_the_first_entry(uid: int, expected: str | None) -> None:
    assert parse(TEXT, uid) == expected


def opened(root: Path, uid: int = 0) -> str:
    fd = os.open(root, os.O_PATH | os.O_DIRECTORY)
    try:
        return home(fd, uid)
    finally:
        os.close(fd)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    return root


def test_user_that_is_not_there_is_at_home_in_the_root(root: Path) -> None:
    (root / "etc/passwd").write_bytes(TEXT)
    assert (opened(root, 1000), opened(root, 5)) == ("/home/user", "/")


def test_without_the_file_home_is_the_root(root: Path) -> None:
    assert opened(root) == "/"


def test_links_stay_below_the_root(root: Path) -> None:
    (root / "real").write_text("x:x:0:0::/inside:")
    (root.parent / "real").write_text("x:x:0:0::/outside:")
    (root / "etc/passwd").symlink_to("../../real")
    assert opened(root) == "/inside"
    (root / "etc/passwd").unlink()
    (root / "etc/passwd").symlink_to(root.parent / "real")
    assert opened(root) == "/"


def test_fifo_does_not_hold_anybody_up(root: Path) -> None:
    os.mkfifo(root / "etc/passwd")
    assert opened(root) == "/"


def test_directory_is_no_passwd(root: Path) -> None:
    (root / "etc/passwd").mkdir()
    assert opened(root) == "/"


def test_magic_links_are_not_followed(root: Path) -> None:
    (root / "etc/passwd").symlink_to("/proc/self/fd/0")
    assert opened(root) == "/"


def test_only_the_beginning_of_a_huge_file_is_read(root: Path) -> None:
    with open(root / "etc/passwd", "wb") as file:
        file.write(b"root:x:0:0::/first:\n")
        file.seek(1 << 30)
        file.write(b"\nuser:x:1:1::/far:\n")
    assert (opened(root), opened(root, 1)) == ("/first", "/")


def test_no_descriptor_is_left(root: Path) -> None:
    (root / "etc/passwd").write_bytes(TEXT)
    before = os.listdir("/proc/self/fd")
    opened(root)
    assert os.listdir("/proc/self/fd") == before
