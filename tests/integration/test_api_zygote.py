"""The zygote: who may die, what is left then, and what it does not keep."""

from __future__ import annotations

import os
import random
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import boxes
from boxes.api import client
from tests.support import zygote as helper
from tests.support.bundle import Bundle
from tests.support.runtime import Runtime, wait_until

STAYS = """
root, rootfs = sys.argv[1:]
from boxes.api import client
program = boxes.popen(["sleep", "1000"], rootfs=rootfs, root=root)
print(program.pid, client.zygote_pid(), flush=True)
try:
    print(program.wait().signal, flush=True)
except boxes.BoxesError as error:
    print(type(error).__name__, flush=True)
"""


@pytest.fixture(autouse=True)
def zygote() -> Iterator[None]:
    yield
    client.shut_down()


@pytest.fixture
def rootfs(bundle: Bundle) -> Path:
    return bundle.path / "rootfs"


def nothing_left(root: Path) -> bool:
    return not any(path.name != ".cache" for path in root.iterdir())


@pytest.mark.parametrize("killed", ["caller", "both"])
def test_container_ends_with_its_caller(box: Runtime, rootfs: Path, killed: str) -> None:
    with helper.program(STAYS, box.root, rootfs) as caller:
        assert caller.stdout is not None
        pid, zygote = map(int, caller.stdout.readline().split())
        workers = helper.children(zygote)
        if killed == "both":
            helper.kill(zygote)
        caller.kill()
        helper.wait_gone(pid, zygote, *workers)
    wait_until(lambda: nothing_left(box.root), "the removal of what it held", 5.0)


def test_end_of_a_container_is_told_without_a_zygote(box: Runtime, rootfs: Path) -> None:
    with boxes.popen(["sleep", "1000"], rootfs=rootfs, root=box.root) as program:
        zygote = client.zygote_pid()
        helper.kill(zygote)
        helper.wait_gone(zygote)
        program.kill()
        assert program.wait(10).signal == 9
    assert boxes.run(["true"], rootfs=rootfs, root=box.root).ok
    assert client.zygote_pid() != zygote


def test_lost_keeper_is_an_error_and_leaves_nothing(box: Runtime, rootfs: Path) -> None:
    with boxes.popen(["sleep", "1000"], rootfs=rootfs, root=box.root) as program:
        pid = program.pid
        helper.kill(helper.keeper_of(pid))
        with pytest.raises(boxes.InternalError, match="was missed"):
            program.wait(10)
    helper.wait_gone(pid)


def test_workers_that_are_killed_are_replaced(box: Runtime, rootfs: Path) -> None:
    zygote = client.zygote_pid()
    for _ in range(5):
        wait_until(lambda: len(helper.children(zygote)) >= 2, "workers")
        for worker in helper.children(zygote):
            helper.kill(worker)
        assert boxes.run(["true"], rootfs=rootfs, root=box.root).ok
    assert client.zygote_pid() == zygote


def test_forked_child_gets_a_zygote_of_its_own(box: Runtime, rootfs: Path) -> None:
    text = """
root, rootfs = sys.argv[1:]
from boxes.api import client
kept = boxes.popen(["sleep", "1000"], rootfs=rootfs, root=root)
own = client.zygote_pid()
child = os.fork()
if child == 0:
    good = boxes.run(["true"], rootfs=rootfs, root=root).ok and client.zygote_pid() != own
    os._exit(0 if good else 1)
print(os.waitpid(child, 0)[1], kept.poll(), boxes.run(["true"], rootfs=rootfs, root=root).ok, flush=True)
"""
    with helper.program(text, box.root, rootfs) as caller:
        assert caller.stdout is not None
        assert caller.stdout.read() == "0 None True\n"
    wait_until(lambda: nothing_left(box.root), "the removal of what it held", 5.0)


def frames(number: int) -> Iterator[tuple[bytes, int]]:
    """Requests that make no sense, and how many descriptors come with each."""
    chance = random.Random(7)
    bodies = [b'{"verb":"run"', b'{"verb":"nothing"}', b"[]", b"{}", b'{"verb":["run"]}', b"\xff\xfe", b"null"]
    bodies += [b'{"verb":"run","runtime":"/x","state":"/x","id":"../x","config":{}}', b'{"verb":"exec","runtime":1}']
    for _ in range(number):
        head = chance.choice([b"BOXREQ1 ", b"BOXREQ1M", b"BOXREQ2 ", b"", b"\0" * 8])
        body = chance.choice(bodies) if chance.random() < 0.7 else chance.randbytes(chance.randrange(1, 300))
        yield head + body, chance.randrange(0, 5)


def test_malformed_requests_do_no_harm(box: Runtime, rootfs: Path) -> None:
    number = int(os.environ.get("BOXES_FRAMES", "300"))
    zygote = client.zygote_pid()
    connection = client._current.get().socket.dup()
    connection.setblocking(True)
    null = os.open(os.devnull, os.O_RDWR)
    for message, count in frames(number):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        fds = [theirs.fileno() if count != 2 else null, *[null] * (count - 1)][:count]
        socket.send_fds(connection, [message], fds)
        theirs.close()
        ours.settimeout(10)
        while answer := ours.recv(1 << 16):
            assert answer[:1] in b"!?"
        ours.close()
    os.close(null)
    connection.close()
    assert boxes.run(["true"], rootfs=rootfs, root=box.root).ok
    assert client.zygote_pid() == zygote
    assert len(os.listdir(f"/proc/{zygote}/fd")) < 20


def scan(pid: int, token: bytes) -> bool:
    """Whether the token is anywhere in a process's memory; one that has ended has none."""
    try:
        maps, memory = open(f"/proc/{pid}/maps"), open(f"/proc/{pid}/mem", "rb")  # noqa: SIM115 - closed below
    except (FileNotFoundError, ProcessLookupError):
        return False
    with maps, memory:
        for line in maps:
            where, rights, *_ = line.split()
            if "r" not in rights or line.rstrip().endswith(("[vvar]", "[vsyscall]", "[vvar_vclock]")):
                continue
            start, end = (int(part, 16) for part in where.split("-"))
            memory.seek(start)
            try:
                if token in memory.read(end - start):
                    return True
            except OSError:
                continue
    return False


def test_nothing_of_a_tenant_stays(box: Runtime, rootfs: Path) -> None:
    """Neither in the zygote nor in those that wait, nor in another's init before its program."""
    for _ in range(5):
        token = os.urandom(16).hex()
        assert boxes.run(["true"], rootfs=rootfs, root=box.root, env={"TOKEN": token}, input=token).ok
        zygote = client.zygote_pid()
        with boxes.Container("other", root=box.root) as other:
            other.create(config=boxes.Config(args=["true"], rootfs=rootfs))
            for pid in (zygote, *helper.children(zygote), other.pid):
                assert not scan(pid, token.encode()), helper.named(pid)
    assert scan(os.getpid(), token.encode())  # the scan finds what is there


def test_many_threads_and_deaths(box: Runtime, rootfs: Path) -> None:
    """A zygote that dies at any moment costs no request."""
    failures: list[BaseException] = []

    def call() -> None:
        try:
            for number in range(5):
                result = boxes.run(["echo", str(number)], rootfs=rootfs, root=box.root)
                assert result.stdout == b"%d\n" % number
        except BaseException as error:  # noqa: BLE001 - to be told by the test's own thread
            failures.append(error)

    threads = [threading.Thread(target=call) for _ in range(6)]
    for thread in threads:
        thread.start()
    for _ in range(4):
        helper.kill(client.zygote_pid())
        threads[0].join(1.0)  # longer than one takes to start
    for thread in threads:
        thread.join()
    assert failures == []


def test_zygote_keeps_nothing_open(box: Runtime, rootfs: Path) -> None:
    boxes.run(["true"], rootfs=rootfs, root=box.root)
    zygote = client.zygote_pid()
    before = sorted(os.listdir(f"/proc/{zygote}/fd"))
    for _ in range(10):
        boxes.run(["true"], rootfs=rootfs, root=box.root)
    assert sorted(os.listdir(f"/proc/{zygote}/fd")) == before
