"""Waiting in the foreground, with real processes and terminals.

The runtime is a process of its own, since signal handlers and the terminal are a process's. `RUNTIME` starts a child on
a new pty, or on its own standard streams, waits for it with `foreground.wait` and leaves with what that returned.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "src"

RUNTIME = f"""
import os, sys, fcntl, termios
sys.path.insert(0, {str(SOURCE)!r})
from boxes.container import foreground
kind, *command = sys.argv[1:]
signals = foreground.Signals() if "early" in kind else None
master = None
if "tty" in kind:
    from boxes.container.relay import caller_size
    master, slave = os.openpty()
    termios.tcsetwinsize(slave, caller_size() or (5, 7))
pid = os.fork()
if pid == 0:
    os.setsid()
    if master is not None:
        fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
        for fd in range(3):
            os.dup2(slave, fd)
        os.closerange(3, 100)
    os.execvp(command[0], command)
if master is not None:
    os.close(slave)
status = foreground.wait(pid, os.pidfd_open(pid), terminal=master, signals=signals, reap_all="reap" in kind)
if signals:
    signals.close()
os._exit(status)
"""


# The terminal's settings before and after, between them the runtime and its status.
KEPT = 'stty -g; "$@"; echo status $?; stty -g'


def argv(kind: str, *command: str, runtime: str = RUNTIME) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", runtime, kind, *command]


def run(kind: str, script: str, *, stdin: bytes = b"", timeout: float = 10) -> subprocess.CompletedProcess[bytes]:
    command = argv(kind, "/bin/sh", "-c", script)
    return subprocess.run(command, input=stdin, capture_output=True, timeout=timeout, check=False)


class Session:
    """The runtime on a terminal, as a shell runs it: leader of a session, whose other end is `master`."""

    def __init__(self, command: list[str], size: tuple[int, int]) -> None:
        self._text = ""
        self._seen = 0
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("4H", *size, 0, 0))
            os.execvp(command[0], command)

    def _read(self) -> bool:
        """Read some. False when the session has ended."""
        if not select.select([self.master], [], [], 10)[0]:
            raise TimeoutError(f"so far {self._text!r}")
        try:
            data = os.read(self.master, 65536)
        except OSError:  # EIO: nobody has the other side open any more
            return False
        self._text += data.decode()
        return bool(data)

    def expect(self, text: str) -> None:
        """Read until `text` comes, after what was expected before."""
        while (place := self._text.find(text, self._seen)) < 0:
            assert self._read(), f"{text!r} did not come, but {self._text!r}"
        self._seen = place + len(text)

    def lines(self) -> list[str]:
        """All lines there were, at the end of the session."""
        while self._read():
            pass
        return self._text.split("\r\n")

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.master)


@pytest.fixture
def session() -> Iterator[Callable[..., Session]]:
    made: list[Session] = []

    def make(
        kind: str, script: str, *, size: tuple[int, int] = (24, 80), shell: str = KEPT, runtime: str = RUNTIME
    ) -> Session:
        command = argv(kind, "/bin/sh", "-c", script, runtime=runtime)
        made.append(Session(["/bin/bash", "-c", shell, "sh", *command], size))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """The runtime without a terminal; ready once the script says so on standard output."""
    started: list[subprocess.Popen[bytes]] = []

    def function(kind: str, script: str) -> subprocess.Popen[bytes]:
        command = argv(kind, "/bin/sh", "-c", script)
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
        started.append(process)
        return process

    yield function
    for process in started:
        process.kill()
        process.communicate()


def line(process: subprocess.Popen[bytes]) -> bytes:
    assert process.stdout is not None
    return process.stdout.readline()


def user_time(pid: int) -> int:
    """Clock ticks of processor time, in user and kernel mode."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


# --- exit status -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["plain", "tty", "early"])
@pytest.mark.parametrize(
    ("script", "status"), [("exit 0", 0), ("exit 255", 255), ("kill -9 $$", 137), ("kill $$", 143)]
)
def test_exit_status_is_the_commands_or_128_and_the_signal(kind: str, script: str, status: int) -> None:
    assert run(kind, script).returncode == status


def test_no_child_of_ours_is_an_error() -> None:
    text = (
        f"import os, sys\nsys.path.insert(0, {str(SOURCE)!r})\nfrom boxes.container import foreground\n"
        "from boxes.errors import InternalError\n"
        "pid = os.fork() or os._exit(0)\nfd = os.pidfd_open(pid)\nos.waitpid(pid, 0)\n"
        "try: foreground.wait(pid, fd)\nexcept InternalError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, timeout=10, check=False)
    assert done.stdout.endswith(b"is not a child of the runtime\n")


# --- signals ---------------------------------------------------------------------------------------------------------

# Long enough to be signalled, and no longer: a test that fails should not leave a process.
IDLE = "for i in $(seq 500); do sleep 0.02; done"
FORWARDED = ["HUP", "INT", "QUIT", "TERM", "USR1", "USR2", "ALRM", "WINCH", "CONT", "XCPU", "PWR", "IO", "35", "64"]


@pytest.mark.parametrize("name", FORWARDED)
def test_signals_reach_the_container(start: Callable[..., subprocess.Popen[bytes]], name: str) -> None:
    process = start("early", f"trap 'echo got; exit 7' {name}; echo ready; {IDLE}")
    assert line(process) == b"ready\n"
    number = int(name) if name.isdigit() else getattr(signal, f"SIG{name}")
    process.send_signal(number)
    assert line(process) == b"got\n"
    assert process.wait(10) == 7


def test_signals_before_the_wait_are_not_lost(start: Callable[..., subprocess.Popen[bytes]]) -> None:
    text = RUNTIME.replace("status = ", "os.kill(os.getpid(), 10); import time; time.sleep(0.3)\nstatus = ")
    script = f"trap 'exit 7' USR1; {IDLE}"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", text, "early", "/bin/sh", "-c", script], timeout=10, check=False
    )
    assert done.returncode == 7


def test_ignored_signals_stay_ignored(start: Callable[..., subprocess.Popen[bytes]]) -> None:
    command = ["nohup", *argv("early", "/bin/sh", "-c", f"trap 'exit 7' TERM; echo ready; {IDLE}")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert line(process) == b"ready\n"
        process.send_signal(signal.SIGHUP)
        process.terminate()
        assert process.wait(10) == 7


def test_ctrl_c_reaches_a_container_without_a_terminal(session: Callable[..., Session]) -> None:
    one = session("early", f"trap 'echo got; exit 7' INT; echo ready; {IDLE}")
    one.expect("ready")
    # The shell between would end at its own SIGINT, as a shell script does.
    one.type("\x03")
    one.expect("got")


def test_orphans_are_reaped_only_when_asked_for(start: Callable[..., subprocess.Popen[bytes]]) -> None:
    subreaper = "import ctypes; ctypes.CDLL(None).prctl(36, 1)\n"
    script = "(sleep 0.1 & echo $!); sleep 0.5; ps -o stat= -p $PPID --ppid $PPID | grep -c Z"
    for kind, zombies in (("plain", b"1"), ("reap", b"0")):
        command = [sys.executable, "-c", subreaper + RUNTIME, kind, "/bin/sh", "-c", script]
        done = subprocess.run(command, capture_output=True, timeout=10, check=False)
        assert done.stdout.split()[-1] == zombies


def test_waiting_costs_no_processor_time(start: Callable[..., subprocess.Popen[bytes]]) -> None:
    process = start("tty", "exec </dev/null >/dev/null 2>&1; trap '' HUP; sleep 1")
    time.sleep(0.4)
    before = user_time(process.pid)
    time.sleep(0.4)
    assert user_time(process.pid) - before <= 2


# --- terminal --------------------------------------------------------------------------------------------------------


def test_the_container_has_a_terminal_and_the_caller_keeps_its_own(session: Callable[..., Session]) -> None:
    lines = session("tty", "test -t 0 && test -t 1 && tty && stty size", size=(33, 123)).lines()
    assert lines[1].startswith("/dev/pts/")
    assert lines[2:4] == ["33 123", "status 0"]
    assert lines[4] == lines[0]


@pytest.mark.parametrize("script", ["exit 3", "kill -9 $$", "stty raw -echo; exit 4"])
def test_the_callers_terminal_is_put_back(session: Callable[..., Session], script: str) -> None:
    lines = session("tty", script).lines()
    assert lines[1] in ("status 3", "status 137", "status 4")
    assert lines[2] == lines[0]


def test_the_callers_terminal_is_put_back_after_an_error(session: Callable[..., Session]) -> None:
    runtime = RUNTIME.replace("terminal=master,", "terminal=master, send=lambda number: 1 / 0,")
    shell = KEPT.replace('"$@"', '"$@" 2>/dev/null')
    lines = session("early tty", "kill -USR1 $PPID; sleep 1", runtime=runtime, shell=shell).lines()
    assert lines[1] == "status 1"
    assert lines[2] == lines[0]


def test_keys_go_to_the_container_untouched(session: Callable[..., Session]) -> None:
    one = session("tty", "stty raw -echo; echo ready; head -c 6 | od -An -tx1")
    one.expect("ready")
    one.type("\x03\x1a\x1c\x04\r\x11")  # ^C ^Z ^\ ^D enter ^Q
    one.expect("03 1a 1c 04 0d 11")


def test_ctrl_c_interrupts_inside_and_not_the_runtime(session: Callable[..., Session]) -> None:
    one = session("early tty", f"trap 'echo got; exit 7' INT; echo ready; {IDLE}")
    one.expect("ready")
    one.type("\x03")
    one.expect("got")
    one.expect("status 7")


def test_resizing_is_passed_on(session: Callable[..., Session]) -> None:
    one = session("early tty", f"trap 'stty size; exit' WINCH; echo ready; {IDLE}")
    one.expect("ready")
    one.resize(50, 132)
    one.expect("50 132")


def test_a_terminal_without_a_size_does_not_overwrite_the_containers(session: Callable[..., Session]) -> None:
    assert session("tty", "sleep 0.3; stty size", size=(0, 0)).lines()[1] == "5 7"


def test_stop_and_continue(session: Callable[..., Session]) -> None:
    """Stopped with the terminal as it was; in the foreground again, the runtime makes it raw and goes on."""
    shell = 'set -m; "$@"; echo stopped $?; stty -a | grep -o " icanon"; fg >/dev/null; echo status $?'
    script = "trap '' TSTP; kill -TSTP $PPID; sleep 0.5; stty -a </dev/tty >/dev/null; echo inside; read x; exit 5"
    one = session("early tty", script, shell=shell)
    one.expect("stopped 148")
    one.expect(" icanon")
    one.expect("inside")
    one.type("x\r")
    one.expect("status 5")


def test_in_the_background_the_terminal_is_left_alone_until_it_comes_to_the_front(
    session: Callable[..., Session],
) -> None:
    shell = 'set -m; "$@" & sleep 0.5; stty -a | grep -o " icanon"; echo back; fg >/dev/null; echo status $?'
    one = session("early tty", "read x; echo got $x; exit 5", shell=shell)
    one.expect(" icanon")
    one.expect("back")
    time.sleep(0.5)  # until the shell has put it into the foreground, where it may read
    one.type("abc\r")
    one.expect("got abc")
    one.expect("status 5")


# --- bytes through the relay -----------------------------------------------------------------------------------------


def test_all_output_is_there_after_the_end() -> None:
    done = run("tty", "seq 1 20000; printf end")
    assert done.stdout.split(b"\r\n")[:20000] == [str(number).encode() for number in range(1, 20001)]
    assert done.stdout.endswith(b"end")


def test_large_input_arrives(tmp_path: Path) -> None:
    data = b"".join(b"%06d line\n" % number for number in range(20000))
    done = run("tty", f"stty -echo; cat >{tmp_path}/out; echo done", stdin=data)
    assert done.stdout.endswith(b"done\r\n")
    assert (tmp_path / "out").read_bytes() == data


@pytest.mark.parametrize("stdin", [b"", b"one\n", b"no newline"])
def test_end_of_input_reaches_the_container(stdin: bytes) -> None:
    done = run("tty", "stty -echo; wc -c", stdin=stdin)
    assert done.stdout.strip().endswith(str(len(stdin)).encode())  # what came before stty is echoed


def test_end_of_input_without_an_end_character() -> None:
    assert run("tty", "stty eof undef; sleep 0.2; echo fine").stdout == b"fine\r\n"


def test_a_reader_that_leaves_hangs_the_terminal_up() -> None:
    command = argv("tty", "/bin/sh", "-c", "yes")
    shell = '{ "$@" </dev/null; echo $? >&2; } | head -n 1'
    done = subprocess.run(["/bin/sh", "-c", shell, "sh", *command], capture_output=True, timeout=10, check=False)
    assert done.stdout.strip() == b"y"
    assert done.stderr.split() in ([b"129"], [b"1"])  # SIGHUP, or yes saw EIO first


def test_a_full_disk_is_reported_after_the_end() -> None:
    shell = '"$@" </dev/null >/dev/full'
    text = RUNTIME.replace("status = ", "from boxes.errors import KernelError\ntry: status = ").replace(
        "\nif signals:", "\nexcept KernelError as error: sys.exit(str(error))\nif signals:"
    )
    command = ["/bin/sh", "-c", shell, "sh", sys.executable, "-c", text, "tty", "/bin/echo", "lost"]
    done = subprocess.run(command, capture_output=True, timeout=10, check=False)
    assert done.stderr == b"write the container's output: no space left on device\n"


def test_the_container_may_close_and_open_its_terminal_again() -> None:
    script = "t=$(tty); echo one; exec </dev/null >/dev/null 2>&1; sleep 0.2; exec >$t; echo two"
    assert run("tty", script).stdout == b"one\r\ntwo\r\n"


def test_a_background_process_that_keeps_the_terminal_does_not_delay_the_end() -> None:
    began = time.monotonic()
    done = run("tty", "trap '' HUP; sleep 3 & echo one")
    assert done.stdout == b"one\r\n"
    assert time.monotonic() - began < 2


def test_a_reader_that_stalls_gets_everything_in_the_end() -> None:
    command = argv("tty", "/bin/sh", "-c", "seq 1 100000")
    shell = '"$@" </dev/null | { sleep 0.5; tail -n 1; }'
    done = subprocess.run(["/bin/sh", "-c", shell, "sh", *command], capture_output=True, timeout=10, check=False)
    assert done.stdout == b"100000\r\n"


def test_a_signal_ends_the_wait_for_a_reader_that_never_reads() -> None:
    read_end, write_end = os.pipe()
    try:
        command = argv("tty", "/bin/sh", "-c", "seq 1 12000 & sleep 0.3; exit 9")  # 70 KB: more than the pipe holds
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=write_end) as process:
            time.sleep(1)
            assert process.poll() is None
            process.terminate()
            assert process.wait(5) == 9
    finally:
        os.close(read_end)
        os.close(write_end)
