"""How much each security test tried, whether it held, and whether its controls were red: the rows of a table.

A control is the same attack on something that is known to fall for it: a runtime of the distribution that has the
defect, or a deliberately naive double. A test whose control is not red proves nothing, and fails.

BOXES_SECURITY_TABLE names a file that gets one JSON object a test: {"test", "points", "verdict", "controls"}.
"""

from __future__ import annotations

import json
import os
import random
import signal
from collections.abc import Sequence
from typing import TypeVar

import pytest

T = TypeVar("T")

# How much is tried: "fast" is what each run of all tests can afford, "sample" some minutes, "full" all there is.
SIZE = os.environ.get("BOXES_SECURITY") or "fast"
SEED = int(os.environ.get("BOXES_SEED") or 1)  # another one tries other cases
FULL = SIZE == "full"


def size(fast: int, sample: int, full: int) -> int:
    """The number for this run's size."""
    return {"fast": fast, "sample": sample, "full": full}[SIZE]


def some(cases: Sequence[T], fast: int, sample: int | None = None) -> list[T]:
    """As many of the cases as this run's size allows, in their order; all for "full", or where no number is given."""
    count = size(fast, len(cases) if sample is None else sample, len(cases))
    chosen = random.Random(SEED).sample(range(len(cases)), min(count, len(cases)))
    return [cases[number] for number in sorted(chosen)]


def patience(fast: int, sample: int, full: int) -> None:
    """Reset the watchdog to these seconds: a whole sweep takes longer than a test may."""
    signal.alarm(size(fast, sample, full))


class Row:
    """What is known of one test, which is a file here."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.points = 0
        self.failed = False
        self.controls: dict[str, str] = {}

    def tried(self, points: int = 1) -> None:
        """So many cases more."""
        self.points += points

    def red(self, control: str, is_red: bool) -> None:
        """The control must have fallen for the attack, once at least."""
        if is_red or control not in self.controls:
            self.controls[control] = "red" if is_red else "not red"
        assert is_red, f"{control} withstood the attack: the test may be unable to fail"

    def not_run(self, control: str, reason: str) -> None:
        """The control cannot be had here."""
        self.controls.setdefault(control, f"not run: {reason}")
        pytest.skip(reason)

    def as_json(self) -> str:
        verdict = "failed" if self.failed else "ok"
        return json.dumps(
            {"test": self.name, "points": self.points, "verdict": verdict, "controls": self.controls},
        )


class Table:
    """The rows of a run."""

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}

    def row(self, item: pytest.Item) -> Row:
        name = item.path.stem.removeprefix("test_").replace("_", " ")
        return self.rows.setdefault(name, Row(name))

    def append_to(self, path: str) -> None:
        with open(path, "a") as file:
            file.writelines(row.as_json() + "\n" for row in self.rows.values())
