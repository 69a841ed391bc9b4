"""A runtime, a bundle, and what the host looks like: what a sweep compares after each of its points."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.support import host, reaper
from tests.support.bundle import Bundle
from tests.support.leaks import CgroupParent, clear, differences, snapshot
from tests.support.rootfs import Template, probe_program
from tests.support.runtime import CHECKOUT, Result, Runtime, temporary_directory
from tests.sweeps.console import Console
from tests.sweeps.shapes import ORDINARY, SHAPES

PATIENCE = 2.0  # seconds for the kernel to tear down what has ended
_CHANGING = (
    "State",
    "VmPeak",
    "Vm",
    "Rss",
    "Threads",
    "SigQ",
    "voluntary",
    "nonvoluntary",
    "Pid",
    "Tgid",
    "PPid",
    "NS",
    "TracerPid",
)


HYBRID = host.CGROUPS / "unified"


class Scene:
    """For one process of a sweep, and in a mount namespace of its own: the tests' canary for all that is left."""

    def __init__(self, runtime: Path, shape: str) -> None:
        reaper.install()
        host.unshare_mounts()
        if runtime.name == "crun" and HYBRID.exists():
            host.mount("tmpfs", str(HYBRID), "tmpfs")  # it refuses hosts with a controller on v2 beside v1
        self.directory = temporary_directory()
        self._protect_null()
        self.box = Runtime(self._installed(runtime), self.directory)
        self.parent = CgroupParent(f"boxes-sweep-{os.getpid()}")
        self.parent.make()
        self.bundle = self._bundle(f"s{os.getpid()}", shape)
        self.caller = {"user": ORDINARY, "group": ORDINARY, "extra_groups": []} if shape == "rootless" else {}
        self.console = Console(self.directory / "console") if shape == "terminal" else None
        self.files = self._files()
        self.before = snapshot(self.parent)

    def _bundle(self, identifier: str, shape: str) -> Bundle:
        path = self.directory / "bundle"
        path.mkdir()
        template = Template(self.directory / "template")
        template.populate(path / "rootfs")
        shutil.copy(probe_program("linger"), path / "rootfs/bin/linger")
        bundle = Bundle(path, identifier, f"/{self.parent.name}/{identifier}").args("/bin/linger")
        SHAPES[shape](bundle)
        return bundle.save()

    def _installed(self, runtime: Path) -> Path:
        """Ours is copied: it writes a file for its own start anew when reading that has failed."""
        if runtime != CHECKOUT / "bin/box":
            return runtime
        prefix = self.directory / "prefix"
        shutil.copytree(CHECKOUT / "src/boxes", prefix / "src/boxes")
        shutil.copytree(CHECKOUT / "bin", prefix / "bin")
        package = str(prefix / "src/boxes")
        subprocess.run(["/usr/bin/python3", "-X", "no_debug_ranges", f"{package}/bundle.py", package], check=True)
        return prefix / "bin/box"

    def _protect_null(self) -> None:
        """Other runtimes give the host's /dev/null to the container's user."""
        null = self.directory / "null"
        os.mknod(null, 0o20666, os.makedev(1, 3))
        null.chmod(0o666)
        host.mount(str(null), "/dev/null", None, host.MS_BIND)

    def _files(self) -> set[str]:
        """In the bundle, and of the runtime's own; beside a pid file there is nothing either."""
        package = self.directory / "prefix/src/boxes/__pycache__"
        inside = {str(path) for folder in (self.bundle.path, package) for path in folder.rglob("*")}
        return inside | {str(path) for path in self.directory.glob("pid?*")}

    def command(self, *args: str) -> list[str]:
        return self.box.command(*args)

    def __call__(self, *args: str) -> Result:
        """A verb, untouched. Its output is no pipe, which a container would hold."""
        errors = self.directory / "own-errors"
        with errors.open("w") as file:
            process = self.box.popen(*args, stdin=-3, stdout=-3, stderr=file, **self.caller)
            try:
                code = process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                code = 124
        self.box.running.clear()
        return Result(list(args), code, "", errors.read_text("utf-8", "replace"))

    def create(self) -> Result:
        return self("create", *self.create_args())

    def create_args(self) -> tuple[str, ...]:
        more = ("--pid-file", str(self.directory / "pid"))
        terminal = ("--console-socket", str(self.console.path), *more) if self.console else ()
        return ("--bundle", str(self.bundle.path), *terminal, self.bundle.id)

    def delete(self) -> Result:
        """Pid files are taken away by who has asked for them."""
        (self.directory / "pid").unlink(missing_ok=True)
        return self("delete", "--force", self.bundle.id)

    def processes(self) -> set[int]:
        """The processes in the container's cgroups."""
        found: set[int] = set()
        for directory in self.parent.below():
            with suppress(FileNotFoundError):
                found.update(int(pid) for pid in Path(directory, "cgroup.procs").read_text().split())
        return found

    def left(self) -> list[str]:
        """What there is that was not there before."""
        reaper.reap()
        found = differences(self.before, snapshot(self.parent))
        found += [f"state: left behind: {path}" for path in self.box.root.glob("[!.]*")]
        found += [f"files: left behind: {path}" for path in self._files() - self.files]
        sockets = Path("/proc/net/unix").read_text().splitlines()
        return found + [f"sockets: {line}" for line in sockets if str(self.box.root) in line]

    def settled(self) -> list[str]:
        """The same, when the kernel has had time to tear down what has ended."""
        deadline = time.monotonic() + PATIENCE
        while (left := self.left()) and time.monotonic() < deadline:
            time.sleep(0.005)
        return left

    def settle(self) -> None:
        """From here on what is there is no surprise: a runtime makes mount points once."""
        self.files |= self._files()

    def reset(self) -> None:
        """Whatever a point has left, the next one is to be judged on its own."""
        end_children()
        clear(self.before, snapshot(self.parent))
        for path in self.box.root.glob("[!.]*"):
            shutil.rmtree(path, ignore_errors=True)
        self.files |= self._files()

    def close(self) -> None:
        end_children()
        if self.console:
            self.console.close()
        host.unmount("/dev/null")
        shutil.rmtree(self.directory, ignore_errors=True)
        self.parent.remove()


def end_children() -> None:
    """End all that was started from here, and what these have started in turn."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        reaper.reap()
        found = host.children()
        if not found:
            return
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.005)


def attributes(pid: int) -> dict[str, Any]:
    """What a process of the container is, seen from the host: to be the same whatever happened on the way."""
    at = Path(f"/proc/{pid}")
    status = dict(line.split(":\t", 1) for line in (at / "status").read_text().splitlines() if ":\t" in line)
    return {
        "status": {name: value for name, value in status.items() if not name.startswith(_CHANGING)},
        "limits": (at / "limits").read_text(),
        "mounts": [_mount(line) for line in (at / "mountinfo").read_text().splitlines()],
        "cgroup": {line for line in (at / "cgroup").read_text().splitlines() if not line.endswith(":/")},
        "namespaces": {
            ns.name for ns in (at / "ns").iterdir() if os.readlink(ns) != os.readlink(f"/proc/self/ns/{ns.name}")
        },
        "descriptors": sorted(fd.name for fd in (at / "fd").iterdir()),
        "environment": (at / "environ").read_bytes(),
        "arguments": (at / "cmdline").read_bytes(),
        "directory": os.readlink(at / "cwd"),
        "oom": (at / "oom_score_adj").read_text(),
    }


def _mount(line: str) -> tuple[str, ...]:
    """Without its numbers, and those of the peer group: the mount's root, point, options, kind, source and its options."""
    left, right = line.split(" - ", 1)
    return (*left.split(" ")[3:6], right)


def changes(expected: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """In what two processes differ, a line each."""
    return [f"{name}: {_first(expected[name], found[name])}" for name in expected if expected[name] != found[name]]


def _first(expected: Any, found: Any) -> str:
    if isinstance(expected, dict):
        names = [name for name in expected | found if expected.get(name) != found.get(name)]
        return ", ".join(f"{name} {found.get(name)!r} instead of {expected.get(name)!r}" for name in names)
    return f"{found!r} instead of {expected!r}"[:400]
