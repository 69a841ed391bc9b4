"""A worker: a fork of the zygote that waits for one request, carries it out, and ends or becomes a keeper.

    request   "BOXREQ1 " and a JSON object, in one message or in a memfd that is the last descriptor ("BOXREQ1M");
              its descriptors: a socket for the answer, and what the verb wants
    answer    "taken"; then a JSON object or an error, in the words of channel.py; then what a keeper reports

The caller knows whether a request was lost: its socket ends without "taken".
"""

from __future__ import annotations

import _socket
import _stat as stat
import select
from _struct import unpack

from boxes import system as os
from boxes.container import channel, practice
from boxes.container.undivided import Undivided
from boxes.errors import BoxesError, UsageError, refused, unforeseen
from boxes.linux import flags as k
from boxes.linux import syscalls
from boxes.spec.document import dump, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

INLINE, APART = b"BOXREQ1 ", b"BOXREQ1M"
LARGEST = 64 << 20  # bytes of a request in a memfd
_SIZE = 1 << 18
_MOST = 16  # descriptors
_CMSG_CLOEXEC = 0x40000000  # MSG_CMSG_CLOEXEC


class Request:
    """`verb`, `given`: its arguments; `reply`: the socket for the answer; `fds`: the other descriptors."""

    def __init__(self, given: dict[str, Any], reply: _socket.socket, fds: list[int]) -> None:
        self.verb = given.pop("verb", None)
        self.given = given
        self.reply = reply
        self.fds = fds

    def answer(self, facts: dict[str, Any], fds: list[int] | None = None) -> None:
        """What the caller is to know. One that has gone meanwhile is no error, and one that cannot be told is as if it
        had: a keeper notices, and ends what nobody has."""
        try:
            channel.give(self.reply, dump(facts), fds or [])
        except BoxesError:
            _hang_up(self.reply)


def _hang_up(reply: _socket.socket) -> None:
    """Both ends see that nothing comes any more."""
    try:
        reply.shutdown(_socket.SHUT_RDWR)
    except OSError:
        pass  # the other one has gone


def main(requests: int, zygote: _socket.socket, config: bytes, bare: int) -> NoReturn:
    """Runs in a fork of the zygote, with its memory, which has seen no request. `config` is for practice; `bare`: the
    bare mount namespace, or -1 in the first workers, or what stands for one that could not be made."""
    if bare >= 0 and syscalls.filesystem(bare) == k.NSFS_MAGIC:
        Undivided.bare = bare
    if not _waits_already(requests):
        practice.plan(config)
    message, fds = _receive(requests)
    if not message and not fds:
        os._exit(0)  # the caller has gone
    syscalls.prctl(k.PR_SET_PDEATHSIG, 0)
    zygote.send(os.getpid().to_bytes(8, "little"))
    zygote.close()
    os.close(requests)
    reply = _reply(fds)
    if reply is not None:
        _serve(message, reply, fds[1:])
    os._exit(0)


def _waits_already(requests: int) -> bool:
    """Whether there is a request: then there is no time to be passed."""
    poller = select.poll()
    poller.register(requests, select.POLLIN)
    return bool(poller.poll(0))


def _receive(requests: int) -> tuple[bytes, list[int]]:
    socket = _socket.socket(fileno=os.dup(requests))
    space = _socket.CMSG_SPACE(4 * _MOST)
    message, ancillary, flags, _ = socket.recvmsg(_SIZE, space, _CMSG_CLOEXEC)
    socket.close()
    fds: list[int] = []
    for level, kind, data in ancillary:
        if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
            fds += unpack(f"={len(data) // 4}i", data[: len(data) // 4 * 4])
    if flags & (_socket.MSG_TRUNC | _socket.MSG_CTRUNC):
        return b"truncated", fds
    return message, fds


def _reply(fds: list[int]) -> _socket.socket | None:
    """The socket for the answer; None if there is none, so that nobody can be told anything."""
    if not fds or not stat.S_ISSOCK(os.fstat(fds[0]).st_mode):
        return None
    return _socket.socket(fileno=fds[0])


def _serve(message: bytes, reply: _socket.socket, fds: list[int]) -> None:
    from boxes.container import verbs

    try:
        channel.say(reply, "taken")
        verbs.carry_out(Request(_parsed(message, fds), reply, fds))
    except BoxesError as error:
        channel.say_error(reply, error)
    except OSError as error:
        channel.say_error(reply, refused("cannot carry the request out", error))
    except Exception as error:  # noqa: BLE001 - whatever it is, the caller is to hear of it
        channel.say_error(reply, unforeseen(error))


def _parsed(message: bytes, fds: list[int]) -> dict[str, Any]:
    head, text = message[:8], message[8:]
    if head == APART and fds:
        text = _whole(fds.pop())
    elif head != INLINE:
        raise UsageError("this is no request")
    found = parse(text, source="request")
    if not isinstance(found, dict):
        raise UsageError("a request is an object")
    return found


def _whole(memfd: int) -> bytes:
    size = os.fstat(memfd).st_size
    if not 0 < size <= LARGEST:
        raise UsageError(f"a request has at most {LARGEST} bytes, not {size}")
    try:
        return os.pread(memfd, size, 0)
    finally:
        os.close(memfd)


def take_streams(fds: list[int]) -> None:
    """Make three descriptors this process's standard streams, for a child to inherit."""
    if len(fds) < 3:
        raise UsageError("a program wants three streams")
    for number, fd in enumerate(fds[:3]):
        os.dup2(fd, number, inheritable=True)
        os.close(fd)


def leave_streams() -> None:
    """Let go of them: who reads their other ends waits for the end of the program alone."""
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    for number in range(3):
        os.dup2(null, number, inheritable=True)
    os.close(null)


def end_with(reply: _socket.socket) -> None:
    """End this process, which waits for something else, when the one who asked has gone: F_SETOWN, O_ASYNC of fcntl(2),
    and SIGIO's default."""
    import fcntl

    fcntl.fcntl(reply, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(reply, fcntl.F_SETFL, fcntl.fcntl(reply, fcntl.F_GETFL) | os.O_ASYNC)
