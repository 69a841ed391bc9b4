"""A script: a container's whole life as one plan of inner's, from the first directory that is made for it to the last
that is removed. No interpreter takes part (docs/adr/0015-scripts.md).

The maker (native/inner.c) carries it out, in a fork that begins on the host: it makes journal, cgroups and a child. The
child becomes the container; its parent stays as the keeper. What the builder decides when it looks is decided here, and
checked by the calls themselves: whatever gives another result than foreseen ends the script, which takes back what it
has made, and then the container is made in the ordinary way. So a script knows the usual and refuses the rest.

Descriptors need no names: the lowest number that is free comes next, so each is known ahead, and each call has to give
just that.
"""

from __future__ import annotations

from _struct import pack

from boxes.linux import flags as k
from boxes.plan import script_root
from boxes.plan.container import init_steps
from boxes.plan.descriptors import Descriptors
from boxes.plan.inner import DEVICES, PASS, REMOVED, UNDO, WRITE, Steps, string
from boxes.plan.scripted import (
    GIVEN,
    INODE,
    NONE,
    O_DIRECTORY,
    O_PLACE,
    O_READ,
    O_WRITE,
    REPLY,
    SIGKILL,
    TEXT,
    Child,
    Process,
    compare,
    write_note,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from boxes.plan.container import Plan
    from boxes.plan.facts import Facts
    from boxes.plan.process import Confinement
    from boxes.plan.scripted import Part

_LOCK, _TRY_LOCK, _UNLOCK = 2, 6, 8  # flock(2)
_AT_REMOVEDIR = 0x200
_ENOENT, _EPIPE = 2, 32
_FILES = ("config.json", "state.json.new", "state.json")  # of the container's directory


class Cgroup:
    """One that is made: `name` in `parent`, which is there. `settings`: (file, line)s that are written; `passed_on`:
    files that are to hold what the parent's do; `compared`: (file, content)s that have to be so; `devices`: the program
    that confines it to devices, on v2."""

    def __init__(self, parent: str, name: str, controllers: Sequence[str]) -> None:
        self.parent = parent
        self.path = f"{parent}/{name}"
        self.controllers = controllers
        self.settings: list[tuple[str, str]] = []
        self.passed_on: list[str] = []
        self.compared: list[tuple[str, str]] = []
        self.devices = b""
        self.fd = -1

    def make(self, host: Process) -> None:
        host.call("mkdirat", k.AT_FDCWD, string(self.path), 0o755)
        self.fd = host.open("openat", k.AT_FDCWD, string(self.path), O_PLACE)
        if self.passed_on:
            above = host.open("openat", k.AT_FDCWD, string(self.parent), O_PLACE)
            for file in self.passed_on:
                host.steps.add(PASS, pack("=III", above, self.fd, 0) + string(file), f"copy {file}", "")
            host.close(above)
        for file, content in self.compared:
            compare(host, self.fd, file, content)
        for file, line in self.settings:
            payload = pack("=II", self.fd, len(line)) + string(file) + line.encode()
            host.steps.add(WRITE, payload, f'write("{file}", "{line}")', "")
        if self.devices:
            directory = host.open("openat", self.fd, string("."), O_DIRECTORY)  # bpf(2) takes no O_PATH descriptor
            host.steps.add(DEVICES, pack("=II", directory, 0) + self.devices, "bpf", "/linux/resources/devices")
            host.close(directory)


class Container:
    """What a script is made from.

    `path`: the directory it is kept in; `begun`, `made`: the journal at the beginning, and when there is a process (an
    INODE has the index of a cgroup); `looked`: what paths in /proc and /sys are ("file", "directory", or nothing);
    `used`: files that tell what it used, with the index of their cgroup; `killed`: the index of the cgroup that has
    cgroup.kill, or -1.
    """

    def __init__(self, config: dict[str, Any], facts: Facts, plan: Plan, given: Confinement) -> None:
        self.config = config
        self.facts = facts
        self.plan = plan
        self.given = given
        self.path = ""
        self.begun: list[Part] = []
        self.made: list[Part] = []
        self.cgroups: list[Cgroup] = []
        self.looked: Mapping[str, str] = {}
        self.used: list[tuple[str, int]] = []
        self.killed = -1


class Script:
    """Written when it is made. Raises UnusualError. `steps`, and the numbers of those that are another for each
    container: where its config is written, and the execve."""

    def __init__(self, container: Container) -> None:
        self._container = container
        self.steps = Steps()
        self._host = Process(self.steps, (0, 1, 2, REPLY, GIVEN))
        self._child = Child(self._host)
        undo = self._claim()
        for cgroup in container.cgroups:
            cgroup.make(self._host)
        self._open_used()
        self._live()
        first = self._child.pidfd
        self._tell()
        self._keep()
        self.steps.replace(undo, UNDO, pack("=I", len(self.steps)))
        self._child.take_back(first)
        self._remove()

    def _claim(self) -> int:
        """Take the id, and write down what comes. Gives the step that says where to undo from."""
        host, path = self._host, self._container.path
        host.call("mkdirat", k.AT_FDCWD, string(path), 0o700)
        undo = len(self.steps)
        self.steps.add(UNDO, pack("=I", 0), "undo", "")
        self._lock = host.open("openat", k.AT_FDCWD, string(path), O_DIRECTORY)
        host.call("flock", self._lock, _TRY_LOCK)
        self.config = write_note(host, self._lock, "config.json", [(TEXT, b"")])
        write_note(host, self._lock, "state.json", self._container.begun)
        return undo

    def config_note(self) -> tuple[int, str]:
        """Where the config is written: the descriptor of its directory, and its name."""
        return self._lock, "config.json"

    def _open_used(self) -> None:
        """What the keeper reads at the end, and what it kills by."""
        made = self._container
        self._used = [self._host.open("openat", made.cgroups[at].fd, string(name), O_READ) for name, at in made.used]
        self._kill = -1
        if made.killed >= 0:
            self._kill = self._host.open("openat", made.cgroups[made.killed].fd, string("cgroup.kill"), O_WRITE)

    def _live(self) -> None:
        """The child: what the builder does, and inner after it."""
        made = self._container
        born, entries = self._entries()
        self._child.begin()
        child = self._child.process
        child.call("prctl", k.PR_SET_PDEATHSIG, SIGKILL)
        child.call("umask", 0)
        root = script_root.build(child, made.plan, made.facts, made.looked, entries)
        self._child.wait()  # until the journal has the pid; from here on nobody need be killed with the parent
        self.steps.extend(init_steps(made.config, made.facts, made.plan, made.given, Descriptors(root, -1, -1, -1)))
        self.execute = len(self.steps) - 1
        self._child.end(made.facts.namespaces.flags & ~k.CLONE_NEWNS, born)
        self._host.close(GIVEN, *entries)

    def _entries(self) -> tuple[int, list[int]]:
        """The cgroup to be born in, and what to write to so as to enter the others, that of memory last: ADR 2."""
        born, entries = NONE, []
        for cgroup in sorted(self._container.cgroups, key=lambda each: "memory" in each.controllers):
            if cgroup.controllers:
                entries.append(self._host.open("openat", cgroup.fd, string("tasks"), O_WRITE))
            else:
                born = cgroup.fd
        return born, entries

    def _tell(self) -> None:
        """Note the process; wait until the program has begun."""
        made = self._container
        parts = [(what, made.cgroups[int(value)].fd) if what == INODE else (what, value) for what, value in made.made]
        write_note(self._host, self._lock, "state.json.new", parts)
        names = string("state.json.new"), string("state.json")
        self._host.call("renameat2", self._lock, names[0], self._lock, names[1], 0)
        self._child.let_go()
        self._child.launched()
        self._host.call("flock", self._lock, _UNLOCK)
        self._host.close(*(cgroup.fd for cgroup in made.cgroups))

    def _keep(self) -> None:
        """The first thing that is not as it was left ends it, and then `delete` is what is needed: attached.py."""
        host = self._host
        self._child.keep(f"box: keeper {self._container.facts.id}", self._kill, self._used)
        host.call("flock", self._lock, _LOCK)
        # Fails where somebody has left an outcome to be told to others (`box wait`), and in a directory that was
        # deleted: then another container may have its names by now.
        host.call("mkdirat", self._lock, string("outcome"), 0o700)
        host.call("unlinkat", self._lock, string("outcome"), _AT_REMOVEDIR)
        self._remove()

    def _remove(self) -> None:
        host, made = self._host, self._container
        for cgroup in made.cgroups:
            host.call("unlinkat", k.AT_FDCWD, string(cgroup.path), _AT_REMOVEDIR, ignore=_ENOENT)
        for name in _FILES:
            host.call("unlinkat", self._lock, string(name), 0, ignore=_ENOENT)
        host.call("unlinkat", k.AT_FDCWD, string(made.path), _AT_REMOVEDIR, ignore=_ENOENT)
        host.call("write", REPLY, REMOVED, len(REMOVED), ignore=_EPIPE)
        host.call("exit_group", 0)
