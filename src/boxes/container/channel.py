"""What runtime and builder say to each other: one message a word, on a SOCK_SEQPACKET pair.

The builder's end becomes inner's report socket, so the runtime reads both kinds from one socket: a word of the builder
is text, a report of inner begins with a small number.
"""

from __future__ import annotations

import _socket

from boxes import errors
from boxes.errors import BoxesError, InternalError
from boxes.spec.document import dump, parse

_SIZE = 65536
_CLASSES = {kind.code: kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, BoxesError)}


def pair() -> tuple[_socket.socket, _socket.socket]:
    return _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)


def say(socket: _socket.socket, word: str) -> None:
    """Send a word. Raises InternalError if the other side is gone."""
    try:
        socket.send(b"!" + word.encode(), _socket.MSG_NOSIGNAL)
    except OSError as error:
        raise InternalError("the other process of this container is gone") from error


def say_error(socket: _socket.socket, error: BoxesError) -> None:
    facts = {name: getattr(error, name) for name in ("message", "pointer", "call", "errno", "path", "hint")}
    text = dump({"code": error.code, **facts}).encode()[: _SIZE - 1]
    try:
        socket.send(b"?" + text, _socket.MSG_NOSIGNAL)
    except OSError:
        pass  # nobody is left to tell


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


def receive(socket: _socket.socket) -> bytes:
    try:
        return socket.recv(_SIZE)
    except ConnectionResetError:
        return b""


def expect(socket: _socket.socket, word: str) -> None:
    """Wait for this word of the other side. Raises what it says instead."""
    said = heard(receive(socket))
    if said != word:
        raise InternalError(f"expected '{word}' of the other process, not '{said}'")
