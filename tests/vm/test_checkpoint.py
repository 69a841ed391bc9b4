"""Checkpoints in systemd's scopes, and those that podman asks for."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.support.bundle import Bundle
from tests.support.runtime import Runtime

COUNT = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.1; done"


def test_the_restored_container_is_in_a_scope(box: Runtime, bundle: Bundle, directory: Path) -> None:
    container = box.start(bundle.shell(COUNT))
    assert container.readline() == "1"
    cgroup = Path(f"/proc/{container.pid}/cgroup").read_text()
    box("checkpoint", "--image-path", str(directory / "images"), bundle.id, timeout=50).ok()
    last = int(container.output().split()[-1])
    again = box.create(bundle, "--detach", "--image-path", str(directory / "images"), verb="restore")
    assert int(again.readline()) == last + 1
    assert Path(f"/proc/{again.pid}/cgroup").read_text() == cgroup
    assert again.state()["systemd-scope"] == os.path.basename(cgroup.strip())


def test_podman_checkpoints_and_restores(box: Runtime, bundle: Bundle, directory: Path) -> None:
    def podman(*args: str) -> str:
        command = ["nsenter", "-t", "1", "-m", "podman", "--events-backend", "file", "--runtime", str(box.path), *args]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=55)
        assert done.returncode == 0, f"{command}: {done.stderr}{done.stdout}"
        return done.stdout

    script = "i=0; while :; do i=$((i+1)); echo $i > /dev/shm/count; sleep 0.1; done"
    podman("run", "-d", "--name", "bt", "--network", "none", "--rootfs", str(bundle.rootfs), "/bin/sh", "-c", script)
    try:
        podman("container", "checkpoint", "bt")
        assert podman("ps", "--format", "{{.Names}}").strip() == ""
        podman("container", "restore", "bt")
        assert int(podman("exec", "bt", "/bin/cat", "/dev/shm/count")) > 1
    finally:
        podman("rm", "--force", "--time", "0", "bt")
