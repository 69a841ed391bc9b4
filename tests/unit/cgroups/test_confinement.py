"""No link and no `..` leads out of a hierarchy: a cgroup is reached beneath its mount point, component by component.

cgroupfs has no links to make; what is tried here is that nothing depends on it.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from boxes.cgroups.directory import Directory

# ELOOP, EXDEV, ENOTDIR, EEXIST
REFUSED = "symbolic links|cross-device|Not a directory|File exists"


@pytest.fixture
def hierarchy(tmp_path: Path) -> Path:
    """A directory with a link that leads out of it."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "pids.max").write_text("theirs")
    (tmp_path / "mounted").mkdir()
    (tmp_path / "mounted" / "link").symlink_to(tmp_path / "outside")
    return tmp_path / "mounted"


@pytest.mark.parametrize("names", [["link"], ["link", "mine"], ["link", "a", "b"]])
def test_link_is_not_followed_to_make_a_cgroup(hierarchy: Path, names: list[str]) -> None:
    directory = Directory.planned(str(hierarchy), names, ("pids",))
    with pytest.raises(OSError, match=REFUSED):
        directory.make()
    assert [path.name for path in (hierarchy.parent / "outside").iterdir()] == ["pids.max"]


def test_link_is_not_followed_to_write_a_limit(hierarchy: Path) -> None:
    directory = Directory(str(hierarchy), ["link"], ("pids",), 1)
    with pytest.raises(OSError, match=REFUSED):
        directory.write("pids.max", "1")
    assert (hierarchy.parent / "outside" / "pids.max").read_text() == "theirs"


def test_file_that_is_a_link_is_not_written(hierarchy: Path) -> None:
    (hierarchy / "c").mkdir()
    (hierarchy / "c" / "pids.max").symlink_to(hierarchy.parent / "outside" / "pids.max")
    directory = Directory(str(hierarchy), ["c"], ("pids",), 1)
    for action in (lambda: directory.write("pids.max", "1"), lambda: directory.read("pids.max")):
        with pytest.raises(OSError, match=REFUSED):
            action()
    directory.close()
    assert (hierarchy.parent / "outside" / "pids.max").read_text() == "theirs"


@pytest.mark.parametrize("names", [[".."], ["a", "..", "..", "outside"]])
def test_dots_that_come_this_far_are_refused(hierarchy: Path, names: list[str]) -> None:
    (hierarchy / "a").mkdir()
    directory = Directory(str(hierarchy), names, ("pids",), len(names))
    with pytest.raises(OSError, match=REFUSED):
        directory.write("pids.max", "1")
    assert (hierarchy.parent / "outside" / "pids.max").read_text() == "theirs"
