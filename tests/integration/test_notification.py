"""sd_notify(3): what a container's program says to the caller's NOTIFY_SOCKET goes through the runtime."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.bundle import Bundle
from tests.support.criu import COUNT
from tests.support.marks import not_for, requires
from tests.support.runtime import Runtime, wait_until

SLEEP = 'echo "$NOTIFY_SOCKET"; exec sleep 1000'


class Manager:
    """A service manager: the socket, and what has come of it."""

    def __init__(self, path: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.settimeout(10)
        self.socket.bind("\0" + path[1:] if path.startswith("@") else path)
        self.path = path

    def heard(self) -> str:
        """The next message. Its descriptors are closed, as a reader does that has no use for them."""
        return self.socket.recv(4096).decode()

    def silent(self) -> bool:
        return not select.select([self.socket], [], [], 0.3)[0]


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, directory: Path) -> Iterator[Manager]:
    found = Manager(f"{directory}/notify" if request.param == "path" else f"@boxes-{os.getpid()}-{time.monotonic_ns()}")
    yield found
    found.socket.close()


def begin(box: Runtime, *args: str, notify: str, out: Path) -> subprocess.Popen[bytes]:
    with out.open("ab") as stream:
        return subprocess.Popen(
            box.command(*args), env=os.environ | {"NOTIFY_SOCKET": notify}, stdin=subprocess.DEVNULL, stdout=stream
        )


def say(pid: int, *messages: str) -> None:
    """As its program would: through the socket inside, with no rights but those of others there."""
    inside = f"/proc/{pid}/root/run/notify/notify.sock"
    sender = (
        "import os, socket, sys; s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); s.connect(sys.argv[1])\n"
        "for each in sys.argv[2:]: s.send(each.encode())"
    )
    subprocess.run(["/usr/bin/python3", "-c", sender, inside, *messages], check=True)


def running(box: Runtime, bundle: Bundle, out: Path) -> int:
    """The pid of its program, once that has written a line."""
    wait_until(lambda: out.exists() and out.read_bytes().endswith(b"\n"), "what the program says")
    return int(box.state(bundle.id)["pid"])


@not_for("runc", "crun", reason="they hand on the first READY alone, and runc names itself as the main process")
def test_in_the_foreground_all_is_handed_on_that_a_service_may_say(
    box: Runtime, bundle: Bundle, directory: Path, manager: Manager
) -> None:
    """The runtime stays the main process: there is no MAINPID, neither its own nor the program's."""
    bundle.shell(SLEEP).save()
    out = directory / "out"
    run = begin(box, "run", "-b", str(bundle.path), bundle.id, notify=manager.path, out=out)
    pid = running(box, bundle, out)
    assert out.read_text() == "/run/notify/notify.sock\n"
    say(pid, "STATUS=half way", "MAINPID=1\nREADY=1\nFDSTORE=1\nSTATUS=there", "MAINPID=1", "WATCHDOG=1")
    assert [manager.heard() for _ in range(3)] == ["STATUS=half way", "READY=1\nSTATUS=there", "WATCHDOG=1"]
    assert manager.silent()
    box("kill", bundle.id, "KILL").ok()
    assert run.wait(10) == 137


@pytest.mark.parametrize("verb", ["run", "start"])
@not_for("runc", "crun", reason="they tell the main process in a second message")
def test_who_does_not_stay_waits_until_it_is_ready_and_names_the_main_process(
    box: Runtime, bundle: Bundle, directory: Path, manager: Manager, verb: str
) -> None:
    bundle.shell(SLEEP).save()
    out = directory / "out"
    if verb == "run":
        waiting = begin(box, "run", "-d", "-b", str(bundle.path), bundle.id, notify=manager.path, out=out)
    else:
        begin(box, "create", "-b", str(bundle.path), bundle.id, notify=manager.path, out=out).wait(10)
        waiting = begin(box, "start", bundle.id, notify=manager.path, out=out)
    pid = running(box, bundle, out)
    say(pid, "STATUS=half way")
    assert manager.heard() == "STATUS=half way"
    with pytest.raises(subprocess.TimeoutExpired):
        waiting.wait(0.3)
    box("kill", bundle.id, "0").ok()  # the container is not locked meanwhile
    say(pid, "READY=1")
    assert manager.heard() == f"MAINPID={pid}\nREADY=1"
    with pytest.raises(subprocess.TimeoutExpired):
        waiting.wait(0.3)  # for the manager to have read it all, while it can tell whose it is
    assert manager.heard() == "BARRIER=1"
    assert waiting.wait(10) == 0
    box("delete", "--force", bundle.id).ok()


def test_a_program_that_ends_without_a_word_ends_the_waiting(
    box: Runtime, bundle: Bundle, directory: Path, manager: Manager
) -> None:
    bundle.shell("exit 3").save()
    run = begin(box, "run", "-d", "-b", str(bundle.path), bundle.id, notify=manager.path, out=directory / "out")
    assert run.wait(10) == 0
    assert manager.silent()
    box("delete", bundle.id).ok()


@pytest.mark.parametrize("gone", ["own", "nothing there"])
def test_without_a_manager_of_its_own_nothing_is_waited_for(
    box: Runtime, bundle: Bundle, directory: Path, gone: str
) -> None:
    """A config with its own NOTIFY_SOCKET keeps it, and a path where nothing is is of a manager that is gone."""
    if gone == "own":
        bundle.config["process"]["env"].append("NOTIFY_SOCKET=/its/own")
    bundle.shell('echo "$NOTIFY_SOCKET"; ls /run; exec sleep 1000').save()
    manager = Manager(f"{directory}/notify")
    out = directory / "out"
    path = manager.path if gone == "own" else "/nothing/there"
    run = begin(box, "run", "-d", "-b", str(bundle.path), bundle.id, notify=path, out=out)
    assert run.wait(10) == 0
    running(box, bundle, out)
    assert out.read_text() == ("/its/own\n" if gone == "own" else "\n")
    manager.socket.close()
    box("delete", "--force", bundle.id).ok()


def test_the_directory_inside_cannot_be_written(
    box: Runtime, bundle: Bundle, directory: Path, manager: Manager
) -> None:
    bundle.shell("touch /run/notify/file; echo $?").save()
    out = directory / "out"
    assert begin(box, "run", "-b", str(bundle.path), bundle.id, notify=manager.path, out=out).wait(10) == 0
    assert out.read_text() == "1\n"


@pytest.mark.parametrize("ids", [None, 1000], ids=["root", "user namespace"])
def test_whoever_the_program_is_it_is_heard(
    box: Runtime, bundle: Bundle, directory: Path, manager: Manager, ids: int | None
) -> None:
    """The program that says it is the container's own, as an ordinary user, with the host's interpreter."""
    script = "import os, socket; s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); s.connect(os.environ['NOTIFY_SOCKET']); s.send(b'READY=1')"
    for name in ("usr", "lib", "lib64"):
        bundle.mount(f"/{name}", "bind", f"/{name}", "rbind", "ro")
    bundle.args("/usr/bin/python3", "-c", script)
    bundle.config["process"]["user"] = {"uid": 1000, "gid": 1000}
    if ids is not None:
        bundle.user_namespace()
    bundle.save()
    run = begin(box, "run", "-d", "-b", str(bundle.path), bundle.id, notify=manager.path, out=directory / "out")
    assert manager.heard().endswith("\nREADY=1")
    assert manager.heard() == "BARRIER=1"
    assert run.wait(10) == 0
    box("delete", "--force", bundle.id).ok()


@requires("criu")
@pytest.mark.takes(180)
def test_restored_in_the_foreground_it_is_heard_again(
    box: Runtime, bundle: Bundle, directory: Path, manager: Manager
) -> None:
    bundle.shell(COUNT).save()
    out = directory / "out"
    run = begin(box, "run", "-b", str(bundle.path), bundle.id, notify=manager.path, out=out)
    running(box, bundle, out)
    box("checkpoint", "--image-path", str(directory / "images"), bundle.id, timeout=50).ok()
    run.wait(10)
    args = ("restore", "--image-path", str(directory / "images"), "-b", str(bundle.path), bundle.id)
    again = begin(box, *args, notify=manager.path, out=out)
    wait_until(lambda: box("state", bundle.id).code == 0, "the container", 30)
    pid = int(box.state(bundle.id)["pid"])
    wait_until(lambda: os.path.exists(f"/proc/{pid}/root/run/notify/notify.sock"), "the socket", 30)
    say(pid, "STATUS=again")
    assert manager.heard() == "STATUS=again"
    box("kill", bundle.id, "KILL").ok()
    again.wait(10)
