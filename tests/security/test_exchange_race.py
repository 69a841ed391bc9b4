"""A volume that two containers share: what is found below it by one look is another thing at the next.

CVE-2021-30465, CVE-2024-45310, CVE-2026-55686, CVE-2026-41568, CVE-2018-15664, GHSA-3q8j-pf29-vwv8, CVE-2024-1753.
"""

from __future__ import annotations

import itertools
import json
import os
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.bundle import Bundle
from tests.support.canaries import Outside, tree
from tests.support.marks import requires
from tests.support.probe import parse_mountinfo
from tests.support.racer import exchanged
from tests.support.runtime import Runtime
from tests.support.tally import Row, patience, size

MOUNTS = 20
# Wait before each of the calls by which a path is resolved, or an object made or mounted: the race without luck.
SLOWED = ("openat2", "mkdirat", "mknodat", "symlinkat", "move_mount", "open_tree")


class Volume:
    """A directory of the host's with names that trade places: directories, and links out of the container."""

    def __init__(self, bundle: Bundle, outside: Outside) -> None:
        self.path = bundle.host_directory("volume")
        self.outside = outside
        self.pairs = []
        targets = [str(outside.path / "deep"), "../" * 20 + str(outside.path / "deep").lstrip("/")]
        for number, target in enumerate(targets):
            directory, link = self.path / f"place{number}", self.path / f"link{number}"
            directory.mkdir()
            link.symlink_to(target)
            self.pairs.append((directory, link))

    def populate(self, bundle: Bundle) -> None:
        """Mounts of all kinds below what trades places; the directories and files to mount on are to be made."""
        file = bundle.host_directory("bound", file="x") / "file"
        bundle.mount("/volume", "bind", self.path, "rbind")
        for number in range(MOUNTS // 2):
            bundle.mount(f"/volume/place{number % 2}/a{number}/b", "tmpfs", "tmpfs")
            bundle.mount(f"/volume/place{number % 2}/f{number}", "bind", file, "bind")
        bundle.process["cwd"] = "/volume/place0/made/by/runtime"
        bundle.linux["devices"] = [
            {"path": f"/volume/place{number}/null", "type": "c", "major": 1, "minor": 3} for number in range(2)
        ]


@pytest.fixture
def volume(bundle: Bundle, outside: Outside) -> Volume:
    return Volume(bundle, outside)


def test_mounts_below_a_shared_volume_lead_nowhere(box: Runtime, bundle: Bundle, volume: Volume, tally: Row) -> None:
    patience(60, 400, 7200)
    volume.populate(bundle)
    rounds, made = size(20, 400, 10_000), 0
    with exchanged(*volume.pairs):
        for _ in range(rounds):
            result = box.run(bundle)
            made += result.code == 0
            assert result.code in (0, 1), result.err
            assert "Traceback" not in result.err
            volume.outside.unchanged()
    tally.tried(rounds)
    print(f"{made} of {rounds} ran")


@requires("strace")
@pytest.mark.parametrize("call", SLOWED)
def test_however_long_the_time_between_look_and_use(
    box: Runtime, bundle: Bundle, volume: Volume, tally: Row, call: str
) -> None:
    patience(60, 300, 1200)
    volume.populate(bundle)
    inject = ("-e", f"trace={call}", "-e", f"inject={call}:delay_enter=1ms")
    slow = ("strace", "-f", "-qq", "--seccomp-bpf", "-o", "/dev/null", *inject)
    rounds = size(1, 15, 200)
    with exchanged(*volume.pairs):
        for _ in range(rounds):
            result = box.run(bundle, prefix=slow, timeout=30)
            assert result.code in (0, 1), result.err
            volume.outside.unchanged()
    tally.tried(rounds)


def test_read_only_path_that_is_exchanged_is_never_left_writable(box: Runtime, bundle: Bundle, tally: Row) -> None:
    """GHSA-3q8j-pf29-vwv8: bound at one object, made read-only at another."""
    patience(60, 300, 3600)
    shared = bundle.host_directory("volume")
    pairs = [(shared / f"{name}-1", shared / f"{name}-2") for name in ("ro", "masked")]
    for pair in pairs:
        for place in pair:
            place.mkdir()
    bundle.mount("/volume", "bind", shared, "rbind")
    bundle.linux.update(readonlyPaths=["/volume/ro-1"], maskedPaths=["/volume/masked-1"])
    rounds = size(20, 300, 10_000)
    with exchanged(*pairs):
        for _ in range(rounds):
            mounts = parse_mountinfo(box.probe(bundle)["mountinfo"])
            below = [mount for mount in mounts if mount.point.startswith("/volume/")]
            assert len(below) == 2
            assert all("ro" in mount.options for mount in below), below
    tally.tried(rounds)


def test_source_that_is_exchanged_is_one_or_the_other(box: Runtime, bundle: Bundle, tally: Row) -> None:
    """The object that was opened is the one that is mounted, with the type that was found."""
    shared = bundle.host_directory("sources")
    (shared / "directory").mkdir()
    (shared / "file").write_text("file")
    bundle.mount("/mnt/bound", "bind", shared / "directory", "bind", "ro").args("/bin/probe")
    rounds = size(10, 200, 2000)
    patience(60, 120, 1200)
    with exchanged((shared / "directory", shared / "file")):
        for _ in range(rounds):
            for made in (bundle.rootfs / "mnt").iterdir():
                made.rmdir() if made.is_dir() else made.unlink()
            result = box.run(bundle)
            assert result.code in (0, 1), result.err
            if result.code == 0:
                assert "ro" in json.loads(result.out)["mountinfo"].split("/mnt/bound ")[1].split()[0].split(",")
    tally.tried(rounds)


def naive_make(root: Path, destination: str) -> None:
    """As runtimes did: resolve, check, then make what is missing, by the same name."""
    place = root / destination
    if os.path.realpath(place).startswith(str(root) + "/"):
        place.mkdir(parents=True, exist_ok=True)


def test_control_makes_a_directory_outside(bundle: Bundle, volume: Volume, tally: Row) -> None:
    """The double has ten seconds to lose once."""
    end = time.monotonic() + 10
    names = (f"place0/made{number}" for number in itertools.count())
    with exchanged(*volume.pairs):
        while tree(volume.outside.path) == volume.outside.before and time.monotonic() < end:
            for name in itertools.islice(names, 50):
                with suppress(OSError):
                    naive_make(volume.path, name)
    tally.red("naive realpath and makedirs", volume.outside.changed())
