"""sd_notify(3): what a container's program tells the service manager goes through the runtime.

The manager asks of which service the sender of a message is, and a container's program is in a cgroup of its own: it
would be heard by nobody. So the program finds a socket of ours, in a directory bound into the container, and the
runtime hands on what may be said. While it waits for the container it stays the service's main process. One that does
not, `start` and `run --detach`, waits until the program is ready, names it as the main process, and ends.
"""

from __future__ import annotations

import _socket
import select

from boxes import log
from boxes import system as os
from boxes.errors import refused
from boxes.linux.sockets import close, with_short_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from boxes.container.creation import Creation

INSIDE = "/run/notify"
DIRECTORY, NAME = "notify", "notify.sock"  # in a container's directory
ASIDE = "yard"  # beside it
# What a program may say of itself. Not MAINPID: its pids are another namespace's; and nothing with descriptors.
_SAID = (
    b"READY RELOADING STOPPING STATUS ERRNO BUSERROR MONOTONIC_USEC WATCHDOG WATCHDOG_USEC EXTEND_TIMEOUT_USEC".split()
)
_LONGEST = 1 << 16  # bytes of a message; systemd takes 4096
_PATIENCE = 5  # seconds that the manager may take to read


def pass_socket(config: dict[str, Any], manager: str, place: str) -> bool:
    """Bind the directory that is to be in a container's `place`, and name the socket to its program. Whether that is
    done: a config which names a socket itself keeps it, and what is no socket has no effect but a message, since the
    variable may be left from a manager that is gone."""
    environment = config["process"].setdefault("env", [])
    if any(entry.startswith("NOTIFY_SOCKET=") for entry in environment):
        return False
    if not manager.startswith("@") and not (manager.startswith("/") and os.exists(manager)):
        log.debug(f"NOTIFY_SOCKET is passed over: there is no socket '{manager}'")
        return False
    options = ["bind", "ro", "nosuid", "nodev", "noexec"]
    mount = {"destination": INSIDE, "type": "bind", "source": f"{place}/{DIRECTORY}", "options": options}
    config.setdefault("mounts", []).append(mount)
    environment.append(f"NOTIFY_SOCKET={INSIDE}/{NAME}")
    return True


def prepare(place: str) -> None:
    """Make the directory. Whoever the program is may enter."""
    try:
        os.mkdir(f"{place}/{DIRECTORY}", 0o755)
        os.chmod(f"{place}/{DIRECTORY}", 0o755)
    except OSError as error:
        raise refused("cannot make the directory of the notification socket", error) from error


def aside(place: str) -> str:
    """Another directory in the container's, empty, for what would hide that one."""
    os.mkdir(f"{place}/{ASIDE}", 0o700)
    return f"{place}/{ASIDE}"


def of(making: Creation) -> Proxy | None:
    return Proxy(making.place.path, making.options.notify_socket or "") if making.notified else None


def of_start(place: str, manager: str | None) -> Proxy | None:
    """For a container that has been created with one, by who starts it with one."""
    return Proxy(place, manager) if manager and os.isdir(f"{place}/{DIRECTORY}") else None


class Proxy:
    """The socket that the program finds, from before it begins; and the manager's."""

    def __init__(self, place: str, manager: str) -> None:
        self._manager = "\0" + manager[1:] if manager.startswith("@") else manager
        self._socket = _socket.socket(
            _socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC | _socket.SOCK_NONBLOCK
        )
        self._out = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
        self._out.settimeout(_PATIENCE)
        self.fd = self._socket.fileno()
        path = f"{place}/{DIRECTORY}/{NAME}"
        try:
            if os.exists(path):
                os.unlink(path)  # of a start that was cut short
            with_short_path(path, self._socket.bind)
            os.chmod(path, 0o666)
        except OSError as error:
            raise refused("cannot make the notification socket", error) from error

    def close(self) -> None:
        close(self._socket)
        close(self._out)

    def hand_on(self, more: bytes = b"") -> bool:
        """All messages that are there, and `more` with the one that says READY=1. Whether there was one."""
        ready = False
        while True:
            try:
                message = self._socket.recv(_LONGEST)  # descriptors in it are dropped: that ends a BARRIER=1
            except BlockingIOError:
                return ready
            lines = [line for line in message.split(b"\n") if line.partition(b"=")[0] in _SAID]
            if b"READY=1" in lines:
                ready = True
                lines = [more, *lines] if more else lines
            if lines:
                self._send(b"\n".join(lines))

    def until_ready(self, pid: int, pidfd: int) -> None:
        """Hand on what is said until READY=1, with the program as the main process from then on; or until it ends."""
        poller = select.poll()
        poller.register(self.fd, select.POLLIN)
        poller.register(pidfd, select.POLLIN)
        ended = False
        while not ended:
            ended = pidfd in dict(poller.poll())
            if self.hand_on(b"MAINPID=%d" % pid):
                self._settle()
                return

    def _settle(self) -> None:
        """Wait until the manager has read it all, since it looks for the sender's service then: sd_notify_barrier(3).
        A manager of another kind closes the descriptor too."""
        reader, writer = os.pipe2(os.O_CLOEXEC)
        self._send(b"BARRIER=1", writer)
        os.close(writer)
        poller = select.poll()
        poller.register(reader, 0)
        poller.poll(_PATIENCE * 1000)
        os.close(reader)

    def _send(self, message: bytes, *fds: int) -> None:
        rights = b"".join(fd.to_bytes(4, "little") for fd in fds)
        ancillary = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)] if fds else []
        try:
            self._out.sendmsg([message], ancillary, 0, self._manager)
        except OSError as error:
            log.debug(f"ignoring: the service manager is not told {message!r}: {error}")
