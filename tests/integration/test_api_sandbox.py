"""`boxes.Sandbox` and `boxes.Pool`: containers that stay, for many programs."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import boxes
from boxes.api import client
from tests.support import zygote as helper
from tests.support.bundle import Bundle
from tests.support.marks import requires
from tests.support.runtime import Runtime, wait_until

Make = Callable[..., boxes.Sandbox]


@pytest.fixture(autouse=True)
def zygote() -> Iterator[None]:
    yield
    client.shut_down()


@pytest.fixture
def make(box: Runtime, bundle: Bundle) -> Make:
    def call(**options: Any) -> boxes.Sandbox:
        return boxes.Sandbox(bundle.path / "rootfs", root=box.root, **options)

    return call


ROOT = (0, 0)


def test_programs_share_its_files_and_processes(make: Make) -> None:
    with make() as sandbox:
        assert sandbox.exec(["sh", "-c", "echo one >/tmp/f; sleep 100 >/dev/null 2>&1 &"]).check().stdout == b""
        result = sandbox.exec(["sh", "-c", "cat /tmp/f; ps | grep -c 'sleep 10[0]'"])
        assert result.stdout == b"one\n1\n"


def test_nothing_is_left_of_it(make: Make, box: Runtime) -> None:
    with make() as sandbox:
        pid = sandbox.pid
        sandbox.exec(["touch", "/x"], user=ROOT)
    helper.wait_gone(pid)
    assert [path.name for path in box.root.iterdir() if path.name != ".cache"] == []
    with pytest.raises(boxes.StateError, match="is not open"):
        sandbox.exec(["true"])


def test_exec_has_input_status_and_environment(make: Make) -> None:
    with make(env={"A": "1"}) as sandbox:
        result = sandbox.exec(["sh", "-c", "cat; echo $A$B; pwd; exit 4"], input=b"in:", env={"B": "2"}, cwd="/tmp")
        assert (result.stdout, result.exit_code) == (b"in:12\n/tmp\n", 4)


def test_exec_is_ended_in_time_and_the_sandbox_stays(make: Make) -> None:
    with make() as sandbox:
        assert sandbox.exec(["sleep", "1000"], timeout=0.2).timed_out
        assert sandbox.exec(["true"]).ok


def test_zombies_are_nobodys(make: Make) -> None:
    """Orphans go to its init, which is none of a program's own."""
    with make() as sandbox:
        for _ in range(5):
            sandbox.exec(["sh", "-c", "(sleep 0.05 &) ; true"]).check()
        wait_until(lambda: b"Z" not in sandbox.exec(["sh", "-c", "ps -o stat"]).stdout, "the end of orphans")


def test_files_go_in_and_out(make: Make, directory: Path) -> None:
    tree = directory / "tree"
    (tree / "below").mkdir(parents=True)
    (tree / "below" / "file").write_bytes(b"content")
    (tree / "link").symlink_to("below/file")
    with make() as sandbox:
        sandbox.copy_in(tree, "/tmp/deep/tree")
        result = sandbox.exec(["sh", "-c", "cd /tmp/deep/tree; cat link; readlink link; stat -c %u below/file"])
        assert result.stdout == b"contentbelow/file\n65534\n"
        sandbox.write_file("/tmp/deep/tree/new", "text", mode=0o600)
        assert sandbox.read_file("/tmp/deep/tree/new") == b"text"
        sandbox.copy_out("/tmp/deep/tree", directory / "back")
    assert (directory / "back" / "below" / "file").read_bytes() == b"content"
    assert os.readlink(directory / "back" / "link") == "below/file"


@pytest.mark.parametrize("link", ["/outside", "../../../../../../../outside"])
def test_links_lead_nowhere_outside(make: Make, directory: Path, link: str) -> None:
    """A path of the sandbox is one below its root, whatever it has planted there."""
    with make() as sandbox:
        target = link.replace("outside", str(directory / "outside").lstrip("/"))
        sandbox.exec(["ln", "-s", target, "/tmp/link"]).check()
        (directory / "outside").mkdir()
        (directory / "outside" / "secret").write_text("secret")
        with pytest.raises(boxes.KernelError):
            sandbox.read_file("/tmp/link/secret")
        sandbox.write_file("/tmp/link/planted", "x")  # where the link leads below the root
        sandbox.exec(["ln", "-s", target + "/planted", "/tmp/file"]).check()
        sandbox.write_file("/tmp/file", "x")  # takes the link's place
        assert sandbox.read_file("/tmp/file") == b"x"
    assert os.listdir(directory / "outside") == ["secret"]


@pytest.mark.parametrize("kind", ["mkfifo /tmp/f", "ln -s /dev/zero /tmp/f", "ln -s /proc/self/mem /tmp/f"])
def test_what_is_no_file_is_not_read(make: Make, kind: str) -> None:
    with make() as sandbox:
        if sandbox.exec(["sh", "-c", kind]).ok:
            with pytest.raises(boxes.KernelError):
                sandbox.read_file("/tmp/f", most=1 << 16)


def test_changes_are_told_forgotten_and_kept(make: Make, box: Runtime, bundle: Bundle, directory: Path) -> None:
    with make(scratch=directory / "scratch") as sandbox:
        sandbox.exec(["sh", "-c", "echo new >/etc/new; rm /bin/od"], user=ROOT).check()
        assert sandbox.diff() == [
            ("changed", "/bin"),
            ("deleted", "/bin/od"),
            ("changed", "/etc"),
            ("changed", "/etc/new"),
        ]
        sandbox.discard()
        assert sandbox.diff() == []
        assert sandbox.exec(["sh", "-c", "ls /etc/new; ls /bin/od"]).stdout == b"/bin/od\n"
        sandbox.exec(["sh", "-c", "echo kept >/etc/kept"], user=ROOT).check()
        kept = sandbox.commit(directory / "scratch" / "kept")
        assert sandbox.diff() == []
        assert sandbox.exec(["cat", "/etc/kept"]).stdout == b"kept\n"
    with make(layers=[kept], scratch=directory / "scratch") as other:
        assert other.exec(["cat", "/etc/kept"]).stdout == b"kept\n"
    assert not (bundle.path / "rootfs" / "etc" / "kept").exists()


def test_sandbox_without_layer_is_read_only(make: Make) -> None:
    with make(layered=False) as sandbox:
        assert b"Read-only" in sandbox.exec(["touch", "/x"], user=ROOT).stderr
        with pytest.raises(boxes.StateError, match="no layer"):
            sandbox.diff()


@requires("cgroup1")
def test_limits_change_while_it_runs(make: Make) -> None:
    with make(limits=boxes.Limits(memory=64 << 20, pids=20)) as sandbox:
        assert (sandbox.stats()["memory_limit"], sandbox.stats()["pids_limit"]) == (64 << 20, 20)
        sandbox.update(boxes.Limits(memory=32 << 20))
        assert (sandbox.stats()["memory_limit"], sandbox.stats()["pids_limit"]) == (32 << 20, 20)


def test_command_line_and_sandbox_know_each_other(make: Make, box: Runtime) -> None:
    with make() as sandbox:
        assert box("list", "--quiet").ok().out.split() == [sandbox.id]
        assert box("exec", sandbox.id, "echo", "hello").ok().out == "hello\n"
        box("delete", "--force", sandbox.id).ok()
        with pytest.raises(boxes.StateError, match="from outside"):
            sandbox.exec(["true"])


def test_streams_of_a_program_in_it(make: Make) -> None:
    with make() as sandbox, sandbox.popen(["cat"], stdin=boxes.PIPE) as program:
        assert program.communicate(b"hello", timeout=10).stdout == b"hello"
    with make() as sandbox, sandbox.popen(["sleep", "1000"]) as program:
        program.send_signal(signal.SIGTERM)
        assert program.wait(10).signal == signal.SIGTERM


def test_pool_gives_at_once(box: Runtime, bundle: Bundle) -> None:
    with boxes.Pool(bundle.path / "rootfs", 2, root=box.root) as pool:
        wait_until(lambda: len(pool) == 2, "sandboxes")
        began = time.perf_counter()
        sandbox = pool.acquire()
        assert time.perf_counter() - began < 0.01
        with sandbox:
            assert sandbox.exec(["echo", "hello"]).stdout == b"hello\n"
        seen = {sandbox.id}
        for _ in range(4):
            with pool.acquire(10) as other:
                assert other.id not in seen
                seen.add(other.id)


def test_pool_says_why_it_is_empty(box: Runtime, directory: Path) -> None:
    with boxes.Pool(directory / "nothing", 1, root=box.root) as pool, pytest.raises(boxes.ConfigError):
        pool.acquire(10)


def test_loop_has_the_same(box: Runtime, bundle: Bundle) -> None:
    async def main() -> None:
        async with boxes.aio.Sandbox(bundle.path / "rootfs", root=box.root) as sandbox:
            results = await asyncio.gather(*(sandbox.exec(["echo", str(number)]) for number in range(5)))
            assert [result.stdout for result in results] == [b"%d\n" % number for number in range(5)]
            async with await sandbox.popen(["cat"], stdin=boxes.PIPE) as program:
                assert program.stdin is not None
                assert program.stdout is not None
                await program.stdin.write(b"one\ntwo\n")
                program.stdin.close()
                assert [line async for line in program.stdout] == [b"one\n", b"two\n"]
                assert (await program.wait(10)).ok
        async with boxes.aio.Pool(bundle.path / "rootfs", 2, root=box.root) as pool, await pool.acquire() as sandbox:
            assert (await sandbox.exec(["true"])).ok

    asyncio.run(main())
    wait_until(lambda: not any(path.name != ".cache" for path in box.root.iterdir()), "its removal")


@pytest.mark.parametrize(
    "wrong",
    [{"timeout": "x"}, {"timeout": -1}, {"input": 4}, {"env": {"a": 5}}, {"user": 3}, {"cwd": 4}, {"max_output": "a"}],
)
def test_wrong_argument_of_exec_is_named(make: Make, wrong: dict[str, Any]) -> None:
    with make() as sandbox, pytest.raises(boxes.UsageError, match=f"'{next(iter(wrong))}' is"):
        sandbox.exec(["true"], **wrong)


def test_wrong_content_makes_no_file(make: Make) -> None:
    with make() as sandbox:
        with pytest.raises(boxes.UsageError, match="'content' is"):
            sandbox.write_file("/tmp/x", 5)  # type: ignore[arg-type]
        assert sandbox.exec(["ls", "-A", "/tmp"]).stdout == b""


def test_wrong_timeout_of_a_wait_is_named(make: Make, box: Runtime, bundle: Bundle) -> None:
    with make() as sandbox, sandbox.popen(["true"]) as program, pytest.raises(boxes.UsageError, match="'timeout' is"):
        program.wait(-1)
    pool = boxes.Pool(bundle.path / "rootfs", 1, root=box.root)
    with pool, pytest.raises(boxes.UsageError, match="'timeout' is"):
        pool.acquire(timeout="soon")  # type: ignore[arg-type]


def test_kernels_files_are_no_files_of_it(make: Make, directory: Path) -> None:
    """What a link of the container's leads to is read with the caller's rights, and /proc/kmsg for ever."""
    with make() as sandbox:
        sandbox.exec(["sh", "-c", "ln -s /proc/kmsg /tmp/answer; ln -s /proc /tmp/proc"]).check()
        for path in ("/tmp/answer", "/tmp/proc/version", "/sys/kernel/notes"):
            with pytest.raises(boxes.KernelError, match="the kernel's"):
                sandbox.read_file(path)
        with pytest.raises(boxes.KernelError, match="the kernel's"):
            sandbox.copy_out("/tmp/proc/kmsg", directory / "kmsg")
        assert not (directory / "kmsg").exists()


def test_program_without_memory_is_told_from_one_that_was_killed(make: Make) -> None:
    with make(limits=boxes.Limits(memory=48 << 20)) as sandbox:
        greedy = sandbox.exec(["sh", "-c", "s=x; while :; do s=$s$s; done"])
        assert (greedy.signal, greedy.oom_killed, greedy.limits) == (signal.SIGKILL, True, "cgroups")
        assert sandbox.exec(["sh", "-c", "kill -KILL $$"]).oom_killed is False
        assert sandbox.exec(["true"]).oom_killed is False


def test_changed_limits_outlive_its_layer(make: Make) -> None:
    with make(limits=boxes.Limits(memory=64 << 20)) as sandbox:
        sandbox.update(boxes.Limits(memory=32 << 20))
        sandbox.discard()
        assert sandbox.stats()["memory_limit"] == 32 << 20
        with pytest.raises(boxes.UsageError, match="'file_size'"):
            sandbox.update(boxes.Limits(file_size=1))


def test_layer_that_cannot_be_kept_changes_nothing(make: Make, directory: Path) -> None:
    (directory / "taken").mkdir()
    (directory / "taken/file").touch()
    scratch = directory / "scratch"
    scratch.mkdir()
    with make(scratch=scratch) as sandbox:
        sandbox.exec(["touch", "/x"], user=ROOT).check()
        pid = sandbox.pid
        for target in (directory / "taken", directory / "missing/below", "/proc/layer"):
            with pytest.raises(boxes.KernelError, match="cannot keep the layer"):
                sandbox.commit(target)
        assert sandbox.pid == pid
        assert ("changed", "/x") in sandbox.diff()
    assert list(scratch.iterdir()) == []


def test_files_of_a_loops_sandbox_are_awaited(box: Runtime, bundle: Bundle, directory: Path) -> None:
    async def use() -> tuple[bytes, str, list[tuple[str, str]]]:
        async with boxes.aio.Sandbox(bundle.rootfs, root=box.root, user=ROOT) as sandbox:
            await sandbox.write_file("/made", "text")
            await sandbox.copy_out("/made", directory / "out")
            await sandbox.copy_in(directory / "out", "/home/in")
            return await sandbox.read_file("/home/in"), (directory / "out").read_text(), await sandbox.diff()

    content, out, changes = asyncio.run(use())
    assert (content, out) == (b"text", "text")
    assert ("changed", "/made") in changes


def test_pool_gives_none_that_was_killed_as_it_waited(box: Runtime, bundle: Bundle) -> None:
    with boxes.Pool(bundle.rootfs, 1, root=box.root) as pool:
        wait_until(lambda: len(pool) == 1, "a sandbox")
        os.kill(pool._ready[0].pid, signal.SIGKILL)
        wait_until(lambda: not pool._ready[0].is_alive(), "its end")
        with pool.acquire() as sandbox:
            assert sandbox.exec(["true"]).ok


@pytest.mark.parametrize(
    "wrong",
    [
        {"layers": "/layer"}, {"layers": [5]}, {"scratch": 5}, {"scratch": ""}, {"root": 5}, {"root": "/etc/passwd"},
        {"binds": [boxes.Bind("", "/mnt")]}, {"env": {"A=B": "c"}}, {"env": {"": "c"}}, {"config": 5}, {"config": {"a": {1}}},
    ],
)  # fmt: skip
def test_wrong_setting_is_named(bundle: Bundle, wrong: dict[str, Any]) -> None:
    name = "source" if "binds" in wrong else next(iter(wrong))
    with pytest.raises(boxes.UsageError, match=f"'{name}' (is|has|cannot)"):
        boxes.Sandbox(bundle.rootfs, **wrong)


def test_wrong_use_is_named(make: Make, directory: Path) -> None:
    with make() as sandbox:
        wrongs: list[tuple[str, Callable[[], object]]] = [
            ("source", lambda: sandbox.copy_in("", "/x")),
            ("target", lambda: sandbox.copy_in("/etc/passwd", 5)),  # type: ignore[arg-type]
            ("target", lambda: sandbox.copy_out("/etc/passwd", "")),
            ("path", lambda: sandbox.read_file(5)),  # type: ignore[arg-type]
            ("most", lambda: sandbox.read_file("/etc/passwd", most=-1)),
            ("target", lambda: sandbox.commit("")),
            ("limits", lambda: sandbox.update(5)),  # type: ignore[arg-type]
            ("args", lambda: sandbox.exec(each for each in ("true",))),  # type: ignore[arg-type]
        ]
        for name, use in wrongs:
            with pytest.raises(boxes.UsageError, match=f"'{name}' is"):
                use()
    with pytest.raises(boxes.StateError, match="is not open"):
        sandbox.diff()
