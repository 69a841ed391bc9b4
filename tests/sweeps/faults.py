"""Each system call of a verb fails once: 0 leaks, 0 hangs, 0 tracebacks, 0 silent failures."""

from __future__ import annotations

import subprocess
import time

from tests.sweeps import points
from tests.sweeps.points import Point, Traced
from tests.sweeps.scene import Scene, end_children
from tests.sweeps.verbs import Findings, Verb, attempt

HANG = 2.0  # seconds
DEADLINE = 6.0


class Faults:
    """A sweep over one verb. `ours`: errors are to be one line, and say whose they are."""

    what = staticmethod(points.failing)

    def __init__(self, scene: Scene, verb: Verb, *, error: str = "", ours: bool = True) -> None:
        self.scene = scene
        self.verb = verb
        self.error = error
        self.ours = ours

    def points(self) -> list[Point]:
        """All points, from a run without a failure; it also makes what is made once only."""
        for _ in range(2):
            self.verb.prepare()
            found = points.record(self.command(), self.scene.directory, **self.scene.caller)
            problems = attempt(self.verb.done)
            self.scene.delete()
            assert found.code == self.verb.success, f"{self.verb.name} gives {found.code}"
            assert not problems, problems
            self.scene.settle()
        return [point for point in found.points if point.call not in points.NEVER_FAIL]

    def __call__(self, point: Point) -> tuple[bool, int, Findings]:
        """Try one: whether it was reached, the exit status, and what is wrong. What is slow is tried again twice, as the
        machine can be, too."""
        for _ in range(2):
            reached, code, found = self.attempt(point)
            if not any(line.startswith("hang: ") for line in found):
                return reached, code, found
        return self.attempt(point)

    def attempt(self, point: Point) -> tuple[bool, int, Findings]:
        self.verb.prepare()
        found: Findings = []
        begun = time.monotonic()
        try:
            traced = self.traced(self.what(point, self.error))
            seconds = time.monotonic() - begun
            if seconds > HANG:
                found.append(f"hang: {seconds:.1f} s")
            if traced.code != self.verb.success:
                traced = traced._replace(err=points.words(self.scene.directory, points.PATIENCE))
            found += self._told(traced)
            check = self.verb.done if traced.code == self.verb.success else self.verb.failed
            kind = "wrong" if traced.code == self.verb.success else "left"
            found += [f"{kind}: {line}" for line in attempt(check)]
        except subprocess.TimeoutExpired:
            found.append(f"hang: more than {DEADLINE} s")
            traced = Traced(124, "", True)
            end_children()
        found += self._cleaned()
        return traced.reached, traced.code, found

    def command(self) -> list[str]:
        return self.scene.command(*self.verb.args())

    def traced(self, what: list[str]) -> Traced:
        """The verb, with something happening to it."""
        return points.run(self.command(), what, self.scene.directory, DEADLINE, **self.scene.caller)

    def _told(self, traced: Traced) -> Findings:
        if "Traceback" in traced.err:
            return [f"traceback: {traced.err[-300:]}"]
        if traced.code == self.verb.success:
            return [f"noise: {traced.err[:300]}"] if "cannot start: " in traced.err else []
        if not traced.err.strip():
            return [f"silent: {traced.code}"]
        if self.ours and (not traced.err.startswith("box: ") or traced.err.count("\n") != 1):
            return [f"lines: {traced.code}: {traced.err[:300]}"]
        return []

    def _cleaned(self) -> Findings:
        """`delete --force` takes away whatever there is."""
        done = self.scene.delete()
        found = [f"delete: {done.err}"] if done.code and "Traceback" not in done.err else []
        left = self.scene.settled()
        if left:
            self.scene.reset()
        return found + [f"leak: {line}" for line in left]


class Lacks(Faults):
    """Of each system call by name, all fail: a host that forbids it, or lacks what it takes. What then cannot even be
    taken back, `delete --force` takes away when nothing lacks; and without write(2) nothing can be said."""

    what = staticmethod(points.lacking)

    def points(self) -> list[Point]:
        return [Point(-1, call, 1) for call in sorted({point.call for point in super().points()})]

    def attempt(self, point: Point) -> tuple[bool, int, Findings]:
        reached, code, found = super().attempt(point)
        spared = ("left: ", "lines: ", "silent: ") if point.call == "write" else ("left: ", "lines: ")
        return reached, code, [line for line in found if not line.startswith(spared)]
