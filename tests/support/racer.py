"""The adversary of whoever resolves a path twice: two names that trade places all the time."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.rootfs import probe_program
from tests.support.runtime import ENVIRONMENT


@contextmanager
def exchanged(*pairs: tuple[Path, Path]) -> Iterator[list[subprocess.Popen[bytes]]]:
    """The names of each pair are exchanged by renameat2(2) as fast as a CPU can, by a process for each pair."""
    program = str(probe_program("exchange"))
    racers = [subprocess.Popen([program, str(one), str(other)], env=ENVIRONMENT, stdin=-3) for one, other in pairs]
    try:
        yield racers
        assert all(racer.poll() is None for racer in racers), "a racer gave up"
    finally:
        for racer in racers:
            racer.kill()
            racer.wait()
