"""Containers that count, and the verbs with the real CRIU."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support import host
from tests.support.bundle import Bundle
from tests.support.runtime import ENVIRONMENT, Container, Runtime

COUNT = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.1; done"


def counting(box: Runtime, bundle: Bundle, script: str = COUNT) -> Container:
    container = box.start(bundle.shell(script))
    for expected in ("1", "2", "3"):
        assert container.readline() == expected
    return container


def last_number(container: Container) -> int:
    return int(["3", *container.output().split()][-1])


def cgroups_of(container: Container) -> set[str]:
    """Where it is, but for hierarchies that are not mounted, in which all is at the root."""
    lines = Path(f"/proc/{container.pid}/cgroup").read_text().splitlines()
    return {line.partition(":")[2] for line in lines if not line.endswith(":/")}


def checkpoint(container: Container, images: Path, *flags: str) -> None:
    log = images / "dump.log"
    result = container.runtime("checkpoint", "--image-path", str(images), *flags, container.id, timeout=50)
    assert result.code == 0, f"{result.err}\n{log.read_text()[-4000:] if log.exists() else ''}"


def restored(box: Runtime, bundle: Bundle, images: Path, *flags: str) -> Container:
    try:
        return box.create(bundle, "--detach", "--image-path", str(images), *flags, verb="restore")
    except AssertionError as error:
        log = images / "restore.log"
        raise AssertionError(f"{error}\n{log.read_text()[-6000:] if log.exists() else ''}") from None


def run_with(box: Runtime, out: int, *args: str) -> None:
    """A command that leaves a process behind, with this as its standard output and error."""
    command = box.command(*args)
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=ENVIRONMENT, timeout=50)
    assert done.returncode == 0, f"{command} failed with {done.returncode}"


def cgroup_mounts(pid: int | str = "self") -> list[str]:
    """The rows of mountinfo, with the options of the filesystem at their end."""
    return [row for row in Path(f"/proc/{pid}/mountinfo").read_text().splitlines() if " - cgroup" in row]


@contextmanager
def cgroup_options_kept() -> Iterator[None]:
    """Bring back what a runtime that is not ours has CRIU take from the host's cgroup2."""
    before = cgroup_mounts()
    try:
        yield
    finally:
        if host.CGROUPS.joinpath("cgroup.procs").exists() and cgroup_mounts() != before:
            options = before[0].split()[-1].removeprefix("rw,")
            command = ["mount", "-o", f"remount,nosuid,nodev,noexec,relatime,{options}", str(host.CGROUPS)]
            subprocess.run(command, check=True)
