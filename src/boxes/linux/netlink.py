"""Netlink: messages, attributes, requests and their answers. netlink(7).

What the kernel says of an error beyond its number (NETLINK_EXT_ACK, Linux 4.12) becomes part of it.
"""

from __future__ import annotations

import _socket
import errno
from _struct import calcsize, pack, unpack_from

from boxes import system as os
from boxes.linux.syscalls import rendered

# <linux/netlink.h>
NLM_F_REQUEST, NLM_F_ACK = 0x1, 0x4
NLM_F_DUMP = 0x300
NLM_F_EXCL, NLM_F_CREATE = 0x200, 0x400  # of requests that make something
_NLM_F_DUMP_INTR = 0x10
_NLM_F_CAPPED, _NLM_F_ACK_TLVS = 0x100, 0x200
_NLMSG_NOOP, _NLMSG_ERROR, _NLMSG_DONE = 1, 2, 3
_NLMSGERR_ATTR_MSG = 1
_NLA_TYPE_MASK = 0x3FFF
_SOL_NETLINK = 270
_NETLINK_CAP_ACK, _NETLINK_EXT_ACK, _NETLINK_GET_STRICT_CHK = 10, 11, 12
_SO_SNDBUFFORCE = 32  # <asm-generic/socket.h>

_HEADER = "=IHHII"  # struct nlmsghdr: length, type, flags, sequence, port
_SIZE = calcsize(_HEADER)
_ATTEMPTS = 8  # to dump what others change meanwhile
_BUFFER = 1 << 16  # the kernel puts at most 32 KiB into one datagram


def attribute(kind: int, value: bytes | str | int) -> bytes:
    """One attribute, padded. A string gets its NUL, a number is a u32; nested ones are given as bytes."""
    if isinstance(value, str):
        value = os.fsencode(value) + b"\0"
    elif isinstance(value, int):
        value = pack("=I", value)
    return pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def attributes(data: bytes, start: int = 0) -> dict[int, bytes]:
    """The attributes from `start` on, by kind: of those that are repeated the last."""
    found = {}
    while start + 4 <= len(data):
        length, kind = unpack_from("=HH", data, start)
        if not 4 <= length <= len(data) - start:
            break
        found[kind & _NLA_TYPE_MASK] = data[start + 4 : start + length]
        start += length + (-length % 4)
    return found


def string(value: bytes) -> str:
    """The text of an attribute that is a string."""
    return os.fsdecode(value.split(b"\0", 1)[0])


class Message:
    """One message of an answer. `body` begins with the structure that belongs to its kind."""

    __slots__ = ("body", "flags", "kind")

    def __init__(self, kind: int, flags: int, body: bytes) -> None:
        self.kind = kind
        self.flags = flags
        self.body = body


class Netlink:
    """A socket of a netlink family, in the network namespace that its maker is in when it is made; or the one that `fd`
    is, from elsewhere."""

    def __init__(self, protocol: int, fd: int = -1) -> None:
        made = None if fd < 0 else fd
        self._socket = _socket.socket(_socket.AF_NETLINK, _socket.SOCK_RAW, protocol, made)
        self._sequence = 0
        for option in (_NETLINK_CAP_ACK, _NETLINK_EXT_ACK, _NETLINK_GET_STRICT_CHK):
            self._socket.setsockopt(_SOL_NETLINK, option, 1)

    def close(self) -> None:
        self._socket.close()

    def detach(self) -> int:
        """The descriptor, whose owner the caller is now."""
        return self._socket.detach()

    def request(self, kind: int, body: bytes, *, call: str, flags: int = 0) -> list[Message]:
        """Ask for one thing, and wait until the kernel has done it. Raises OSError; `call` is what it is shown as."""
        self._send(kind, flags | NLM_F_REQUEST | NLM_F_ACK, body)
        return self._answer(call)

    def dump(self, kind: int, body: bytes, *, call: str) -> list[Message]:
        """All there are. What changes meanwhile is asked for again."""
        for _ in range(_ATTEMPTS):
            self._send(kind, NLM_F_REQUEST | NLM_F_DUMP, body)
            found = self._answer(call)
            if not any(message.flags & _NLM_F_DUMP_INTR for message in found):
                return found
        raise rendered(OSError(errno.EINTR, "it changes all the time"), call)

    def transaction(
        self,
        begin: tuple[int, bytes],
        changes: list[tuple[int, int, bytes]],
        end: tuple[int, bytes],
        *,
        call: str,
    ) -> None:
        """All changes or none, as nfnetlink has it: kind, flags and body of each. The kernel carries them out at the
        end, tells of each that it refuses, and acknowledges the last. A refusal of the whole has the number of the
        beginning."""
        messages = [self._message(begin[0], NLM_F_REQUEST, begin[1])]
        first = self._sequence
        for kind, flags, body in changes[:-1]:
            messages.append(self._message(kind, NLM_F_REQUEST | flags, body))
        kind, flags, body = changes[-1]
        messages.append(self._message(kind, NLM_F_REQUEST | NLM_F_ACK | flags, body))
        last = self._sequence
        messages.append(self._message(end[0], NLM_F_REQUEST, end[1]))
        data = b"".join(messages)
        if len(data) > _BUFFER:
            self._socket.setsockopt(_socket.SOL_SOCKET, _SO_SNDBUFFORCE, 2 * len(data))
        self._socket.sendto(data, (0, 0))
        done = False
        while not done:
            data, sender = self._socket.recvfrom(_BUFFER)
            for message, sequence in _messages(data):
                if sender[0] == 0 and message.kind == _NLMSG_ERROR and first <= sequence <= last:
                    _check(message, call)
                    done = sequence == last

    def _send(self, kind: int, flags: int, body: bytes) -> None:
        self._socket.sendto(self._message(kind, flags, body), (0, 0))

    def _message(self, kind: int, flags: int, body: bytes) -> bytes:
        self._sequence += 1
        return pack(_HEADER, _SIZE + len(body), kind, flags, self._sequence, 0) + body

    def _answer(self, call: str) -> list[Message]:
        """The messages up to the acknowledgement, or the end of the dump. Only the kernel's, and of this request."""
        found = []
        while True:
            data, sender = self._socket.recvfrom(_BUFFER)
            for message, sequence in _messages(data):
                if sender[0] != 0 or sequence != self._sequence or message.kind == _NLMSG_NOOP:
                    continue
                if message.kind in (_NLMSG_ERROR, _NLMSG_DONE):
                    _check(message, call)
                    found.append(Message(message.kind, message.flags & _NLM_F_DUMP_INTR, b""))
                    return found
                found.append(message)


def _messages(data: bytes) -> list[tuple[Message, int]]:
    """The messages of a datagram, with their sequence numbers."""
    found, start = [], 0
    while start + _SIZE <= len(data):
        length, kind, flags, sequence, _ = unpack_from(_HEADER, data, start)
        if not _SIZE <= length <= len(data) - start:
            break
        found.append((Message(kind, flags, data[start + _SIZE : start + length]), sequence))
        start += length + (-length % 4)
    return found


def _check(message: Message, call: str) -> None:
    """Raise the error that an acknowledgement tells of, if it does: struct nlmsgerr, or the number that ends a dump."""
    number = unpack_from("=i", message.body)[0] if len(message.body) >= 4 else 0
    if number >= 0:
        return
    reason = ""
    if message.flags & _NLM_F_ACK_TLVS:
        start = 4
        if message.kind == _NLMSG_ERROR:  # our header comes next, and unless it is cut off our message
            length = unpack_from("=I", message.body, 4)[0]
            start += _SIZE if message.flags & _NLM_F_CAPPED else length + (-length % 4)
        reason = string(attributes(message.body, start).get(_NLMSGERR_ATTR_MSG, b"")).rstrip(".")
    shown = f"{call}: {reason[:1].lower()}{reason[1:]}" if reason else call
    raise rendered(OSError(-number, os.strerror(-number)), shown)
