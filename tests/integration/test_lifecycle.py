"""The life of a container: operations, their order and their errors (runtime-spec, runtime.md)."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import reaper
from tests.support.bundle import Bundle
from tests.support.marks import not_for
from tests.support.runtime import Runtime, wait_for_exit, wait_until


def test_operations_in_order_lead_through_the_statuses(box: Runtime, bundle: Bundle) -> None:
    container = box.create(bundle.args("/bin/probe", "--catch"))
    assert container.status == "created"
    container.start().ok()
    assert container.readline() == "ready"
    assert container.status == "running"
    container.kill("KILL").ok()
    assert container.wait() == 137
    assert container.status == "stopped"
    container.delete().ok()
    box("state", container.id).refused("does not exist")


@not_for("runc", "crun", reason="they wait in another way")
def test_shortage_of_descriptors_while_it_waits_does_not_end_it(box: Runtime, bundle: Bundle) -> None:
    container = box.create(bundle.args("/bin/probe", "--catch"))
    resource.prlimit(container.pid, resource.RLIMIT_NOFILE, (1, 64))
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as knock:  # that is no start, so it waits for another
        knock.connect(str(box.root / container.id / "start"))
    time.sleep(0.2)
    starting = box.popen("start", container.id)
    with pytest.raises(subprocess.TimeoutExpired):
        starting.wait(0.5)
    assert container.status == "created"
    resource.prlimit(container.pid, resource.RLIMIT_NOFILE, (64, 64))
    assert starting.wait(10) == 0
    assert container.readline() == "ready"


def test_create_does_not_run_the_process(box: Runtime, bundle: Bundle) -> None:
    marker = bundle.rootfs / "tmp/ran"
    container = box.create(bundle.args("/bin/touch", "/tmp/ran"))
    assert not marker.exists()
    container.start().ok()
    assert container.wait() == 0
    assert marker.exists()


def test_operations_print_nothing_when_they_succeed(box: Runtime, bundle: Bundle) -> None:
    container = box.create(bundle.args("/bin/probe", "--catch"))
    results = [container.start(), container.kill("KILL")]
    container.wait()
    results.append(container.delete())
    assert [(result.code, result.out, result.err) for result in results] == [(0, "", "")] * 3
    assert container.errors.read_text() == ""


def test_state_has_the_keys_of_the_specification(box: Runtime, bundle: Bundle) -> None:
    bundle.config["annotations"] = {"org.example.key": "value", "other": ""}
    container = box.create(bundle)
    state = container.state()
    assert state["id"] == bundle.id
    assert state["status"] == "created"
    assert state["bundle"] == str(bundle.path)
    assert state["annotations"] == {"org.example.key": "value", "other": ""}
    assert state["ociVersion"].startswith("1.")
    assert os.readlink(f"/proc/{state['pid']}/root") == "/"
    assert type(state["pid"]) is int


def test_state_has_the_keys_that_engines_read_besides(box: Runtime, bundle: Bundle) -> None:
    state = box.create(bundle).state()
    assert state["rootfs"] == str(bundle.rootfs)
    assert state["created"].endswith("Z")
    assert state["owner"] == ""


def test_state_of_a_stopped_container_has_no_pid(box: Runtime, bundle: Bundle) -> None:
    container = box.start(bundle)
    container.wait()
    state = container.state()
    assert (state["status"], state["pid"]) == ("stopped", 0)


def test_bundle_path_in_state_is_absolute(box: Runtime, bundle: Bundle) -> None:
    arguments = box.bundle_args(bundle)
    relative = ("--bundle", f"./{bundle.path.name}/", bundle.id)
    assert arguments[0] == relative[0]
    with box.popen("create", *relative, cwd=bundle.path.parent, stdin=-3, stdout=-3, stderr=-3) as command:
        assert command.wait(20) == 0
    assert box.state(bundle.id)["bundle"] == str(bundle.path)


def test_bundle_is_the_working_directory_by_default(box: Runtime, bundle: Bundle) -> None:
    bundle.args("/bin/echo", "ran").save()
    assert box("run", bundle.id, cwd=bundle.path).ok().out == "ran\n"


def test_relative_bundle_is_taken_from_the_working_directory(box: Runtime, bundle: Bundle) -> None:
    bundle.args("/bin/echo", "ran").save()
    assert box("run", "--bundle", bundle.path.name, bundle.id, cwd=bundle.path.parent).ok().out == "ran\n"


def test_create_with_a_used_id_is_refused_and_changes_nothing(box: Runtime, bundle: Bundle) -> None:
    container = box.create(bundle)
    box("create", "--bundle", str(bundle.path), bundle.id).refused("exist")
    assert container.status == "created"
    container.start().ok()
    assert container.wait() == 0


def test_create_with_the_id_of_a_stopped_container_is_refused(box: Runtime, bundle: Bundle) -> None:
    box.start(bundle).wait()
    box("create", "--bundle", str(bundle.path), bundle.id).refused("exist")


def test_id_can_be_used_again_after_delete(box: Runtime, bundle: Bundle) -> None:
    for _ in range(2):
        container = box.start(bundle)
        assert container.wait() == 0
        container.delete().ok()


def test_start_twice_is_refused(box: Runtime, bundle: Bundle) -> None:
    container = box.running_shell(bundle)
    container.start().refused()
    assert container.status == "running"


def test_start_of_a_stopped_container_is_refused(box: Runtime, bundle: Bundle) -> None:
    container = box.start(bundle)
    container.wait()
    container.start().refused("stopped")


@pytest.mark.parametrize("verb", ["start", "state", "kill", "delete"])
def test_verb_on_a_missing_container_is_refused(box: Runtime, verb: str) -> None:
    box(verb, "missing").refused("does not exist")


def test_exec_on_a_missing_container_is_refused_with_255(box: Runtime) -> None:
    box("exec", "missing", "true").refused("does not exist", code=1 if box.name == "crun" else 255)


def test_delete_force_of_a_missing_container_succeeds(box: Runtime) -> None:
    assert box("delete", "--force", "missing").ok().err == ""


def test_delete_of_a_running_container_is_refused(box: Runtime, bundle: Bundle) -> None:
    container = box.running_shell(bundle)
    container.delete().refused("not stopped")
    assert container.status == "running"


@not_for("runc", "crun", reason="they delete it, against the specification")
def test_delete_of_a_created_container_is_refused(box: Runtime, bundle: Bundle) -> None:
    container = box.create(bundle)
    container.delete().refused("not stopped")
    assert container.status == "created"


@pytest.mark.parametrize("flag", ["--force", "-f"])
def test_delete_force_ends_a_running_container(box: Runtime, bundle: Bundle, flag: str) -> None:
    container = box.running_shell(bundle)
    container.delete(flag).ok()
    assert container.wait() == 137
    box("state", container.id).refused("does not exist")


def test_delete_force_ends_a_created_container(box: Runtime, bundle: Bundle) -> None:
    container = box.create(bundle)
    container.delete("--force").ok()
    wait_for_exit(container.pid)
    box("state", container.id).refused("does not exist")


@not_for("crun", reason="1.8 leaves them when the pid namespace is the host's")
def test_delete_force_ends_all_processes_without_a_pid_namespace(box: Runtime, bundle: Bundle) -> None:
    container = box.start(bundle.without_namespace("pid").shell("sleep 1000 & echo $!; wait"))
    child = int(container.readline())
    container.delete("--force").ok()
    wait_for_exit(container.pid)
    wait_for_exit(child)


def test_kill_of_all_that_share_the_pids_of_others_succeeds(box: Runtime, make_bundle: Callable[[], Bundle]) -> None:
    """It goes to all processes, and the first may have ended by it before it is its turn."""
    for _ in range(10):
        container = box.running_shell(make_bundle().without_namespace("pid"))
        container.kill("KILL").ok()
        container.delete().ok()


def test_delete_right_after_kill_succeeds(box: Runtime, bundle: Bundle) -> None:
    container = box.running_shell(bundle)
    container.kill("KILL").ok()
    container.delete().ok()


REAL_TIME = pytest.param("SIGRTMIN+6", 40, marks=not_for("runc", reason="it does not know real-time signals by name"))


class TestKill:
    @pytest.mark.parametrize(
        "name, number",
        [
            ("TERM", 15),
            ("SIGTERM", 15),
            ("15", 15),
            ("HUP", 1),
            ("1", 1),
            ("SIGUSR1", 10),
            ("usr2", 12),
            ("28", 28),
            REAL_TIME,
        ],
    )
    def test_sends_the_signal_by_name_or_number(self, box: Runtime, bundle: Bundle, name: str, number: int) -> None:
        container = box.running_shell(bundle)
        container.kill(name).ok()
        assert container.readline() == f"signal {number}"

    def test_sends_term_by_default(self, box: Runtime, bundle: Bundle) -> None:
        container = box.running_shell(bundle)
        container.kill().ok()
        assert container.readline() == "signal 15"
        assert container.wait() == 40

    @pytest.mark.parametrize("name", ["NOSUCH", "0x9", "-1", "99999", "9.0", "SIG", "TERM "])
    def test_refuses_what_is_no_signal(self, box: Runtime, bundle: Bundle, name: str) -> None:
        container = box.running_shell(bundle)
        container.kill(name).refused()
        assert container.status == "running"

    def test_of_a_stopped_container_is_refused(self, box: Runtime, bundle: Bundle) -> None:
        container = box.start(bundle)
        container.wait()
        container.kill("TERM").refused("container not running")

    def test_all_reaches_every_process(self, box: Runtime, bundle: Bundle) -> None:
        container = box.start(bundle.shell("/bin/probe --catch & exec /bin/probe --catch"))
        assert [container.readline(), container.readline()] == ["ready", "ready"]
        container.kill("USR1", flags=("--all",)).ok()
        assert [container.readline(), container.readline()] == ["signal 10", "signal 10"]

    def test_without_all_reaches_the_init_alone(self, box: Runtime, bundle: Bundle) -> None:
        container = box.start(bundle.shell("/bin/probe --catch & exec /bin/probe --catch"))
        assert [container.readline(), container.readline()] == ["ready", "ready"]
        container.kill("USR1").ok()
        container.kill("TERM").ok()
        assert container.output().splitlines() == ["signal 10", "signal 15"]

    def test_all_of_a_stopped_container_succeeds(self, box: Runtime, bundle: Bundle) -> None:
        container = box.start(bundle)
        container.wait()
        container.kill("KILL", flags=("--all",)).ok()

    @pytest.mark.parametrize("name", ["TERM", "KILL", "HUP", "INT"])
    @not_for("runc", "crun", reason="their waiting init ignores what it does not handle, as any pid 1")
    def test_with_a_signal_that_terminates_ends_a_created_container(
        self, box: Runtime, bundle: Bundle, name: str
    ) -> None:
        container = box.create(bundle)
        container.kill(name).ok()
        wait_for_exit(container.pid)
        assert container.status == "stopped"
        container.delete().ok()

    def test_with_kill_ends_a_created_container(self, box: Runtime, bundle: Bundle) -> None:
        container = box.create(bundle)
        container.kill("KILL").ok()
        wait_for_exit(container.pid)
        container.start().refused()
        container.delete().ok()

    @pytest.mark.parametrize("name", ["WINCH", "CHLD", "URG", "CONT"])
    def test_with_a_signal_ignored_by_default_leaves_a_created_container(
        self, box: Runtime, bundle: Bundle, name: str
    ) -> None:
        container = box.create(bundle)
        container.kill(name).ok()
        container.start().ok()
        assert container.wait() == 0


@not_for("runc", "crun", reason="they look for the program at create, and their start does not wait for its execve")
class TestFailedStart:
    def test_leaves_the_container_stopped(self, box: Runtime, bundle: Bundle) -> None:
        container = box.create(bundle.args("/etc/passwd"))
        container.start().refused()
        wait_for_exit(container.pid)
        assert container.status == "stopped"
        container.delete().ok()

    def test_says_what_is_missing(self, box: Runtime, bundle: Bundle) -> None:
        container = box.create(bundle.shell("true"))
        (bundle.rootfs / "bin/sh").unlink()
        container.start().refused("/bin/sh", "no such file or directory")

    def test_a_program_that_startcontainer_hooks_may_make_is_missed_by_start(
        self, box: Runtime, bundle: Bundle
    ) -> None:
        bundle.hook("startContainer", "/bin/touch", "/bin/made").args("/bin/nothing")
        container = box.create(bundle)
        container.start().refused("/bin/nothing", "no such file or directory")


def test_stopped_is_seen_after_the_init_was_killed_from_outside(box: Runtime, bundle: Bundle) -> None:
    container = box.running_shell(bundle)
    os.kill(container.pid, signal.SIGKILL)
    wait_for_exit(container.pid)
    assert container.status == "stopped"
    container.delete().ok()


def test_stopped_is_seen_while_nobody_waits_for_the_init(box: Runtime, bundle: Bundle) -> None:
    with reaper.paused():
        container = box.start(bundle)
        wait_for_exit(container.pid)
        assert f"{container.pid} (true) Z" in Path(f"/proc/{container.pid}/stat").read_text()
        assert container.status == "stopped"


def test_config_changes_after_create_have_no_effect(box: Runtime, bundle: Bundle) -> None:
    container = box.create(bundle.args("/bin/echo", "first"))
    bundle.args("/bin/echo", "second").save()
    container.start().ok()
    assert container.output() == "first\n"


def test_config_may_be_gone_after_create(box: Runtime, bundle: Bundle) -> None:
    container = box.create(bundle.args("/bin/echo", "first"))
    (bundle.path / "config.json").unlink()
    container.start().ok()
    assert container.output() == "first\n"
    container.wait()
    assert container.status == "stopped"
    container.delete().ok()


@pytest.mark.parametrize("verb", ["create", "run"])
def test_pid_file_holds_the_pid_without_a_newline(box: Runtime, bundle: Bundle, verb: str) -> None:
    file = bundle.path / "pid"
    flags = ["--pid-file", str(file)] + (["--detach"] if verb == "run" else [])
    container = box.create(bundle.args("/bin/probe", "--catch"), *flags, verb=verb)
    assert file.read_bytes() == str(container.pid).encode()


def test_pid_file_is_replaced_not_written_through(box: Runtime, bundle: Bundle) -> None:
    victim = bundle.path / "victim"
    victim.write_text("untouched")
    (bundle.path / "pid").symlink_to("victim")
    box.create(bundle, "--pid-file", str(bundle.path / "pid"))
    assert victim.read_text() == "untouched"


def test_unwritable_pid_file_fails_create_and_leaves_nothing(box: Runtime, bundle: Bundle) -> None:
    box.run(bundle, "--pid-file", str(bundle.path / "missing/pid")).refused("missing", "no such file or directory")
    box("state", bundle.id).refused("does not exist")


def test_pid_file_of_a_program_that_cannot_begin_is_removed(box: Runtime, bundle: Bundle, directory: Path) -> None:
    """It would name whoever gets the pid next."""
    program = bundle.rootfs / "bin/broken"
    program.write_bytes(b"\x7fELFbroken")
    program.chmod(0o755)
    for flags in ((), ("--detach",)):
        result = box.run(bundle.args("/bin/broken"), *flags, "--pid-file", str(directory / "pid"))
        assert result.code == 1, result.err
        assert not (directory / "pid").exists()


def test_container_that_cannot_be_told_of_is_warned_of(box: Runtime, bundle: Bundle) -> None:
    box.create(bundle)
    torn = box.root / "torn"
    torn.mkdir()
    (torn / "state.json").write_text("{")
    listed = box("list", "--quiet").ok()
    torn.joinpath("state.json").unlink()
    torn.rmdir()
    assert listed.out == f"{bundle.id}\n"
    assert "'torn'" in listed.err


def test_root_directory_is_made_with_closed_permissions(box: Runtime, bundle: Bundle) -> None:
    prefix = ("/bin/sh", "-c", 'umask 0; exec "$@"', "sh")
    box.create(bundle, prefix=prefix)
    assert (box.root / bundle.id).stat().st_mode & 0o066 == 0
    assert (box.root / bundle.id).stat().st_uid == 0


def test_containers_below_different_roots_do_not_see_each_other(box: Runtime, bundle: Bundle) -> None:
    box.create(bundle)
    box.bare("--root", str(box.directory / "other"), "state", bundle.id).refused("does not exist")


def test_failed_create_leaves_nothing(box: Runtime, bundle: Bundle) -> None:
    bundle.mount("/mnt", "bind", bundle.path / "missing", "bind")
    box.run(bundle).refused("missing")
    box("state", bundle.id).refused("does not exist")
    assert not box.root.exists() or list(box.root.iterdir()) == []


def test_state_is_printed_as_one_json_document(box: Runtime, bundle: Bundle) -> None:
    box.create(bundle)
    out = box("state", bundle.id).ok().out
    assert isinstance(json.loads(out), dict)


def test_running_is_seen_as_soon_as_start_returns(box: Runtime, bundle: Bundle) -> None:
    container = box.create(bundle.args("/bin/sleep", "1000"))
    container.start().ok()
    assert container.status == "running"


@not_for("runc", reason="1.1 may let none of them through")
def test_two_creates_with_one_id_at_once_make_one_container(box: Runtime, bundle: Bundle) -> None:
    arguments = box.bundle_args(bundle)
    commands = [box.popen("create", *arguments, stdin=-3, stdout=-3, stderr=-3) for _ in range(4)]
    wait_until(lambda: all(command.poll() is not None for command in commands), "four creates", 20)
    assert sorted(command.returncode for command in commands) == [0, 1, 1, 1]
    assert box.state(bundle.id)["status"] == "created"


@not_for("runc", "crun", reason="runc names the file it writes first")
def test_pid_file_that_cannot_be_written_is_named(box: Runtime, bundle: Bundle) -> None:
    result, reader, _ = box.spawn("create", bundle, "--pid-file", "/nonexistent/pid")
    os.close(reader)
    result.refused("'/nonexistent/pid': no such file")
    assert not (box.root / bundle.id).exists()
