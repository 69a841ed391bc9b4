"""Another process in a container, as a script (script.py): the maker's fork makes it and stays as its keeper."""

from __future__ import annotations

from _struct import pack

from boxes.linux import flags as k
from boxes.plan.exec import Joined, exec_steps
from boxes.plan.inner import UNDO, Steps, string
from boxes.plan.scripted import GIVEN, NONE, O_PLACE, O_WRITE, REPLY, Child, Process, compare

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from boxes.plan.facts import Facts
    from boxes.plan.process import Confinement

_PIDFD = GIVEN  # of the container's init


class ExecScript:
    """`steps`, and in `execute` the number of the execve, which is another for each process.

    `cgroups`: the path of each, and whether it is one of v2; `frozen`: the file that tells of a frozen container, if
    there is one.
    """

    def __init__(
        self,
        settings: dict[str, Any],
        facts: Facts,
        given: Confinement,
        cgroups: list[tuple[str, bool]],
        frozen: str | None,
    ) -> None:
        self.steps = Steps()
        host = Process(self.steps, (0, 1, 2, REPLY, _PIDFD))
        undo = len(self.steps)
        self.steps.add(UNDO, pack("=I", 0), "undo", "")
        if frozen is not None:
            parent, _, name = frozen.rpartition("/")
            directory = host.open("openat", k.AT_FDCWD, string(parent), O_PLACE)
            compare(host, directory, name, "0\n")
            host.close(directory)
        born, entries = NONE, []
        for path, unified in cgroups:
            if unified:
                born = host.open("openat", k.AT_FDCWD, string(path), O_PLACE)
            else:
                entries.append(host.open("openat", k.AT_FDCWD, string(f"{path}/tasks"), O_WRITE))
        child = Child(host)
        child.begin(other=True)
        self.steps.extend(exec_steps(settings, facts, given, Joined(_PIDFD, -1, entries)))
        self.execute = len(self.steps) - 1
        child.end(0, born)
        first = child.pidfd
        child.launched()
        host.close(_PIDFD, *entries, *([] if born == NONE else [born]))
        child.keep(f"box: keeper {facts.id}", -1, [])
        host.call("exit_group", 0)
        self.steps.replace(undo, UNDO, pack("=I", len(self.steps)))
        child.take_back(first)
        host.call("exit_group", 1)
