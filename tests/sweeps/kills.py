"""A verb is killed at each system call of each of its processes: `delete --force` takes away what that leaves, and the
same `create` works again.
"""

from __future__ import annotations

import subprocess

from tests.sweeps import points
from tests.sweeps.faults import DEADLINE, Faults
from tests.sweeps.points import Point, Traced
from tests.sweeps.scene import end_children
from tests.sweeps.verbs import Findings, attempt

KILLED = 137  # 128 + SIGKILL: the command itself


class Kills(Faults):
    """A sweep over one verb, with SIGKILL instead of an error."""

    def attempt(self, point: Point) -> tuple[bool, int, Findings]:
        self.verb.prepare()
        found: Findings = []
        try:
            traced = self.traced(points.killing(point))
            if traced.code not in (KILLED, self.verb.success):  # another of its processes was, and it takes all back
                found += self._told(traced)
                found += [f"left: {line}" for line in attempt(self.verb.failed)]
        except subprocess.TimeoutExpired:
            found.append(f"hang: more than {DEADLINE} s")
            traced = Traced(124, "", True)
            end_children()
        found += self._cleaned()
        again = self.scene.create()
        if again.code:
            found.append(f"again: {again.err}")
        return traced.reached, traced.code, found + self._cleaned()
