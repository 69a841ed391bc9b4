"""A connection to systemd or to a message bus: authentication, calls, signals. Every wait has a deadline.

dbus-specification, "Authentication Protocol" and "Message Bus Messages". systemd listens on a socket of its own, too,
where there is no bus between: then nobody says hello, and every signal comes unasked.
"""

from __future__ import annotations

import _socket
import time
from _struct import pack, unpack_from

from boxes.cgroups import dbus
from boxes.errors import ServiceError, UnsupportedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

SYSTEMD = "org.freedesktop.systemd1"
_BUS = ("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus")
_LONGEST_LINE = 4096  # of the authentication


class RefusedError(ServiceError):
    """The answer to a call was an error: `name` is D-Bus's name for it."""

    def __init__(self, message: str, name: str) -> None:
        super().__init__(message)
        self.name = name


class SilentError(ServiceError):
    """No answer came before the deadline."""


class Bus:
    """A connection. `patience` is how many seconds a call may take, from its start to its answer."""

    def __init__(self, path: str, *, private: bool, patience: float) -> None:
        """Connect and authenticate. OSError if nobody listens at `path`, ServiceError if the talk goes wrong."""
        self.private = private
        self.patience = patience
        self._serial = 0
        self._buffer = b""
        self._signals: list[dbus.Message] = []
        self._matches: list[str] = []
        self._socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
        self._begin("the connection")
        try:
            self._connect(path)
            self._authenticate()
            if not private:
                self.call("Hello", "", (), "s", at=_BUS)
        except BaseException:
            self._socket.close()
            raise

    def _connect(self, path: str) -> None:
        """Where too many wait to be let in already, only a blocking connect waits with them: unix(7), SO_SNDTIMEO."""
        self._socket.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDTIMEO, pack("@ll", int(self.patience) or 1, 0))
        self._socket.settimeout(None)
        try:
            self._socket.connect(path)
        except BlockingIOError:
            raise SilentError(f"systemd did not answer within {self.patience:g} s: {self._what}") from None
        (pid,) = unpack_from("i", self._socket.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12))
        if pid == 0:  # it would take our numbers for those of other processes: unix(7), SO_PEERCRED
            raise UnsupportedError("systemd is outside of this pid namespace, so no process can be named to it")

    def close(self) -> None:
        """Take back the matches and hang up."""
        try:
            for rule in self._matches:
                self._send("RemoveMatch", "s", (rule,), _BUS)
        except (OSError, ServiceError):
            pass  # the bus forgets them with the connection
        self._matches = []
        self._socket.close()

    def listen(self, member: str, *, at: tuple[str, str, str]) -> None:
        """Have signals of this name sent to us: on a bus they are, once they match a rule."""
        if not self.private:
            sender, path, interface = at
            rule = f"type='signal',sender='{sender}',path='{path}',interface='{interface}',member='{member}'"
            self.call("AddMatch", "s", (rule,), "", at=_BUS)
            self._matches.append(rule)

    def call(
        self, member: str, signature: str, values: tuple[Any, ...], answer: str, *, at: tuple[str, str, str]
    ) -> list[Any]:
        """Call a method of a (service, object, interface), which answers with values of the types `answer`. Signals
        that come meanwhile are kept for `signal`."""
        self._begin(member)
        serial = self._send(member, signature, values, at)
        while True:
            message = self._receive()
            if message.kind == dbus.SIGNAL:
                self._keep(message)
            elif message.fields.get("reply_serial") == serial:
                return self._answer(message, answer)

    def signal(self, member: str, signature: str, wanted: Callable[[list[Any]], bool], *, what: str) -> list[Any]:
        """The values of the next signal of this name that is `wanted`; `what` is waited for, if none comes in time."""
        self._begin(what)
        while True:
            for message in self._signals:
                if message.fields["member"] == member and message.fields.get("signature") == signature:
                    found = self._values(message)
                    if wanted(found):
                        return found
            self._signals.clear()
            self._keep(self._receive())

    def _keep(self, message: dbus.Message) -> None:
        if message.kind == dbus.SIGNAL and message.fields["interface"] == f"{SYSTEMD}.Manager":
            self._signals.append(message)

    def _answer(self, message: dbus.Message, expected: str) -> list[Any]:
        found = self._values(message)
        if message.kind == dbus.ERROR:
            text = found[0] if found and isinstance(found[0], str) else message.fields["error_name"]
            raise RefusedError(f"systemd refused: {self._what}: {text.rstrip('.')}", message.fields["error_name"])
        if message.kind != dbus.REPLY or message.fields.get("signature", "") != expected:
            raise self._garbled(ValueError(f"'{message.fields.get('signature', '')}' is not '{expected}'"))
        return found

    def _values(self, message: dbus.Message) -> list[Any]:
        try:
            return message.values()
        except dbus.MalformedError as error:
            raise self._garbled(error) from None

    def _garbled(self, error: ValueError) -> ServiceError:
        return ServiceError(f"systemd's answer to {self._what} cannot be read: {error}")

    def _begin(self, what: str) -> None:
        self._what = what
        self._deadline = time.monotonic() + self.patience

    def _send(self, member: str, signature: str, values: tuple[Any, ...], at: tuple[str, str, str]) -> int:
        self._serial += 1
        fields = {"destination": at[0], "path": at[1], "interface": at[2], "member": member}
        data = dbus.encode(dbus.CALL, self._serial, fields, signature, values)
        self._within(lambda: self._socket.sendall(data, _socket.MSG_NOSIGNAL))
        return self._serial

    def _receive(self) -> dbus.Message:
        try:
            whole = dbus.size(self._read(16))
            data = self._read(whole)
            self._buffer = self._buffer[whole:]
            return dbus.decode(data)
        except dbus.MalformedError as error:
            raise self._garbled(error) from None

    def _read(self, count: int) -> bytes:
        """The first `count` bytes of what comes, which stay in the buffer."""
        while len(self._buffer) < count:
            self._more()
        return self._buffer[:count]

    def _more(self) -> None:
        found = self._within(lambda: self._socket.recv(1 << 16))
        if not found:
            raise ServiceError(f"systemd hung up instead of answering: {self._what}")
        self._buffer += found

    def _within(self, body: Any) -> Any:
        """Do what may block. SilentError at the deadline."""
        left = self._deadline - time.monotonic()
        try:
            if left <= 0:
                raise TimeoutError
            self._socket.settimeout(left)
            return body()
        except (TimeoutError, BlockingIOError):
            raise SilentError(f"systemd did not answer within {self.patience:g} s: {self._what}") from None
        except (BrokenPipeError, ConnectionResetError):
            raise ServiceError(f"systemd hung up instead of answering: {self._what}") from None

    def _authenticate(self) -> None:
        """EXTERNAL, without saying who we are: the peer asks the kernel. Our own word for it would be wrong in a user
        namespace, where the uid is another. All in one piece, and no message before the answer: systemd may overlook
        one that it reads together with BEGIN, until there is more to read."""
        words = b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n"
        self._within(lambda: self._socket.sendall(words, _socket.MSG_NOSIGNAL))
        line = self._line()
        if line.rstrip() == b"DATA":
            line = self._line()
        if not line.startswith(b"OK"):
            raise ServiceError(f"systemd does not let us in: {line.decode('ascii', 'replace')}")

    def _line(self) -> bytes:
        while b"\r\n" not in self._buffer:
            if len(self._buffer) > _LONGEST_LINE:
                raise self._garbled(ValueError("a line without an end"))
            self._more()
        line, _, self._buffer = self._buffer.partition(b"\r\n")
        return line
