"""`run`: a container in the foreground, or left in the background."""

from __future__ import annotations

import os
import signal
import subprocess
from typing import IO

import pytest

from tests.support.bundle import Bundle
from tests.support.marks import not_for
from tests.support.probe import parse
from tests.support.runtime import Runtime, read_line, wait_for_exit

PIPE = subprocess.PIPE


@pytest.mark.parametrize("status", [0, 1, 2, 42, 125, 126, 127, 128, 255])
def test_exit_status_is_the_processes(box: Runtime, bundle: Bundle, status: int) -> None:
    assert box.run(bundle.shell(f"exit {status}")).code == status


@pytest.mark.parametrize("name, number", [("KILL", 9), ("SEGV", 11), ("TERM", 15), ("ABRT", 6)])
def test_exit_status_of_a_killed_process_is_128_and_the_signal(
    box: Runtime, bundle: Bundle, name: str, number: int
) -> None:
    # a child's death is reported by sh in the same way; here it is pid 1 itself, which only its parent namespace can kill
    container_pid = bundle.path / "pid"
    bundle.without_namespace("pid").shell(f"kill -{name} $$")
    assert box.run(bundle, "--pid-file", str(container_pid)).code == 128 + number


def test_streams_are_passed_through(box: Runtime, bundle: Bundle) -> None:
    result = box.run(bundle.shell("cat; echo err >&2; echo out"), input="line 1\nline 2\n").ok()
    assert (result.out, result.err) == ("line 1\nline 2\nout\n", "err\n")


def test_large_streams_arrive_whole(box: Runtime, bundle: Bundle) -> None:
    text = "".join(f"{number}\n" for number in range(200_000))
    assert box.run(bundle.args("/bin/cat"), input=text).ok().out == text


@not_for("runc", reason="it puts pipes and a copying process between")
def test_descriptors_are_the_callers_own(box: Runtime, bundle: Bundle) -> None:
    with (
        open(bundle.path / "out", "wb") as out,
        box.popen("run", *box.bundle_args(bundle.args("/bin/probe")), stdin=-3, stdout=out) as run,
    ):
        assert run.wait(20) == 0
    info = (bundle.path / "out").stat()
    seen = parse((bundle.path / "out").read_text())["fds"]["1"]
    assert (seen["dev"], seen["ino"]) == (info.st_dev, info.st_ino)


def test_closed_stdin_ends_the_reader(box: Runtime, bundle: Bundle) -> None:
    assert box.run(bundle.args("/bin/wc", "-c")).ok().out.strip() == "0"


def next_signal(stream: IO[bytes] | None) -> str:
    """The next signal that the process got, but for SIGURG, which programs in Go send to themselves, and forward."""
    while (line := read_line(stream)) == "signal 23":
        pass
    return line


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGQUIT])
def test_signals_are_forwarded(box: Runtime, bundle: Bundle, number: signal.Signals) -> None:
    run = box.popen("run", *box.bundle_args(bundle.args("/bin/probe", "--catch")), stdin=-3, stdout=PIPE)
    assert read_line(run.stdout) == "ready"
    run.send_signal(number)
    assert next_signal(run.stdout) == f"signal {number:d}"
    run.send_signal(signal.SIGTERM)
    assert next_signal(run.stdout) == "signal 15"
    assert run.wait(20) == 40


def test_terminated_run_leaves_nothing(box: Runtime, bundle: Bundle) -> None:
    run = box.popen("run", *box.bundle_args(bundle.args("/bin/probe", "--catch")), stdin=-3, stdout=PIPE)
    assert read_line(run.stdout) == "ready"
    run.send_signal(signal.SIGTERM)
    assert run.wait(20) == 40
    assert not (box.root / bundle.id).exists()


def test_container_is_deleted_when_it_has_ended(box: Runtime, bundle: Bundle) -> None:
    box.run(bundle).ok()
    box("state", bundle.id).refused("does not exist")
    assert list(box.root.iterdir()) == []


def test_container_is_deleted_when_it_could_not_start(box: Runtime, bundle: Bundle) -> None:
    box.run(bundle.args("/no/such")).refused("/no/such")
    box("state", bundle.id).refused("does not exist")


def test_running_container_is_seen_by_other_verbs(box: Runtime, bundle: Bundle) -> None:
    run = box.popen("run", *box.bundle_args(bundle.args("/bin/probe", "--catch")), stdin=-3, stdout=PIPE)
    assert read_line(run.stdout) == "ready"
    state = box.state(bundle.id)
    assert state["status"] == "running"
    box("kill", bundle.id, "KILL").ok()
    assert run.wait(20) == 137


def test_keep_leaves_it_stopped(box: Runtime, bundle: Bundle) -> None:
    assert box.run(bundle.shell("exit 3"), "--keep").code == 3
    assert box.state(bundle.id)["status"] == "stopped"
    box("delete", bundle.id).ok()


@pytest.mark.parametrize("flag", ["--detach", "-d"])
def test_detach_returns_while_it_runs(box: Runtime, bundle: Bundle, flag: str) -> None:
    container = box.create(bundle.args("/bin/probe", "--catch"), flag, verb="run")
    assert container.readline() == "ready"
    assert container.status == "running"
    container.kill("TERM").ok()
    assert container.wait() == 40
    assert container.status == "stopped"
    container.delete().ok()


def test_detached_container_is_not_deleted_by_itself(box: Runtime, bundle: Bundle) -> None:
    container = box.create(bundle.shell("sleep 0.3; exit 5"), "--detach", verb="run")
    assert container.wait() == 5
    assert container.status == "stopped"


def test_orphans_of_the_container_end_with_it(box: Runtime, bundle: Bundle) -> None:
    result = box.run(bundle.shell("sleep 1000 >/dev/null 2>&1 & echo done"), timeout=10)
    assert result.ok().out == "done\n"


def test_orphans_without_a_pid_namespace_end_with_it(box: Runtime, bundle: Bundle) -> None:
    result = box.run(bundle.without_namespace("pid").shell("sleep 1000 >/dev/null 2>&1 & echo $!"), timeout=10)
    wait_for_exit(int(result.ok().out))


def test_killed_run_leaves_what_delete_force_removes(box: Runtime, bundle: Bundle) -> None:
    run = box.popen("run", *box.bundle_args(bundle.args("/bin/probe", "--catch")), stdin=-3, stdout=PIPE)
    assert read_line(run.stdout) == "ready"
    pid = box.state(bundle.id)["pid"]
    run.kill()
    run.wait(20)
    box("delete", "--force", bundle.id).ok()
    wait_for_exit(pid)
    assert not os.path.exists(box.root / bundle.id)


def test_second_run_with_the_same_id_is_refused(box: Runtime, bundle: Bundle) -> None:
    container = box.running_shell(bundle)
    box("run", "--bundle", str(bundle.path), bundle.id).refused("exist")
    assert container.status == "running"
