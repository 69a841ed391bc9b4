"""Too little of something: room below --root, descriptors, processes, memory. One line says so, nothing is left, and a
container that was made can be deleted.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.support import host
from tests.support.runtime import CHECKOUT, ENVIRONMENT, Result
from tests.sweeps.points import PATIENCE, words
from tests.sweeps.scene import Scene
from tests.sweeps.verbs import Findings

_V1 = {"pids": "pids.max", "memory": "memory.limit_in_bytes"}
_V2 = {"pids": "pids.max", "memory": "memory.max"}


class Shortage:
    """Runs `create` and `delete` under a shortage, one after another."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene

    def ulimit(self, option: str, value: int) -> Findings:
        """Of the shell's: -n descriptors, -v KiB of address space."""
        return self._judge(f"ulimit {option} {value}", ["sh", "-c", f'ulimit {option} {value} && exec "$@"', "sh"])

    def cgroup(self, controller: str, value: int) -> Findings:
        """The runtime, not the container, in a cgroup with a limit."""
        root = host.cgroup_roots().get(controller) or host.cgroup_roots()[""]
        files = _V2 if root == host.cgroup_roots().get("") else _V1
        directory = root / self.scene.parent.name / "caller"
        directory.mkdir(exist_ok=True)
        self.scene.before["cgroups"].add(str(directory))
        (directory / files[controller]).write_text(str(value))
        inside = ["sh", "-c", f'echo $$ > {directory}/cgroup.procs && exec "$@"', "sh"]
        found = self._judge(f"{controller} {value}", inside, told=controller != "memory")
        self.scene.before["cgroups"].remove(str(directory))
        directory.rmdir()
        return found

    def room(self, option: str) -> Findings:
        """--root on a filesystem with little space or few inodes."""
        self.scene.box.root.mkdir(exist_ok=True)
        host.mount("tmpfs", str(self.scene.box.root), "tmpfs", 0, option)
        try:
            self.scene.before["mounts"] = set(Path("/proc/self/mountinfo").read_text().splitlines())
            return self._judge(option, [])
        finally:
            host.unmount(str(self.scene.box.root))
            self.scene.before["mounts"] = set(Path("/proc/self/mountinfo").read_text().splitlines())

    def _judge(self, what: str, prefix: list[str], *, told: bool = True) -> Findings:
        """`told`: whoever is short of memory may be killed for it, without a word."""
        result = self._run([*prefix, *self.scene.command("create", *self.scene.create_args())])
        found = []
        if result.code == 124:
            found.append("hang")
        elif result.code and (told or result.err):
            lines = result.err.splitlines()
            if "Traceback" in result.err:
                found.append(f"traceback: {result.err[-300:]}")
            if not lines:
                found.append(f"silent: {result.code}")
        if result.code and told:
            found += [f"left: {line}" for line in self.scene.settled()]
        removed = self.scene.delete()
        found += [f"delete: {removed.err}"] if removed.code else []
        left = self.scene.settled()
        if left:
            self.scene.reset()
        return [f"{what}: {line}" for line in found + [f"leak: {line}" for line in left]]

    def _run(self, command: list[str]) -> Result:
        errors = self.scene.directory / "errors"
        with errors.open("w") as file:
            try:
                code = subprocess.run(command, env=ENVIRONMENT, stdin=-3, stdout=-3, stderr=file, timeout=10).returncode
            except subprocess.TimeoutExpired:
                code = 124
        return Result(command, code, "", words(self.scene.directory, PATIENCE if code > 0 else 0))


def points(shortage: Shortage, step: int = 1) -> Iterator[Findings]:
    """All of them, or every `step`-th of each kind; with 0 some of address space, from where the interpreter begins to
    where there is enough."""
    if step == 0:
        for value in range(13 << 10, 21 << 10, 512):
            yield shortage.ulimit("-v", value)
        return
    for value in range(3, 257, step):
        yield shortage.ulimit("-n", value)
    for value in range(8 << 10, 200 << 10, step << 10):
        yield shortage.ulimit("-v", value)
    for value in range(1, 21, max(step // 4, 1)):
        yield shortage.cgroup("pids", value)
    for value in range(1 << 20, 24 << 20, step << 18):
        yield shortage.cgroup("memory", value)
    for size in range(4, 65, 4 * max(step // 4, 1)):
        yield shortage.room(f"size={size}k")
    for inodes in range(2, 16, max(step // 8, 1)):
        yield shortage.room(f"nr_inodes={inodes}")


def main(step: int) -> int:
    scene = Scene(CHECKOUT / "bin/box", "confined")
    tried = 0
    wrong: Findings = []
    try:
        scene.create().ok()
        scene.delete()
        scene.settle()
        for found in points(Shortage(scene), step):
            tried += 1
            wrong += found
            print("\n".join(found), end="\n" if found else "", flush=True)
    finally:
        scene.close()
    print(f"{tried} shortages: {'failed' if wrong else 'ok'}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1))
