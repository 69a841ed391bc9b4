"""What scripts are written with: see script.py."""

from __future__ import annotations

from _struct import pack

from boxes import system as os
from boxes.plan.inner import NOTE, Steps, string

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    Part = tuple[int, int | bytes]

O_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
O_PLACE = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
O_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
O_WRITE = os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
NONE = 0xFFFFFFFF  # no descriptor
TEXT, OWN_PID, OWN_START, CHILD_PID, CHILD_START, INODE = range(6)  # the parts of a note: native/inner.c


class Unusual(Exception):
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
