"""The zygote: a small process with everything imported, of which those that make containers are forks.

The caller's process may be large and threaded, so nothing is forked from it: this one is executed afresh, has one
thread, and belongs to one caller. It never reads a request. Its children do: *workers*, a few of which are always made
ahead and wait on the caller's socket, each for one request. Whichever gets one says so here, and is replaced.

    caller ──── requests, SOCK_SEQPACKET ────► a worker (worker.py), which becomes the keeper of what it has made

Workers that wait end with the zygote, and the zygote with its caller. Those that have a request do neither: their
caller's end is theirs (attached.py).
"""

from __future__ import annotations

import _signal
import _socket
import fcntl
import gc
import select

from boxes import system as os
from boxes.container import bare, host
from boxes.linux import flags as k
from boxes.linux import syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

_SICK = 20  # workers in a row that ended without a request, for no reason we know of, and we give up

# What workers need, imported once. What few of them do is imported by these.
_IMPORTED = """
    boxes.container.worker boxes.container.practice boxes.container.verbs boxes.container.undivided
    boxes.container.builder
    boxes.container.planning boxes.container.reports boxes.container.attached boxes.container.exec
    boxes.container.ending boxes.container.outcome boxes.container.seccomp boxes.container.attach
    boxes.cgroups.legacy boxes.cgroups.unified boxes.cgroups.devices boxes.plan.rlimits boxes.plan.container
    boxes.apply.kernel boxes.apply.links boxes.apply.copy_up boxes.apply.restricted boxes.linux.exits
    boxes.container.undo boxes.container.template boxes.plan.script boxes.plan.script_root boxes.plan.script_exec
    boxes.spec.schema_resources boxes.spec.schema_seccomp boxes.plan.seccomp_rules boxes.plan.seccomp_bpf
""".split()


def main(requests: int, scripts: int, spare: int) -> NoReturn:
    """`requests` is the workers' end of the caller's socket, `scripts` the maker's of another, `spare` how many workers
    wait."""
    for name in _IMPORTED:
        __import__(name)
    from boxes.container import practice

    config = practice.config()
    practice.plan(config)
    _call_oneself("box: zygote")
    os.setsid()  # a terminal's signals are for the caller
    os.chdir("/")
    gc.collect()
    gc.freeze()
    gc.disable()  # workers are short, and a collection would copy all pages
    try:
        _Zygote(requests, scripts, spare, config).run()
    finally:
        os._exit(1)


def _call_oneself(name: str) -> None:
    fd = os.open("/proc/self/comm", os.O_WRONLY | os.O_CLOEXEC)
    os.write(fd, name.encode())
    os.close(fd)


def _high(fd: int) -> int:
    """The same, by a number that none of those has which a child is to find something by."""
    high: int = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 16)
    os.close(fd)
    return high


class _Zygote:
    def __init__(self, requests: int, scripts: int, spare: int, practice: bytes) -> None:
        self.requests = requests
        self.scripts = _high(scripts)
        self.image = _high(host.open_inner())
        self.bare = -1
        self.maker = 0
        self.practice = practice
        self.spare = spare
        self.waiting: set[int] = set()
        self.heard, self.said = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        self.woken, wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        _signal.signal(_signal.SIGCHLD, _noted)
        _signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        self.sick = 0

    def run(self) -> None:
        poller = select.poll()
        poller.register(self.requests, 0)  # the caller's end: POLLHUP
        poller.register(self.heard, select.POLLIN)
        poller.register(self.woken, select.POLLIN)
        while self.sick < _SICK:
            while len(self.waiting) < self.spare:
                self._fork()
            if not self.maker:
                self.maker = self._start_maker()
            ready = dict(poller.poll())
            if self.requests in ready:
                return
            if self.heard.fileno() in ready:
                self.waiting.discard(int.from_bytes(self.heard.recv(8), "little"))
                self.sick = 0
            if self.woken in ready:
                self._reap()

    def _fork(self) -> None:
        own = os.getpid()
        pid = os.fork()
        if pid == 0:
            try:
                self._become_worker(own)
            finally:
                os._exit(1)
        self.waiting.add(pid)

    def _start_maker(self) -> int:
        """inner, of which each script gets a fork (native/inner.c)."""
        path = f"/proc/self/fd/{self.image}"
        if self.bare < 0:
            self.bare = _high(bare.open_namespace(path))
        actions = [(os.POSIX_SPAWN_DUP2, self.scripts, 3), (os.POSIX_SPAWN_DUP2, self.bare, 4)]
        return os.posix_spawn(path, ["box: maker", "3"], {}, file_actions=actions)

    def _become_worker(self, zygote: int) -> NoReturn:
        """Runs in the worker."""
        from boxes.container import worker

        _signal.set_wakeup_fd(-1)
        _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
        syscalls.prctl(k.PR_SET_PDEATHSIG, _signal.SIGKILL)
        if os.getppid() != zygote:
            os._exit(0)
        self.heard.close()
        for fd in (self.woken, self.scripts, self.image):
            os.close(fd)
        worker.main(self.requests, self.said, self.practice, self.bare)

    def _reap(self) -> None:
        try:
            os.read(self.woken, 4096)
        except BlockingIOError:
            pass
        while True:
            try:
                pid, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self.maker:
                self.maker = 0
                self.sick += 1
            if pid in self.waiting:
                self.waiting.discard(pid)
                self.sick += 1


def _noted(number: int, frame: object) -> None:
    """The interpreter has woken us by the descriptor already."""
