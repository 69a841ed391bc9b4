"""The standard streams of a program, at its caller's end."""

from __future__ import annotations

import os
import select

from boxes.api.flow import READ, WRITE
from boxes.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from boxes.api.flow import Ready

PIPE, DEVNULL, STDOUT = -1, -3, -2  # as in subprocess
_CHUNK = 1 << 16
MAX_OUTPUT = 16 << 20  # bytes of each stream that are kept, by default


class Output:
    """What is read from one descriptor, up to `most` bytes; the rest is counted."""

    def __init__(self, fd: int, most: int) -> None:
        self.fd = fd
        self.most = most
        self.kept = bytearray()
        self.dropped = 0
        if fd >= 0:
            os.set_blocking(fd, False)

    def read(self) -> None:
        try:
            part = os.read(self.fd, _CHUNK)
        except BlockingIOError:
            return
        room = self.most - len(self.kept)
        self.kept += part[:room]
        self.dropped += max(0, len(part) - room)
        if not part:
            self.close()

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class Input:
    """What is written to one descriptor, which is closed then."""

    def __init__(self, fd: int, content: bytes) -> None:
        self.fd = fd
        self.left = memoryview(content)
        if fd >= 0:
            os.set_blocking(fd, False)

    def write(self) -> None:
        try:
            self.left = self.left[os.write(self.fd, self.left[:_CHUNK]) :]
        except BlockingIOError:
            return
        except BrokenPipeError:
            self.left = self.left[:0]
        if not self.left:
            self.close()

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class Streams:
    """Three descriptors for the program (`theirs`), and the caller's ends of those that are pipes (-1: none).

    `stdin`, `stdout`, `stderr` are PIPE, DEVNULL, a descriptor, or an object with fileno(); `stderr` may be STDOUT.
    """

    def __init__(self, stdin: object, stdout: object, stderr: object) -> None:
        self.theirs: list[int] = []
        self.ours: list[int] = []
        self._owned: list[int] = []
        try:
            for given, number in ((stdin, 0), (stdout, 1), (stderr, 2)):
                self._open(given, number)
        except BaseException:
            self.close()
            raise

    def _open(self, given: object, number: int) -> None:
        ours = -1
        if given == PIPE:
            read, write = os.pipe2(os.O_CLOEXEC)
            ours, theirs = (write, read) if number == 0 else (read, write)
            self._owned.append(theirs)
        elif given == DEVNULL:
            theirs = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
            self._owned.append(theirs)
        elif given == STDOUT and number == 2:
            theirs = self.theirs[1]
        elif isinstance(given, int) and not isinstance(given, bool) and given >= 0:
            theirs = _open(given, given)
        elif hasattr(given, "fileno"):
            theirs = _open(given, given.fileno)
        else:
            raise UsageError(f"'{given!r}' is no stream for a program")
        self.theirs.append(theirs)
        self.ours.append(ours)

    def hand_over(self) -> None:
        """The program has its ends."""
        for fd in self._owned:
            os.close(fd)
        self._owned.clear()

    def take(self) -> list[int]:
        """The caller's ends, which are another's to close from here on."""
        ours, self.ours = self.ours, [-1, -1, -1]
        return ours

    def close(self) -> None:
        self.hand_over()
        for number, fd in enumerate(self.ours):
            if fd >= 0:
                os.close(fd)
                self.ours[number] = -1


def _open(given: object, found: int | Callable[[], int]) -> int:
    """Its descriptor, which is one."""
    try:
        fd = found if isinstance(found, int) else found()
        os.fstat(fd)
    except (OSError, ValueError) as error:  # both by objects that have none, or are closed
        raise UsageError(f"'{given!r}' is no stream for a program: {error}") from None
    return fd


class Exchange:
    """Input going in and output coming out, at the same time. Takes the caller's ends over."""

    def __init__(self, ours: list[int], content: bytes, most: int) -> None:
        self.input = Input(ours[0], content)
        self.outputs = (Output(ours[1], most), Output(ours[2], most))
        if not content and ours[0] >= 0:
            self.input.close()

    def fds(self) -> dict[int, int]:
        wanted = {output.fd: READ for output in self.outputs if output.fd >= 0}
        if self.input.fd >= 0:
            wanted[self.input.fd] = WRITE
        return wanted

    def handle(self, ready: Ready) -> None:
        for output in self.outputs:
            if output.fd in ready:
                output.read()
        if self.input.fd in ready:
            if ready[self.input.fd] & select.POLLERR:
                self.input.close()
            else:
                self.input.write()

    def drain(self) -> None:
        """What is there to read, and no more: for who may not wait for the end."""
        for output in self.outputs:
            before = -1
            while output.fd >= 0 and before != len(output.kept) + output.dropped:
                before = len(output.kept) + output.dropped
                output.read()

    def close(self) -> None:
        self.input.close()
        for output in self.outputs:
            output.close()
