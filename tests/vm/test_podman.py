"""podman with systemd as its cgroup manager, as root and as an ordinary user."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Iterator

import pytest

from tests.support.bundle import Bundle
from tests.support.runtime import Result, Runtime, wait_until
from tests.vm.conftest import systemctl

# None of the machine's file systems has what these need, and nothing here is about them.
OPTIONS = ("--cgroup-manager", "systemd", "--events-backend", "file")
LIMITS = ("--memory", "64m", "--pids-limit", "50", "--cpus", "0.5")


class Podman:
    """`podman VERB …`, in the machine's mount namespace, with the runtime under test."""

    def __init__(self, box: Runtime, bundle: Bundle, *prefix: str) -> None:
        self.bundle, self.prefix = bundle, prefix
        self.runtime = str(box.path)

    def __call__(self, *args: str) -> Result:
        podman = ["podman", *OPTIONS, "--runtime", self.runtime, *args]
        command = ["nsenter", "-t", "1", "-m", *self.prefix]
        command += [shlex.join(podman)] if self.prefix else podman
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
        return Result(command, done.returncode, done.stdout, done.stderr)

    def run(self, *args: str, flags: tuple[str, ...] = ()) -> Result:
        rootfs = f"{self.bundle.rootfs}"
        return self("run", *flags, "--network", "none", "--cgroupns", "host", "--rootfs", rootfs, *args)


@pytest.fixture(params=["root", "user"])
def podman(request: pytest.FixtureRequest, box: Runtime, bundle: Bundle) -> Iterator[Podman]:
    if request.param == "root":
        yield Podman(box, bundle)
        return
    subprocess.run(["chown", "-R", "dev:dev", str(bundle.path)], check=True)
    subprocess.run(["loginctl", "enable-linger", "dev"], check=True)
    found = Podman(box, bundle, "runuser", "-l", "dev", "-c")
    yield found
    found("rm", "--all", "--force").ok()
    subprocess.run(["loginctl", "disable-linger", "dev"], check=True)


def test_a_container_is_in_a_scope_with_its_limits(podman: Podman) -> None:
    script = "cat /proc/self/cgroup; cd /sys/fs/cgroup; for file in memory.max pids.max cpu.max; do cat $file; done"
    out = (
        podman(
            "run", "--rm", *LIMITS, "--network", "none", "--rootfs", str(podman.bundle.rootfs), "/bin/sh", "-c", script
        )
        .ok()
        .out
    )
    assert out.split("\n")[1:4] == [f"{64 << 20}", "50", "50000 100000"]
    out = podman.run("/bin/cat", "/proc/self/cgroup", flags=("--rm",)).ok().out
    assert "/libpod-" in out and ".scope" in out


def test_exec_stop_and_rm_leave_no_unit(podman: Podman) -> None:
    podman.run("/bin/sleep", "1000", flags=("-d", "--name", "bt", "--stop-timeout", "1")).ok()
    assert ".scope" in podman("exec", "bt", "/bin/cat", "/proc/self/cgroup").ok().out
    podman("stop", "bt").ok()
    podman("rm", "bt").ok()

    def left() -> list[str]:
        listed = systemctl("list-units", "--all", "--plain", "--no-legend", "libpod-*.scope").splitlines()
        return [line for line in listed if "conmon" not in line]

    wait_until(lambda: not left(), "units", 5)


@pytest.mark.takes(240)
@pytest.mark.parametrize("podman", ["user"], indirect=True)
def test_an_ordinary_user_finds_what_other_runtimes_give(podman: Podman) -> None:
    """Who one is inside, and the limits, which need the controllers that are delegated."""
    script = "id -u; cat /proc/self/uid_map; cd /sys/fs/cgroup; cat memory.max pids.max cpu.max"
    ours, found = podman.runtime, {}
    for runtime in ("/usr/bin/crun", "/usr/sbin/runc", ours):
        podman.runtime = runtime
        found[runtime] = [
            podman(
                *("run", "--rm", *LIMITS, *flags, "--network", "none"),
                *("--rootfs", str(podman.bundle.rootfs), "/bin/sh", "-c", script),
            )
            .ok()
            .out
            for flags in ((), ("--userns=keep-id",), ("--uidmap=0:1:1000",))
        ]
    assert found[ours] == found["/usr/bin/crun"] == found["/usr/sbin/runc"]
    assert [text.split("\n")[0] for text in found[ours]] == ["0", "1000", "0"]
    assert all(f"{64 << 20}\n50\n50000 100000" in text for text in found[ours])
