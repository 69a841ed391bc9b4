"""Scripts that do not go as foreseen: a program begins at most once, and nothing is left."""

from __future__ import annotations

import os
import random
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import boxes
from boxes.api import client
from boxes.plan import inner
from tests.integration.test_api_zygote import scan
from tests.support import scripts, source
from tests.support.bundle import Bundle
from tests.support.host import cgroup_roots
from tests.support.runtime import Runtime, wait_until
from tests.support.scripts import Counter, counted
from tests.support.zygote import keeper_of, maker, named

__all__ = ["counted"]
pytestmark = pytest.mark.requires("scripts")
_STRIDE = 1 if os.environ.get("BOXES_SWEEP") else 7


@pytest.fixture
def rootfs(bundle: Bundle) -> Path:
    return bundle.path / "rootfs"


@pytest.fixture
def binds(rootfs: Path, directory: Path) -> list[boxes.Bind]:
    (rootfs / "out").mkdir()
    (directory / "out").mkdir()
    (directory / "out").chmod(0o777)
    return [boxes.Bind(directory / "out", "/out", writable=True)]


def left(root: Path, counter: Counter) -> list[str]:
    """What there is of the containers of this test."""
    found = [str(path) for path in root.iterdir() if path.name != ".cache"]
    for directory in set(cgroup_roots().values()):
        for path, names, _ in os.walk(directory):
            found += [f"{path}/{name}" for name in names if name in counter.ids]
    return found


def settled(root: Path, counter: Counter) -> None:
    try:
        wait_until(lambda: not left(root, counter), "what was left", 5.0)
    except TimeoutError:
        pytest.fail("\n".join(left(root, counter)))


def another(number: int, step: tuple[int, bytes]) -> Callable[[bytes], bytes]:
    def change(script: bytes) -> bytes:
        steps = scripts.decoded(script)
        steps[number] = step
        return scripts.encoded(steps)

    return change


def numbers(counter: Counter) -> Iterator[int]:
    """Some of the steps of a script, all if BOXES_SWEEP is set; always those that begin or tell of something."""
    steps = scripts.decoded(counter.sent[-1])
    for number, (code, _) in enumerate(steps):
        if code != inner.CALL or number % _STRIDE == 0:
            yield number


@pytest.mark.takes(1200)
@pytest.mark.parametrize("how", ["ends", "fails"])
def test_each_step_of_a_container(
    box: Runtime, rootfs: Path, directory: Path, binds: list[boxes.Bind], counted: Counter, how: str
) -> None:

    def run() -> int | None:
        result = boxes.run(
            ["sh", "-c", "echo x >>/out/begun"], rootfs=rootfs, root=box.root, binds=binds, limits=boxes.Limits(pids=9)
        )
        return result.exit_code

    _sweep(box, counted, how, run, directory / "out/begun")


@pytest.mark.takes(1200)
@pytest.mark.parametrize("how", ["ends", "fails"])
def test_each_step_of_a_process(
    box: Runtime, rootfs: Path, directory: Path, binds: list[boxes.Bind], counted: Counter, how: str
) -> None:
    with boxes.Sandbox(rootfs, root=box.root, binds=binds, layered=False) as sandbox:
        _sweep(
            box,
            counted,
            how,
            lambda: sandbox.exec(["sh", "-c", "echo x >>/out/begun"]).exit_code,
            directory / "out/begun",
            done=lambda: wait_until(lambda: len(box("ps", "-f", "json", sandbox.id).json()) == 1, "its end", 5.0),
        )


def _sweep(
    box: Runtime,
    counted: Counter,
    how: str,
    run: Callable[[], int | None],
    begun: Path,
    done: Callable[[], None] | None = None,
) -> None:
    assert run() == 0
    assert counted.used == 1
    failures, told = [], 0
    for number in numbers(counted):
        begun.unlink(missing_ok=True)
        counted.change = another(number, scripts.ENDS if how == "ends" else scripts.FAILS)
        try:
            code = run()
            wanted = {1}
        except boxes.InternalError:
            code, wanted = 0, {0, 1}
            told += 1
        times = len(begun.read_text().splitlines()) if begun.exists() else 0
        if code != 0 or times not in wanted:
            failures.append(f"step {number}: exit code {code}, begun {times} times")
        try:
            if done is not None:
                done()
            else:
                wait_until(lambda: not left(box.root, counted), "left", 5.0)
        except TimeoutError:
            failures.append(f"step {number}: left: {left(box.root, counted)}")
            box.close()
    counted.change = None
    assert failures == [], "\n".join(failures)
    assert run() == 0
    assert told > 0 or how == "fails"


@pytest.mark.parametrize("silent", [True, False])
def test_program_that_was_not_announced_is_not_begun_again(
    box: Runtime, rootfs: Path, directory: Path, binds: list[boxes.Bind], counted: Counter, silent: bool
) -> None:
    """Nobody gets the word that it has begun: since none was sent, and the keeper goes on, or since it could not be."""
    assert boxes.run(["true"], rootfs=rootfs, root=box.root, binds=binds).ok

    def change(script: bytes) -> bytes:
        steps = scripts.decoded(script)
        at = next(number for number, (code, _) in enumerate(steps) if code == inner.LAUNCHED)
        socket, _, other = struct.unpack("=III", steps[at][1])
        if silent:
            steps[at] = scripts.call("read", socket, bytes(4096), 4096)
            steps[at + 1] = scripts.call("close", socket)  # in the place of an unlock
        else:
            steps[at] = inner.LAUNCHED, struct.pack("=III", socket, 999, other)
        return scripts.encoded(steps)

    counted.change = change
    with pytest.raises(boxes.InternalError):
        boxes.run(["sh", "-c", "echo x >>/out/begun"], rootfs=rootfs, root=box.root, binds=binds)
    begun = directory / "out/begun"
    assert (begun.read_text() if begun.exists() else "") in (["x\n"] if silent else ["", "x\n"])
    settled(box.root, counted)


@pytest.mark.parametrize("sandboxed", [True, False])
def test_program_that_has_begun_when_its_script_fails_is_ended_and_not_begun_again(
    box: Runtime, rootfs: Path, directory: Path, binds: list[boxes.Bind], counted: Counter, sandboxed: bool
) -> None:
    """The step that waits for it is one that fails after a while."""
    begun = directory / "out/begun"
    program = ["sh", "-c", "echo x >>/out/begun; sleep 1000"]
    late = inner.Steps()
    late.call("ppoll", 0, 0, struct.pack("=qq", 0, 300_000_000), 0, 0, expect=1)

    def change(script: bytes) -> bytes:
        steps = scripts.decoded(script)
        at = next(number for number, (code, _) in enumerate(steps) if code == inner.LAUNCHED)
        steps[at] = scripts.decoded(late.encode())[0]
        return scripts.encoded(steps)

    if sandboxed:
        with boxes.Sandbox(rootfs, root=box.root, binds=binds, layered=False) as sandbox:
            counted.change = change
            with pytest.raises(boxes.InternalError):
                sandbox.exec(program)
            wait_until(lambda: len(box("ps", "-f", "json", sandbox.id).json()) == 1, "its end", 5.0)
    else:
        assert boxes.run(["true"], rootfs=rootfs, root=box.root, binds=binds).ok
        counted.change = change
        with pytest.raises(boxes.InternalError):
            boxes.run(program, rootfs=rootfs, root=box.root, binds=binds)
    assert begun.read_text() == "x\n"
    settled(box.root, counted)


def test_root_that_has_gone(box: Runtime, rootfs: Path, counted: Counter) -> None:
    """The error of the ordinary way, though a template looks at the root."""
    assert boxes.run(["true"], rootfs=rootfs, root=box.root).ok
    rootfs.rename(rootfs.with_name("gone"))
    with pytest.raises(boxes.BoxesError):
        boxes.run(["true"], rootfs=rootfs, root=box.root)
    assert counted.used == 1
    settled(box.root, counted)


def test_killed_maker_is_replaced(box: Runtime, rootfs: Path, counted: Counter) -> None:
    for _ in range(3):
        assert boxes.run(["true"], rootfs=rootfs, root=box.root).ok
        os.kill(maker(), signal.SIGKILL)
    assert boxes.run(["true"], rootfs=rootfs, root=box.root).ok


CLOSED = """
import os, sys
out = os.dup(1)
for fd in map(int, sys.argv[4:]):
    os.close(fd)
sys.path.insert(0, sys.argv[1])
import boxes
from boxes.api import client
for _ in range(3):
    assert boxes.run(["true"], rootfs=sys.argv[3], root=sys.argv[2]).ok
names = [open(f"/proc/{pid}/comm").read() for pid in open(f"/proc/{client.zygote_pid()}/task/{client.zygote_pid()}/children").read().split()]
os.write(out, b"%d" % names.count("box: maker\\n"))
"""


@pytest.mark.parametrize("closed", ["0", "1", "2", "0 1", "1 2", "0 1 2"])
def test_caller_without_standard_streams(box: Runtime, rootfs: Path, closed: str) -> None:
    command = [sys.executable, "-c", CLOSED, str(source.PACKAGE.parent), str(box.root), str(rootfs), *closed.split()]
    done = subprocess.run(command, stdout=subprocess.PIPE, timeout=50, check=False)
    assert done.stdout == b"1"


def test_keeper_killed_while_it_removes(box: Runtime, rootfs: Path, counted: Counter) -> None:
    """What it has marked the container with does not keep others from removing it."""
    assert boxes.run(["true"], rootfs=rootfs, root=box.root).ok

    def change(script: bytes) -> bytes:
        steps = scripts.decoded(script)
        kept = next(number for number, (code, _) in enumerate(steps) if code == inner.KEEP)
        steps[kept + 3] = scripts.ENDS  # after the lock, and the mark
        return scripts.encoded(steps)

    counted.change = change
    with boxes.popen(["sleep", "1000"], rootfs=rootfs, root=box.root) as program:
        program.kill()
        assert program.wait(10).signal == 9
    assert counted.used == 2
    settled(box.root, counted)


def resident(pid: int) -> int:
    """KiB of its own."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))


@pytest.mark.takes(600)
def test_malformed_scripts_do_no_harm(box: Runtime, rootfs: Path, counted: Counter) -> None:
    assert boxes.run(["true"], rootfs=rootfs, root=box.root).ok
    chance, before = random.Random(7), maker()
    connection = client.zygote().scripts
    null = os.open(os.devnull, os.O_RDWR)
    first = 0
    for number in range(int(os.environ.get("BOXES_FRAMES", "300"))):
        steps = scripts.encoded([(chance.randrange(14, 99), chance.randbytes(chance.randrange(40))) for _ in range(3)])
        body = chance.choice([b"BOXPLAN1", b"BOXPLAN2", b"\xff" * 17, chance.randbytes(50), steps[:-3], steps + b"x"])
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        count = chance.randrange(0, 18)
        connection.setblocking(True)
        socket.send_fds(connection, [body], [theirs.fileno(), *[null] * 17][:count])
        connection.setblocking(False)
        theirs.close()
        ours.settimeout(10)
        while ours.recv(1 << 16):
            pass
        ours.close()
        first = first or (resident(before) if number == 100 else 0)
    os.close(null)
    assert maker() == before
    assert resident(before) <= first + 64
    wait_until(
        lambda: sorted(os.listdir(f"/proc/{before}/fd")) == ["0", "1", "2", "3", "4"], "its own descriptors", 5.0
    )
    assert boxes.run(["true"], rootfs=rootfs, root=box.root).ok
    assert counted.used == 2


def test_nothing_of_a_tenant_stays_in_the_maker(box: Runtime, rootfs: Path, counted: Counter) -> None:
    """Nor in another's keeper."""
    token = os.urandom(16).hex()
    with boxes.popen(["sleep", "1000"], rootfs=rootfs, root=box.root, env={"TOKEN": "other"}) as earlier:
        assert boxes.run(["true"], rootfs=rootfs, root=box.root, env={"TOKEN": token}, input=token).ok
        with boxes.popen(["sleep", "1000"], rootfs=rootfs, root=box.root) as later:
            assert counted.used == 3
            keepers = [keeper_of(each.pid) for each in (earlier, later)]
            for pid in (maker(), *keepers):
                assert not scan(pid, token.encode()), named(pid)
            for keeper in keepers:
                streams = [os.readlink(f"/proc/{keeper}/fd/{fd}") for fd in range(3)]
                assert streams == ["/dev/null"] * 3
