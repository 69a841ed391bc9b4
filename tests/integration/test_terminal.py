"""Terminals: the console socket of a detached container, and a pty in the foreground (runtime-spec, config.md#process)."""

from __future__ import annotations

import fcntl
import os
import pty
import stat
import struct
import termios
from collections.abc import Iterator

import pytest

from tests.support.bundle import Bundle
from tests.support.marks import not_for
from tests.support.probe import parse
from tests.support.runtime import Runtime
from tests.support.terminal import ConsoleSocket, read_all, read_until

TIOCGPTN = 0x80045430


@pytest.fixture
def console(bundle: Bundle) -> Iterator[ConsoleSocket]:
    socket = ConsoleSocket(bundle.path / "console")
    bundle.process["terminal"] = True
    yield socket
    socket.close()


def test_console_socket_gets_one_message_with_one_descriptor(
    box: Runtime, bundle: Bundle, console: ConsoleSocket
) -> None:
    box.create(bundle, "--console-socket", str(console.path))
    os.close(console.receive())
    assert len(console.messages) == 1
    payload, descriptors = console.messages[0]
    assert descriptors == 1
    assert len(payload) >= 1


def test_console_socket_gets_the_master_of_the_containers_pty(
    box: Runtime, bundle: Bundle, console: ConsoleSocket
) -> None:
    container = box.create(bundle.shell("tty; ls -l /proc/self/fd/0"), "--console-socket", str(console.path))
    master = console.receive()
    assert stat.S_ISCHR(os.fstat(master).st_mode)
    assert os.major(os.fstat(master).st_rdev) == 5
    assert os.minor(os.fstat(master).st_rdev) == 2
    container.start().ok()
    assert read_all(master).decode().splitlines()[0] in ("/dev/pts/0", "/dev/console")
    os.close(master)


def test_process_has_the_terminal_on_its_three_streams(box: Runtime, bundle: Bundle, console: ConsoleSocket) -> None:
    container = box.create(bundle.args("/bin/probe", "--to", "/tmp/report"), "--console-socket", str(console.path))
    master = console.receive()
    container.start().ok()
    container.wait()
    seen = parse((bundle.rootfs / "tmp/report").read_text())
    assert [seen["fds"][fd]["tty"] for fd in ("0", "1", "2")] == [True, True, True]
    assert seen["controlling_tty"] is True
    assert seen["sid"] == seen["pgid"] == 1
    os.close(master)


def test_terminal_relays_both_ways(box: Runtime, bundle: Bundle, console: ConsoleSocket) -> None:
    container = box.create(bundle.shell('read line; echo "got <$line>"'), "--console-socket", str(console.path))
    master = console.receive()
    container.start().ok()
    os.write(master, b"hello\n")
    assert b"got <hello>" in read_until(master, b">")
    os.close(master)


def test_console_size_is_set_before_the_process_starts(box: Runtime, bundle: Bundle, console: ConsoleSocket) -> None:
    bundle.process["consoleSize"] = {"height": 33, "width": 111}
    container = box.create(bundle.args("/bin/stty", "size"), "--console-socket", str(console.path))
    master = console.receive()
    container.start().ok()
    assert read_all(master).decode().strip() == "33 111"
    os.close(master)


def test_terminal_belongs_to_the_processes_user(box: Runtime, bundle: Bundle, console: ConsoleSocket) -> None:
    bundle.process["user"] = {"uid": 1000, "gid": 1000}
    container = box.create(
        bundle.shell("stat -L -c '%u %t' /proc/self/fd/0; echo x > /dev/tty"), "--console-socket", str(console.path)
    )
    master = console.receive()
    container.start().ok()
    assert read_all(master).decode().splitlines() == ["1000 88", "x"]
    os.close(master)


def test_dev_console_is_the_terminal(box: Runtime, bundle: Bundle, console: ConsoleSocket) -> None:
    container = box.create(
        bundle.shell("echo through > /dev/console; stat -c %t /dev/console"), "--console-socket", str(console.path)
    )
    master = console.receive()
    container.start().ok()
    assert read_all(master).decode().splitlines() == ["through", "88"]
    os.close(master)


def test_hangup_of_the_terminal_reaches_the_process(box: Runtime, bundle: Bundle, console: ConsoleSocket) -> None:
    script = 'trap "echo hup > /tmp/hup; exit 7" HUP; echo ready; while :; do sleep 1 & wait; done'
    container = box.create(bundle.shell(script), "--console-socket", str(console.path))
    master = console.receive()
    container.start().ok()
    read_until(master, b"ready")
    os.close(master)
    assert container.wait() == 7
    assert (bundle.rootfs / "tmp/hup").read_text() == "hup\n"


def test_create_with_a_terminal_needs_a_console_socket(box: Runtime, bundle: Bundle) -> None:
    bundle.process["terminal"] = True
    result, reader, _ = box.spawn("create", bundle)
    os.close(reader)
    result.refused("cannot allocate tty", "console socket")


def test_run_detached_with_a_terminal_needs_a_console_socket(box: Runtime, bundle: Bundle) -> None:
    bundle.process["terminal"] = True
    box.run(bundle, "--detach").refused("cannot allocate tty", "console socket")


def test_console_socket_without_a_terminal_is_refused(box: Runtime, bundle: Bundle) -> None:
    socket = ConsoleSocket(bundle.path / "console")
    result, reader, _ = box.spawn("create", bundle, "--console-socket", str(socket.path))
    os.close(reader)
    socket.close()
    result.refused("console")


def test_missing_console_socket_is_refused(box: Runtime, bundle: Bundle) -> None:
    bundle.process["terminal"] = True
    result, reader, _ = box.spawn("create", bundle, "--console-socket", str(bundle.path / "nobody"))
    os.close(reader)
    result.refused("nobody")
    assert box("state", bundle.id).code == 1


@not_for("runc", "crun", reason="they give connect(2) the path as it is")
def test_console_socket_path_may_be_longer_than_a_socket_address(box: Runtime, bundle: Bundle) -> None:
    bundle.process["terminal"] = True
    deep = bundle.path / ("d" * 120)
    deep.mkdir()
    socket = ConsoleSocket(bundle.path / "s")
    (bundle.path / "s").rename(deep / "s")
    container = box.create(bundle.args("/bin/tty"), "--console-socket", str(deep / "s"))
    master = socket.receive()
    container.start().ok()
    assert b"/dev/" in read_all(master)
    os.close(master)
    socket.close()


class TestForeground:
    """`run` with a terminal of its own: keys go in, output comes out, the size follows."""

    def run(self, box: Runtime, bundle: Bundle, size: tuple[int, int] = (24, 80)) -> tuple[int, int]:
        bundle.process["terminal"] = True
        arguments = box.command("run", *box.bundle_args(bundle))
        pid, master = pty.fork()
        if pid == 0:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
            os.execve(arguments[0], arguments, {"PATH": "/usr/bin:/bin"})
        return pid, master

    def test_output_and_exit_status_come_through(self, box: Runtime, bundle: Bundle) -> None:
        pid, master = self.run(box, bundle.shell("tty; exit 9"))
        assert b"/dev/" in read_all(master)
        assert box.wait(pid) == 9
        os.close(master)

    def test_input_goes_in(self, box: Runtime, bundle: Bundle) -> None:
        pid, master = self.run(box, bundle.shell('echo ready; read x; echo "<$x>"'))
        read_until(master, b"ready")
        os.write(master, b"typed\n")
        assert b"<typed>" in read_until(master, b">")
        read_all(master)
        assert box.wait(pid) == 0
        os.close(master)

    def test_keys_are_not_echoed_twice(self, box: Runtime, bundle: Bundle) -> None:
        pid, master = self.run(box, bundle.shell("stty -echo; echo ready; read x; echo done"))
        read_until(master, b"ready")
        os.write(master, b"secret\n")
        assert b"secret" not in read_all(master)
        assert box.wait(pid) == 0
        os.close(master)

    def test_interrupt_key_reaches_the_process(self, box: Runtime, bundle: Bundle) -> None:
        pid, master = self.run(box, bundle.shell('trap "echo int; exit 5" INT; echo ready; while :; do sleep 1; done'))
        read_until(master, b"ready")
        os.write(master, b"\x03")
        assert b"int" in read_all(master)
        assert box.wait(pid) == 5
        os.close(master)

    def test_size_is_the_callers(self, box: Runtime, bundle: Bundle) -> None:
        pid, master = self.run(box, bundle.shell("sleep 0.2; stty size"), size=(17, 91))
        assert b"17 91" in read_all(master)
        assert box.wait(pid) == 0
        os.close(master)

    def test_size_follows_the_callers(self, box: Runtime, bundle: Bundle) -> None:
        script = 'trap "stty size" WINCH; echo ready; while :; do sleep 1 & wait; done'
        pid, master = self.run(box, bundle.shell(script), size=(17, 91))
        read_until(master, b"ready")
        fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        read_until(master, b"40 120")
        box("kill", bundle.id, "KILL").ok()
        assert box.wait(pid) == 137
        os.close(master)

    def test_callers_terminal_is_restored(self, box: Runtime, bundle: Bundle) -> None:
        master, slave = pty.openpty()
        before = termios.tcgetattr(slave)
        bundle.process["terminal"] = True
        run = box.popen(
            "run",
            *box.bundle_args(bundle.shell("exit 0")),
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        assert run.wait(20) == 0
        assert termios.tcgetattr(slave) == before
        os.close(master)
        os.close(slave)


def test_pty_is_of_the_containers_own_devpts(box: Runtime, bundle: Bundle, console: ConsoleSocket) -> None:
    container = box.create(bundle.shell("ls /dev/pts"), "--console-socket", str(console.path))
    master = console.receive()
    number = struct.unpack("i", fcntl.ioctl(master, TIOCGPTN, b"\0" * 4))[0]
    assert number == 0
    container.start().ok()
    assert read_all(master).decode().split() == ["0", "ptmx"]
    os.close(master)
