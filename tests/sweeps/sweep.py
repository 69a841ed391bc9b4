"""A sweep over many points, in processes side by side, each with a scene of its own."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from tests.support import reaper
from tests.sweeps.faults import Faults, Lacks
from tests.sweeps.kills import Kills
from tests.sweeps.points import Point, of_any_task
from tests.sweeps.scene import Scene
from tests.sweeps.verbs import VERBS

KINDS = {"faults": Faults, "lacks": Lacks, "kills": Kills}


class Job(NamedTuple):
    """What is swept: the kind of sweep, verb, shape and runtime; of all calls or of these, `limit` points at most, chosen
    by `seed`."""

    kind: str
    verb: str
    shape: str
    runtime: Path
    error: str = ""
    limit: int = 0
    seed: int = 1
    calls: tuple[str, ...] = ()

    @property
    def ours(self) -> bool:
        return self.runtime.name == "box"


class Outcome(NamedTuple):
    """How many points there were, how many were reached, exit statuses, and what was found."""

    points: int
    reached: int
    codes: Counter[str]
    findings: list[str]

    def kinds(self) -> Counter[str]:
        """Points by what is wrong with them."""
        found = {(line.split(": ")[1], line.split(": ")[0]) for line in self.findings}
        return Counter(kind for kind, _ in found)


def sweep(job: Job, *, workers: int = 2, progress: Callable[[str], None] = lambda line: None) -> Outcome:
    """Try all points of a job, or its sample."""
    with reaper.paused():  # the workers are waited for here
        return _sweep(job, workers, progress)


def _sweep(job: Job, workers: int, progress: Callable[[str], None]) -> Outcome:
    pipes = [_worker(job, number, workers) for number in range(workers)]
    total = Outcome(0, 0, Counter(), [])
    for pid, stream in pipes:
        with stream:
            for line in stream:
                message = json.loads(line)
                for finding in message["findings"]:
                    progress(finding)
                total = Outcome(
                    total.points + message["points"],
                    total.reached + message["reached"],
                    total.codes + Counter(message["codes"]),
                    total.findings + message["findings"],
                )
        if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != 0:
            total.findings.append("all: broken: a worker ended early")
    return total


def _worker(job: Job, number: int, workers: int) -> tuple[int, Any]:
    reader, writer = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writer)
        return pid, os.fdopen(reader)
    code = 1
    try:
        os.close(reader)
        reaper.afresh()
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(0)
        with os.fdopen(writer, "w", buffering=1) as out:
            _work(job, number, workers, out)
        code = 0
    except BaseException as error:  # noqa: BLE001 - this is a fork of whatever called
        print(f"sweep: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
    finally:
        os._exit(code)


def _work(job: Job, number: int, workers: int, out: Any) -> None:
    scene = Scene(job.runtime, job.shape)
    try:
        verb = VERBS[job.verb](scene)
        trial: Any = KINDS[job.kind](scene, verb, error=job.error, ours=job.ours)
        for point in chosen(trial.points(), job)[number::workers]:
            reached, code, found = trial(point)
            findings = [f"{point}: {line.strip()}" for line in found]
            message = {"points": 1, "reached": int(reached), "codes": {str(code): 1}, "findings": findings}
            out.write(json.dumps(message) + "\n")
    finally:
        scene.close()


def chosen(found: list[Point], job: Job) -> list[Point]:
    """All points, or `limit` of them; those of a runtime whose threads have no order as strace(1) counts them."""
    points = found if job.ours else of_any_task(found)
    if job.calls:
        points = [point for point in points if point.call in job.calls]
    if not job.limit or job.limit >= len(points):
        return points
    return random.Random(f"{job.seed} {job.verb} {job.shape}").sample(points, job.limit)


def describe(job: Job, outcome: Outcome, begun: float) -> str:
    """One line for people."""
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(outcome.kinds().items())) or "ok"
    seconds = time.monotonic() - begun
    codes = " ".join(f"{code}×{count}" for code, count in outcome.codes.most_common(6))
    return f"{job.kind} {job.verb} {job.shape}: {outcome.points} points, {outcome.reached} reached: {kinds} ({codes}; {seconds:.0f} s)"
