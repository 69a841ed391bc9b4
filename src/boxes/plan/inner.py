"""The plan that native/inner.c carries out, and the reports it sends: written and read here, nowhere else.

A step is one system call (`call`) or one short sequence that is not worth writing out. What each is for is kept beside
it, so that a failure, which inner reports by the step's number, can name its cause.
"""

from __future__ import annotations

from _struct import pack

from boxes import system as os
from boxes.errors import BoxesError, InternalError, KernelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

# native/inner.c has the same.
CALL, FORK, CONSOLE, READY, WAIT, BOUNDING, CHDIR, STDIO, HOOK, EXEC, SECCOMP, WRITE, KEEP = range(1, 14)
UNDO, SPAWN, LAUNCHED, NOTE, PASS, DEVICES, NULL_DEVICE = range(14, 21)
REMOVED = b"!removed"  # what a keeper says last, when it has removed everything

# System call numbers by machine: <asm/unistd_64.h>, <asm-generic/unistd.h>
_NUMBERS = {
    "x86_64": (
        "write=1 close=3 mount=165 umount2=166 fchdir=81 chdir=80 chroot=161 pivot_root=155 setsid=112 umask=95 "
        "setns=308 "
        "setgroups=116 setresuid=117 setresgid=119 capset=126 prctl=157 keyctl=250 seccomp=317 prlimit64=302 "
        "personality=135 "
        "fchown=93 openat=257 move_mount=429 open_tree=428 ioprio_set=251 sched_setattr=314 sched_setaffinity=203 "
        "set_mempolicy=238 read=0 mmap=9 ioctl=16 ppoll=271 clock_gettime=228 exit_group=231 flock=73 "
        "unlinkat=263 mkdirat=258 pidfd_send_signal=424 "
        "socket=41 shutdown=48 socketpair=53 setsockopt=54 dup3=292 unshare=272 sethostname=170 setdomainname=171 "
        "mknodat=259 symlinkat=266 "
        "renameat2=316 waitid=247 openat2=437 fsopen=430 fsconfig=431 fsmount=432 mount_setattr=442"
    ),
    "aarch64": (
        "write=64 close=57 mount=40 umount2=39 fchdir=50 chdir=49 chroot=51 pivot_root=41 setsid=157 umask=166 "
        "setns=268 "
        "setgroups=159 setresuid=147 setresgid=149 capset=91 prctl=167 keyctl=219 seccomp=277 prlimit64=261 "
        "personality=92 "
        "fchown=55 openat=56 move_mount=429 open_tree=428 ioprio_set=30 sched_setattr=274 sched_setaffinity=122 "
        "set_mempolicy=237 read=63 mmap=222 ioctl=29 ppoll=73 clock_gettime=113 exit_group=94 flock=32 "
        "unlinkat=35 mkdirat=34 pidfd_send_signal=424 "
        "socket=198 shutdown=210 socketpair=199 setsockopt=208 dup3=24 unshare=97 sethostname=161 setdomainname=162 "
        "mknodat=33 symlinkat=36 "
        "renameat2=276 waitid=95 openat2=437 fsopen=430 fsconfig=431 fsmount=432 mount_setattr=442"
    ),
}


def _numbers() -> dict[str, int]:
    machine = os.uname().machine
    if machine not in _NUMBERS:
        raise InternalError(f"this build does not know the system calls of '{machine}'")
    return {name: int(number) for name, number in (entry.split("=") for entry in _NUMBERS[machine].split())}


class Steps:
    """Steps in order. `text` holds how each is shown, `pointers` which part of the config each comes from."""

    def __init__(self) -> None:
        self._encoded: list[bytes] = []
        self._numbers = _numbers()
        self._explained: dict[int, Callable[[int, bytes], BoxesError]] = {}
        self.text: list[str] = []
        self.pointers: list[str] = []

    def add(
        self,
        code: int,
        payload: bytes,
        shown: str,
        pointer: str,
        explain: Callable[[int, bytes], BoxesError] | None = None,
    ) -> None:
        """Append a step. `explain` makes the error of a failure, from its errno and what inner says besides."""
        if explain:
            self._explained[len(self.text)] = explain
        self._encoded.append(encoded(code, payload))
        self.text.append(shown)
        self.pointers.append(pointer)

    def call(
        self,
        name: str,
        *arguments: int | bytes,
        pointer: str = "",
        ignore: int = 0,
        expect: int | None = None,
        fails: int = 0,
        shown: str = "",
        explain: Callable[[int, bytes], BoxesError] | None = None,
    ) -> None:
        """One system call. Bytes are passed by address; a string has to bring its own NUL. `ignore`: an errno to pass
        over; `expect`: the only value that it may give; `fails`: the errno with which it has to fail."""
        values, mask, data = [], 0, b""
        for position, argument in enumerate(arguments):
            if isinstance(argument, bytes):
                mask |= 1 << position
                values.append(len(data))
                data += argument + b"\0" * (-len(argument) % 8)
            else:
                values.append(argument & 0xFFFFFFFFFFFFFFFF)
        values += [0] * (6 - len(values))
        wanted = -fails if fails else 0 if expect is None else expect + 1
        payload = pack("=IIIi6Q", self._numbers[name], mask, ignore, wanted, *values) + data
        self.add(CALL, payload, shown or f"{name}({', '.join(_shown(a) for a in arguments)})", pointer, explain)

    def drop_last(self) -> None:
        """Take the last step back."""
        del self._encoded[-1], self.text[-1], self.pointers[-1]
        self._explained.pop(len(self.text), None)

    def __len__(self) -> int:
        return len(self._encoded)

    def extend(self, other: Steps) -> None:
        """Append the steps of another list."""
        for number, explain in other._explained.items():
            self._explained[len(self.text) + number] = explain
        self._encoded += other._encoded
        self.text += other.text
        self.pointers += other.pointers

    def replace(self, number: int, code: int, payload: bytes) -> None:
        """Put another in the place of a step."""
        self._encoded[number] = encoded(code, payload)

    def encode(self) -> bytes:
        return whole(b"".join(self._encoded), len(self._encoded))

    def around(self, *numbers: int) -> list[bytes]:
        """What is before, between and after the steps of these numbers, which are in order, encoded."""
        starts, ends = (0, *(number + 1 for number in numbers)), (*numbers, len(self._encoded))
        return [b"".join(self._encoded[start:end]) for start, end in zip(starts, ends, strict=True)]

    def failed(self, step: int, errno: int, data: bytes) -> BoxesError:
        """The error that inner's report of a failed step stands for."""
        if step >= len(self.text):
            return InternalError(f"the container's init failed: {os.strerror(errno).lower()}", errno=errno)
        explain = self._explained.get(step)
        if explain:
            return explain(errno, data)
        call = self.text[step]
        return KernelError(
            f"{call}: {os.strerror(errno).lower()}", pointer=self.pointers[step] or None, call=call, errno=errno
        )


def encoded(code: int, payload: bytes) -> bytes:
    return pack("=II", code, len(payload)) + payload + b"\0" * (-len(payload) % 8)


def whole(body: bytes, count: int) -> bytes:
    """A plan, from its encoded steps and how many they are."""
    return b"BOXPLAN1" + pack("=II", 16 + len(body), count) + body


def _shown(argument: int | bytes) -> str:
    if isinstance(argument, int):
        return str(argument)
    text = argument.rstrip(b"\0")
    return '"' + os.fsdecode(text) + '"' if text.isascii() and b"\0" not in text else "…"


def string(value: str) -> bytes:
    """A C string; bytes that are no UTF-8 come back as they were."""
    return os.fsencode(value) + b"\0"


def vectors(arguments: list[str], variables: list[str]) -> tuple[bytes, bytes]:
    """Room for the two NULL-terminated vectors of execve(2), and their strings."""
    strings = b"".join(string(text) for text in (*arguments, *variables))
    return bytes(8 * (len(arguments) + 1 + len(variables) + 1)), strings
