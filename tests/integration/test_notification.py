"""sd_notify(3): NOTIFY_SOCKET of the caller, in the container."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

import pytest

from tests.support.bundle import Bundle
from tests.support.runtime import Runtime, wait_until


@pytest.mark.parametrize("own", [False, True], ids=["passed", "the config has its own"])
def test_the_notify_socket_is_reached_from_inside(box: Runtime, bundle: Bundle, directory: Path, own: bool) -> None:
    """sd_notify(3): what is sent to $NOTIFY_SOCKET in the container arrives at the caller's socket."""
    if own:
        bundle.config["process"]["env"].append("NOTIFY_SOCKET=/its/own")
    bundle.shell('echo "$NOTIFY_SOCKET"; exec sleep 1000').save()
    pid_file, out = directory / "pid", directory / "out"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager, out.open("wb") as stdout:
        manager.settimeout(10)
        manager.bind(str(directory / "notify"))
        command = box.command("run", "-d", "--pid-file", str(pid_file), "-b", str(bundle.path), bundle.id)
        environment = os.environ | {"NOTIFY_SOCKET": str(directory / "notify")}
        subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, stdout=stdout, check=True)
        wait_until(lambda: out.read_bytes().endswith(b"\n"), "what the program says")
        inside = Path(f"/proc/{pid_file.read_text()}/root/run/notify/notify.sock")
        assert out.read_text() == ("/its/own\n" if own else "/run/notify/notify.sock\n")
        assert inside.is_socket() is not own
        if not own:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as program:
                program.sendto(b"READY=1", str(inside))
            assert manager.recv(100) == b"READY=1"
    box("delete", "--force", bundle.id).ok()
