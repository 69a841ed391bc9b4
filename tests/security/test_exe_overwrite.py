"""/proc/self/exe of what runs before the container's program: nothing of the host may be executed, or overwritten, there.

CVE-2019-5736, CVE-2016-9962, CVE-2022-1227.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.bundle import Bundle
from tests.support.canaries import runtime_files
from tests.support.marks import not_for, requires
from tests.support.probe import CAPABILITIES
from tests.support.rootfs import probe_program
from tests.support.runtime import ENVIRONMENT, Container, Runtime
from tests.support.tally import Row, patience, size

F_GET_SEALS = 1034
ALL_SEALS = 0xF  # seal, shrink, grow, write
ODD = [
    "CAP_SYS_ADMIN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_CHECKPOINT_RESTORE",
    "CAP_SYS_PTRACE",
]


def elf_with_interpreter(place: Path, interpreter: str) -> None:
    """A program that the kernel hands to an interpreter of its choice: 64-bit, one PT_INTERP, one empty PT_LOAD."""
    name = interpreter.encode() + b"\0"
    machine = struct.unpack_from("<H", Path("/proc/self/exe").read_bytes()[:20], 18)[0]
    head = b"\x7fELF\2\1\1" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", 3, machine, 1, 0, 64, 0, 0, 64, 56, 2, 0, 0, 0)
    at = 64 + 2 * 56
    load = struct.pack("<IIQQQQQQ", 1, 5, 0, 0, 0, 4096, 4096, 4096)
    interp = struct.pack("<IIQQQQQQ", 3, 4, at, at, at, len(name), len(name), 1)
    place.write_bytes((head + load + interp + name).ljust(4096, b"\0"))


def script(place: Path, line: str) -> None:
    place.write_text(f"{line}\nimport os\nopen('/tmp/python-ran', 'w')\n")


VECTORS: dict[str, Callable[[Path], object]] = {
    "script": lambda place: script(place, "#!/proc/self/exe"),
    "script with an argument": lambda place: script(place, "#!/proc/self/exe -c"),
    "script by process 1": lambda place: script(place, "#!/proc/1/exe"),
    "link": lambda place: place.symlink_to("/proc/self/exe"),
    "link to process 1": lambda place: place.symlink_to("/proc/1/exe"),
    "interpreter of a program": lambda place: elf_with_interpreter(place, "/proc/self/exe"),
}


@pytest.mark.parametrize("verb", ["run", "exec"])
@pytest.mark.parametrize("vector", VECTORS)
def test_executed_again_runs_nothing_of_the_host(box: Runtime, bundle: Bundle, vector: str, verb: str) -> None:
    evil = bundle.rootfs / "home/evil"
    VECTORS[vector](evil)
    if not evil.is_symlink():
        evil.chmod(0o755)
    arguments = ("/home/evil", "-c", "open('/tmp/python-ran', 'w')")
    if verb == "run":
        result = box.run(bundle.args(*arguments), timeout=10)
    else:
        result = box.running_shell(bundle).exec(*arguments, timeout=10)
    assert result.code != 0 or (verb == "exec" and "process 1" in vector)  # which is the container's own program there
    assert not (bundle.rootfs / "tmp/python-ran").exists()


def test_control_executed_again_runs_the_hosts(box: Runtime, bundle: Bundle, tally: Row) -> None:
    """busybox joins and executes, as runtimes did: its own file is what the script's interpreter is."""
    script(bundle.rootfs / "home/evil", "#!/proc/self/exe")
    (bundle.rootfs / "home/evil").chmod(0o755)
    container = box.running_shell(bundle)
    command = ["busybox", "nsenter", "-t", str(container.pid), "-m", "-p", "/home/evil"]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stderr
    tally.red("naive nsenter executed again", "exe: applet not found" in said)


class Sight(NamedTuple):
    """A line of what the watcher inside saw."""

    what: str
    device: int
    inode: int
    name: str


def watched(container: Container) -> list[Sight]:
    """Let the watcher end, which goes through all of /proc once more, and hear what it saw."""
    (container.bundle.rootfs / "tmp/stop").touch()
    found = []
    while (line := container.readline()) != "end":
        what, device, inode, name = line.split(" ", 3)
        found.append(Sight(what, int(device), int(inode), name))
    return found


def watcher(box: Runtime, bundle: Bundle) -> Container:
    shutil.copyfile(probe_program("overwrite"), bundle.rootfs / "bin/overwrite")
    (bundle.rootfs / "bin/overwrite").chmod(0o755)
    container = box.start(bundle.capabilities(*ODD).args("/bin/overwrite", "/tmp/stop"))
    assert container.readline() == "ready"
    return container


def of_the_host(sights: list[Sight], *files: Path) -> list[Sight]:
    """Those that are files of the runtime's, or directories that are not the container's root."""
    inodes = {(info.st_dev, info.st_ino) for info in (path.stat() for path in (*runtime_files(), *files))}
    return [sight for sight in sights if (sight.device, sight.inode) in inodes or sight.what == "dir"]


@pytest.mark.parametrize("userns", [False, True])
def test_watcher_inside_reaches_nothing_of_the_host_during_execs(
    box: Runtime, bundle: Bundle, tally: Row, userns: bool
) -> None:
    """CVE-2016-9962: what joins a pid namespace can be looked at by those in it."""
    patience(60, 120, 300)
    if userns:
        bundle.user_namespace()
    container = watcher(box, bundle)
    count = size(15, 100, 500)
    for _ in range(count):
        box("exec", container.id, "/bin/true").ok()
    tally.tried(count)
    assert of_the_host(watched(container)) == []


def test_control_watcher_finds_the_runtimes_file_and_directories(box: Runtime, bundle: Bundle, tally: Row) -> None:
    """The same watcher, and nsenter with a descriptor of the host's open. A copy of it, since it may be written to."""
    copy = bundle.host_directory() / "nsenter"
    shutil.copy(shutil.which("nsenter") or "", copy)
    container = watcher(box, bundle)
    outside = os.open(copy.parent, os.O_RDONLY | os.O_DIRECTORY)
    command = [str(copy), "--target", str(container.pid), "--pid", "sleep", "0.3"]
    subprocess.run(command, env=ENVIRONMENT, pass_fds=[outside], check=True)
    os.close(outside)
    sights = watched(container)
    tally.red("nsenter with an open directory", {sight.what for sight in of_the_host(sights, copy)} >= {"dir"})


# What taking a session, a terminal, an identity and limits needs: process.session and process.identity.
TO_ENTER = "CHOWN DAC_OVERRIDE SETGID SETUID SETPCAP SYS_NICE SYS_RESOURCE".split()


def seen_capabilities(sights: list[Sight]) -> set[str]:
    """The names of all that any process was seen with, and the watcher has not."""
    mask = 0
    for sight in sights:
        mask |= sight.inode if sight.what == "caps" else 0
    names = {name for number, name in enumerate(CAPABILITIES) if mask >> number & 1}
    return names - {name.removeprefix("CAP_") for name in ODD}


@requires("strace")
@pytest.mark.parametrize("userns", [False, True])
@pytest.mark.parametrize("call", ["setsid", "setresuid", "capset"])
def test_what_joins_has_no_capability_left_that_it_does_not_need(
    box: Runtime, bundle: Bundle, call: str, userns: bool
) -> None:
    """Who has CAP_SYS_PTRACE inside can trace it, and so have these: none by which a container is left."""
    if userns:
        bundle.user_namespace()
    container = watcher(box, bundle)
    slow = ("strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={call}:delay_enter=100ms")
    for _ in range(3):  # the watcher may not have got a CPU in that time
        box("exec", container.id, "/bin/true", prefix=slow).ok()
    seen = seen_capabilities(watched(container))
    assert seen <= set(TO_ENTER)
    assert seen, "nothing was seen: this test proves nothing"


def test_control_joins_with_all_capabilities(box: Runtime, bundle: Bundle, tally: Row) -> None:
    container = watcher(box, bundle)
    command = ["nsenter", "--target", str(container.pid), "--pid", "sleep", "0.3"]
    subprocess.run(command, env=ENVIRONMENT, check=True)
    tally.red("nsenter with all capabilities", "SYS_MODULE" in seen_capabilities(watched(container)))


class TestImage:
    """What runs as the container's process before its program does."""

    @not_for("runc", "crun", reason="1.1 has a read-only bind of itself, crun a memfd of another kind")
    def test_of_the_waiting_init_is_a_sealed_memfd(self, box: Runtime, bundle: Bundle) -> None:
        container = box.create(bundle)
        link = os.readlink(f"/proc/{container.pid}/exe")
        assert link.startswith("/memfd:")
        fd = os.open(f"/proc/{container.pid}/exe", os.O_RDONLY)
        seals = fcntl.fcntl(fd, F_GET_SEALS)
        os.close(fd)
        assert seals & ALL_SEALS == ALL_SEALS

    def test_of_the_waiting_init_maps_no_file_of_the_host(self, box: Runtime, bundle: Bundle) -> None:
        container = box.create(bundle)
        names = {
            line.split(maxsplit=5)[5]
            for line in Path(f"/proc/{container.pid}/maps").read_text().splitlines()
            if "/" in line
        }
        assert {name for name in names if not name.startswith("/memfd:")} == set()

    @not_for("runc", "crun", reason="theirs is larger")
    def test_of_the_waiting_init_has_at_most_64_kib_of_private_memory(self, box: Runtime, bundle: Bundle) -> None:
        container = box.create(bundle)
        rollup = Path(f"/proc/{container.pid}/smaps_rollup").read_text().splitlines()
        private = sum(int(line.split()[1]) for line in rollup if line.startswith(("Private_Clean", "Private_Dirty")))
        assert private <= 64

    @not_for("runc", "crun", reason="theirs is dumpable until the user is set")
    def test_of_the_waiting_init_cannot_be_traced_from_inside(self, box: Runtime, bundle: Bundle) -> None:
        container = box.create(bundle)
        # a process that is not dumpable belongs to root, whoever it runs as, and its /proc/PID/fd is closed to others
        assert Path(f"/proc/{container.pid}/environ").read_bytes() == b""


@pytest.mark.parametrize("value", ["0", "1", "2"])
def test_kernel_that_forbids_executable_memfds_is_no_way_around(box: Runtime, bundle: Bundle, value: str) -> None:
    """vm.memfd_noexec, in a pid namespace of the test's own: it works, or it says so."""
    if not Path("/proc/sys/vm/memfd_noexec").exists():
        pytest.skip("this kernel knows no vm.memfd_noexec")
    prefix = (
        "unshare",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
        "/bin/sh",
        "-c",
        f'echo {value} > /proc/sys/vm/memfd_noexec; exec "$@"',
        "sh",
    )
    result = box.run(bundle.args("/bin/echo", "ran"), prefix=prefix)
    assert (result.code, result.out) == (0, "ran\n") or (result.code == 1 and result.err.count("\n") == 1)
