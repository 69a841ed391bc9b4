"""containerd with `SystemdCgroup`: its containers are in scopes, with their limits, as they are with runc."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.bundle import Bundle
from tests.support.runtime import Runtime, executable, wait_until
from tests.vm.conftest import SLICE

CONFIG = """
version = 2
root = "{directory}/root"
state = "{directory}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
address = "{directory}/containerd.sock"
[ttrpc]
address = "{directory}/containerd.sock.ttrpc"
[plugins."io.containerd.internal.v1.opt"]
path = "{directory}/opt"
"""
Ctr = Callable[..., str]


@pytest.fixture
def ctr(directory: Path, box: Runtime) -> Iterator[Ctr]:
    (directory / "config.toml").write_text(CONFIG.format(directory=directory))
    log = (directory / "log").open("wb")
    daemon = subprocess.Popen(["containerd", "-c", directory / "config.toml"], stdout=log, stderr=log)
    wait_until((directory / "containerd.sock").exists, "containerd", 40)

    def call(*args: str) -> str:
        command = ["ctr", "-a", f"{directory}/containerd.sock", "-n", "bt", *args]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=50)
        assert done.returncode == 0, f"{command}: {done.stderr}{done.stdout}"
        return done.stdout

    yield call
    daemon.terminate()
    daemon.wait(20)
    log.close()


@pytest.mark.takes(180)
@pytest.mark.parametrize("runtime", ["box", "runc"])
def test_a_task_is_in_a_scope_with_its_limits(ctr: Ctr, bundle: Bundle, runtime: str) -> None:
    path = str(executable()) if runtime == "box" else "/usr/sbin/runc"
    chosen = ("--runc-binary", path, "--runc-systemd-cgroup", "--cgroup", f"{SLICE}:bt:{bundle.id}")
    limits = ("--memory-limit", str(64 << 20), "--cpu-quota", "50000", "--cpu-period", "100000")
    group = f"/sys/fs/cgroup/{SLICE}/bt-{bundle.id}.scope"
    ctr("run", "-d", *chosen, *limits, "--rootfs", str(bundle.rootfs), bundle.id, "/bin/sleep", "1000")
    try:
        pid = ctr("tasks", "ls").split("\n")[1].split()[1]
        assert Path(f"/proc/{pid}/cgroup").read_text() == f"0::/{SLICE}/bt-{bundle.id}.scope\n"
        found = [Path(f"{group}/{name}").read_text().strip() for name in ("memory.max", "cpu.max")]
        assert found == [str(64 << 20), "50000 100000"]
        ctr("tasks", "exec", "--exec-id", "e", bundle.id, "/bin/true")
        ctr("tasks", "pause", bundle.id)
        assert "frozen 1" in Path(f"{group}/cgroup.events").read_text()
        ctr("tasks", "resume", bundle.id)
    finally:
        ctr("tasks", "kill", "-s", "KILL", bundle.id)
        wait_until(lambda: "STOPPED" in ctr("tasks", "ls"), "the end", 30)
        ctr("tasks", "delete", bundle.id)
        ctr("containers", "delete", bundle.id)
    wait_until(lambda: not Path(group).exists(), "the scope's end", 10)
