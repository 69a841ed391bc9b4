"""A filesystem that behaves like resctrl, for hosts whose processors have none: served over FUSE by this program.

    python -m tests.support.resctrl DIRECTORY

It has a class of service at its root and up to three below, each with up to two monitoring groups. Two caches L3 with
masks of 11 bits, and the bandwidth of memory in steps of 10 %. As in the kernel, directories come and go with all they
hold, a write(2) of schemata is taken whole or not at all, `info/last_cmd_status` says why not, a process is in one
class, and in a monitoring group of that class only. Beyond the kernel's it has a file `log` of all that was written.

Numbers and structures: <linux/fuse.h>, protocol 7.31.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from struct import calcsize, pack, unpack_from

from tests.support.host import mount, unmount

LOOKUP, FORGET, GETATTR, SETATTR, MKDIR, RMDIR, OPEN, READ, WRITE = 1, 2, 3, 4, 9, 11, 14, 15, 16
STATFS, RELEASE, FLUSH, INIT, OPENDIR, READDIR, RELEASEDIR = 17, 18, 25, 26, 27, 28, 29
ACCESS, INTERRUPT, DESTROY, BATCH_FORGET = 34, 36, 38, 42
SILENT = (FORGET, BATCH_FORGET, INTERRUPT)
CHECKOUT = Path(__file__).parents[2]
DIRECT_IO = 1  # FOPEN_DIRECT_IO: reads are not cut off at a size that nobody knows
IN = "=IIQQIIII"  # struct fuse_in_header: length, operation, unique, node, uid, gid, pid, padding
MOST_CLASSES, MOST_MONITORS = 4, 2
DEFAULT = {"L3": {"0": "7ff", "1": "7ff"}, "MB": {"0": "100", "1": "100"}}


class Tree:
    """The filesystem as a test sees it: mounted, and served by a child of this process."""

    def __init__(self, directory: Path) -> None:
        self.path = directory
        directory.mkdir()
        self._server = subprocess.Popen(
            [sys.executable, "-m", __name__, str(directory)], stdout=subprocess.PIPE, cwd=CHECKOUT
        )
        assert self._server.stdout is not None
        assert self._server.stdout.readline() == b"mounted\n"

    def close(self) -> None:
        unmount(str(self.path))
        self._server.wait(10)
        assert self._server.stdout is not None
        self._server.stdout.close()
        self.path.rmdir()

    def read(self, file: str) -> str:
        return (self.path / file.lstrip("/")).read_text()

    def tasks(self, group: str = "") -> list[int]:
        return [int(line) for line in self.read(f"{group}/tasks").splitlines()]

    def schemata(self, group: str = "") -> list[str]:
        """Without the padding."""
        return self.read(f"{group}/schemata").replace(" ", "").splitlines()

    def groups(self) -> set[str]:
        """All but the root, as paths."""
        found = self.path.rglob("tasks")
        return {str(path.parent.relative_to(self.path)) for path in found} - {"."}

    def log(self) -> list[str]:
        return self.read("log").splitlines()


class RefusedError(OSError):
    """An error for the caller; with a reason it is told in `info/last_cmd_status` too."""

    def __init__(self, number: int, reason: str = "") -> None:
        super().__init__(number, reason)
        self.number = number
        self.reason = reason


class Node:
    """A directory, or a file with what reads it and what writes to it."""

    def __init__(
        self,
        parent: Node | None,
        read: Callable[[], str] | None = None,
        write: Callable[[str, int], None] | None = None,
    ) -> None:
        self.parent = parent
        self.read = read
        self.write = write
        self.children: dict[str, Node] = {}
        self.class_of: Node | None = None  # of a group: the class that it is, or is in
        self.schemata: dict[str, dict[str, str]] = {}

    @property
    def is_directory(self) -> bool:
        return self.read is None


class Resctrl:
    """The tree."""

    def __init__(self) -> None:
        self.status = "ok"
        self.log: list[str] = []
        self.members: dict[int, tuple[Node, Node | None]] = {}  # of those that are not at the root
        self.root = Node(None)
        self.root.class_of = self.root
        self._populate(self.root)
        self.root.children["log"] = Node(self.root, lambda: "".join(f"{line}\n" for line in self.log))
        self.info = self.root.children["info"] = Node(self.root)
        self.info.children["last_cmd_status"] = Node(self.info, lambda: f"{self.status}\n")
        bandwidth = self.info.children["MB"] = Node(self.info)
        bandwidth.children["bandwidth_gran"] = Node(bandwidth, lambda: "10\n")

    def _populate(self, group: Node) -> None:
        group.children["tasks"] = Node(group, lambda: self._tasks(group), lambda t, pid: self._enter(group, t, pid))
        if group.class_of is group:
            group.schemata = {name: dict(values) for name, values in DEFAULT.items()}
            group.children["schemata"] = Node(group, lambda: _shown(group), lambda t, _: self._set(group, t))
            group.children["mon_groups"] = Node(group)

    def path(self, node: Node) -> str:
        parts: list[str] = []
        while node.parent is not None:
            parts.insert(0, next(name for name, child in node.parent.children.items() if child is node))
            node = node.parent
        return "/".join(parts)

    def mkdir(self, parent: Node, name: str) -> Node:
        if name in parent.children:
            raise RefusedError(errno.EEXIST)
        if parent is self.root:
            if sum(child.class_of is child for child in parent.children.values()) >= MOST_CLASSES - 1:
                raise RefusedError(errno.ENOSPC, "Out of CLOSIDs")
            made = Node(parent)
            made.class_of = made
        elif parent.parent is not None and parent.parent.children.get("mon_groups") is parent:
            if len(parent.children) >= MOST_MONITORS:
                raise RefusedError(errno.ENOSPC, "Out of RMIDs")
            made = Node(parent)
            made.class_of = parent.parent
        else:
            raise RefusedError(errno.EPERM)
        self._populate(made)
        parent.children[name] = made
        self.log.append(f"mkdir {self.path(made)}")
        return made

    def rmdir(self, parent: Node, name: str) -> None:
        gone = parent.children.get(name)
        if gone is None:
            raise RefusedError(errno.ENOENT)
        if gone.class_of is None or gone is self.root:
            raise RefusedError(errno.EPERM)
        self.log.append(f"rmdir {self.path(gone)}")
        for pid, (group, monitor) in list(self.members.items()):
            if group is gone:
                del self.members[pid]
            elif monitor is gone:
                self.members[pid] = (group, None)
        del parent.children[name]

    def _tasks(self, group: Node) -> str:
        """Those that live; whoever was never put anywhere is not listed at the root, unlike in the kernel."""
        pids = [pid for pid, groups in self.members.items() if group in groups and os.path.exists(f"/proc/{pid}")]
        return "".join(f"{pid}\n" for pid in pids)

    def _enter(self, group: Node, text: str, caller: int) -> None:
        self.log.append(f"{self.path(group)}/tasks: {text.strip()} by {caller}".lstrip("/"))
        if not text.strip().isdigit():
            raise RefusedError(errno.EINVAL, "Task list parsing error")
        pid = int(text) or caller
        if not os.path.exists(f"/proc/{pid}"):
            raise RefusedError(errno.ESRCH, f"No task {pid}")
        if group.class_of is group:
            self.members[pid] = (group, None)
        elif self.members.get(pid, (self.root, None))[0] is not group.class_of:
            raise RefusedError(errno.EINVAL, "Can't move task to different control group")
        else:
            self.members[pid] = (self.members.get(pid, (self.root, None))[0], group)

    def _set(self, group: Node, text: str) -> None:
        self.log.append(f"{self.path(group)}/schemata: {text!r}".lstrip("/"))
        if not text.endswith("\n"):
            raise RefusedError(errno.EINVAL)
        staged: dict[tuple[str, str], str] = {}
        for line in text.splitlines():
            resource, _, values = line.partition(":")
            if resource.strip() not in DEFAULT:
                raise RefusedError(errno.EINVAL, f"Unknown or unsupported resource name '{resource.strip()}'")
            for value in values.split(";"):
                domain, _, amount = value.strip().partition("=")
                key = (resource.strip(), domain)
                if domain not in DEFAULT[key[0]]:
                    raise RefusedError(errno.EINVAL, f"Unknown domain '{domain}'")
                if key in staged:
                    raise RefusedError(errno.EINVAL, f"Duplicate domain {domain}")
                staged[key] = _checked(key[0], amount)
        for (resource, domain), amount in staged.items():
            group.schemata[resource][domain] = amount


def _checked(resource: str, amount: str) -> str:
    if resource == "MB":
        if not amount.isdigit() or not 10 <= int(amount) <= 100:
            raise RefusedError(errno.EINVAL, f"MB value {amount} out of range")
        return str(-(-int(amount) // 10) * 10)
    if not re.fullmatch("[0-9a-fA-F]+", amount) or not 0 < int(amount, 16) <= 0x7FF:
        raise RefusedError(errno.EINVAL, f"Mask out of range: {amount}")
    if "01" in f"{int(amount, 16):b}".strip("0"):
        raise RefusedError(errno.EINVAL, f"The mask {amount} has non-consecutive 1-bits")
    return f"{int(amount, 16):x}"


def _shown(group: Node) -> str:
    """With the kernel's padding."""
    lines = [
        f"{name:>6}:" + ";".join(f"{d}={v:>4}" for d, v in values.items()) for name, values in group.schemata.items()
    ]
    return "".join(f"{line}\n" for line in lines)


class Server:
    """Answers the kernel, until the filesystem is unmounted."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.tree = Resctrl()
        self.nodes: dict[int, Node] = {1: self.tree.root}

    def serve(self) -> None:
        while True:
            try:
                request = os.read(self.fd, 1 << 18)
            except OSError as error:
                if error.errno == errno.ENODEV:
                    return
                raise
            _, operation, unique, node, _, _, pid, _ = unpack_from(IN, request)
            if operation in SILENT:
                continue
            number, answer = 0, b""
            try:
                answer = self.answer(operation, self.nodes[node] if node else None, request[calcsize(IN) :], pid)
            except RefusedError as error:
                number = error.number
                if error.reason:
                    self.tree.status = error.reason
            os.write(self.fd, pack("=IiQ", 16 + len(answer), -number, unique) + answer)

    def answer(self, operation: int, node: Node | None, body: bytes, pid: int) -> bytes:
        if operation == INIT:
            return pack("=IIIIHHIIHHIIII16x", 7, 31, 1 << 16, 0, 16, 8, 1 << 16, 1, 0, 0, 0, 0, 0, 0)
        if operation in (FLUSH, RELEASE, RELEASEDIR, ACCESS, DESTROY):
            return b""
        if operation == STATFS:
            return bytes(80)
        assert node is not None
        if operation == LOOKUP:
            found = node.children.get(_name(body))
            if found is None:
                raise RefusedError(errno.ENOENT)
            return self.entry(found)
        if operation in (GETATTR, SETATTR):
            return pack("=QII", 0, 0, 0) + self.attributes(node)
        if operation == READDIR:
            return self.listing(node, *unpack_from("=QQI", body)[1:])
        if operation in (OPEN, OPENDIR):
            return pack("=QII", 0, DIRECT_IO if operation == OPEN else 0, 0)
        return self.change(operation, node, body, pid)

    def change(self, operation: int, node: Node, body: bytes, pid: int) -> bytes:
        if operation == READ:
            _, offset, size = unpack_from("=QQI", body)
            assert node.read is not None
            return node.read().encode()[offset : offset + size]
        if operation not in (WRITE, MKDIR, RMDIR):
            raise RefusedError(errno.ENOSYS)
        self.tree.status = "ok"
        if operation == WRITE:
            size = unpack_from("=QQI", body)[2]
            if node.write is None:
                raise RefusedError(errno.EPERM)
            node.write(body[40 : 40 + size].decode(), pid)
            return pack("=II", size, 0)
        if operation == MKDIR:
            return self.entry(self.tree.mkdir(node, _name(body[8:])))
        self.tree.rmdir(node, _name(body))
        return b""

    def number(self, node: Node) -> int:
        for number, known in self.nodes.items():
            if known is node:
                return number
        number = len(self.nodes) + 1
        self.nodes[number] = node
        return number

    def attributes(self, node: Node) -> bytes:
        kind = stat.S_IFDIR | 0o755 if node.is_directory else stat.S_IFREG | (0o644 if node.write else 0o444)
        now = int(time.time())
        return pack("=QQQQQQIIIIIIIIII", self.number(node), 0, 0, now, now, now, 0, 0, 0, kind, 2, 0, 0, 0, 4096, 0)

    def entry(self, node: Node) -> bytes:
        """Never to be remembered: the answer may be another next time."""
        return pack("=QQQQII", self.number(node), 0, 0, 0, 0, 0) + self.attributes(node)

    def listing(self, node: Node, offset: int, size: int) -> bytes:
        found = b""
        for number, (name, child) in enumerate(node.children.items(), 1):
            kind = stat.S_IFDIR if child.is_directory else stat.S_IFREG
            encoded = name.encode()
            record = pack("=QQII", self.number(child), number, len(encoded), kind >> 12) + encoded
            record += bytes(-len(record) % 8)
            if number > offset and len(found) + len(record) <= size:
                found += record
        return found


def _name(body: bytes) -> str:
    return body.split(b"\0", 1)[0].decode()


def main(directory: str) -> None:
    """Mount it, say so, and serve."""
    fd = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    mount("resctrl", directory, "fuse", 0, f"fd={fd},rootmode=40000,user_id=0,group_id=0,allow_other")
    print("mounted", flush=True)
    Server(fd).serve()


if __name__ == "__main__":
    main(sys.argv[1])
