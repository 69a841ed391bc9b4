"""A process that goes with a container: started while the container waits, known by pid and start time before it does
anything, ended when the container is deleted at the latest.
"""

from __future__ import annotations

import _signal

from boxes import system as os
from boxes.errors import ServiceError, refused
from boxes.linux import procfs, syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_READY = b"\0"
_SOON = 15.0  # seconds for it to begin its work
_GRACE, _FORCED = 3.0, 10.0  # seconds to end when asked to, and when killed
_SAID = 4096


class Companion:
    """What is written down of one, and suffices to end it."""

    __slots__ = ("pid", "started")

    def __init__(self, pid: int, started: int) -> None:
        self.pid = pid
        self.started = started


def start(
    name: str,
    load: Callable[[], Callable[[int], None]],
    born: Callable[[Companion], None],
    *,
    kept: Sequence[int] = (),
    ready: bytes = _READY,
    errors: int = -1,
) -> Companion:
    """Start a process that runs what `load` returns and nothing else.

    `load` is called in it, and imports what is needed: afterwards there are no descriptors to do so. What it returns is
    given a descriptor, to which it or the program that it executes writes `ready` at the end of something,
    when it has begun. `born` writes the process down: if this one is killed before that has happened, the new one ends
    by itself. It keeps the descriptors `kept`. Raises ServiceError with what it said there or wrote to the file
    `errors` if it ends instead.
    """
    gate, opened = os.pipe2(os.O_CLOEXEC)
    heard, said = os.pipe2(os.O_CLOEXEC)
    try:
        pid = os.fork()
        if pid == 0:
            os.close(opened)
            _live(load, gate, said, kept)
        os.close(said)
        said = -1
        companion = Companion(pid, procfs.start_time(pid) or 0)
        try:
            born(companion)
            os.write(opened, b"1")
            _await(name, heard, ready, errors)
        except BaseException:
            os.kill(pid, _signal.SIGKILL)  # our child, not reaped yet
            os.waitpid(pid, 0)
            raise
    except OSError as error:
        raise refused(f"cannot start {name}", error) from error
    finally:
        for fd in (gate, opened, heard, said):
            if fd >= 0:
                os.close(fd)
    return companion


def _live(load: Callable[[], Callable[[int], None]], gate: int, said: int, kept: Sequence[int]) -> None:
    """In the new process: it has nothing of the caller's, waits until it has been written down, and never returns."""
    try:
        body = load()
        os.setsid()
        os.chdir("/")
        for each in _signal.valid_signals() - {_signal.SIGKILL, _signal.SIGSTOP}:
            _signal.signal(each, _signal.SIG_DFL)
        _signal.pthread_sigmask(_signal.SIG_SETMASK, ())
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        for number in range(3):
            os.dup2(null, number)
        _close_but({0, 1, 2, gate, said, *kept})
        if os.read(gate, 1):
            body(said)
    except BaseException as error:  # noqa: BLE001 - nothing may unwind into the caller's frames
        os.write(said, (str(error) or type(error).__name__).encode()[:_SAID])
    finally:
        os._exit(1)


def _close_but(kept: set[int]) -> None:
    first = 0
    for fd in sorted(kept):
        if fd > first:
            procfs.close_range(first, fd - 1)
        first = fd + 1
    procfs.close_range(first)


def _await(name: str, heard: int, ready: bytes, errors: int) -> None:
    """Until it has begun; what it says instead is an error."""
    import select
    import time

    poll = select.poll()
    poll.register(heard, select.POLLIN)
    text, deadline = b"", time.monotonic() + _SOON
    while not text.endswith(ready):
        if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise ServiceError(f"{name} has not begun within {_SOON:g} seconds")
        part = os.read(heard, _SAID)
        if not part:
            reason = _reason(text, errors)
            raise ServiceError(f"{name} has ended: {reason}" if reason else f"{name} has ended")
        text += part


def _reason(text: bytes, errors: int) -> str:
    """Without what programs write where the system has no log."""
    if errors >= 0:
        os.lseek(errors, 0, os.SEEK_SET)
        text += b"\n" + os.read(errors, _SAID)
    lines = text.decode("utf-8", "replace").splitlines()
    return "; ".join(line.strip() for line in lines if line.strip() and not line.startswith("Failed to send "))


def end(pid: int, started: int) -> None:
    """End one, if it is still that process; returns when it has ended."""
    pidfd = procfs.open_process(pid, started)
    if pidfd is None:
        return
    try:
        for asked, seconds in ((_signal.SIGTERM, _GRACE), (_signal.SIGKILL, _FORCED)):
            try:
                syscalls.pidfd_send_signal(pidfd, asked)
            except ProcessLookupError:
                return
            if procfs.has_ended(pidfd, seconds):
                break
    finally:
        os.close(pidfd)
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        pass  # another's child
