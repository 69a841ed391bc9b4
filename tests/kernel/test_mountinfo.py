"""Which mounts are below another, and what they are called."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from boxes.linux import mountinfo
from tests.support import host

pytestmark = pytest.mark.requires("root")


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    host.unshare_mounts()
    host.mount("tmpfs", str(tmp_path), "tmpfs")
    yield tmp_path
    host.unmount(str(tmp_path))


def found(place: Path) -> list[str]:
    fd = os.open(place, os.O_PATH)
    try:
        return [point for _, point in mountinfo.below(fd)]
    finally:
        os.close(fd)


def test_mounts_below_are_found_whatever_they_are_called(place: Path) -> None:
    names = ["a b", "tab\t", "line\n", "back\\slash", "é", "a b/deep"]
    for name in names:
        (place / name).mkdir()
        host.mount("tmpfs", str(place / name), "tmpfs")
    assert sorted(found(place)) == sorted(str(place / name) for name in names)
    assert found(place / "a b") == [str(place / "a b/deep")]
    assert found(place / "tab\t") == []


def test_neighbours_and_what_is_above_are_not_below(place: Path) -> None:
    for name in ("one", "one/in", "other"):
        (place / name).mkdir()
        host.mount("tmpfs", str(place / name), "tmpfs")
    assert found(place / "one") == [str(place / "one/in")]


def test_a_mount_that_another_covers_is_below_too(place: Path) -> None:
    (place / "one").mkdir()
    for _ in range(2):
        host.mount("tmpfs", str(place / "one"), "tmpfs")
    assert found(place) == [str(place / "one")] * 2
