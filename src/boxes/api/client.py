"""The caller's end of a zygote: started at first use, one for each process, replaced when it has died."""

from __future__ import annotations

import array
import contextlib
import json
import os
import select
import socket
import sys
import threading
import weakref

from boxes.api.flow import READ, WRITE, Wait
from boxes.container import channel
from boxes.container.reports import REPORT_ERROR, Report
from boxes.container.worker import APART, INLINE
from boxes.errors import InternalError, StateError, refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from boxes.api.flow import Flow
    from boxes.container.filling import ExecTemplate, Template

_BOOT = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from boxes.container import zygote; zygote.main(*map(int, sys.argv[2:]))"
)
_INLINE = 64 << 10  # bytes of a request that go into the message
_ATTEMPTS = 8
_DYING, _ENDING = 1.0, 10.0  # seconds that are granted to a zygote
_SIZE = 1 << 16
_SPACE = socket.CMSG_SPACE(4 * 8)
_EAGAIN = (BlockingIOError, InterruptedError)


class Link:
    """The socket on which a request is answered, and later the keeper reports. Closed, it ends what is kept."""

    def __init__(self, ours: socket.socket) -> None:
        ours.setblocking(False)
        self.socket = ours
        _links.add(self)

    def fileno(self) -> int:
        return self.socket.fileno()

    def receive_now(self) -> tuple[bytes, list[int]]:
        """The next message, nothing at the end. BlockingIOError if there is none yet, StateError if it is closed."""
        if self.fileno() < 0:
            raise StateError("it was closed, or belongs to the process that this one was forked from")
        for _ in range(2):
            try:
                message, ancillary, _, _ = self.socket.recvmsg(_SIZE, _SPACE, socket.MSG_CMSG_CLOEXEC)
            except ConnectionResetError:
                continue  # its last words come after: unix(7)
            return message, [fd for _, _, data in ancillary for fd in array.array("i", data)]
        return b"", []

    def receive(self) -> Flow[tuple[bytes, list[int]]]:
        while True:
            try:
                return self.receive_now()
            except _EAGAIN:
                yield Wait({self.fileno(): READ})

    def send(self, word: bytes) -> None:
        """Tell the keeper; nothing happens if it is gone."""
        with contextlib.suppress(OSError):
            self.socket.send(word, socket.MSG_NOSIGNAL)

    def close(self) -> None:
        _links.discard(self)
        self.socket.close()


_links: weakref.WeakSet[Link] = weakref.WeakSet()


class Zygote:
    """One that was started. `socket`: where requests go; `scripts`: where scripts go, to its maker; `pidfd`: readable
    when it has ended; `templates`: those that its workers have made, or until when there is none, by what they are
    of."""

    pidfd = -1

    def __init__(self) -> None:
        self.templates: dict[str, Template | ExecTemplate | float] = {}
        try:
            self.scripts, makers = _pair()
            self.socket, theirs = _pair()
            self.pid = self._start(theirs, makers)
            self.pidfd = os.pidfd_open(self.pid)
        except OSError as error:
            raise refused("cannot start the zygote", error) from error

    def _start(self, theirs: socket.socket, makers: socket.socket) -> int:
        """Its pid. The sockets are its own from here on."""
        package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        first = max(theirs.fileno(), makers.fileno()) + 1
        numbers = [str(first), str(first + 1), str(max(2, os.cpu_count() or 1))]
        arguments = ["box: zygote", "-I", "-S", "-c", _BOOT, package, *numbers]
        with theirs, makers, open(os.devnull, "r+b", buffering=0) as null:
            actions = [
                (os.POSIX_SPAWN_DUP2, null.fileno(), 0),
                (os.POSIX_SPAWN_DUP2, null.fileno(), 1),
                (os.POSIX_SPAWN_DUP2, theirs.fileno(), first),
                (os.POSIX_SPAWN_DUP2, makers.fileno(), first + 1),
            ]
            if not _is_open(2):  # else its number would be that of a descriptor which the zygote opens
                actions.append((os.POSIX_SPAWN_DUP2, null.fileno(), 2))
            return os.posix_spawn(_interpreter(), arguments, {}, file_actions=actions)

    def alive(self) -> bool:
        poller = select.poll()
        poller.register(self.pidfd, select.POLLIN)
        return not poller.poll(0)

    def reap(self, timeout: float) -> None:
        """Wait for its end, and let the kernel forget it."""
        poller = select.poll()
        poller.register(self.pidfd, select.POLLIN)
        if poller.poll(timeout * 1000):
            with contextlib.suppress(OSError):
                os.waitpid(self.pid, 0)

    def hang_up(self) -> None:
        """It ends by itself when its sockets do."""
        self.socket.close()
        self.scripts.close()

    def close(self) -> None:
        self.hang_up()
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1

    def __del__(self) -> None:
        if self.pidfd >= 0:
            self.close()  # not before the last thread that sends has let go


def _pair() -> tuple[socket.socket, socket.socket]:
    """Ours, which does not block, and another's."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    return ours, theirs


def _is_open(fd: int) -> bool:
    """Whether a program that is executed gets it."""
    try:
        return os.get_inheritable(fd)
    except OSError:
        return False


def _interpreter() -> str:
    """Not sys.executable where that is a program which has Python inside."""
    for path in (getattr(sys, "_base_executable", None), sys.executable):
        if path and os.path.basename(path).startswith("python") and os.access(path, os.X_OK):
            return path
    return "/usr/bin/python3"


class _Current:
    """The process's zygote, if it has one."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.zygote: Zygote | None = None

    def get(self) -> Zygote:
        with self.lock:
            if self.zygote is not None and not self.zygote.alive():
                self.zygote.reap(0)
                self.zygote = None
            if self.zygote is None:
                self.zygote = Zygote()
            return self.zygote

    def forget(self, dead: Zygote) -> None:
        """It hears no more, and has ended or is about to."""
        with self.lock:
            if self.zygote is dead:
                self.zygote = None
                dead.reap(_DYING)

    def shut_down(self) -> None:
        with self.lock:
            zygote, self.zygote = self.zygote, None
        if zygote is not None:
            zygote.hang_up()
            zygote.reap(_ENDING)

    def after_fork(self) -> None:
        """A forked child gets a zygote of its own, and holds nothing of its parent's open: who waits for the parent's
        end would wait for the child's."""
        self.lock = threading.Lock()
        zygote, self.zygote = self.zygote, None
        if zygote is not None:
            zygote.close()
        for link in list(_links):
            link.socket.close()


_current = _Current()
os.register_at_fork(after_in_child=_current.after_fork)


def zygote() -> Zygote:
    """This process's zygote, which is started if there is none."""
    return _current.get()


def zygote_pid() -> int:
    """Its pid."""
    return zygote().pid


def shut_down() -> None:
    """End this process's zygote; the next use starts another. What runs is not touched."""
    _current.shut_down()


def request(verb: str, given: dict[str, Any], fds: Sequence[int] = ()) -> Flow[Link]:
    """Have a worker take a request; the answer comes on the link. One that no worker took is sent again."""
    text = json.dumps({"verb": verb, **given}).encode()
    with contextlib.ExitStack() as stack:
        head, more = INLINE, [*fds]
        if len(text) > _INLINE:
            memfd = os.memfd_create("request", os.MFD_CLOEXEC)
            stack.callback(os.close, memfd)
            with open(memfd, "wb", closefd=False) as file:
                file.write(text)
            head, text, more = APART, b"", [*fds, memfd]
        for _ in range(_ATTEMPTS):
            link = yield from _sent(head + text, more)
            if link is not None:
                return link
    raise InternalError("no worker took the request", hint="the zygote may be unable to start: see standard error")


def _sent(message: bytes, fds: list[int]) -> Flow[Link | None]:
    """The link, once the request is taken; None if it was lost with who had it."""
    zygote = _current.get()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    link = Link(ours)
    try:
        try:
            yield from _send(zygote.socket, message, [theirs.fileno(), *fds])
        finally:
            theirs.close()
        word, _ = yield from link.receive()
    except (BrokenPipeError, ConnectionResetError):
        link.close()
        _current.forget(zygote)
        return None
    except BaseException:
        link.close()
        raise
    if word == b"!taken":
        return link
    link.close()
    return None


def send_script(zygote: Zygote, script: bytes, fds: Sequence[int]) -> Flow[Link]:
    """Have the maker carry a script out; its reports come on the link, which ends if there is no maker any more."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    link = Link(ours)
    try:
        yield from _send(zygote.scripts, script, [theirs.fileno(), *fds])
    except OSError:
        pass
    except BaseException:
        link.close()
        raise
    finally:
        theirs.close()
    return link


def _send(to: socket.socket, message: bytes, fds: list[int]) -> Flow[None]:
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))]
    while True:
        try:
            to.sendmsg([message], rights, socket.MSG_NOSIGNAL)
            return
        except _EAGAIN:
            yield Wait({to.fileno(): WRITE})


def answer(link: Link) -> Flow[tuple[dict[str, Any], list[int]]]:
    """What a worker answers, and descriptors that come with it. Raises the error it has met."""
    message, fds = yield from link.receive()
    word = channel.heard(message) if message else None
    if word is None:
        raise InternalError("the worker ended without an answer", hint="was it killed?")
    facts: dict[str, Any] = json.loads(word)
    return facts, fds


def call(verb: str, given: dict[str, Any]) -> Flow[dict[str, Any]]:
    """Ask for something that ends with its answer."""
    link = yield from request(verb, given)
    try:
        facts, _ = yield from answer(link)
        return facts
    finally:
        link.close()


def is_error(message: bytes) -> bool:
    """Whether a keeper could not remove what it should."""
    return len(message) >= 16 and Report(message).kind == REPORT_ERROR
