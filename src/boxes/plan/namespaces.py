"""/linux/namespaces, the id mappings and the time offsets: which namespaces are made and which are joined."""

from __future__ import annotations

from boxes.linux import flags as k

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from boxes.apply.idmap import Mapping

FLAGS = {
    "user": k.CLONE_NEWUSER,
    "mount": k.CLONE_NEWNS,
    "pid": k.CLONE_NEWPID,
    "network": k.CLONE_NEWNET,
    "ipc": k.CLONE_NEWIPC,
    "uts": k.CLONE_NEWUTS,
    "cgroup": k.CLONE_NEWCGROUP,
    "time": k.CLONE_NEWTIME,
}
_CLOCKS = {"monotonic": 1, "boottime": 7}  # <linux/time.h>; the file takes these numbers


class Join:
    """A namespace to be joined by path."""

    __slots__ = ("kind", "path", "pointer")

    def __init__(self, kind: str, path: str, pointer: str) -> None:
        self.kind = kind
        self.path = path
        self.pointer = pointer


class Namespaces:
    """What is made, joined and mapped.

    `new`: kinds made; `joins`: kinds joined by path; `uid_mappings`, `gid_mappings`: (inside, outside, count) each;
    `offsets`: the text for /proc/PID/timens_offsets, or empty.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        linux = config.get("linux") or {}
        self.new: list[str] = []
        self.joins: list[Join] = []
        for number, entry in enumerate(linux.get("namespaces") or ()):
            path = entry.get("path")
            if path:
                self.joins.append(Join(entry["type"], path, f"/linux/namespaces/{number}"))
            else:
                self.new.append(entry["type"])
        self.uid_mappings = _mappings(linux.get("uidMappings") or ())
        self.gid_mappings = _mappings(linux.get("gidMappings") or ())
        self.offsets = _offsets(linux.get("timeOffsets") or {})

    def joined(self, kind: str) -> Join | None:
        for join in self.joins:
            if join.kind == kind:
                return join
        return None

    def has(self, kind: str) -> bool:
        return kind in self.new or self.joined(kind) is not None

    def maps(self, mappings: list[Mapping], number: int) -> bool:
        """Whether an id of the container is one of the host; of a joined user namespace that is not known here."""
        if "user" not in self.new:
            return True
        return any(0 <= number - inside < count for inside, _, count in mappings)

    @property
    def flags(self) -> int:
        """The flags of the builder's clone3. The cgroup namespace is made when the builder is in its cgroup, the time
        namespace before, for clone3 would freeze its offsets."""
        return sum(FLAGS[kind] for kind in self.new if kind not in ("cgroup", "time"))

    @property
    def staged(self) -> bool:
        """Whether another process has to come between runtime and builder: to join, or to write time offsets."""
        return bool(self.joins) or "time" in self.new


def _mappings(listed: Iterable[dict[str, Any]]) -> list[Mapping]:
    return [(entry["containerID"], entry["hostID"], entry["size"]) for entry in listed]


def _offsets(offsets: dict[str, Any]) -> str:
    lines = []
    for name, clock in _CLOCKS.items():
        if name in offsets:
            offset = offsets[name]
            lines.append(f"{clock} {offset.get('secs', 0)} {offset.get('nanosecs', 0)}\n")
    return "".join(lines)
