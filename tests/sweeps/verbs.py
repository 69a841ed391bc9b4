"""The verbs that are swept: what has to be there before, the command, and what holds afterwards.

A verb that says it succeeded must have done everything: the container is the one that it is without a failure. One that
says it failed says why, in one line, and has done nothing, or what it has done can be deleted.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.sweeps.scene import Scene, attributes, changes

Findings = list[str]
EXITED = 7  # of the program that `run` and `exec` run


class Verb:
    """`prepare` makes what the command needs; `done` says what it lacks if it succeeded, `failed` what is amiss if not.
    `success` is its exit status then."""

    name = ""
    success = 0

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.expected: dict[str, Any] = {}

    def args(self) -> tuple[str, ...]:
        return (self.name, self.scene.bundle.id)

    def prepare(self) -> None:
        pass

    def done(self) -> Findings:
        return []

    def failed(self) -> Findings:
        return []

    def _created(self) -> None:
        self.scene.create().ok()

    def _started(self) -> None:
        self._created()
        self.scene("start", self.scene.bundle.id).ok()

    def _paused(self) -> None:
        self._started()
        self.scene("pause", self.scene.bundle.id).ok()

    def state(self) -> dict[str, Any]:
        value: dict[str, Any] = self.scene.box.state(self.scene.bundle.id)
        return value

    def compare(self, pid: int) -> Findings:
        """With what the first of them was: that came from a run without a failure."""
        try:
            found = attributes(pid)
        except (FileNotFoundError, ProcessLookupError) as error:
            return [f"the process is gone: {error}"]
        self.expected = self.expected or found
        return changes(self.expected, found)


class Create(Verb):
    name = "create"

    def args(self) -> tuple[str, ...]:
        return ("create", *self.scene.create_args())

    def done(self) -> Findings:
        found = self.state()["status"]
        if found != "created":  # its init can be hit, too, before the command has ended
            return [] if found == "stopped" else [f"the container is {found}"]
        started = self.scene("start", self.scene.bundle.id)
        return [f"cannot be started: {started.err}"] if started.code else self.compare(self.state()["pid"])

    def failed(self) -> Findings:
        return self.scene.settled()


class Start(Verb):
    name = "start"

    def prepare(self) -> None:
        self._created()

    def done(self) -> Findings:
        found = self.state()
        return [] if found["status"] != "running" else self.compare(found["pid"])

    def failed(self) -> Findings:
        found = self.state()["status"]
        return [] if found in ("created", "stopped") else [f"the container is {found}"]


class Run(Verb):
    """To the end of its program."""

    name = "run"
    success = EXITED

    def args(self) -> tuple[str, ...]:
        return ("run", *self.scene.create_args())

    def prepare(self) -> None:
        if self.scene.bundle.process["args"] != ["/bin/linger", str(EXITED)]:
            self.scene.bundle.args("/bin/linger", str(EXITED)).save()

    def done(self) -> Findings:
        return self.scene.settled()

    def failed(self) -> Findings:
        return self.scene.settled()


class Exec(Verb):
    """A process that ends at once."""

    name = "exec"
    success = EXITED

    def args(self) -> tuple[str, ...]:
        return ("exec", self.scene.bundle.id, "/bin/linger", str(EXITED))

    def prepare(self) -> None:
        self._started()

    def done(self) -> Findings:
        return self._only_init()

    def failed(self) -> Findings:
        return self._only_init()

    def _only_init(self) -> Findings:
        deadline = time.monotonic() + 1
        while len(self.scene.processes()) > 1 and time.monotonic() < deadline:
            time.sleep(0.005)
        more = self.scene.processes() - {self.state()["pid"]}
        return [f"processes left in the container: {more}"] if more else []


class ExecDetached(Exec):
    """A process that stays."""

    name = "exec --detach"
    success = 0

    def args(self) -> tuple[str, ...]:
        file = self.scene.directory / "pid"
        file.unlink(missing_ok=True)
        return ("exec", "--detach", "--pid-file", str(file), self.scene.bundle.id, "/bin/linger")

    def done(self) -> Findings:
        return self.compare(int((self.scene.directory / "pid").read_text()))


class Kill(Verb):
    name = "kill"

    def args(self) -> tuple[str, ...]:
        return ("kill", self.scene.bundle.id, "KILL")

    def prepare(self) -> None:
        self._started()

    def done(self) -> Findings:
        deadline = time.monotonic() + 1  # a busy kernel takes its time to end what was killed
        while (found := self.state()["status"]) != "stopped" and time.monotonic() < deadline:
            time.sleep(0.01)
        return [] if found == "stopped" else [f"the container is {found}"]


class Delete(Verb):
    """Of a container that has stopped."""

    name = "delete"

    def prepare(self) -> None:
        self._started()
        self.scene("kill", self.scene.bundle.id, "KILL").ok()

    def done(self) -> Findings:
        return self.scene.settled()


class DeleteByForce(Verb):
    """Of a container that runs."""

    name = "delete --force"

    def args(self) -> tuple[str, ...]:
        return ("delete", "--force", self.scene.bundle.id)

    def prepare(self) -> None:
        self._started()

    def done(self) -> Findings:
        return self.scene.settled()


class KillPaused(Kill):
    """One that stands still."""

    name = "kill paused"

    def prepare(self) -> None:
        self._paused()


class Pause(Verb):
    name = "pause"
    before, after = "running", "paused"

    def prepare(self) -> None:
        self._started()

    def done(self) -> Findings:
        found = self.state()["status"]
        return [] if found == self.after else [f"the container is {found}"]

    def failed(self) -> Findings:
        found = self.state()["status"]
        return [] if found == self.before else [f"the container is {found}"]


class Resume(Pause):
    name = "resume"
    before, after = "paused", "running"

    def prepare(self) -> None:
        self._paused()


class Update(Verb):
    """Of a limit: the one that holds is the one that is kept."""

    name = "update"

    def args(self) -> tuple[str, ...]:
        return ("update", "--pids-limit", "44", self.scene.bundle.id)

    def prepare(self) -> None:
        self._started()

    def done(self) -> Findings:
        return self._both(44)

    def failed(self) -> Findings:
        return self._both(50)

    def _both(self, wanted: int) -> Findings:
        kept = json.loads((self.scene.box.root / self.scene.bundle.id / "config.json").read_text())
        held = [Path(place, "pids.max") for place in self.scene.parent.below()]
        found = {int(file.read_text()) for file in held if file.exists()} | {
            kept["linux"]["resources"]["pids"]["limit"]
        }
        return [] if found == {wanted} else [f"limits are {found}, not {wanted}"]


VERBS: dict[str, type[Verb]] = {
    verb.name: verb
    for verb in [
        Create,
        Start,
        Run,
        Exec,
        ExecDetached,
        Kill,
        KillPaused,
        Pause,
        Resume,
        Update,
        Delete,
        DeleteByForce,
    ]
}


def attempt(check: Callable[[], Findings]) -> Findings:
    """What a check finds, or that it could not even be made."""
    with suppress(AssertionError, OSError, ValueError, KeyError):
        return check()
    return ["it cannot be told what became of the container"]
