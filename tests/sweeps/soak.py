"""Many containers, several at a time: what the host has of mounts, cgroups, descriptors, processes and memory stays.

`python -m tests.sweeps.soak COUNT [SIDE BY SIDE]`; half of them by create, start, delete, half by run. After each tenth
all workers rest, and what there is is counted and printed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.support import host
from tests.support.bundle import Bundle
from tests.support.leaks import CgroupParent
from tests.support.rootfs import Template, probe_program
from tests.support.runtime import CHECKOUT, ENVIRONMENT, temporary_directory
from tests.sweeps.shapes import confined


class Soak:
    """A root, a bundle for each worker, and what is counted."""

    def __init__(self, workers: int) -> None:
        host.become_subreaper()
        host.unshare_mounts()
        self.directory = temporary_directory()
        self.parent = CgroupParent(f"boxes-soak-{os.getpid()}")
        self.parent.make()
        template = Template(self.directory / "template")
        self.bundles = [self._bundle(template, number) for number in range(workers)]
        self.failures: list[str] = []

    def _bundle(self, template: Template, number: int) -> Bundle:
        path = self.directory / f"b{number}"
        path.mkdir()
        template.populate(path / "rootfs")
        (path / "rootfs/bin/linger").write_bytes(probe_program("linger").read_bytes())
        bundle = Bundle(path, f"w{number}", f"/{self.parent.name}/w{number}").args("/bin/linger", "0")
        confined(bundle)
        return bundle.save()

    def box(self, *args: str) -> None:
        errors = self.directory / f"{args[-1]}.err"
        with errors.open("w") as file:
            command = [str(CHECKOUT / "bin/box"), "--root", str(self.directory / "state"), *args]
            code = subprocess.run(command, env=ENVIRONMENT, stdin=-3, stdout=-3, stderr=file, timeout=60).returncode
        if code:
            self.failures.append(f"{args[0]}: {code}: {errors.read_text()}")

    def one(self, worker: int, number: int) -> None:
        bundle = self.bundles[worker]
        place = ("--bundle", str(bundle.path), bundle.id)
        if number % 2:
            self.box("run", *place)
            return
        self.box("create", *place)
        self.box("start", bundle.id)
        self.box("delete", "--force", bundle.id)

    def work(self, worker: int, count: int) -> None:
        for number in range(count):
            self.one(worker, number)

    def counts(self) -> dict[str, int]:
        """What must not grow. Memory: what the kernel does not give back, in KiB."""
        self._reap()
        memory = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        return {
            "mounts": len(Path("/proc/self/mountinfo").read_text().splitlines()),
            "cgroups": len(self.parent.below()),
            "descriptors": len(os.listdir("/proc/self/fd")),
            "children": len(host.children()),
            "containers": len(list((self.directory / "state").glob("[!.]*"))),
            "slab_unreclaimable": int(memory["SUnreclaim"].split()[0]),
            "kernel_stacks": int(memory["KernelStack"].split()[0]),
            "files_open_on_the_host": int(Path("/proc/sys/fs/file-nr").read_text().split()[0]),
        }

    def _reap(self) -> None:
        while host.children():
            try:
                if os.waitpid(-1, os.WNOHANG)[0] == 0:
                    return
            except ChildProcessError:
                return

    def close(self) -> None:
        self.parent.remove()
        subprocess.run(["rm", "-rf", str(self.directory)], check=True)


PARTS = 10
STEADY = ("mounts", "cgroups", "descriptors", "children", "containers")


def main(count: int, workers: int) -> int:
    soak = Soak(workers)
    try:
        soak.work(0, 4)
        before = soak.counts()
        begun = time.monotonic()
        with ThreadPoolExecutor(workers) as pool:
            parts = max(min(PARTS, count // workers), 1)
            for part in range(1, parts + 1):
                list(pool.map(soak.work, range(workers), [count // workers // parts] * workers))
                after = soak.counts()
                print(json.dumps({"done": count * part // parts, **after}), flush=True)
        seconds = time.monotonic() - begun
        same = all(before[name] == after[name] for name in STEADY)
        print(json.dumps({"containers": count, "seconds": round(seconds), "before": before, "after": after}))
        print("\n".join(soak.failures[:20]))
        print("ok" if same and not soak.failures else "failed")
        return 0 if same and not soak.failures else 1
    finally:
        soak.close()


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 8))
