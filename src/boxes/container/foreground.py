"""Waiting for a container in the foreground: signals go in, its terminal is relayed, its exit status comes out.

This runs in the runtime, in the host's namespaces, single-threaded.
"""

from __future__ import annotations

import _signal
import select

from boxes import log
from boxes import system as os
from boxes.errors import InternalError, refused
from boxes.linux import syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _signal import Handler
    from collections.abc import Callable

    from boxes.container.notification import Proxy
    from boxes.container.relay import Relay

WALL = 0x40000000  # __WALL of waitpid(2): children whose exit signal is not SIGCHLD too

NOT_CAUGHT = (
    _signal.SIGKILL, _signal.SIGSTOP,  # cannot be
    _signal.SIGSEGV, _signal.SIGBUS, _signal.SIGFPE, _signal.SIGILL, _signal.SIGTRAP, _signal.SIGSYS,  # our own faults
    _signal.SIGPIPE, _signal.SIGXFSZ,  # our own writes; CPython ignores them
    _signal.SIGURG,  # out-of-band data on a socket of ours
    _signal.SIGTTIN,  # job control stops us, as it would any program reading in the background
    _signal.SIGTTOU,
)  # fmt: skip
ENDING = (_signal.SIGHUP, _signal.SIGINT, _signal.SIGQUIT, _signal.SIGTERM)


class Signals:
    """Catches signals from construction to `close`, for `wait` to hand on.

    Made before the container's program starts, it leaves no gap in which a signal would end the runtime and leave the
    container behind. Signals that are ignored, as under nohup, stay so.
    """

    def __init__(self) -> None:
        self.fd, self._write_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._wakeup = _signal.set_wakeup_fd(self._write_end, warn_on_full_buffer=False)
        self._handlers: dict[int, Handler] = {}
        for number in _signal.valid_signals():
            if number not in NOT_CAUGHT and _signal.getsignal(number) != _signal.SIG_IGN:
                self._handlers[number] = _signal.signal(number, _noted)

    def take(self) -> bytes:
        """The numbers of the signals that came, one byte each, in order."""
        try:
            return os.read(self.fd, 4096)
        except BlockingIOError:
            return b""

    def close(self) -> None:
        """Put the handlers back."""
        for number, handler in self._handlers.items():
            if handler is not None:  # not one of Python's
                _signal.signal(number, handler)
        _signal.set_wakeup_fd(self._wakeup)
        os.close(self.fd)
        os.close(self._write_end)

    def __enter__(self) -> Signals:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def wait(
    pid: int,
    pidfd: int,
    *,
    terminal: int | None = None,
    send: Callable[[int], None] | None = None,
    signals: Signals | None = None,
    reap_all: bool = False,
    ended: Callable[[int], None] | None = None,
    proxy: Proxy | None = None,
) -> int:
    """Wait for the end of the child `pid` and reap it: its exit status, or 128 and the number of its signal.

    `terminal` is the master of its pty, which is taken over and closed. Signals go to it by `send`, by default through
    the pidfd. With `reap_all`, other children that end meanwhile are reaped too: for a subreaper. `ended` is told its
    wait status. `proxy` is for what the program tells the service manager. Raises InternalError if `pid` is not a
    child, KernelError if its output could not be written.
    """
    caught = Signals() if signals is None else signals
    relay = None
    try:
        if terminal is not None:
            # Only here, since termios is not free, and few containers have a terminal.
            from boxes.container.relay import Relay

            relay = Relay(terminal)
        status = _Foreground(pid, pidfd, caught, relay, send, reap_all, proxy).wait()
        if proxy is not None:
            proxy.hand_on()
        if ended is not None:
            ended(status)
        if relay is not None and relay.failure is not None:
            raise refused("write the container's output", relay.failure)
        return _exit_status(status)
    finally:
        if relay is not None:
            relay.close()
        if signals is None:
            caught.close()


class _Foreground:
    """The event loop of `wait`."""

    def __init__(
        self,
        pid: int,
        pidfd: int,
        signals: Signals,
        relay: Relay | None,
        send: Callable[[int], None] | None,
        reap_all: bool,
        proxy: Proxy | None,
    ) -> None:
        self._pid = pid
        self._pidfd = pidfd
        self._signals = signals
        self._relay = relay
        self._send = send
        self._reap_all = reap_all
        self._proxy = proxy
        self._status: int | None = None

    def wait(self) -> int:
        while self._status is None or not (self._relay is None or self._relay.drained()):
            poller = select.poll()
            poller.register(self._signals.fd, select.POLLIN)
            if self._status is None:
                poller.register(self._pidfd, select.POLLIN)
            if self._relay is not None:
                self._relay.register(poller)
            if self._proxy is not None:
                poller.register(self._proxy.fd, select.POLLIN)
            ready = dict(poller.poll())
            if self._relay is not None:
                self._relay.handle(ready)
            if self._proxy is not None and self._proxy.fd in ready:
                self._proxy.hand_on()
            if self._signals.fd in ready and self._take_signals():
                break
            if self._pidfd in ready:
                self._reap()
        if self._status is None:
            raise InternalError("the container's end was missed")
        return self._status

    def _take_signals(self) -> bool:
        """Deal with the signals that came. Whether one wants us to end, after the container has."""
        for number in self._signals.take():
            if number == _signal.SIGCHLD:
                self._reap_others()
            elif number == _signal.SIGWINCH and self._relay is not None:
                self._relay.resize()
            elif self._status is not None:
                if number in ENDING:
                    return True
            else:
                self._forward(number)
                if number == _signal.SIGTSTP:
                    self._stop()
                elif number == _signal.SIGCONT and self._relay is not None:
                    self._relay.resume()
        return False

    def _forward(self, number: int) -> None:
        log.debug(f"signal {number} goes to the container")
        try:
            if self._send is not None:
                self._send(number)
            else:
                syscalls.pidfd_send_signal(self._pidfd, number)
        except ProcessLookupError:
            pass  # it has just ended; the loop will see

    def _stop(self) -> None:
        """Ctrl-Z on the caller's terminal: stop as any program would, with the terminal as it was."""
        if self._relay is not None:
            self._relay.suspend()
        _signal.signal(_signal.SIGTSTP, _signal.SIG_DFL)
        # Here it stops, unless the process group is orphaned: then nobody could continue it, and the kernel does not.
        os.kill(os.getpid(), _signal.SIGTSTP)
        _signal.signal(_signal.SIGTSTP, _noted)
        if self._relay is not None:
            self._relay.resume()

    def _reap(self) -> None:
        if self._status is None:
            try:
                self._status = os.waitpid(self._pid, WALL)[1]
            except ChildProcessError as error:
                raise InternalError(f"process {self._pid} is not a child of the runtime") from error
        if self._relay is not None:
            self._relay.finish()

    def _reap_others(self) -> None:
        """Orphans of the container that became ours (PR_SET_CHILD_SUBREAPER), if that is wanted."""
        while self._reap_all:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG | WALL)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self._pid:
                self._status = status
                if self._relay is not None:
                    self._relay.finish()


def _exit_status(status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    return 128 - code if code < 0 else code


def _noted(number: int, frame: object) -> None:
    """The interpreter has written the number to the wakeup descriptor already."""
