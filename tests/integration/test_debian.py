"""A whole distribution as root filesystem: dynamic programs, a real shell, the paths of a merged /usr.

`scripts/rootfs debian DIR` makes it from Debian's packages. It takes a minute or two the first time, so these tests run
where that was done once, or where BOXES_DEBIAN says to do it.
"""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.support.bundle import Bundle
from tests.support.marks import requires
from tests.support.runtime import CHECKOUT, Runtime

pytestmark = requires("debian")


@pytest.fixture(scope="module")
def debian(session_directory: Path) -> Path:
    """Made once for all of them."""
    signal.alarm(900)
    root = session_directory / "debian"
    subprocess.run([CHECKOUT / "scripts/rootfs", "debian", root], check=True, capture_output=True)
    return root


@pytest.fixture
def distribution(bundle: Bundle, debian: Path) -> Bundle:
    """A bundle whose root filesystem is Debian, read-only, with what a container usually has."""
    bundle.config["root"] = {"path": str(debian), "readonly": True}
    bundle.process["env"] = ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"]
    for place in ("/tmp", "/run", "/var/tmp"):
        bundle.mount(place, "tmpfs", "tmpfs", "mode=1777")
    return bundle


def test_dynamic_program_runs(box: Runtime, distribution: Bundle) -> None:
    assert box.run(distribution.args("cat", "/etc/debian_version")).ok().out.startswith("12")


def test_shell_runs_scripts_with_pipes(box: Runtime, distribution: Bundle) -> None:
    result = box.run(distribution.args("bash", "-c", "set -euo pipefail; seq 5 | sort -r | tr '\\n' ' '"))
    assert result.ok().out == "5 4 3 2 1 "


def test_merged_usr_is_followed(box: Runtime, distribution: Bundle) -> None:
    distribution.config["mounts"].append({"destination": "/lib/made", "type": "tmpfs", "source": "tmpfs"})
    distribution.config["root"]["readonly"] = False
    try:
        assert "/usr/lib/made" in box.run(distribution.args("cat", "/proc/self/mountinfo")).ok().out
    finally:
        os.rmdir(Path(distribution.config["root"]["path"], "usr/lib/made"))


def test_mount_below_var_run_works(box: Runtime, distribution: Bundle) -> None:
    """/var/run is an absolute link to /run."""
    distribution.mount("/var/run/made", "tmpfs", "tmpfs")
    assert " /run/made " in box.run(distribution.args("cat", "/proc/self/mountinfo")).ok().out


def test_users_of_the_distribution_are_known(box: Runtime, distribution: Bundle) -> None:
    distribution.process["user"] = {"uid": 1, "gid": 1}
    assert box.run(distribution.args("id", "-un")).ok().out == "daemon\n"


def test_package_manager_reads_its_database(box: Runtime, distribution: Bundle) -> None:
    assert box.run(distribution.args("dpkg-query", "-W", "-f", "${Status}", "bash")).ok().out == "install ok installed"


def test_exec_runs_dynamic_programs(box: Runtime, distribution: Bundle) -> None:
    container = box.start(distribution.args("sleep", "1000"))
    assert container.exec("perl", "-e", "print 6 * 7").ok().out == "42"
