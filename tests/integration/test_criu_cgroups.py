"""Checkpoints with the real CRIU: cgroups, those of the host too, and runc's images."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support import host
from tests.support.bundle import Bundle
from tests.support.criu import (
    COUNT,
    cgroup_mounts,
    cgroup_options_kept,
    cgroups_of,
    checkpoint,
    counting,
    restored,
    run_with,
)
from tests.support.marks import not_for, requires
from tests.support.runtime import ENVIRONMENT, Container, Runtime

pytestmark = [requires("criu"), not_for("crun", reason="the distribution's is made without CRIU")]


@pytest.fixture(autouse=True)
def _criu_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENVIRONMENT, "PATH", f"{Path(host.criu()).parent}:{ENVIRONMENT['PATH']}")


def mounted_in(container: Container) -> list[str]:
    rows = Path(f"/proc/{container.pid}/mountinfo").read_text().splitlines()
    return sorted(row.split()[4] for row in rows)


@not_for("runc", reason="nsdelegate and memory_recursiveprot are gone after it")
def test_the_host_keeps_the_options_of_its_cgroup_mounts(box: Runtime, bundle: Bundle, directory: Path) -> None:
    before = cgroup_mounts()
    assert before
    container = counting(box, bundle)
    inside = mounted_in(container)
    checkpoint(container, directory / "running", "--leave-running")
    assert cgroup_mounts() == before
    checkpoint(container, directory / "ended")
    again = restored(box, bundle, directory / "ended")
    assert cgroup_mounts() == before
    assert mounted_in(again) == inside


@requires("cgroup2")
def test_cgroups_below_its_own(box: Runtime, bundle: Bundle, directory: Path) -> None:
    """What was in a cgroup that the container had made is in it again."""
    bundle.namespace("cgroup").mount("/sys/fs/cgroup", "cgroup", "cgroup", "rw")
    container = counting(
        box, bundle, f"mkdir /sys/fs/cgroup/below; echo 0 > /sys/fs/cgroup/below/cgroup.procs; {COUNT}"
    )
    cgroups = cgroups_of(container)
    assert {path.endswith("/below") for path in cgroups} == {True}
    checkpoint(container, directory / "images")
    again = restored(box, bundle, directory / "images")
    assert int(again.readline()) > 3
    assert cgroups_of(again) == cgroups
    again.delete("--force").ok()


@not_for("crun", reason="its images are its own")
@cgroup_options_kept()
def test_images_are_exchanged_with_runc(box: Runtime, bundle: Bundle, directory: Path) -> None:
    images = directory / "images"
    bundle.mount("/data", "bind", bundle.host_directory(text="outside"), "bind")
    bundle.linux["maskedPaths"] = ["/proc/keys"]
    runc = Runtime(Path("/usr/sbin/runc"), box.directory / "runc")
    runc.directory.mkdir()
    reader, writer = os.pipe()
    try:
        # runc leaves files of the host's that are streams to CRIU, which refuses them.
        args = runc.bundle_args(bundle.shell(COUNT), "--detach")
        run_with(runc, writer, "run", *args)
        assert os.read(reader, 1) == b"1"
        runc("checkpoint", "--image-path", str(images), bundle.id).ok()
        run_with(box, writer, "restore", "--image-path", str(images), *box.bundle_args(bundle, "--detach"))
        box("checkpoint", "--image-path", str(images), bundle.id).ok()
        run_with(runc, writer, "restore", "--image-path", str(images), *args)
        assert runc.state(bundle.id)["status"] == "running"
    finally:
        runc.close()
        os.close(reader)
        os.close(writer)
