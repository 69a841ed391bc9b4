"""State that tells of another time: of a process whose pid is a stranger's by now, of another boot, of a cgroup that is
another's, or of nothing, as it was cut short. No stranger is harmed, and `delete --force` works.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.bundle import Bundle
from tests.support.leaks import CgroupParent
from tests.support.marks import not_for
from tests.support.runtime import ENVIRONMENT, Runtime, wait_for_exit, wait_until
from tests.support.tally import Row, patience, size, some

pytestmark = not_for("runc", "crun", reason="their state is another")

# Runs as pid 1 of a namespace, where the next pid can be chosen: makes a container, ends it, and lets a stranger have its
# pid. Prints what each verb did, and whether the stranger lives.
RECYCLE = """
import json, os, signal, subprocess, sys
box, root, bundle, id, *verb = sys.argv[1:]
run = lambda *a: subprocess.run([box, "--root", root, *a], stdin=-3, capture_output=True, text=True)
with open("/dev/null", "w") as null:
    subprocess.run([box, "--root", root, "create", "--bundle", bundle, id], stdin=-3, stdout=null, stderr=null, check=True)
pid = json.loads(run("state", id).stdout)["pid"]
os.kill(pid, signal.SIGKILL)
os.waitpid(pid, 0)
for attempt in range(50):
    with open("/proc/sys/kernel/ns_last_pid", "w") as last:
        last.write(str(pid - 1))
    stranger = subprocess.Popen(["sleep", "100"])
    if stranger.pid == pid:
        break
    stranger.kill(); stranger.wait()
status = json.loads(run("state", id).stdout)["status"]
if verb == ["naive"]:
    os.kill(pid, signal.SIGKILL)
    code = 0
else:
    code = run(*verb, id, *(["KILL"] if verb == ["kill"] else ["true"] if verb == ["exec"] else [])).returncode
run("delete", "--force", id)
try:
    stranger.wait(0.2)
except subprocess.TimeoutExpired:
    pass
print(json.dumps({"reused": stranger.pid == pid, "status": status, "code": code, "alive": stranger.poll() is None}))
stranger.kill()
"""


def recycle(box: Runtime, bundle: Bundle, *verb: str) -> dict[str, Any]:
    box.bundle_args(bundle)
    command = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", sys.executable, "-c", RECYCLE]
    arguments = [str(box.path), str(box.root), str(bundle.path), bundle.id, *verb]
    result = subprocess.run([*command, *arguments], env=ENVIRONMENT, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(result.stdout)
    assert found["reused"]
    return found


@pytest.mark.parametrize("verb", ["kill", "kill --all", "delete", "delete --force", "exec", "start", "pause"])
def test_stranger_with_the_containers_pid_is_spared(
    box: Runtime, make_bundle: Callable[[], Bundle], tally: Row, verb: str
) -> None:
    rounds = size(1, 3, 8)
    for _ in range(rounds):
        found = recycle(box, make_bundle(), *verb.split())
        assert (found["status"], found["alive"]) == ("stopped", True)
        assert (found["code"] == 0) is verb.startswith(("delete", "kill --all"))  # those have nothing to do
    tally.tried(rounds)


def test_control_signals_the_pid_that_was_recorded(box: Runtime, bundle: Bundle, tally: Row) -> None:
    tally.red("naive os.kill(pid)", not recycle(box, bundle, "naive")["alive"])


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "100"], env=ENVIRONMENT)
    yield process
    process.kill()
    process.wait()


def change(box: Runtime, bundle: Bundle, **changes: Any) -> None:
    journal = box.root / bundle.id / "state.json"
    journal.write_text(json.dumps(json.loads(journal.read_text()) | changes))


@pytest.mark.parametrize("verb", ["kill", "delete", "delete --force", "exec", "pause", "ps"])
@pytest.mark.parametrize("what", ["pid", "boot", "maker"])
def test_journal_of_another_time_names_nobody(
    box: Runtime, bundle: Bundle, stranger: subprocess.Popen[bytes], what: str, verb: str
) -> None:
    """`pid`: a stranger's, with another start time. `boot`: all of it is of another boot. `maker`: it was being made."""
    container = box.create(bundle)
    old = json.loads((box.root / bundle.id / "state.json").read_text())
    os.kill(container.pid, 9)
    wait_for_exit(container.pid)
    kinds: dict[str, dict[str, Any]] = {
        "pid": {"pid": stranger.pid},
        "boot": {"pid": stranger.pid, "boot": "00000000-0000-4000-8000-000000000000"},
        "maker": {"pid": stranger.pid, "status": "creating", "maker": [stranger.pid, old["started"]]},
    }
    change(box, bundle, **kinds[what])
    assert box.state(bundle.id)["status"] == "stopped"
    tail = {"kill": ["KILL"], "exec": ["/bin/true"]}.get(verb, [])
    result = box(*verb.split(), bundle.id, *tail)
    assert "Traceback" not in result.err
    assert (result.code == 0) is verb.startswith("delete") or what == "maker"
    box("delete", "--force", bundle.id)
    assert not (box.root / bundle.id).exists()
    assert stranger.poll() is None


def test_cgroup_that_is_anothers_by_now_is_spared(
    box: Runtime, bundle: Bundle, cgroup_parent: CgroupParent, stranger: subprocess.Popen[bytes]
) -> None:
    container = box.create(bundle)
    os.kill(container.pid, 9)
    wait_for_exit(container.pid)
    directories = [directory / bundle.id for directory in cgroup_parent.directories]
    for directory in directories:
        wait_until(lambda place=directory: not (place / "cgroup.procs").read_text(), "an empty cgroup")
        directory.rmdir()
        directory.mkdir()
        for file in ("cpuset.cpus", "cpuset.mems"):
            if (directory / file).exists():
                (directory / file).write_text((directory.parent / file).read_text())
        (directory / "cgroup.procs").write_text(str(stranger.pid))
    box("kill", "--all", bundle.id, "KILL")
    box("delete", "--force", bundle.id)
    assert stranger.poll() is None
    stranger.kill()
    stranger.wait()
    for directory in directories:
        if directory.exists():
            wait_until(lambda place=directory: not (place / "cgroup.procs").read_text(), "an empty cgroup")
            directory.rmdir()
    assert not (box.root / bundle.id).exists()


class Lost:
    """A container whose files are damaged: `delete --force` may not know what it was, the test does."""

    def __init__(self, box: Runtime, bundle: Bundle, parent: CgroupParent) -> None:
        self.box, self.bundle, self.parent = box, bundle, parent

    def create(self, file: str) -> bytes:
        result, reader, _ = self.box.spawn("create", self.bundle)
        os.close(reader)
        result.ok()
        self.pid = self.box.state(self.bundle.id)["pid"]
        return (self.box.root / self.bundle.id / file).read_bytes()

    def delete(self) -> None:
        """By force; then the process and its cgroups, if they were left."""
        result = self.box("delete", "--force", self.bundle.id).ok()
        assert not (self.box.root / self.bundle.id).exists()
        if Path(f"/proc/{self.pid}").exists():
            assert "known no more" in result.err
            os.kill(self.pid, 9)
            wait_for_exit(self.pid)
        for directory in self.parent.directories:
            place = directory / self.bundle.id
            if place.exists():
                wait_until(lambda place=place: not (place / "cgroup.procs").read_text(), "an empty cgroup")
                place.rmdir()


@pytest.fixture
def lost(box: Runtime, bundle: Bundle, cgroup_parent: CgroupParent) -> Lost:
    return Lost(box, bundle, cgroup_parent)


@pytest.mark.parametrize("file", ["state.json", "config.json"])
def test_file_cut_short_at_any_byte_is_a_clean_error_and_can_be_deleted(
    box: Runtime, bundle: Bundle, lost: Lost, tally: Row, file: str
) -> None:
    patience(60, 240, 1200)
    whole = lost.create(file)
    cuts = some(range(len(whole)), 8, 150)
    place = box.root / bundle.id / file
    for number, length in enumerate(cuts):
        place.write_bytes(whole[:length])
        verbs = [("kill", "WINCH"), ("ps",)] if number % 10 == 0 else []
        for verb, *tail in [("state",), *verbs, ("delete",)]:
            result = box(verb, bundle.id, *tail)
            assert "Traceback" not in result.err
            assert result.code == 0 or (result.err.startswith("box: ") and result.err.count("\n") == 1), result.err
            assert result.code == 1 or file == "config.json"
        assert result.code == 1, "it was not stopped"
        if number % size(2, 10, 40) == 0:
            lost.delete()
            whole = lost.create(file)
        else:
            place.write_bytes(whole)
    tally.tried(len(cuts))


@pytest.mark.parametrize(
    "content", [b"\0" * 500, b"\xff" * 500, b"[" * 100_000, b'{"pid": 1e400}', b'{"version": 1, "version": 2}']
)
def test_file_of_something_else_is_a_clean_error(box: Runtime, bundle: Bundle, lost: Lost, content: bytes) -> None:
    lost.create("state.json")
    (box.root / bundle.id / "state.json").write_bytes(content)
    box("state", bundle.id).refused()
    lost.delete()


def test_links_in_place_of_the_state_are_not_followed(box: Runtime, bundle: Bundle, directory: Path) -> None:
    box.create(bundle)
    elsewhere = directory / "elsewhere"
    (box.root / bundle.id).rename(elsewhere)
    (box.root / bundle.id).symlink_to(elsewhere)
    for verb in ("state", "kill", "delete"):
        box(verb, bundle.id).refused()
    (box.root / bundle.id).unlink()
    elsewhere.rename(box.root / bundle.id)
    box("delete", "--force", bundle.id).ok()
