"""`exec`: another process in a running container."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.bundle import Bundle
from tests.support.marks import not_for
from tests.support.probe import Report, parse
from tests.support.runtime import Container, Runtime, wait_for_exit, wait_until
from tests.support.terminal import ConsoleSocket, read_all

PIPE = subprocess.PIPE


@pytest.fixture
def container(box: Runtime, bundle: Bundle) -> Container:
    """Runs, with an environment, a user and capabilities of its own."""
    bundle.capabilities("CAP_KILL", "CAP_CHOWN").process.update(env=["PATH=/bin", "FROM=config"], cwd="/home")
    return box.running_shell(bundle)


def probe(container: Container, *flags: str, args: tuple[str, ...] = ()) -> Report:
    return container.exec("/bin/probe", *args, flags=flags).report()


@pytest.fixture
def process_file(bundle: Bundle) -> Any:
    """A function that writes a process document and returns its path."""

    def write(**fields: Any) -> str:
        document = {"args": ["/bin/probe"], "cwd": "/", "user": {"uid": 0, "gid": 0}, "env": ["PATH=/bin"], **fields}
        path = bundle.path / "process.json"
        path.write_text(json.dumps(document))
        return str(path)

    return write


def test_process_is_in_all_the_containers_namespaces(container: Container) -> None:
    seen = probe(container)["namespaces"]
    assert seen == {name: os.readlink(f"/proc/{container.pid}/ns/{name}") for name in seen}


def test_process_is_in_the_containers_root(container: Container) -> None:
    seen = probe(container)
    assert set(seen.mounts()) == {"/", "/proc", "/dev", "/dev/pts", "/dev/shm", "/sys"}


def test_process_is_in_the_containers_cgroups(container: Container) -> None:
    inside = {line for line in probe(container)["cgroup"].splitlines() if container.id in line}
    own = {line for line in Path(f"/proc/{container.pid}/cgroup").read_text().splitlines() if container.id in line}
    assert inside == own
    assert len(inside) >= 1


def test_without_flags_the_process_is_like_the_configured_one(container: Container) -> None:
    seen = probe(container)
    assert seen["cwd"] == "/home"
    assert {"FROM=config", "PATH=/bin"} <= set(seen["env"])
    assert seen["uids"] == [0, 0, 0]
    assert seen["no_new_privs"] == 1
    assert seen.capabilities()["bounding"] == {"CAP_KILL", "CAP_CHOWN"}


@pytest.mark.parametrize("status", [0, 1, 42, 126, 254, 255])
def test_exit_status_is_the_processes(container: Container, status: int) -> None:
    assert container.exec("/bin/sh", "-c", f"exit {status}").code == status


def test_exit_status_of_a_killed_process_is_128_and_the_signal(container: Container) -> None:
    assert container.exec("/bin/sh", "-c", "kill -KILL $$").code == 137


def test_streams_are_passed_through(container: Container) -> None:
    result = container.exec("/bin/sh", "-c", "cat; echo err >&2", input="in\n").ok()
    assert (result.out, result.err) == ("in\n", "err\n")


def test_program_is_searched_in_path(container: Container) -> None:
    assert container.exec("echo", "found").ok().out == "found\n"


@pytest.mark.parametrize("flag", ["--cwd", "-cwd"])
def test_cwd(container: Container, flag: str) -> None:
    assert probe(container, flag, "/etc")["cwd"] == "/etc"


@pytest.mark.parametrize(
    "flags",
    [("--env", "A=1", "--env", "B=2 3"), ("-e", "A=1", "-e", "B=2 3"), ("--env=A=1", "--env=B=2 3")],
    ids=" ".join,
)
def test_env_is_added(container: Container, flags: tuple[str, ...]) -> None:
    assert {"A=1", "B=2 3", "FROM=config"} <= set(probe(container, *flags)["env"])


def test_env_given_last_wins(container: Container) -> None:
    assert container.exec("/bin/sh", "-c", "echo $FROM", flags=("-e", "FROM=flag")).ok().out == "flag\n"


@pytest.mark.parametrize("text, uid, gid", [("1000", 1000, 0), ("1000:2000", 1000, 2000), ("0:5", 0, 5)])
@pytest.mark.parametrize("flag", ["--user", "-u"])
def test_user(container: Container, flag: str, text: str, uid: int, gid: int) -> None:
    seen = probe(container, flag, text)
    assert (seen["uids"], seen["gids"]) == ([uid] * 3, [gid] * 3)


def test_numeric_user_is_no_name_in_the_containers_passwd(container: Container, bundle: Bundle) -> None:
    (bundle.rootfs / "etc/passwd").write_text("1000:x:0:0::/:/bin/sh\n")
    assert probe(container, "--user", "1000")["uids"] == [1000, 1000, 1000]


@pytest.mark.parametrize(
    "text",
    ["-1", "4294967295", "4294967296", "1_0", " 1", "１", "root", "1:root", "1:2:3", ":", "1:", ":1", "0x1", "1.0"],
)
@not_for("runc", "crun", reason="they take some of these")
def test_user_that_is_no_number_is_refused(container: Container, text: str) -> None:
    assert container.exec("/bin/probe", flags=("--user", text)).refused(code=255).out == ""


def test_additional_gids(container: Container) -> None:
    seen = probe(container, "--user", "1000:1000", "--additional-gids", "5", "--additional-gids", "6")
    assert set(seen["groups"]) - {1000} == {5, 6}


def test_cap_is_not_added_to_the_inheritable_set(container: Container) -> None:
    sets = probe(container, "--cap", "CAP_NET_ADMIN").capabilities()
    assert "CAP_NET_ADMIN" in sets["bounding"] & sets["effective"] & sets["permitted"]
    assert sets["inheritable"] == set()
    assert sets["ambient"] == set()


@not_for("runc", "crun", reason="they ignore it or have messages of their own")
def test_unknown_capability_is_refused(container: Container) -> None:
    container.exec("/bin/probe", flags=("--cap", "CAP_NO_SUCH")).refused("CAP_NO_SUCH", code=255)


def test_no_new_privs(box: Runtime, bundle: Bundle) -> None:
    bundle.process["noNewPrivileges"] = False
    container = box.running_shell(bundle)
    assert probe(container)["no_new_privs"] == 0
    assert probe(container, "--no-new-privs")["no_new_privs"] == 1


@pytest.mark.parametrize("flag", ["--process", "-p"])
def test_process_file_gives_everything(container: Container, process_file: Any, flag: str) -> None:
    path = process_file(
        args=["/bin/probe", "x y"],
        cwd="/etc",
        user={"uid": 5, "gid": 6, "additionalGids": [7]},
        env=["ONLY=this", "HOME=/"],
        capabilities={kind: ["CAP_KILL"] for kind in ("bounding", "permitted", "effective")},
        rlimits=[{"type": "RLIMIT_NOFILE", "soft": 50, "hard": 60}],
        noNewPrivileges=True,
    )
    seen = container.runtime("exec", flag, path, container.id).report()
    assert seen["args"] == ["/bin/probe", "x y"]
    assert (seen["cwd"], seen["env"]) == ("/etc", ["ONLY=this", "HOME=/"])
    assert (seen["uids"], seen["gids"]) == ([5] * 3, [6] * 3)
    assert set(seen["groups"]) - {6} == {7}
    assert seen["rlimits"]["RLIMIT_NOFILE"] == [50, 60]
    assert seen.capabilities()["bounding"] == {"CAP_KILL"}


@not_for("runc", reason="1.1 ignores them")
def test_process_file_gives_umask_and_oom_score_adj(container: Container, process_file: Any) -> None:
    path = process_file(user={"uid": 0, "gid": 0, "umask": 0o77}, oomScoreAdj=321)
    seen = container.runtime("exec", "--process", path, container.id).report()
    assert (seen["umask"], seen["oom_score_adj"]) == (0o77, "321\n")


@not_for("runc", "crun", reason="they take the configured ones")
def test_process_file_without_privileges_gives_none(container: Container, process_file: Any) -> None:
    seen = container.runtime("exec", "--process", process_file(), container.id).report()
    assert seen["no_new_privs"] == 0
    assert seen.capabilities()["bounding"] == set()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"args": []}', '{"args": ["x"], "cwd": 5}'])
def test_bad_process_file_is_refused(container: Container, bundle: Bundle, content: str) -> None:
    (bundle.path / "bad.json").write_text(content)
    container.runtime("exec", "--process", str(bundle.path / "bad.json"), container.id).refused(code=255)


def test_missing_process_file_is_refused_and_named(container: Container) -> None:
    container.runtime("exec", "--process", "/no/such.json", container.id).refused("/no/such.json", code=255)


class TestDetach:
    @pytest.mark.parametrize("flag", ["--detach", "-d"])
    def test_returns_while_the_process_runs(
        self, box: Runtime, container: Container, bundle: Bundle, flag: str
    ) -> None:
        pid_file = bundle.path / "exec.pid"
        with open(bundle.path / "out", "wb") as out:
            command = box.command("exec", flag, "--pid-file", str(pid_file), container.id, "/bin/probe", "--hang")
            assert subprocess.run(command, stdin=-3, stdout=out, stderr=-3, timeout=20).returncode == 0
        pid = int(pid_file.read_text())
        wait_until(lambda: (bundle.path / "out").stat().st_size > 0, "the probe's report")
        os.kill(pid, signal.SIGKILL)
        assert box.wait(pid) == 137

    def test_pid_is_the_hosts_and_without_a_newline(self, box: Runtime, container: Container, bundle: Bundle) -> None:
        pid_file = bundle.path / "exec.pid"
        command = box.command("exec", "-d", "--pid-file", str(pid_file), container.id, "/bin/sleep", "1000")
        assert subprocess.run(command, stdin=-3, stdout=-3, stderr=-3, timeout=20).returncode == 0
        text = pid_file.read_bytes()
        pid = int(text)
        assert text == str(pid).encode()
        assert Path(f"/proc/{pid}/cmdline").read_bytes() == b"/bin/sleep\x001000\x00"
        os.kill(pid, signal.SIGKILL)
        wait_for_exit(pid)

    def test_process_becomes_the_child_of_the_callers_subreaper(
        self, box: Runtime, container: Container, bundle: Bundle
    ) -> None:
        pid_file = bundle.path / "exec.pid"
        box("exec", "-d", "--pid-file", str(pid_file), container.id, "/bin/sh", "-c", "exit 33").ok()
        assert box.wait(int(pid_file.read_text())) == 33

    def test_failure_leaves_no_pid_file(self, box: Runtime, container: Container, bundle: Bundle) -> None:
        pid_file = bundle.path / "exec.pid"
        box("exec", "-d", "--pid-file", str(pid_file), container.id, "/no/such").refused("/no/such", code=255)
        assert not pid_file.exists()

    def test_process_ends_with_the_container(self, box: Runtime, container: Container, bundle: Bundle) -> None:
        pid_file = bundle.path / "exec.pid"
        command = box.command("exec", "-d", "--pid-file", str(pid_file), container.id, "/bin/sleep", "1000")
        assert subprocess.run(command, stdin=-3, stdout=-3, stderr=-3, timeout=20).returncode == 0
        container.kill("KILL").ok()
        wait_for_exit(int(pid_file.read_text()))
        container.wait()


class TestTerminal:
    def test_detached_terminal_goes_to_the_console_socket(
        self, box: Runtime, container: Container, bundle: Bundle
    ) -> None:
        socket = ConsoleSocket(bundle.path / "console")
        pid_file = bundle.path / "exec.pid"
        flags = ("-t", "-d", "--console-socket", str(socket.path), "--pid-file", str(pid_file))
        box("exec", *flags, container.id, "/bin/sh", "-c", "tty").ok()
        master = socket.receive()
        assert b"/dev/pts/0" in read_all(master)
        os.close(master)
        socket.close()
        assert [count for _, count in socket.messages] == [1]

    def test_process_leads_a_session_with_the_terminal(
        self, box: Runtime, container: Container, bundle: Bundle
    ) -> None:
        socket = ConsoleSocket(bundle.path / "console")
        box("exec", "-t", "-d", "--console-socket", str(socket.path), container.id, "/bin/probe", "--to", "/tmp/r").ok()
        master = socket.receive()
        read_all(master)
        seen = parse((bundle.rootfs / "tmp/r").read_text())
        assert seen["controlling_tty"] is True
        assert seen["sid"] == seen["pid"]
        os.close(master)
        socket.close()

    def test_detached_terminal_without_a_console_socket_is_refused(self, box: Runtime, container: Container) -> None:
        box("exec", "-t", "-d", container.id, "/bin/true").refused("cannot allocate tty", code=255)

    def test_size_of_a_process_file_is_set(
        self, box: Runtime, container: Container, bundle: Bundle, process_file: Any
    ) -> None:
        socket = ConsoleSocket(bundle.path / "console")
        path = process_file(terminal=True, consoleSize={"height": 21, "width": 43}, args=["/bin/stty", "size"])
        box("exec", "-d", "--console-socket", str(socket.path), "--process", path, container.id).ok()
        master = socket.receive()
        assert read_all(master).decode().strip() == "21 43"
        os.close(master)
        socket.close()


class TestFailure:
    """Everything that keeps the program from running is 255."""

    @pytest.mark.parametrize(
        "program, texts",
        [
            ("/no/such", ("/no/such", "no such file or directory")),
            ("nosuch", ("nosuch", "executable file not found in")),
            ("/etc/passwd", ("/etc/passwd", "permission denied")),
        ],
    )
    def test_says_what_is_wrong(self, container: Container, program: str, texts: tuple[str, ...]) -> None:
        container.exec(program).refused(*texts, code=255)

    def test_stopped_container(self, box: Runtime, bundle: Bundle) -> None:
        container = box.start(bundle)
        container.wait()
        container.exec("/bin/true").refused("stopped", code=255)

    def test_leaves_the_container_running(self, container: Container) -> None:
        container.exec("/no/such").refused(code=255)
        assert container.status == "running"

    @not_for("runc", "crun", reason="they name the flag in other words")
    def test_without_a_program(self, container: Container) -> None:
        container.exec().refused(code=255)

    def test_missing_cwd(self, container: Container) -> None:
        result = container.exec("/bin/true", flags=("--cwd", "/no/such"))
        # runc makes the directory
        assert result.code == 255 or container.runtime.name == "runc"

    def test_bad_env(self, container: Container) -> None:
        result = container.exec("/bin/true", flags=("--env", "=x"))
        assert result.code in (0, 255)


def test_exec_into_a_created_container_works(box: Runtime, bundle: Bundle) -> None:
    container = box.create(bundle)
    assert container.exec("/bin/echo", "here").ok().out == "here\n"
    assert container.status == "created"


def test_signals_are_forwarded(box: Runtime, container: Container) -> None:
    command = box.popen("exec", container.id, "/bin/probe", "--catch", stdin=-3, stdout=PIPE)
    assert command.stdout is not None and command.stdout.read(6) == b"ready\n"
    command.send_signal(signal.SIGTERM)
    assert command.wait(20) == 40


def test_many_processes_at_once(box: Runtime, container: Container) -> None:
    commands = [box.popen("exec", container.id, "/bin/sh", "-c", f"exit {number}", stdin=-3) for number in range(8)]
    assert [command.wait(20) for command in commands] == list(range(8))


def test_arguments_after_the_program_are_its_own(container: Container) -> None:
    assert container.exec("/bin/echo", "--cwd", "-t", "--", "x").ok().out == "--cwd -t -- x\n"


class TestCgroup:
    @pytest.mark.parametrize("path", ["sub", "/sub"])
    def test_sub_cgroup_is_entered(self, box: Runtime, bundle: Bundle, path: str) -> None:
        container = box.running_shell(bundle)
        directories = [Path(directory) for directory in self.directories(bundle)]
        for directory in directories:
            (directory / "sub").mkdir()
        for name in ("cpuset.cpus", "cpuset.mems"):
            for directory in directories:
                if (directory / name).exists():
                    (directory / "sub" / name).write_text((directory / name).read_text())
        seen = probe(container, "--cgroup", path)["cgroup"]
        for directory in directories:
            (directory / "sub").rmdir()
        assert f"memory:/{self.path(bundle)}/sub\n" in seen

    @pytest.mark.parametrize("path", ["..", "../..", "/../x", "missing"])
    def test_outside_of_the_containers_is_refused(self, container: Container, path: str) -> None:
        container.exec("/bin/true", flags=("--cgroup", path)).refused(code=255)

    def path(self, bundle: Bundle) -> str:
        return str(bundle.linux["cgroupsPath"]).lstrip("/")

    def directories(self, bundle: Bundle) -> list[str]:
        found = Path("/sys/fs/cgroup").glob(f"*/{self.path(bundle)}")
        return [str(directory) for directory in found]
