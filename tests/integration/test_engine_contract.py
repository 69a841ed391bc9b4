"""What engines send to a runtime and what they read of its answers, one table or test for each line of that contract.

The form of each command line is the engine's own: conmon's argument builder, go-runc's, dockerd's, CRI-O's, buildah's.
"""

from __future__ import annotations

import array
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.bundle import Bundle
from tests.support.marks import not_for
from tests.support.runtime import CHECKOUT, Container, Result, Runtime

RFC_3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
SLEEP = ("/bin/sleep", "1000")
# How podman maps an error's text to its exit status, in the order it asks; dockerd's order and words differ.
PODMAN = (
    (r"permission denied|operation not permitted", 126),
    (r"executable file not found in|no such file or directory|open executable", 127),
)
DOCKERD = (
    (r"executable file not found|no such file or directory|system cannot find the file specified", 127),
    (r"not a directory", 127),
    (r"permission denied|is a directory", 126),
)


def classified(table: tuple[tuple[str, int], ...], message: str, other: int) -> int:
    for pattern, code in table:
        if re.search(pattern, message.lower()):
            return code
    return other


def entries(log: Path) -> list[dict[str, Any]]:
    """The log, as a decoder that reads one JSON value after another sees it."""
    text, found = log.read_text(), []
    decoder = json.JSONDecoder()
    while text := text.lstrip():
        value, end = decoder.raw_decode(text)
        found.append(value)
        text = text[end:]
    return found


def process_file(directory: Path, *args: str, **more: Any) -> str:
    path = directory / "process.json"
    path.write_text(json.dumps({"args": args, "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}, **more}))
    return str(path)


@pytest.fixture
def sleeping(box: Runtime, bundle: Bundle) -> Container:
    return box.start(bundle.args(*SLEEP))


class TestConmon:
    """podman and CRI-O start a runtime through conmon, with no more than PATH and XDG_RUNTIME_DIR."""

    def test_create_start_kill_delete(self, box: Runtime, bundle: Bundle, directory: Path) -> None:
        box.globals = ("--log-format=json", "--log", str(directory / "log"))
        pid_file = directory / "pid"
        container = box.create(bundle.args(*SLEEP), "--pid-file", str(pid_file), "--no-new-keyring", cwd=bundle.path)
        assert pid_file.read_bytes() == str(container.pid).encode()
        box("start", bundle.id).ok()
        box("kill", bundle.id, "9").ok()
        assert container.wait() == 137
        box("delete", "--force", bundle.id).ok()
        assert (directory / "log").read_bytes() == b""

    def test_without_any_environment(self, box: Runtime, bundle: Bundle) -> None:
        box.bare("--root", str(box.root), "run", "--bundle", str(bundle.save().path), bundle.id, env={}).ok()

    def test_a_module_in_the_bundle_is_not_imported(self, box: Runtime, bundle: Bundle) -> None:
        for name in ("os", "boxes", "json", "site", "sitecustomize"):
            (bundle.path / f"{name}.py").write_text("raise SystemExit(77)")
        box.run(bundle, cwd=bundle.path, env={"PATH": "/bin", "PYTHONPATH": str(bundle.path)}).ok()

    def test_exec_is_detached_with_a_pid_file(self, box: Runtime, sleeping: Container, directory: Path) -> None:
        pid_file, process = directory / "exec.pid", process_file(directory, "/bin/sh", "-c", "exit 7")
        with open(os.devnull, "wb") as null:
            command = box.command("exec", "--pid-file", str(pid_file), "--process", process, "--detach", sleeping.id)
            assert subprocess.run(command, stdout=null, stderr=null, check=False).returncode == 0
        assert re.fullmatch(rb"[1-9]\d*", pid_file.read_bytes())
        assert box.wait(int(pid_file.read_text())) == 7

    def test_failed_exec_leaves_no_pid_file(self, box: Runtime, sleeping: Container, directory: Path) -> None:
        pid_file, process = directory / "exec.pid", process_file(directory, "/bin/nothing")
        box("exec", "--pid-file", str(pid_file), "--process", process, "--detach", sleeping.id).refused(code=255)
        assert not pid_file.exists()

    def test_listen_fds_are_for_the_container(self, box: Runtime, bundle: Bundle) -> None:
        """sd_listen_fds(3): LISTEN_PID names the process that is to have them, which conmon rewrites."""
        bundle.shell("echo $LISTEN_FDS $LISTEN_PID; cat <&3").save()
        reader, writer = os.pipe()
        os.write(writer, b"through it")
        os.close(writer)
        command = box.command("run", "--bundle", str(bundle.path), bundle.id)
        script = 'exec 3<&"$0"; LISTEN_FDS=1 LISTEN_PID=$$ exec "$@"'
        done = subprocess.run(
            ["/bin/bash", "-c", script, str(reader), *command], pass_fds=[reader], capture_output=True, check=True
        )
        os.close(reader)
        assert done.stdout == b"1 1\nthrough it"


class TestPodman:
    def test_update_from_a_file(self, box: Runtime, sleeping: Container, directory: Path) -> None:
        (directory / "resources").write_text('{"pids": {"limit": 77}}')
        box("update", f"--resources={directory / 'resources'}", sleeping.id).ok()

    @pytest.mark.parametrize("number", ["15", "9"])
    def test_kill_by_number_with_all(self, box: Runtime, sleeping: Container, number: str) -> None:
        box("kill", "--all", sleeping.id, number).ok()

    def test_version_is_one_line_with_the_name_first(self, box: Runtime) -> None:
        assert re.fullmatch(rf"{box.name} version \S+", box.bare("--version").ok().out.splitlines()[0])

    @pytest.mark.parametrize(
        ("args", "code"),
        [(("nothing",), 127), (("/bin/nothing",), 127), (("/etc",), 126), (("/bin/plain",), 126)],
        ids=["not in PATH", "absent", "directory", "not executable"],
    )
    @pytest.mark.parametrize("table", [PODMAN, DOCKERD], ids=["podman", "dockerd"])
    def test_why_a_program_does_not_start_decides_the_exit_status(
        self,
        box: Runtime,
        bundle: Bundle,
        directory: Path,
        args: tuple[str, ...],
        code: int,
        table: tuple[tuple[str, int], ...],
    ) -> None:
        (bundle.rootfs / "bin" / "plain").write_text("no program")
        log = directory / "log"
        box.globals = ("--log-format=json", "--log", str(log))
        box.run(bundle.args(*args)).refused()
        assert classified(table, entries(log)[-1]["msg"], 128) == code

    @pytest.mark.parametrize("program", ["nothing", "/bin/nothing"])
    def test_a_missing_program_fails_create(self, box: Runtime, bundle: Bundle, program: str) -> None:
        """podman takes 127 from the error of create alone; one of start is 126 to it."""
        result, reader, _ = box.spawn("create", bundle.args(program))
        os.close(reader)
        assert classified(PODMAN, result.refused().err, 126) == 127

    def test_a_working_directory_that_is_a_file(self, box: Runtime, bundle: Bundle) -> None:
        bundle.process["cwd"] = "/bin/sh"
        message = box.run(bundle).refused().err
        assert classified(DOCKERD, message, 128) == 127


EARLY = {
    "no such verb": ("nosuchverb",),
    "no such flag": ("create", "--nosuchflag", "x"),
    "no id": ("state",),
    "bad id": ("state", "a/b"),
    "no container": ("state", "absent"),
    "no bundle": ("create", "--bundle", "/nowhere", "x"),
    "flag without value": ("create", "--bundle"),
    "bad signal": ("kill", "absent", "NOSIGNAL"),
    "exec without container": ("exec", "absent", "true"),
}


@not_for("runc", "crun", reason="they write lines of usage, or nothing, when the command line is wrong")
@pytest.mark.parametrize("verb", EARLY.values(), ids=EARLY)
@pytest.mark.parametrize(
    "order", [("--log", "LOG", "--log-format", "json"), ("--log-format=json", "--log=LOG")], ids=["go-runc", "podman"]
)
def test_each_failure_is_exactly_one_object_in_the_log(
    box: Runtime, directory: Path, verb: tuple[str, ...], order: tuple[str, ...]
) -> None:
    log = directory / "log"
    flags = [flag.replace("LOG", str(log)) for flag in order]
    result = box(*flags, *verb)
    assert result.code == (255 if verb[0] == "exec" else 1)
    entry = json.loads(log.read_text())
    assert entry["level"] == "error"
    assert entry["msg"]
    assert RFC_3339.fullmatch(entry["time"])


class TestContainerd:
    """The shim, by way of go-runc."""

    def shim(self, box: Runtime, directory: Path, *verb: str, **more: Any) -> Result:
        return box("--log", str(directory / "log.json"), "--log-format", "json", *verb, **more)

    def test_update_from_standard_input(self, box: Runtime, sleeping: Container, directory: Path) -> None:
        self.shim(box, directory, "update", "--resources=-", sleeping.id, input='{"pids": {"limit": 55}}').ok()

    def test_ps_is_a_list_of_pids(self, box: Runtime, sleeping: Container, directory: Path) -> None:
        assert self.shim(box, directory, "ps", "--format", "json", sleeping.id).json() == [sleeping.pid]

    def test_ps_as_a_table(self, box: Runtime, sleeping: Container) -> None:
        lines = box("ps", "--format", "table", sleeping.id, "-o", "pid,args").ok().out.splitlines()
        assert lines[0].split()[0] == "PID"
        assert lines[1].split() == [str(sleeping.pid), *SLEEP]

    def test_list_is_json(self, box: Runtime, sleeping: Container) -> None:
        (entry,) = box("list", "--format=json").json()
        assert (entry["id"], entry["pid"], entry["status"]) == (sleeping.id, sleeping.pid, "running")

    def test_events_once(self, box: Runtime, sleeping: Container) -> None:
        event = box("events", "--stats", sleeping.id).json()
        assert (event["type"], event["id"]) == ("stats", sleeping.id)

    def test_single_dash_of_restore(self, box: Runtime, bundle: Bundle) -> None:
        box("run", "-bundle", str(bundle.save().path), "-no-subreaper", "-no-pivot=false", bundle.id).ok()

    @pytest.mark.parametrize("value", ["--rootless=true", "--rootless=false", "--rootless=auto", "--debug=false"])
    def test_global_flags_of_go_runc(self, box: Runtime, value: str) -> None:
        box(value, "list", "--format=json").ok()

    def test_kill_of_a_stopped_container_has_the_text_it_looks_for(self, box: Runtime, sleeping: Container) -> None:
        sleeping.kill("KILL").ok()
        sleeping.wait()
        assert "container not running" in sleeping.kill("9").refused().err
        box("kill", "--all", sleeping.id, "9").ok()

    @pytest.mark.parametrize("verb", ["state", "kill", "delete", "start", "pause", "resume", "update", "ps"])
    def test_of_an_absent_container_has_the_text_it_looks_for(self, box: Runtime, verb: str) -> None:
        assert "does not exist" in box(verb, "absent").refused().err

    def test_delete_of_an_absent_container_by_force_succeeds(self, box: Runtime) -> None:
        box("delete", "--force", "absent").ok()


class TestDockerd:
    def test_features_is_one_json_document_and_nothing_else(self, box: Runtime) -> None:
        result = box.bare("features", env={}).ok()
        document = json.loads(result.out)
        assert result.err == ""
        assert document["ociVersionMin"] and document["ociVersionMax"]
        assert document["linux"]["mountExtensions"]["idmap"]["enabled"] is True
        assert "rro" in document["mountOptions"]

    def test_version_has_a_commit_and_a_spec(self, box: Runtime) -> None:
        """dockerd takes the second word of the lines that begin so."""
        lines = box.bare("--version").ok().out.splitlines()
        named = dict(line.split(": ", 1) for line in lines[1:])
        assert named["commit"]
        assert re.fullmatch(r"\d+\.\d+\.\d+\S*", named["spec"])


class TestCrio:
    def test_update_with_separate_dash(self, box: Runtime, sleeping: Container) -> None:
        box("update", "--resources", "-", sleeping.id, input='{"pids": {"limit": 55}}').ok()

    def test_exec_attached_by_a_process_file(self, box: Runtime, sleeping: Container, directory: Path) -> None:
        result = box(
            "exec", "--process", process_file(directory, "/bin/sh", "-c", "cat; exit 9"), sleeping.id, input="in"
        )
        assert (result.code, result.out) == (9, "in")

    def test_kill_with_short_all(self, box: Runtime, sleeping: Container) -> None:
        box("kill", "-a", sleeping.id, "9").ok()

    def test_state_has_the_fields_it_decodes(self, box: Runtime, bundle: Bundle) -> None:
        bundle.config["annotations"] = {"key": "value"}
        state = box.start(bundle.args(*SLEEP)).state()
        assert {"ociVersion", "id", "status", "pid", "bundle", "annotations", "created"} <= state.keys()
        assert state["annotations"] == {"key": "value"}
        assert RFC_3339.fullmatch(state["created"])


class TestBuildah:
    def test_status_goes_through_words_it_knows(self, box: Runtime, bundle: Bundle) -> None:
        container = box.create(bundle.args(*SLEEP), "--no-new-keyring", cwd=bundle.path)
        seen = [container.status]
        container.start().ok()
        seen.append(container.status)
        container.kill("SIGKILL").ok()
        container.wait()
        assert [*seen, container.status] == ["created", "running", "stopped"]

    def test_kill_without_a_signal_terminates(self, box: Runtime, bundle: Bundle) -> None:
        container = box.start(bundle.args("/bin/sh", "-c", "trap 'exit 3' TERM; echo up; while :; do sleep 0.1; done"))
        container.readline()
        box("kill", container.id).ok()
        assert container.wait() == 3


class TestBuildkit:
    @pytest.mark.parametrize(
        ("script", "code"), [("exit 0", 0), ("exit 5", 5), ("kill -9 $$", 137), ("kill -15 $$", 143)]
    )
    def test_run_keep_gives_the_status_and_leaves_the_container(
        self, box: Runtime, bundle: Bundle, directory: Path, script: str, code: int
    ) -> None:
        bundle.args(
            "/bin/sh", "-c", '/bin/sh -c "$0"; exit $?', script
        )  # not as pid 1, which no signal of its own ends
        log = ("--log", str(directory / "runc-log.json"), "--log-format", "json")
        box.globals = log
        assert box.run(bundle, "--keep").code == code
        assert box.state(bundle.id)["status"] == "stopped"
        box("delete", bundle.id).ok()
        box("state", bundle.id).refused("does not exist")

    def test_a_caller_that_dies_takes_an_attached_run_with_it(self, box: Runtime, bundle: Bundle) -> None:
        """The runtime is started with PR_SET_PDEATHSIG and in a process group of its own; afterwards delete works."""
        bundle.args(*SLEEP).save()
        box.identifiers.append(bundle.id)
        command = box.command("run", "--keep", "--bundle", str(bundle.path), bundle.id)
        program = (
            "import os, signal, subprocess, sys\n"
            "from boxes.linux import syscalls\n"
            "def child():\n    os.setpgid(0, 0); syscalls.prctl(1, signal.SIGKILL)\n"
            "p = subprocess.Popen(sys.argv[1:], preexec_fn=child)\n"
            "print(p.pid, flush=True); sys.stdin.read()"
        )
        caller = subprocess.Popen(
            [sys.executable, "-c", program, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={"PATH": "/bin", "PYTHONPATH": str(CHECKOUT / "src")},
        )
        box.running.append(caller)
        assert caller.stdout is not None
        pidfd = os.pidfd_open(int(caller.stdout.readline()))
        caller.kill()
        ready, _, _ = select.select([pidfd], [], [], 10)
        os.close(pidfd)
        assert ready
        box("delete", "--force", bundle.id).ok()


class TestDescriptors:
    """Console and pidfd sockets: one message, one descriptor, then the end."""

    def listening(self, path: Path) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        listener.listen(1)
        listener.settimeout(10)
        return listener

    def received(self, listener: socket.socket) -> tuple[bytes, list[int], bytes]:
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(10)
            fds = array.array("i")
            data, ancillary, _, _ = connection.recvmsg(4096, socket.CMSG_SPACE(64))
            for _, _, payload in ancillary:
                fds.frombytes(payload[: len(payload) - len(payload) % fds.itemsize])
            return data, list(fds), connection.recv(1)

    @pytest.mark.parametrize("flag", ["--console-socket", "--pidfd-socket"])
    def test_of_create(self, box: Runtime, bundle: Bundle, directory: Path, flag: str) -> None:
        bundle.process["terminal"] = flag == "--console-socket"
        with self.listening(directory / "socket") as listener:
            container = box.create(bundle.args(*SLEEP), flag, str(directory / "socket"))
            data, fds, rest = self.received(listener)
        assert data
        assert len(fds) == 1
        assert rest == b""
        if flag == "--pidfd-socket":
            signal.pidfd_send_signal(fds[0], 0)
            assert f"Pid:\t{container.pid}\n" in Path(f"/proc/self/fdinfo/{fds[0]}").read_text()
        else:
            assert os.isatty(fds[0])
        os.close(fds[0])

    def test_terminal_without_a_socket_is_refused(self, box: Runtime, bundle: Bundle) -> None:
        bundle.process["terminal"] = True
        result, reader, _ = box.spawn("create", bundle)
        os.close(reader)
        result.refused("console socket")
