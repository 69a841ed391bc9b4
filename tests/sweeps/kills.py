"""A verb is killed at each system call of each of its processes: `delete --force` takes away what that leaves, and the
same `create` works again.
"""

from __future__ import annotations

import subprocess

from tests.sweeps import points
from tests.sweeps.faults import DEADLINE, Faults
from tests.sweeps.points import Point, Traced
from tests.sweeps.scene import end_children
from tests.sweeps.verbs import Findings


class Kills(Faults):
    """A sweep over one verb, with SIGKILL instead of an error."""

    def attempt(self, point: Point) -> tuple[bool, int, Findings]:
        self.verb.prepare()
        found: Findings = []
        command = self.scene.command(*self.verb.args())
        try:
            traced = points.run(command, points.killing(point), self.scene.directory, DEADLINE)
            if "Traceback" in traced.err:
                found.append(f"traceback: {traced.err[-300:]}")
        except subprocess.TimeoutExpired:
            found.append(f"hang: more than {DEADLINE} s")
            traced = Traced(124, "", True)
            end_children()
        found += self._cleaned()
        again = self.scene.create()
        if again.code:
            found.append(f"again: {again.err}")
        return traced.reached, traced.code, found + self._cleaned()
