"""What scripts are written with: see script.py."""

from __future__ import annotations

from _struct import pack

from boxes import system as os
from boxes.linux import flags as k
from boxes.plan.inner import KEEP, LAUNCHED, NOTE, PASS, SPAWN, UNDO, Steps, string

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    Part = tuple[int, int | bytes]

O_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
O_PLACE = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
O_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
O_WRITE = os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
NONE = 0xFFFFFFFF  # no descriptor
REPLY = 3  # the socket for reports, after the program's streams
GIVEN = 4  # a pidfd, or the bare mount namespace (container/bare.py): native/inner.c, `make`
_AF_UNIX, _SEQPACKET = 1, 5 | os.O_CLOEXEC
_SOL_SOCKET, _SO_PASSCRED = 1, 16
SIGKILL, _P_PIDFD, _WEXITED = 9, 3, 4
TEXT, OWN_PID, OWN_START, CHILD_PID, CHILD_START, INODE = range(6)  # the parts of a note: native/inner.c


class UnusualError(Exception):
    """This container is not for a script."""


class Process:
    """One process of a script: the steps, and which descriptors it has open when the next one is done."""

    def __init__(self, steps: Steps, opened: Iterable[int]) -> None:
        self.steps = steps
        self.opened = set(opened)

    def reserve(self) -> int:
        """The number that the next descriptor gets."""
        number = 0
        while number in self.opened:
            number += 1
        self.opened.add(number)
        return number

    def open(self, name: str, *arguments: int | bytes) -> int:
        """A call that gives a descriptor."""
        number = self.reserve()
        self.steps.call(name, *arguments, expect=number)
        return number

    def call(self, name: str, *arguments: int | bytes, ignore: int = 0, fails: int = 0) -> None:
        self.steps.call(name, *arguments, ignore=ignore, fails=fails)

    def close(self, *numbers: int) -> None:
        for number in numbers:
            self.call("close", number)
            self.opened.discard(number)


def note(directory: int, name: str, parts: Sequence[Part]) -> bytes:
    """The payload of a NOTE: a file that is made of these parts."""
    made = pack("=II", directory, len(parts)) + string(name)
    made += bytes(-len(made) % 4)
    for what, value in parts:
        if isinstance(value, bytes):
            made += pack("=II", what, len(value)) + value + bytes(-len(value) % 4)
        else:
            made += pack("=II", what, value)
    return made


def write_note(process: Process, directory: int, name: str, parts: Sequence[Part]) -> int:
    """The number of the step."""
    process.steps.add(NOTE, note(directory, name, parts), f"write {name}", "")
    return len(process.steps) - 1


def compare(process: Process, directory: int, name: str, content: str) -> None:
    """End the script unless a file is like this."""
    payload = pack("=III", directory, NONE, len(content)) + string(name) + content.encode()
    process.steps.add(PASS, payload, f"compare {name}", "")


class Child:
    """One that the script makes, and the keeper of what it becomes. `begin`, the child's own steps with `process`,
    `end`, `let_go` if the child has to `wait`, `launched`, `keep`; what a failure leads to is `take_back`."""

    def __init__(self, host: Process) -> None:
        self._host = host
        self.process: Process  # once begun
        self.pidfd = -1

    def begin(self, *, other: bool = False) -> None:
        """Steps from here on are the child's. The caller knows that the program may begin. `other`: the child makes a
        sibling of its own, and that becomes the program."""
        host = self._host
        self._other = other
        self._ours, self._theirs = host.reserve(), host.reserve()
        host.call("socketpair", _AF_UNIX, _SEQPACKET, 0, bytes(8))
        if other:
            host.call("setsockopt", self._ours, _SOL_SOCKET, _SO_PASSCRED, pack("=i", 1), 4)
        host.call("write", REPLY, b"!taken", 6)
        self._step = len(host.steps)
        host.steps.add(SPAWN, b"", "clone3", "/linux/namespaces")
        self.process = Process(host.steps, host.opened)
        self.process.close(self._ours)  # else it would not see its parent's end
        self.pidfd = host.reserve()

    def end(self, flags: int, born: int) -> None:
        """Steps from here on are the parent's again: `flags` of clone(2), and the cgroup that it is born in or NONE."""
        payload = pack("=QIIII", flags, born, self.pidfd, self._theirs, len(self._host.steps))
        self._host.steps.replace(self._step, SPAWN, payload)
        self._host.close(self._theirs)

    def wait(self) -> None:
        """For the child: until `let_go`, or the end of its parent, which is its own."""
        self.process.steps.call("read", self._theirs, bytes(8), 8, expect=1)

    def let_go(self) -> None:
        self._host.call("write", self._ours, b"+", 1)

    def launched(self) -> None:
        """Wait until the program has begun, and say so."""
        first = self.pidfd
        if self._other:
            self.pidfd = self._host.reserve()
        self._host.steps.add(LAUNCHED, pack("=III", self._ours, self.pidfd, self._other), "launched", "")
        self._host.opened.discard(self._ours)
        if self._other:
            self._host.close(first)

    def keep(self, title: str, kill: int, files: Sequence[int]) -> None:
        """Be its keeper, as of attached.py, and nothing else: let go of the streams."""
        host = self._host
        host.steps.add(UNDO, pack("=I", 0), "undo", "")
        null = host.open("openat", k.AT_FDCWD, string("/dev/null"), os.O_RDWR | os.O_CLOEXEC)
        for stream in range(3):
            host.call("dup3", null, stream, 0)
        host.close(null)
        host.call("prctl", k.PR_SET_NAME, string(title[:15]))
        payload = pack(f"=IIII{len(files)}I", self.pidfd, kill & NONE, len(files), 0, *files)
        host.steps.add(KEEP, payload, "keep", "")

    def take_back(self, pidfd: int) -> None:
        """Steps of which each may fail."""
        self._host.steps.add(LAUNCHED, pack("=III", self._ours, NONE, 0), "prevent", "")
        self._host.call("pidfd_send_signal", pidfd, SIGKILL, 0, 0)
        self._host.call("waitid", _P_PIDFD, pidfd, 0, _WEXITED, 0)
