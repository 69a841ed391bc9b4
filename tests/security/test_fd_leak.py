"""Descriptors of the runtime, and of who called it, through which a container would reach the host's files.

CVE-2024-21626, CVE-2016-9962, CVE-2016-8649, CVE-2014-9357.
"""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.bundle import Bundle
from tests.support.marks import not_for
from tests.support.runtime import Runtime
from tests.support.tally import FULL, Row, patience, size, some


@pytest.fixture
def leaked(bundle: Bundle) -> Iterator[list[int]]:
    """Descriptors of the caller which it leaves open to the runtime: directories and files of the host."""
    outside = bundle.host_directory(secret="x")
    fds = [os.open(place, os.O_RDONLY) for place in ("/", "/etc", outside, outside / "secret")]
    yield fds
    for fd in fds:
        os.close(fd)


class TestDescriptors:
    @pytest.mark.parametrize("verb", ["run", "create"])
    def test_only_the_standard_streams_reach_the_process(self, box: Runtime, bundle: Bundle, verb: str) -> None:
        bundle.args("/bin/probe")
        seen = box.run(bundle).report() if verb == "run" else box.start(bundle).report()
        assert sorted(seen["fds"], key=int) == ["0", "1", "2"]

    def test_the_callers_others_do_not_reach_it(self, box: Runtime, bundle: Bundle, leaked: list[int]) -> None:
        seen = box.run(bundle.args("/bin/probe"), pass_fds=leaked).report()
        assert sorted(seen["fds"], key=int) == ["0", "1", "2"]

    def test_the_callers_others_do_not_reach_an_exec(self, box: Runtime, bundle: Bundle, leaked: list[int]) -> None:
        container = box.running_shell(bundle)
        seen = container.exec("/bin/probe", pass_fds=leaked).report()
        assert sorted(seen["fds"], key=int) == ["0", "1", "2"]

    def test_preserved_ones_reach_it(self, box: Runtime, bundle: Bundle) -> None:
        outside = bundle.host_directory(three="3", four="4")
        script = 'exec 3< "$1/three" 4< "$1/four" 5< /dev/null; shift; exec "$@"'
        prefix = ("/bin/sh", "-c", script, "sh", str(outside))
        seen = box.run(bundle.args("/bin/probe"), "--preserve-fds", "2", prefix=prefix).report()
        assert sorted(seen["fds"], key=int) == ["0", "1", "2", "3", "4"]
        assert seen["fds"]["3"]["ino"] == (outside / "three").stat().st_ino
        assert seen["fds"]["4"]["ino"] == (outside / "four").stat().st_ino

    def test_preserved_ones_reach_an_exec(self, box: Runtime, bundle: Bundle) -> None:
        outside = bundle.host_directory(three="3")
        container = box.running_shell(bundle)
        prefix = ("/bin/sh", "-c", 'exec 3< "$1/three"; shift; exec "$@"', "sh", str(outside))
        seen = container.exec("/bin/probe", flags=("--preserve-fds", "1"), prefix=prefix).report()
        assert seen["fds"]["3"]["ino"] == (outside / "three").stat().st_ino

    def test_listen_fds_are_preserved(self, box: Runtime, bundle: Bundle) -> None:
        outside = bundle.host_directory(three="3")
        prefix = (
            "/bin/sh",
            "-c",
            'exec 3< "$1/three"; shift; LISTEN_PID=$$ LISTEN_FDS=1 exec "$@"',
            "sh",
            str(outside),
        )
        seen = box.run(bundle.args("/bin/probe"), prefix=prefix).report()
        assert seen["fds"]["3"]["ino"] == (outside / "three").stat().st_ino
        assert seen.environment()["LISTEN_FDS"] == "1"
        assert seen.environment()["LISTEN_PID"] == "1"

    @not_for("runc", "crun", reason="they find a descriptor of their own there, or do not look")
    def test_preserving_one_that_is_not_open_is_refused(self, box: Runtime, bundle: Bundle) -> None:
        box.run(bundle, "--preserve-fds", "3").refused()

    @not_for("runc", "crun", reason="theirs keep descriptors of their own")
    def test_of_the_waiting_init_has_no_descriptor_of_a_host_directory(self, box: Runtime, bundle: Bundle) -> None:
        container = box.create(bundle, stdin=subprocess.DEVNULL)
        directories = []
        for fd in Path(f"/proc/{container.pid}/fd").iterdir():
            if stat.S_ISDIR(fd.stat().st_mode):
                directories.append(os.readlink(fd))
        assert directories == []

    def test_of_the_waiting_init_are_those_it_needs(self, box: Runtime, bundle: Bundle, leaked: list[int]) -> None:
        """Besides the streams: the start socket, the lock that says "created", and in memory what hooks would read."""
        container = box.create(bundle, stdin=subprocess.DEVNULL, pass_fds=leaked)
        links = {fd.name: os.readlink(fd) for fd in Path(f"/proc/{container.pid}/fd").iterdir()}
        others = sorted(link.partition(":")[0] for number, link in links.items() if int(number) > 2)
        assert others == ["/memfd", str(box.root / bundle.id / "waiting"), "socket"]


def ways_in(number: int) -> list[str]:
    """Names of a descriptor, from inside."""
    return [f"{place}/fd/{number}" for place in ("/proc/self", "/proc/1", "/proc/thread-self")] + [
        f"/dev/fd/{number}",
        f"/home/link/{number}",
        f"/proc/self/task/1/fd/{number}",
    ]


CASES = [(way, verb) for number in range(3, 31) for way in ways_in(number) for verb in ("run", "exec")]
UP = "../" * 12


@pytest.fixture
def tempting(bundle: Bundle) -> Bundle:
    """The image has a link to where descriptors are; outside lies a program."""
    (bundle.rootfs / "home/link").symlink_to("/proc/self/fd")
    tool = bundle.host_directory(tool="#!/bin/sh\necho escaped\n") / "tool"
    tool.chmod(0o755)
    return bundle


def inside(bundle: Bundle, listing: str) -> bool:
    """Whether these names, if any, are those of the container's root."""
    return set(listing.split()) <= {path.name for path in bundle.rootfs.iterdir()}


def cwd_is_inside(box: Runtime, bundle: Bundle, way: str, verb: str) -> bool:
    if verb == "exec":
        result = box("exec", "--cwd", way, bundle.id, "/bin/ls", "/proc/self/cwd/")
    else:
        bundle.process["cwd"] = way
        result = box.run(bundle.args("/bin/ls", "/proc/self/cwd/"))
    return result.code != 0 or inside(bundle, result.out)


def program_is_inside(box: Runtime, bundle: Bundle, way: str, verb: str) -> bool:
    program = f"{way}/{UP}{str(bundle.path / 'outside/tool').lstrip('/')}"
    if verb == "exec":
        result = box("exec", bundle.id, program)
        return result.code == 255 and "escaped" not in result.out
    result = box.run(bundle.args(program))
    return result.code == 1 and "escaped" not in result.out


@pytest.mark.parametrize("way, verb", some(CASES, 20, 168))
def test_descriptor_is_no_way_out(box: Runtime, tempting: Bundle, leaked: list[int], way: str, verb: str) -> None:
    """CVE-2024-21626: a working directory, or a program, by way of a descriptor of the host's."""
    if verb == "exec":
        container = box.running_shell(tempting)
        assert container.status == "running"
    assert cwd_is_inside(box, tempting, way, verb)
    tempting.process["cwd"] = "/"
    assert program_is_inside(box, tempting, way, verb)


def test_control_enters_with_a_descriptor_of_the_hosts(box: Runtime, tempting: Bundle, tally: Row) -> None:
    """nsenter(1) keeps what it is given, as a runtime did with a directory of cgroups."""
    container = box.running_shell(tempting)
    outside = os.open(tempting.path / "outside", os.O_RDONLY | os.O_DIRECTORY)
    try:
        command = ["nsenter", "--target", str(container.pid), "--mount", "--pid", "/bin/sh", "-c"]
        said = subprocess.run(
            [*command, f"cd /proc/self/fd/{outside} && ls"],
            pass_fds=[outside],
            capture_output=True,
            text=True,
            check=False,
        ).stdout
    finally:
        os.close(outside)
    tally.red("nsenter with a directory open", "tool" in said)


def test_operations_leave_no_descriptor_to_one_another(
    box: Runtime, make_bundle: Callable[[], Bundle], tally: Row
) -> None:
    """Whatever is done with a container, and with others meanwhile: its init has what it had, and so has each new process."""
    patience(60, 120, 600)
    long = box.running_shell(make_bundle())
    before = sorted(path.name for path in Path(f"/proc/{long.pid}/fd").iterdir())
    rounds = size(3, 40, 200)
    for number in range(rounds):
        bundle = make_bundle()
        assert sorted(box.run(bundle.args("/bin/probe")).report()["fds"], key=int) == ["0", "1", "2"]
        assert sorted(long.exec("/bin/probe").report()["fds"], key=int) == ["0", "1", "2"]
        box("pause", long.id).ok()
        box("resume", long.id).ok()
        box("ps", long.id).ok()
        if FULL or number % 2:
            long.exec("/bin/no-such-program")
        assert sorted(path.name for path in Path(f"/proc/{long.pid}/fd").iterdir()) == before
    tally.tried(6 * rounds)
