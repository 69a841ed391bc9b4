"""Between the caller's terminal and the container's: bytes both ways, size, end of input.

The runtime holds the master of the container's pty; its own standard input and output are the caller's, and shared with
the caller's shell, so their descriptors are never made non-blocking and the terminal's mode is always put back.
"""

from __future__ import annotations

import errno
import fcntl
import select
import termios

from boxes import log
from boxes import system as os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    # tcgetattr(3) as Python gives it: iflag, oflag, cflag, lflag, two speeds, and the control characters
    Mode = list[Any]

STDIN, STDOUT, STDERR = 0, 1, 2
TIOCGPTPEER = 0x5441  # ioctl_tty(2), Linux 4.13: opens the slave of a master, whatever is mounted where
CHUNK = 4096  # PIPE_BUF: a pipe that poll(2) calls writable takes it without blocking
PTY_BUFFER = 128 * 1024  # more than a pty holds (64 KiB and a line)


class Relay:
    """Moves bytes between standard input and output and the pty's `master`, which it takes over, until `close`."""

    def __init__(self, master: int) -> None:
        self._master = master
        self._inward = b""  # read from standard input, not yet taken by the pty
        self._outward = b""  # read from the pty, not yet written to standard output
        self._input_open = True
        self._line_begun = False
        self._open = True
        self._left: int | None = None  # how much may still be read after the container's end
        self._saved: Mode | None = None
        self.failure: OSError | None = None
        """Why the output was cut off, unless its reader just left."""
        os.set_blocking(master, False)
        # With a slave of its own the master never reports a hangup, so a container may close its terminal and open
        # /dev/console again, as an init system does.
        self._slave = fcntl.ioctl(master, TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        self.resume()

    def resume(self) -> None:
        """Take the caller's terminal, also again: raw mode, and its size for the container's. There may be none."""
        self.resize()
        if _is_ours(STDIN):
            try:
                mode = termios.tcgetattr(STDIN)
                self._saved = self._saved or mode
                termios.tcsetattr(STDIN, termios.TCSANOW, _raw(mode))
            except termios.error as error:
                log.debug(f"ignoring: the terminal is gone: {error}")

    def suspend(self) -> None:
        """Give the caller's terminal back as it was."""
        if self._saved is not None:
            saved, self._saved = self._saved, None
            try:
                termios.tcsetattr(STDIN, termios.TCSANOW, saved)
            except termios.error as error:
                log.debug(f"ignoring: the terminal is gone: {error}")

    def resize(self) -> None:
        """Give the container's terminal the size of the caller's."""
        size = caller_size()
        if self._open and size is not None:
            termios.tcsetwinsize(self._master, size)

    def register(self, poller: select.poll) -> None:
        """Ask for the events that `handle` has work for: no side is read before the other took what there was."""
        wanted = (0 if self._outward else select.POLLIN) | (select.POLLOUT if self._inward else 0)
        if self._open and wanted:
            poller.register(self._master, wanted)
        if self._open and self._input_open and not self._inward:
            poller.register(STDIN, select.POLLIN)
        if self._outward:
            poller.register(STDOUT, select.POLLOUT)

    def handle(self, ready: Mapping[int, int]) -> None:
        """Do what poll(2) says can be done."""
        if STDIN in ready:
            self._read_input()
        # A hangup or an error of the master (neither POLLIN nor POLLOUT) is found out by reading.
        if self._open and ready.get(self._master, 0) & ~select.POLLOUT and not self._outward:
            self._read_output()
        if self._inward and self._open:
            self._write_input()
        if STDOUT in ready:
            self._write_output()

    def finish(self) -> None:
        """The container has ended: take no more input, and of the output only what is there."""
        self._input_open = False
        self._inward = b""
        self._left = PTY_BUFFER

    def drained(self) -> bool:
        """After `finish`: whether all output is written. Else there is some to write, which `register` asks for."""
        if not self._outward and self._open and self._left:
            self._read_output()
            self._left = max(0, self._left - len(self._outward))
        return not self._outward

    def close(self) -> None:
        """Put the caller's terminal back, and close the container's."""
        self.suspend()
        self._hang_up()

    def _read_input(self) -> None:
        try:
            self._inward = os.read(STDIN, CHUNK)
        except OSError as error:
            log.debug(f"ignoring: standard input ends: {error.strerror}")
        if self._inward:
            self._line_begun = self._inward[-1:] not in b"\r\n"
            return
        # A pty has no end of file, only the character for it. In the middle of a line the first one ends that.
        self._input_open = False
        self._inward = _end_character(self._slave) * (2 if self._line_begun else 1)

    def _write_input(self) -> None:
        try:
            self._inward = self._inward[os.write(self._master, self._inward) :]
        except BlockingIOError:
            pass  # the container does not read; poll tells when it does
        except OSError as error:
            log.debug(f"ignoring: the container's terminal takes no input: {error.strerror}")
            self._hang_up()

    def _read_output(self) -> None:
        try:
            self._outward = _read(self._master)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.EIO:
                self.failure = error
            self._outward = b""
        if not self._outward:  # EIO: the container's side has been hung up
            self._hang_up()

    def _write_output(self) -> None:
        try:
            self._outward = self._outward[os.write(STDOUT, self._outward) :]
        except BlockingIOError:
            pass  # somebody else made it non-blocking
        except OSError as error:
            # To the container it is as if its terminal's window were closed.
            if not isinstance(error, BrokenPipeError):
                self.failure = error
            self._outward = b""
            self._hang_up()

    def _hang_up(self) -> None:
        """Closing the last descriptor of a master sends SIGHUP to the session on the other side."""
        if self._open:
            self._open = False
            self._inward = b""
            os.close(self._master)
            os.close(self._slave)


def _read(master: int) -> bytes:
    """What lacks for a moment, such as memory, is tried again: to hang up ends the program."""
    try:
        return os.read(master, CHUNK)
    except BlockingIOError:
        raise
    except OSError:
        return os.read(master, CHUNK)


def caller_size() -> tuple[int, int] | None:
    """Height and width of the terminal that is one of our standard streams, if there is one that knows them."""
    for fd in (STDIN, STDOUT, STDERR):
        try:
            height, width = termios.tcgetwinsize(fd)
        except termios.error:
            continue
        return (height, width) if height and width else None
    return None


def _end_character(slave: int) -> bytes:
    """VEOF as the container has set it, usually Ctrl-D; empty if it has none."""
    try:
        character = termios.tcgetattr(slave)[6][termios.VEOF]
    except termios.error:
        return b""
    return character if isinstance(character, bytes) and character != b"\0" else b""


def _is_ours(fd: int) -> bool:
    """Whether `fd` is a terminal with this process in its foreground. In the background, changing it would stop us."""
    try:
        return os.tcgetpgrp(fd) == os.getpgrp()
    except OSError:
        return False


def _raw(mode: Mode) -> Mode:
    """termios(3), cfmakeraw: the container's line discipline does the work, this one hands everything through."""
    iflag, oflag, cflag, lflag, ispeed, ospeed, characters = mode
    iflag &= ~(
        termios.IGNBRK | termios.BRKINT | termios.PARMRK | termios.ISTRIP
        | termios.INLCR | termios.IGNCR | termios.ICRNL | termios.IXON
    )  # fmt: skip
    oflag &= ~termios.OPOST
    lflag &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
    cflag = cflag & ~(termios.CSIZE | termios.PARENB) | termios.CS8
    characters = list(characters)
    characters[termios.VMIN], characters[termios.VTIME] = 1, 0
    return [iflag, oflag, cflag, lflag, ispeed, ospeed, characters]
