"""Engines on roots of their own, each with one runtime: what a scenario's shell script finds as `podman`, `docker`, …"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

from tests.support.rootfs import Template
from tests.support.runtime import executable

SCENARIO_SECONDS = 90
PODMAN = """
[containers]
default_ulimits = ["nofile=1024:20000","nproc=8192:8192"]
init_path = "/usr/bin/tini-static"
[engine]
runtime = "{name}"
runtime_supports_json = ["box","runc"]
runtime_supports_nocgroup = ["box"]
[engine.runtimes]
{name} = ["{path}"]
"""
# A container in a pod has the pod's parent, one without cgroups none; containers.conf cannot name one.
PODMAN_FUNCTION = """podman() {{
    case "$*" in
        "run --pod "*) engine "$@" ;;
        "run "*--cgroups=disabled*) engine "$@" ;;
        "pod create"*) engine pod create --cgroup-parent {parent} "${{@:3}}" ;;
        "run "*) engine "$1" --cgroup-parent {parent} "${{@:2}}" ;;
        *) engine "$@" ;;
    esac
}}
"""
CONTAINERD = """
version = 2
root = "{directory}/root"
state = "{directory}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs"]
[grpc]
address = "{directory}/containerd.sock"
[ttrpc]
address = "{directory}/containerd.sock.ttrpc"
[plugins."io.containerd.internal.v1.opt"]
path = "{directory}/opt"
"""


class Outcome(NamedTuple):
    """How a scenario ended: what may be compared between runtimes. `err` is for whoever reads a failure."""

    code: int
    out: str
    kind: str
    err: str

    def same_as(self, other: Outcome) -> bool:
        return self[:3] == other[:3]


def runtimes() -> dict[str, str]:
    return {"runc": shutil.which("runc") or "/usr/sbin/runc", "box": str(executable())}


def _kind(code: int, err: str) -> str:
    """What sort of error it was, whatever the words."""
    if code == 0:
        return ""
    patterns = {
        "not found": r"executable file not found|no such file or directory",
        "not permitted": r"permission denied|is a directory",
        "wrong state": r"not running|is not paused|is paused|can only|improper",
        "no container": r"no such container|no container with|does not exist|not found",
    }
    return next((kind for kind, pattern in patterns.items() if re.search(pattern, err.lower())), "other")


class Rig:
    """One engine with one runtime. `prelude` defines the shell functions that scenarios call."""

    def __init__(self, runtime: str, directory: Path, image: Path) -> None:
        self.runtime, self.path = runtime, runtimes()[runtime]
        self.directory = directory
        self.image = image
        self.commands: dict[str, list[str]] = {}  # what each function of the prelude runs
        self.daemon: subprocess.Popen[bytes] | None = None
        directory.mkdir(parents=True)
        self.prelude = self.set_up()

    def set_up(self) -> str:
        raise NotImplementedError

    def function(self, name: str, *command: str) -> str:
        self.commands[name] = ["env", *command]
        return f'{name}() {{ {shlex.join(self.commands[name])} "$@"; }}\n'

    def script(self, script: str) -> Outcome:
        """Run it in a directory of its own; its standard streams are files, since what is left holds them open."""
        work = self.directory / "work"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        with open(work / ".out", "w+b") as out, open(work / ".err", "w+b") as err:
            command = ["timeout", "-k", "5", str(SCENARIO_SECONDS), "bash", "-c", self.prelude + script]
            code = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=work).returncode
        texts = [(work / name).read_text(errors="replace") for name in (".out", ".err")]
        return Outcome(code, self.normalized(texts[0]), _kind(code, texts[1]), texts[1])

    def normalized(self, text: str) -> str:
        """Without what differs from run to run: ids, and the runtime's name."""
        text = re.sub(r"\b[0-9a-f]{12,64}\b", "ID", text.replace("\r", ""))
        return re.sub(rf"\b{self.runtime}\b", "RUNTIME", text)

    def serve(self, ready: Path, *command: str) -> None:
        with open(self.directory / "daemon.log", "wb") as log:
            self.daemon = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while not ready.exists():
            if time.monotonic() > deadline or self.daemon.poll() is not None:
                raise TimeoutError((self.directory / "daemon.log").read_text()[-2000:])
            time.sleep(0.05)

    def close(self) -> None:
        if self.daemon is not None:
            self.daemon.terminate()
            try:
                self.daemon.wait(20)
            except subprocess.TimeoutExpired:
                self.daemon.kill()
                self.daemon.wait()

    def check(self, script: str) -> None:
        outcome = self.script(script)
        assert outcome.code == 0, outcome


class Podman(Rig):
    """podman without a daemon: cgroupfs, overlay, and a containers.conf that names the runtime as `docs/engines.md` does."""

    def set_up(self) -> str:
        conf = self.directory / "containers.conf"
        conf.write_text(PODMAN.format(name=self.runtime, path=self.path))
        flags = ("--root", f"{self.directory}/o", "--runroot", f"{self.directory}/r", "--tmpdir", f"{self.directory}/t")
        more = ("--storage-driver", "overlay", "--events-backend", "file", "--cgroup-manager", "cgroupfs")
        self.prelude = self.function("engine", f"CONTAINERS_CONF={conf}", "podman", *flags, *more)
        self.prelude += PODMAN_FUNCTION.format(parent=f"/{os.environ['BOXES_ENGINES_PARENT']}")
        self.check(f"podman import -c 'ENV PATH=/bin' {self.image} bb")
        return self.prelude


class Buildah(Rig):
    def set_up(self) -> str:
        flags = ("--root", f"{self.directory}/o", "--runroot", f"{self.directory}/r", "--storage-driver", "overlay")
        environment = (f"BUILDAH_RUNTIME={self.path}", "BUILDAH_ISOLATION=oci")
        self.prelude = self.function("buildah", *environment, "buildah", *flags)
        self.check(
            f"c=$(buildah from scratch); buildah add $c {self.image} /; buildah config --env PATH=/bin $c;"
            "buildah commit $c bb; buildah rm $c"
        )
        return self.prelude


class Containerd(Rig):
    """containerd, by `ctr`: the runtime is named in each `run`."""

    def set_up(self) -> str:
        config = self.directory / "config.toml"
        config.write_text(CONTAINERD.format(directory=self.directory))
        self.serve(self.directory / "containerd.sock", "containerd", "-c", str(config))
        # Containers' cgroups are named by containerd's namespace.
        ctr = ("ctr", "-a", f"{self.directory}/containerd.sock", "-n", os.environ["BOXES_ENGINES_PARENT"])
        flags = (
            "--runtime",
            "io.containerd.runc.v2",
            "--runc-binary",
            self.path,
            "--runc-root",
            f"{self.directory}/rr",
        )
        self.prelude = self.function("ctr", *ctr) + self.function("run", *ctr, "run", *flags)
        self.check(f"ctr images import {self.image.with_name('bb.oci.tar')}")
        return self.prelude


class Docker(Rig):
    @property
    def socket(self) -> Path:
        return self.directory / "docker.sock"

    def set_up(self) -> str:
        self.begin(*self.configure())
        environment = (f"DOCKER_HOST=unix://{self.socket}", "DOCKER_BUILDKIT=0", f"HOME={self.directory}")
        self.prelude = self.function("docker", *environment, "docker")
        self.check(f"docker import -c 'ENV PATH=/bin' {self.image} bb")
        return self.prelude

    def configure(self) -> tuple[str, ...]:
        """Write daemon.json; what is said on the command line besides."""
        (self.directory / "daemon.json").write_text(json.dumps({"runtimes": {"box": {"path": runtimes()["box"]}}}))
        return ("--default-runtime", self.runtime)

    def begin(self, *more: str) -> None:
        self.socket.unlink(missing_ok=True)
        paths = ("--data-root", f"{self.directory}/data", "--exec-root", f"{self.directory}/exec")
        driver = ("--storage-driver", "overlay2", "--exec-opt", "native.cgroupdriver=cgroupfs")
        parent = ("--cgroup-parent", f"/{os.environ['BOXES_ENGINES_PARENT']}")
        config = ("--config-file", f"{self.directory}/daemon.json", "--pidfile", f"{self.directory}/pid")
        self.serve(self.socket, "dockerd", *config, *paths, *driver, *parent, *more, "-H", f"unix://{self.socket}")


ENGINES: dict[str, type[Rig]] = {"podman": Podman, "containerd": Containerd, "docker": Docker, "buildah": Buildah}


def make_image(directory: Path) -> Path:
    """A root filesystem of busybox as a tar, and beside it the same as an OCI archive, for containerd."""
    directory.mkdir()
    Template(directory / "template").populate(directory / "rootfs")
    (directory / "rootfs/etc/passwd").write_text("root:x:0:0::/root:/bin/sh\nuser:x:1000:1000::/home:/bin/sh\n")
    (directory / "rootfs/etc/group").write_text("root:x:0:\nuser:x:1000:\n")
    image = directory / "bb.tar"
    subprocess.run(["tar", "-C", directory / "rootfs", "-cf", image, "."], check=True)
    Podman("runc", directory / "podman", image).check(f"podman save --format oci-archive -o {directory}/bb.oci.tar bb")
    return image


def unmount_below(directory: Path) -> None:
    """What daemons leave mounted when they are ended."""
    for line in sorted(Path("/proc/self/mounts").read_text().split("\n"), reverse=True):
        if f" {directory}/" in line:
            subprocess.run(["umount", "-l", line.split()[1]], stderr=subprocess.DEVNULL, check=False)
