"""All of it, and one table: scripts/security."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from tests.support.runtime import CHECKOUT
from tests.sweeps.shapes import SHAPES
from tests.sweeps.sweep import Job, Outcome, describe, sweep
from tests.sweeps.verbs import VERBS

BOX = CHECKOUT / "bin/box"


class Row(NamedTuple):
    """A line of the table: a test, how much of it was tried, whether it is well, and what the controls gave."""

    test: str
    points: str
    verdict: str
    controls: dict[str, str] | None = None

    @property
    def well(self) -> bool:
        return self.verdict == "ok"


class Size(NamedTuple):
    """How much is tried: 0 points of a sweep are all of them, 1 as shortage is each. A control need only be seen red."""

    points: int
    control: int
    shortage: int
    configs: int
    commands: int
    fuzzing: int
    containers: int


SIZES = {"sample": Size(24, 24, 32, 5000, 2000, 20, 80), "full": Size(0, 120, 1, 100_000, 10_000, 600, 20_000)}


def sweeps(size: Size, seed: int) -> Iterator[Row]:
    for kind in ("faults", "lacks", "kills"):
        for verb in VERBS:
            yield _swept(Job(kind, verb, "confined", BOX, limit=size.points, seed=seed))
        for shape in set(SHAPES) - {"confined"}:
            yield _swept(Job(kind, "create", shape, BOX, limit=size.points and size.points // 2, seed=seed))
    outcomes = {name: _control(name, size, seed) for name in ("crun", "runc")}
    yield Row("controls of the sweep of failing calls: run, plain", str(size.control), "ok", outcomes)


def _swept(job: Job) -> Row:
    begun = time.monotonic()
    outcome = sweep(job, progress=lambda line: print(f"  {line}", flush=True))
    print(describe(job, outcome, begun), flush=True)
    verdict = "failed" if outcome.findings or not outcome.points else "ok"
    return Row(f"{job.kind}: {job.verb}, {job.shape}", str(outcome.points), verdict)


def _control(name: str, size: Size, seed: int) -> str:
    """Whether the harness sees what this runtime leaves."""
    path = shutil.which(name)
    if path is None:
        return "not run: it is not installed"
    outcome: Outcome = sweep(Job("faults", "run", "plain", Path(path), limit=size.control, seed=seed))
    if not outcome.points:
        return "not run: it runs no container here"
    kinds = outcome.kinds()
    wrong = ", ".join(f"{kinds[kind]} {kind}" for kind in ("leak", "left", "hang", "silent") if kinds[kind])
    return f"red: {wrong} of {outcome.points}" if wrong else "not red"


def _program(test: str, points: str, *command: str, env: dict[str, str] | None = None) -> Row:
    """A test that is a program of its own."""
    print(f"{test}: {' '.join(command)}", flush=True)
    done = subprocess.run(command, cwd=CHECKOUT, env={**os.environ, **(env or {})}, check=False)
    return Row(test, points, "ok" if done.returncode == 0 else "failed")


def programs(size: Size, seed: int) -> Iterator[Row]:
    python = sys.executable
    numbers = [str(number) for number in (size.configs, size.commands, seed)]
    points = f"{size.configs} + {size.commands}"
    yield _program("odd configs", points, python, "-m", "tests.fuzz.configs", *numbers)
    yield _program("shortages", f"every {size.shortage}.", python, "-m", "tests.sweeps.shortage", str(size.shortage))
    if shutil.which("clang"):
        yield _program("plans of inner (libFuzzer)", f"{size.fuzzing} s", "scripts/fuzz-plan", str(size.fuzzing))
    else:
        yield Row("plans of inner (libFuzzer)", "0", "not run: needs clang")


def soak(size: Size) -> Iterator[Row]:
    yield _program("soak", f"{size.containers}", sys.executable, "-m", "tests.sweeps.soak", str(size.containers))


def older_kernels() -> Iterator[Row]:
    """The integration tests again, where the kernel does not know what has a substitute; what has none is refused."""
    lacking = "tests/integration/test_older_kernels.py"
    yield _program("each verb without clone3, openat2, fsopen, …", "all", sys.executable, "-m", "pytest", "-q", lacking)
    for call in ("renameat2", "mount_setattr", "close_range"):
        suite = ("-m", "pytest", "-q", "tests/integration")
        yield _program(
            f"integration tests without {call}",
            "all",
            sys.executable,
            "-m",
            "tests.support.enosys",
            call,
            sys.executable,
            *suite,
        )


def sanitized() -> Iterator[Row]:
    yield _program("integration tests with sanitizers", "all", "scripts/test-sanitized")


def advisories(mode: str, seed: int) -> Iterator[Row]:
    """The tests of tests/security, which write their own rows."""
    if not (CHECKOUT / "tests/security").is_dir():
        return
    table = CHECKOUT / "build/security.jsonl"
    table.parent.mkdir(exist_ok=True)
    table.unlink(missing_ok=True)
    env = {"BOXES_SECURITY": mode, "BOXES_SEED": str(seed), "BOXES_SECURITY_TABLE": str(table)}
    whole = _program("tests/security", "all", sys.executable, "-m", "pytest", "-q", "tests/security", env=env)
    for line in table.read_text().splitlines() if table.exists() else ():
        row = json.loads(line)
        yield Row(row["test"], str(row["points"]), row["verdict"], row.get("controls") or {})
    if not whole.well:
        yield whole


def show(rows: list[Row]) -> None:
    """As the table of docs/security.md."""
    cells = [("test", "points", "verdict", "controls"), ("---",) * 4]
    for row in rows:
        controls = "; ".join(f"{name}: {found}" for name, found in (row.controls or {}).items())
        cells.append((row.test, row.points, row.verdict, controls))
    widths = [max(len(line[column]) for line in cells) for column in range(3)]
    for line in cells:
        print("|", " | ".join([*map(str.ljust, line, widths), line[3]]), "|")


def suites(mode: str, seed: int) -> Iterator[Row]:
    """What pytest runs: one after another, for each looks for what is left of its own."""
    if mode == "full":
        yield from sanitized()
        yield from older_kernels()
    yield from advisories(mode, seed)


def side_by_side(one: Iterator[Row], other: Iterator[Row]) -> list[Row]:
    """For two cores, which neither keeps busy alone. The other is this thread's: sweeps fork."""
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(list, one)
        second = list(other)
        return first.result() + second


def main(mode: str = "sample", seed: str = "") -> int:
    size = SIZES[mode]
    number = int(seed or os.environ.get("BOXES_SEED") or time.time_ns() % 100_000)
    print(f"BOXES_SEED={number}", flush=True)
    rows = side_by_side(suites(mode, number), chain(programs(size, number), sweeps(size, number)))
    rows += soak(size)
    print()
    show(rows)
    return 0 if all(row.well or re.match("not run", row.verdict) for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
