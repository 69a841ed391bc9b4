"""What runtime and builder say to each other: one message a word, on a SOCK_SEQPACKET pair.

The builder's end becomes inner's report socket, so the runtime reads both kinds from one socket: a word of the builder
is text, a report of inner begins with a small number.
"""

from __future__ import annotations

import _socket
import select
from _struct import pack, unpack

from boxes import errors
from boxes import system as os
from boxes.errors import BoxesError, InternalError, refused
from boxes.linux.sockets import close as close
from boxes.linux.sockets import with_short_path
from boxes.spec.document import dump, parse

_SIZE = 65536
_MOST_FDS = 253  # SCM_MAX_FD of the kernel
_CMSG_CLOEXEC = 0x40000000  # MSG_CMSG_CLOEXEC
_CLASSES = {
    kind.code: kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, BoxesError)
}


def pair() -> tuple[_socket.socket, _socket.socket]:
    return _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)


def listen(path: str) -> _socket.socket:
    """The socket `start` will knock at. It needs no name in the container: inner inherits it."""
    listening = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    try:
        os.fchmod(listening.fileno(), 0o600)  # what bind(2) makes has this mode, less the caller's umask
        with_short_path(path, listening.bind)
        listening.listen(8)
    except OSError as error:
        close(listening)
        raise refused("cannot make the start socket", error) from error
    return listening


def say(socket: _socket.socket, word: str) -> None:
    """Send a word. Raises what the other side said last if it is gone, else why the word could not be sent."""
    give(socket, word, [])


def give(socket: _socket.socket, word: str, fds: list[int]) -> None:
    """The same, and descriptors with it: the other side's `take`."""
    rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, pack(f"={len(fds)}i", *fds))] if fds else []
    try:
        socket.sendmsg([b"!" + word.encode()], rights, _socket.MSG_NOSIGNAL)
    except OSError as error:
        last_words(socket)  # nothing is waited for: if the other side is there, it waits for the word
        raise refused("cannot speak to the other process of this container", error) from None


def take(socket: _socket.socket) -> tuple[str, list[int]]:
    """The next word and what came with it, close-on-exec. Raises what the other side says instead."""
    message, ancillary, *_ = socket.recvmsg(_SIZE, _socket.CMSG_SPACE(4 * _MOST_FDS), _CMSG_CLOEXEC)
    fds: list[int] = []
    for level, kind, data in ancillary:
        if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
            fds += unpack(f"={len(data) // 4}i", data)
    return heard(message) or "", fds


def say_error(socket: _socket.socket, error: BoxesError) -> None:
    facts = {name: _shortened(getattr(error, name)) for name in ("message", "pointer", "call", "errno", "path", "hint")}
    try:
        socket.send(b"?" + dump({"code": error.code, **facts}).encode(), _socket.MSG_NOSIGNAL)
    except OSError:
        pass  # nobody is left to tell


def _shortened(fact: str | int | None) -> str | int | None:
    """All of them have to fit into one message, where a character takes up to twelve bytes."""
    return f"{fact[:500]}…{fact[-500:]}" if isinstance(fact, str) and len(fact) > 1000 else fact


def heard(message: bytes) -> str | None:
    """The word in a message; None if it is a report of inner's. Raises the error in it, or InternalError at its end."""
    if not message:
        raise InternalError("the process that sets the container up ended without a word", hint="was it killed?")
    if message[:1] == b"!":
        return message[1:].decode()
    if message[:1] == b"?":
        facts = parse(message[1:], source="builder")
        if not isinstance(facts, dict):
            raise InternalError("the process that sets the container up sent no error's facts")
        kind = _CLASSES[facts.pop("code")]
        raise kind(facts.pop("message"), **facts)
    return None


def last_words(socket: _socket.socket) -> None:
    """Raise the error that the other process said before it ended, if it did: what failed because it is gone has that
    for its cause."""
    for _ in range(2):
        try:
            message = socket.recv(_SIZE, _socket.MSG_DONTWAIT)
        except ConnectionResetError:
            continue
        except BlockingIOError:
            return
        if message[:1] == b"?":
            heard(message)


def receive(socket: _socket.socket, speaker: int = -1) -> bytes:
    """The next message, or nothing at the end. A peer that ended without having read all it was sent is told of first,
    once, and only then come its last words: unix(7), ECONNRESET. `speaker`: the pidfd of who is listened to, where
    somebody else has the socket's other end open, too."""
    flags = 0
    if speaker >= 0:
        poller = select.poll()
        for fd in (socket.fileno(), speaker):
            poller.register(fd, select.POLLIN)
        poller.poll()
        flags = _socket.MSG_DONTWAIT
    for _ in range(2):
        try:
            return socket.recv(_SIZE, flags)
        except ConnectionResetError:
            continue
        except BlockingIOError:
            break  # it has ended
    return b""


def expect(socket: _socket.socket, word: str, speaker: int = -1) -> None:
    """Wait for this word of the other side. Raises what it says instead."""
    said = heard(receive(socket, speaker))
    if said != word:
        raise InternalError(f"expected '{word}' of the other process, not '{said}'")
