"""Checkpoints in systemd's scopes, and those that podman asks for."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.bundle import Bundle
from tests.support.criu import COUNT, cgroup_mounts, cgroup_options_kept
from tests.support.marks import requires
from tests.support.runtime import Runtime

pytestmark = requires("criu")


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


Podman = Callable[..., str]
RUNC = "/usr/sbin/runc"
SCRIPT = "i=0; while :; do i=$((i+1)); echo $i > /dev/shm/count; sleep 0.1; done"


@pytest.fixture(params=["box", "runc"])
def podman(request: pytest.FixtureRequest, box: Runtime, bundle: Bundle) -> Iterator[Podman]:
    """`podman ARGUMENTS`, with a container `bt` that counts in /dev/shm/count; runc is there to compare."""
    runtime = str(box.path) if request.param == "box" else RUNC

    def call(*args: str) -> str:
        command = ["nsenter", "-t", "1", "-m", "podman", "--events-backend", "file", "--runtime", runtime, *args]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=55)
        assert done.returncode == 0, f"{command}: {done.stderr}{done.stdout}"
        return done.stdout

    before = cgroup_mounts()
    with cgroup_options_kept():
        call("run", "-d", "--name", "bt", "--network", "none", "--rootfs", str(bundle.rootfs), "/bin/sh", "-c", SCRIPT)
        try:
            yield call
        finally:
            call("rm", "--force", "--ignore", "--time", "0", "bt")
        if request.param == "box":
            assert cgroup_mounts() == before


def test_podman_checkpoints_and_restores(podman: Podman) -> None:
    podman("container", "checkpoint", "bt")
    assert podman("ps", "--format", "{{.Names}}").strip() == ""
    podman("container", "restore", "bt")
    assert podman("ps", "--format", "{{.Names}}").strip() == "bt"
    assert int(podman("exec", "bt", "/bin/cat", "/dev/shm/count")) > 1


def test_podman_leaves_it_running_upon_an_earlier_dump(podman: Podman) -> None:
    podman("container", "checkpoint", "--pre-checkpoint", "bt")
    podman("container", "checkpoint", "--with-previous", "--leave-running", "bt")
    assert podman("ps", "--format", "{{.Names}}").strip() == "bt"


@pytest.mark.takes(240)
def test_podman_moves_it_by_an_archive(podman: Podman, bundle: Bundle, directory: Path) -> None:
    archive = str(directory / "root.tar")
    subprocess.run(["tar", "-C", str(bundle.rootfs), "-cf", archive, "."], check=True)
    podman("import", "--quiet", archive, "bt-image")
    try:
        podman("rm", "--force", "--time", "0", "bt")
        podman("run", "-d", "--name", "bt", "--network", "none", "bt-image", "/bin/sh", "-c", SCRIPT)
        podman("container", "checkpoint", "--export", f"{directory}/archive.tar", "bt")
        podman("rm", "bt")
        podman("container", "restore", "--import", f"{directory}/archive.tar")
        assert int(podman("exec", "bt", "/bin/cat", "/dev/shm/count")) > 1
        podman("rm", "--force", "--time", "0", "bt")
    finally:
        podman("rmi", "--force", "bt-image")
