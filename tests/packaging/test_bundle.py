"""src/boxes/bundle.py and what reads it: whatever becomes of its files, commands work, and the next one is quick again."""

from __future__ import annotations

import marshal
import os
import random
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.marks import requires
from tests.sweeps import points

CHECKOUT = Path(__file__).parents[2]
SEED = int(os.environ.get("BOXES_SEED") or 1)
_CACHE = "src/boxes/__pycache__"


class Prefix:
    """A copy of the checkout's box."""

    def __init__(self, path: Path) -> None:
        self.path = path
        for folder in ("bin", "src"):
            shutil.copytree(CHECKOUT / folder, path / folder)
        package = f"{path}/src/boxes"
        subprocess.run(["/usr/bin/python3", "-X", "no_debug_ranges", f"{package}/bundle.py", package], check=True)

    @property
    def bundle(self) -> Path:
        return next((self.path / _CACHE).glob("bundle.cpython-*[0-9]"))

    @property
    def library(self) -> Path:
        return next((self.path / _CACHE).glob("!*._pth"))

    def works(self) -> None:
        done = subprocess.run([self.path / "bin/box", "--version"], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("box version ")

    def is_quick(self) -> bool:
        """Whether a command finds all as it should be: else it would be written anew."""
        before = self.files()
        self.works()
        return self.files() == before

    def files(self) -> list[int]:
        return [os.stat(file).st_ino for file in (self.bundle, self.library)]

    def heals(self) -> None:
        """The next command works, and the ones after that are quick."""
        self.works()
        assert self.is_quick()
        assert not list((self.path / _CACHE).glob("*.new"))


@pytest.fixture
def prefix(tmp_path: Path) -> Prefix:
    return Prefix(tmp_path / "prefix")


def test_installed_box_is_quick(prefix: Prefix) -> None:
    assert prefix.is_quick()


def test_lost_files_are_written_by_the_next_command(prefix: Prefix) -> None:
    prefix.bundle.unlink()
    prefix.heals()
    prefix.library.unlink()
    prefix.heals()


@requires("cc")
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="tests/support/inject.c is for x86-64")
def test_start_that_fails_to_read_it_once_does_not_write_it_anew(prefix: Prefix, tmp_path: Path) -> None:
    before = prefix.files()
    command = [f"{prefix.path}/bin/box", "--version"]
    reads = [point for point in points.record(command, tmp_path).points if point.call == "read"]
    for point in reads:
        points.run(command, points.failing(point), tmp_path, 20)
        assert prefix.files() == before, point


def test_bundle_that_is_cut_short_breaks_nothing(prefix: Prefix) -> None:
    print(f"BOXES_SEED={SEED}")
    whole = prefix.bundle.read_bytes()
    chance = random.Random(SEED)
    for size in [0, 3, 4, len(whole) - 1, *(chance.randrange(len(whole)) for _ in range(4))]:
        prefix.bundle.write_bytes(whole[:size])
        prefix.heals()


def test_damaged_path_of_the_library_breaks_nothing(prefix: Prefix) -> None:
    whole = prefix.library.read_text()
    cut = [whole[:size] for size in range(0, len(whole), 20)]
    other = [whole.replace("/usr", "/nowhere"), whole + "#", whole.replace("../start\n", ""), "\0" * 64, "é" * 9000]
    for text in [*cut, *other]:
        prefix.library.write_text(text)
        prefix.heals()


def test_copied_package_runs_its_own_modules(prefix: Prefix, tmp_path: Path) -> None:
    shutil.copytree(prefix.path, tmp_path / "copy")
    version = tmp_path / "copy/src/boxes/version.py"
    version.write_text(version.read_text().replace('VERSION = "', 'VERSION = "9', 1))
    done = subprocess.run([tmp_path / "copy/bin/box", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("box version 9")
    original = subprocess.run([prefix.path / "bin/box", "--version"], capture_output=True, text=True, check=True)
    assert not original.stdout.startswith("box version 9")


def test_bundle_of_another_interpreter_with_the_same_tag_is_not_used(prefix: Prefix) -> None:
    whole = prefix.bundle.read_bytes()
    size = int.from_bytes(whole[:4], "little")
    finder, facts = marshal.loads(whole[4 : 4 + size])  # noqa: S302 - our own
    facts["identity"] = facts["identity"].replace("3.11", "3.11.99 of somebody else, ", 1)
    head = marshal.dumps((finder, facts))
    prefix.bundle.write_bytes(len(head).to_bytes(4, "little") + head + whole[4 + size :])
    prefix.heals()
    prefix.bundle.write_bytes(whole)
    prefix.heals()
