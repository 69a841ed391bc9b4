"""Services of systemd whose program is in a container: Type=notify, in the foreground and detached."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.bundle import Bundle
from tests.support.runtime import Runtime, wait_until
from tests.vm.conftest import systemctl

pytestmark = pytest.mark.takes(240)
UNIT = "boxtest-notify.service"
# Its own program, with the machine's interpreter: ready after a moment, then it says how it is, and stays.
PROGRAM = """
import os, socket, time
def say(text):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        s.connect(os.environ["NOTIFY_SOCKET"]); s.send(text)
    except OSError:
        pass  # nobody listens any more: as with sd_notify(3), that is no reason to end
time.sleep(0.5)
say(b"MAINPID=1\\nREADY=1\\nSTATUS=as it should be")
while True:
    time.sleep(0.3)
    say(b"WATCHDOG=1")
"""


@pytest.fixture
def begin(bundle: Bundle, box: Runtime, apart: None) -> Iterator[Callable[..., dict[str, str]]]:
    """Start a unit whose ExecStart is the runtime with these arguments: what systemd says of it."""
    for name in ("usr", "lib", "lib64"):
        bundle.mount(f"/{name}", "bind", f"/{name}", "rbind", "ro")
    bundle.args("/usr/bin/python3", "-c", PROGRAM).save()

    def start(*args: str, more: str = "") -> dict[str, str]:
        command = " ".join(box.command(*args))
        text = (
            f"[Service]\nType=notify\nTimeoutStartSec=60\nTimeoutStopSec=3\nExecStart={command}\nKillMode=mixed\n{more}"
        )
        Path(f"/run/systemd/system/{UNIT}").write_text(text)
        systemctl("daemon-reload")
        systemctl("start", UNIT)
        return facts()

    yield start
    subprocess.run(["systemctl", "stop", UNIT], check=False)
    box("delete", "--force", bundle.id).ok()
    os.unlink(f"/run/systemd/system/{UNIT}")
    systemctl("daemon-reload")
    subprocess.run(["systemctl", "reset-failed", UNIT], stderr=subprocess.DEVNULL, check=False)


def facts() -> dict[str, str]:
    said = systemctl("show", UNIT, "--property=ActiveState,SubState,MainPID,StatusText,Result")
    return dict(line.split("=", 1) for line in said.splitlines())


def test_in_the_foreground_the_runtime_is_the_main_process(
    begin: Callable[..., dict[str, str]], bundle: Bundle, box: Runtime
) -> None:
    """Its watchdog is the program's: what that says is handed on as long as it lives."""
    said = begin("run", "-b", str(bundle.path), bundle.id, more="WatchdogSec=2\n")
    assert (said["ActiveState"], said["StatusText"]) == ("active", "as it should be")
    assert "run" in Path(f"/proc/{said['MainPID']}/cmdline").read_text()
    assert int(said["MainPID"]) != box.state(bundle.id)["pid"]
    subprocess.run(["sleep", "4"], check=True)
    assert facts()["ActiveState"] == "active"
    os.kill(box.state(bundle.id)["pid"], 19)  # SIGSTOP: it says nothing any more
    wait_until(lambda: facts()["Result"] == "watchdog", "the watchdog", 15)


def test_detached_the_program_is_the_main_process(
    begin: Callable[..., dict[str, str]], bundle: Bundle, box: Runtime
) -> None:
    said = begin("run", "--detach", "-b", str(bundle.path), bundle.id)
    assert said["ActiveState"] == "active" and int(said["MainPID"]) == box.state(bundle.id)["pid"]
    systemctl("stop", UNIT)
    wait_until(lambda: box.state(bundle.id)["status"] == "stopped", "the end")
    assert facts()["ActiveState"] in ("inactive", "failed")


def test_created_before_it_is_started(begin: Callable[..., dict[str, str]], bundle: Bundle, box: Runtime) -> None:
    create = " ".join(box.command("create", "-b", str(bundle.path), bundle.id))
    said = begin("start", bundle.id, more=f"NotifyAccess=all\nExecStartPre={create}\n")
    assert said["ActiveState"] == "active" and int(said["MainPID"]) == box.state(bundle.id)["pid"]
