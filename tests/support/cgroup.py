"""A container's cgroups as its processes are in them, whichever version and manager made them."""

from __future__ import annotations

from pathlib import Path

from tests.support.host import cgroup_roots

# A limit by one name → controller and file of v1, file of v2.
FILES = {
    "memory": ("memory", "memory.limit_in_bytes", "memory.max"),
    "reservation": ("memory", "memory.soft_limit_in_bytes", "memory.low"),
    "memory in use": ("memory", "memory.usage_in_bytes", "memory.current"),
    "swap": ("memory", "memory.memsw.limit_in_bytes", "memory.swap.max"),
    "shares": ("cpu", "cpu.shares", "cpu.weight"),
    "idle": ("cpu", "cpu.idle", "cpu.idle"),
    "burst": ("cpu", "cpu.cfs_burst_us", "cpu.max.burst"),
    "cpu.stat": ("cpu", "cpu.stat", "cpu.stat"),
    "cpus": ("cpuset", "cpuset.cpus", "cpuset.cpus"),
    "mems": ("cpuset", "cpuset.mems", "cpuset.mems"),
    "pids": ("pids", "pids.max", "pids.max"),
    "pids in use": ("pids", "pids.current", "pids.current"),
    "weight": ("blkio", "blkio.bfq.weight", "io.bfq.weight"),
}


class Cgroup:
    """Those of a process. Keep it: they are found by the process, which need not live as long."""

    def __init__(self, pid: int) -> None:
        self.memberships = {
            name: path
            for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines()
            for _, names, path in [line.split(":", 2)]
            for name in names.split(",")
        }
        self.roots = cgroup_roots()
        self.unified = set(self.roots) == {""}

    def path(self, controller: str) -> Path:
        name = "" if self.unified else controller
        return self.roots[name] / self.memberships[name].lstrip("/")

    def file(self, what: str) -> Path:
        controller, legacy, unified = FILES[what]
        return self.path(controller) / (unified if self.unified else legacy)

    def read(self, what: str) -> str:
        return self.file(what).read_text().strip()

    def quota(self) -> tuple[str, str]:
        """CPU time and period, in microseconds; "max" for no limit."""
        if self.unified:
            quota, period = (self.path("cpu") / "cpu.max").read_text().split()
            return quota, period
        quota, period = ((self.path("cpu") / f"cpu.cfs_{name}_us").read_text().strip() for name in ("quota", "period"))
        return "max" if quota == "-1" else quota, period

    def snapshot(self) -> dict[str, str]:
        """All limits there are."""
        found = {
            what: self.read(what)
            for what in FILES
            if "in use" not in what and what != "cpu.stat" and self.file(what).exists()
        }
        return found | {"quota": " ".join(self.quota())}
