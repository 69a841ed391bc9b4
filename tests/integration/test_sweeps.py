"""A verb of which one system call fails, or which is killed at one: a sample of what `python -m tests.sweeps` tries whole.

Which points are tried says a seed, which is printed; BOXES_SEED repeats one, and with BOXES_SWEEP set all are tried.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from tests.support.marks import not_for, requires
from tests.support.runtime import CHECKOUT, executable
from tests.sweeps.shapes import SHAPES
from tests.sweeps.sweep import Job, sweep
from tests.sweeps.verbs import VERBS

pytestmark = [
    not_for("runc", "crun", reason="they leave some of it"),
    requires("cc"),
    pytest.mark.skipif(os.uname().machine != "x86_64", reason="tests/support/inject.c is for x86-64"),
]

SEED = int(os.environ.get("BOXES_SEED") or 1)
WHOLE = bool(os.environ.get("BOXES_SWEEP"))


def holds(kind: str, verb: str, shape: str, limit: int, calls: tuple[str, ...] = ()) -> None:
    """Nothing is wrong at any of the points, of which the first are the loader's and the interpreter's."""
    print(f"BOXES_SEED={SEED}")
    signal.alarm(3600 if WHOLE else 60)
    job = Job(kind, verb, shape, executable(), limit=0 if WHOLE else limit, seed=SEED, calls=calls)
    outcome = sweep(job, workers=2 if WHOLE else 1)
    assert outcome.findings == []
    assert outcome.reached >= 0.8 * outcome.points, "the runs differ too much"


@pytest.mark.parametrize("verb", VERBS)
def test_verb_of_which_a_call_fails_is_done_or_says_why_and_leaves_nothing(verb: str) -> None:
    holds("faults", verb, "confined", 10)


@pytest.mark.parametrize("shape", SHAPES)
def test_create_of_which_a_call_fails_leaves_nothing(shape: str) -> None:
    holds("faults", "create", shape, 6)


@pytest.mark.parametrize("kind", ["faults", "kills"])
def test_create_whose_processes_lose_sight_of_each_other_leaves_nothing(kind: str) -> None:
    """The process between runtime and builder ends early; or there is a builder whose pid the runtime never hears."""
    holds(kind, "create", "staged", 0, calls=("sendmsg", "wait4", "clone3", "pidfd_open", "unshare", "poll"))


def test_start_is_done_whatever_becomes_of_its_last_hooks() -> None:
    holds("faults", "start", "confined", 0, calls=("memfd_create", "lseek", "pidfd_open", "pread64", "vfork", "clone"))


@pytest.mark.parametrize("verb", VERBS)
def test_verb_that_is_killed_leaves_nothing_that_delete_does_not_take_away(verb: str) -> None:
    holds("kills", verb, "confined", 6)


@pytest.mark.parametrize("shape", sorted(set(SHAPES) - {"confined"}))
def test_create_that_is_killed_leaves_nothing_that_delete_does_not_take_away(shape: str) -> None:
    holds("kills", "create", shape, 4)


def test_create_with_too_little_address_space_leaves_nothing() -> None:
    command = [sys.executable, "-m", "tests.sweeps.shortage", "0"]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
