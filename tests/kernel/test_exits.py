"""How a process ended, for who is not its parent, by what the kernel says of real ones."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterator

import pytest

from boxes.linux import exits, procfs
from tests.support import reaper

CODES = [0, 7, 255]


class Grandchild:
    """A process whose parent, a child of ours, reaps it when told to."""

    def __init__(self, code: int) -> None:
        told, tell = os.pipe()
        self.go, go = os.pipe()
        self.reap_end, self.reap = os.pipe()
        self.parent = os.fork()
        if self.parent == 0:
            try:
                self._be_parent(code, tell)
            finally:
                os._exit(0)  # whatever happens: a fork must not go on with the tests
        self.told = told
        self.pid = int(os.read(told, 32))
        started = procfs.start_time(self.pid)
        assert started is not None
        self.started = started
        self.pidfd = os.pidfd_open(self.pid)
        os.write(go, b"!")
        poll = select.poll()
        poll.register(self.pidfd, select.POLLIN)
        assert poll.poll(5000)
        for fd in (go, tell, self.go):
            os.close(fd)

    def _be_parent(self, code: int, tell: int) -> None:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # not the reaper of other tests
        os.close(self.reap)
        pid = os.fork()
        if pid == 0:
            os.read(self.go, 1)
            os._exit(code)
        os.write(tell, str(pid).encode())
        os.read(self.reap_end, 1)
        os.waitpid(pid, 0)
        os.write(tell, b"reaped")
        os.read(self.reap_end, 1)

    def be_reaped(self) -> None:
        os.write(self.reap, b"!")
        assert os.read(self.told, 6) == b"reaped"

    def close(self) -> None:
        for fd in (self.reap, self.reap_end, self.told, self.pidfd):
            os.close(fd)
        os.waitpid(self.parent, 0)


@pytest.fixture(params=CODES)
def grandchild(request: pytest.FixtureRequest) -> Iterator[tuple[Grandchild, int]]:
    with reaper.paused():
        made = Grandchild(request.param)
        yield made, request.param
        made.close()


def test_status_is_told_before_the_parent_asks(grandchild: tuple[Grandchild, int]) -> None:
    process, code = grandchild
    assert exits.status(process.pid, process.started, process.pidfd) == code << 8
    assert exits.unreaped(process.pid, process.started) == code << 8


def test_status_is_told_after_the_parent_has_asked(grandchild: tuple[Grandchild, int]) -> None:
    process, code = grandchild
    process.be_reaped()
    found = exits.status(process.pid, process.started, process.pidfd)
    if found is None:
        pytest.skip("before Linux 6.15 nobody but the parent is told")
    assert found == code << 8


def test_another_process_of_the_pid_tells_nothing(grandchild: tuple[Grandchild, int]) -> None:
    process, _ = grandchild
    assert exits.unreaped(process.pid, process.started + 1) is None


def test_process_that_runs_tells_nothing() -> None:
    pidfd = os.pidfd_open(os.getpid())
    try:
        started = procfs.start_time(os.getpid())
        assert started is not None
        assert exits.status(os.getpid(), started, pidfd) is None
    finally:
        os.close(pidfd)


def test_question_is_no_answer() -> None:
    """A mapped question that no kernel has answered must not be read as a clean exit."""
    from boxes.container import keeper as container
    from boxes.plan import keeper

    assert container._facts(keeper.blank(), {"started": 1}) == {}
