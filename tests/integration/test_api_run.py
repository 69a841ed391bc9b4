"""`boxes.run` and `boxes.popen`: programs from Python, each in a container of its own."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import boxes
from boxes.api import client
from tests.support import lan as lans
from tests.support.bundle import Bundle
from tests.support.marks import requires
from tests.support.runtime import Runtime, wait_until

Run = Callable[..., boxes.Result]


@pytest.fixture(autouse=True)
def zygote() -> Iterator[None]:
    yield
    client.shut_down()


@pytest.fixture
def run(box: Runtime, bundle: Bundle) -> Run:
    def call(*args: str, **options: Any) -> boxes.Result:
        return boxes.run(args, rootfs=bundle.path / "rootfs", root=box.root, **options)

    return call


def test_output_input_and_status_come_back(run: Run) -> None:
    result = run("sh", "-c", "cat; echo err >&2; exit 3", input="hello")
    assert (result.stdout, result.stderr, result.exit_code, result.signal) == (b"hello", b"err\n", 3, None)
    assert not result.ok


def test_program_is_nobody_without_capabilities(run: Run) -> None:
    result = run("sh", "-c", "id -u; id -g; grep -E '^(CapEff|CapBnd|NoNewPrivs|Seccomp):' /proc/self/status").check()
    assert result.stdout.split() == [
        *(b"65534", b"65534"),
        *(b"CapEff:", b"0000000000000000", b"CapBnd:", b"0000000000000000", b"NoNewPrivs:", b"1", b"Seccomp:", b"2"),
    ]


def test_root_is_read_only_and_network_is_its_own(run: Run) -> None:
    result = run("sh", "-c", "touch /x; ls /sys/class/net; touch /tmp/x && echo ok")
    assert (result.stdout, result.stderr) == (b"lo\nok\n", b"touch: /x: Read-only file system\n")


def test_filter_denies_new_namespaces(run: Run) -> None:
    assert b"Operation not permitted" in run("unshare", "-m", "true", user=(0, 0)).stderr


def test_signal_is_told_from_status(run: Run) -> None:
    result = run("sh", "-c", "kill -SEGV $$; sleep 1")
    assert (result.exit_code, result.signal) in [(None, signal.SIGSEGV), (0, None)]  # pid 1 may be spared by the kernel


def test_timeout_ends_all_of_it(run: Run) -> None:
    result = run("sh", "-c", "sleep 1000 & sleep 1000", timeout=0.3)
    assert (result.timed_out, result.exit_code, result.signal) == (True, None, signal.SIGKILL)
    with pytest.raises(boxes.ProgramError, match="did not end in time"):
        result.check()


@requires("cgroup1")
def test_limits_hold_and_use_is_told(run: Run) -> None:
    eats = "x=x; while :; do x=$x$x; done"
    result = run("sh", "-c", eats, limits=boxes.Limits(memory=8 << 20, pids=5, cpus=0.5))
    assert result.limits == "cgroups"
    assert result.oom_killed
    assert result.memory_peak <= 8 << 20
    assert result.cpu_time > 0


def test_output_beyond_the_limit_is_counted(run: Run) -> None:
    result = run("sh", "-c", "yes | head -c 100000", max_output=1000)
    assert (len(result.stdout), result.stdout_dropped) == (1000, 99000)


def test_large_input_goes_through(run: Run) -> None:
    content = os.urandom(1 << 20)
    assert run("cat", input=content).stdout == content


def test_large_request_goes_through(run: Run) -> None:
    assert run("sh", "-c", "echo $BIG", env={"BIG": "x" * 100_000}).stdout == b"x" * 100_000 + b"\n"


def test_program_that_is_missing_is_an_error(run: Run) -> None:
    with pytest.raises(boxes.KernelError, match="executable file not found in"):
        run("nothing")


def test_bad_config_is_an_error_with_its_place(run: Run) -> None:
    with pytest.raises(boxes.ConfigError) as caught:
        run("true", cwd="relative")
    assert caught.value.pointer == "/process/cwd"


def test_terminal_has_nowhere_to_go(run: Run, bundle: Bundle) -> None:
    made: Any = boxes.Config(args=["true"], rootfs=bundle.path / "rootfs").document()
    made["process"]["terminal"] = True
    with pytest.raises(boxes.UsageError, match="console socket"):
        run("true", config=made)


def test_binds_show_files_of_the_host(run: Run, directory: Path) -> None:
    (directory / "shown").write_text("content")
    result = run("sh", "-c", "cat /tmp/f; echo >/tmp/f", binds=[boxes.Bind(directory / "shown", "/tmp/f")])
    assert result.stdout == b"content"
    assert b"Read-only" in result.stderr or b"denied" in result.stderr


def test_what_takes_more_to_remove_is_removed(run: Run, bundle: Bundle, directory: Path) -> None:
    """Hooks after the end, and cgroups in parents of their own: more than a keeper does."""
    made: Any = boxes.Config(args=["true"], rootfs=bundle.path / "rootfs").document()
    made["linux"]["cgroupsPath"] = f"/boxes-test-{os.getpid()}/parent/below"
    made["hooks"] = {"poststop": [{"path": "/bin/touch", "args": ["touch", str(directory / "ran")]}]}
    assert run("true", config=made).ok
    assert (directory / "ran").exists()


def test_ids_of_processes_are_its_own(run: Run) -> None:
    assert run("sh", "-c", "echo $$").stdout == b"1\n"


def test_streams_while_it_runs(box: Runtime, bundle: Bundle) -> None:
    with boxes.popen(["cat"], rootfs=bundle.path / "rootfs", root=box.root, stdin=boxes.PIPE) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        program.stdin.write(b"one\ntwo\n")
        assert program.stdout.read_line() == b"one\n"
        assert program.poll() is None
        program.stdin.close()
        assert program.stdout.read() == b"two\n"
        assert program.wait(10).exit_code == 0


def test_leaving_the_block_ends_it(box: Runtime, bundle: Bundle) -> None:
    with boxes.popen(["sleep", "1000"], rootfs=bundle.path / "rootfs", root=box.root) as program:
        pid = program.pid
    wait_until(lambda: not os.path.exists(f"/proc/{pid}"), "its end")
    wait_until(lambda: not any(path.name != ".cache" for path in box.root.iterdir()), "its removal")


def test_wait_gives_up_in_time(box: Runtime, bundle: Bundle) -> None:
    with boxes.popen(["sleep", "1000"], rootfs=bundle.path / "rootfs", root=box.root) as program:
        with pytest.raises(TimeoutError):
            program.wait(0.1)
        program.send_signal(signal.SIGKILL)
        assert program.wait(10).signal == signal.SIGKILL


def test_tasks_of_a_loop_run_side_by_side(box: Runtime, bundle: Bundle) -> None:
    async def main() -> list[boxes.Result]:
        calls = [
            boxes.aio.run(["echo", str(number)], rootfs=bundle.path / "rootfs", root=box.root) for number in range(20)
        ]
        return await asyncio.gather(*calls)

    assert [result.stdout for result in asyncio.run(main())] == [b"%d\n" % number for number in range(20)]


def test_cancelled_task_leaves_nothing(box: Runtime, bundle: Bundle) -> None:
    async def main() -> None:
        call = boxes.aio.run(["sleep", "1000"], rootfs=bundle.path / "rootfs", root=box.root)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(call, 0.5)

    asyncio.run(main())
    wait_until(lambda: not any(path.name != ".cache" for path in box.root.iterdir()), "its removal")


def test_threads_run_side_by_side(run: Run) -> None:
    found: dict[int, bytes] = {}

    def call(number: int) -> None:
        found[number] = run("echo", str(number)).stdout

    threads = [threading.Thread(target=call, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: b"%d\n" % number for number in range(20)}


@requires("nft")
def test_network_is_made_and_taken_back(box: Runtime, bundle: Bundle) -> None:
    with lans.made() as lan:  # the zygote is of this network namespace
        config = boxes.Config(
            args=["ip", "-o", "addr"], rootfs=bundle.path / "rootfs", network="bridge", publish=["8080:80"]
        )
        result = boxes.run(config.args, rootfs=config.rootfs, config=config.document(), root=box.root).check()
        assert b"inet 10.18" in result.stdout
        client.shut_down()
        lan.settle()


@pytest.mark.parametrize(
    "wrong",
    [
        {"timeout": "x"}, {"timeout": -1}, {"timeout": float("nan")}, {"max_output": "a"}, {"input": 4},
        {"input": "\ud800"}, {"env": {"A": "\ud800"}}, {"rootfs": ""}, {"rootfs": None}, {"root": ""}, {"cwd": 5},
    ],
)  # fmt: skip
def test_wrong_argument_is_named(box: Runtime, bundle: Bundle, wrong: dict[str, Any]) -> None:
    with pytest.raises(boxes.UsageError, match=f"'{next(iter(wrong))}'(,| is| cannot)"):
        boxes.run(["true"], **({"rootfs": bundle.rootfs, "root": box.root} | wrong))


@pytest.mark.parametrize("args", [[], 5, "true", ("true" for _ in "1"), {"true": 1}, ["\ud800"], ["a\0b"], [None]])
def test_arguments_are_a_list_of_text(bundle: Bundle, args: Any) -> None:
    with pytest.raises(boxes.UsageError, match="'args' is a list"):
        boxes.run(args, rootfs=bundle.rootfs)


def test_time_without_end_is_none(box: Runtime, bundle: Bundle) -> None:
    for timeout in (float("inf"), 1e300):
        assert boxes.run(["true"], rootfs=bundle.rootfs, root=box.root, timeout=timeout).ok


def test_program_that_was_let_go_of_says_so(box: Runtime, bundle: Bundle) -> None:
    with boxes.popen(["sleep", "1000"], rootfs=bundle.rootfs, root=box.root) as program:
        for number in ("TERM", 65, -1, None):
            with pytest.raises(boxes.UsageError, match="'number' is"):
                program.send_signal(number)  # type: ignore[arg-type]
    for use in (program.poll, program.wait):
        with pytest.raises(boxes.StateError):
            use()
    with pytest.raises(boxes.UsageError, match="no stream"):
        boxes.popen(["true"], rootfs=bundle.rootfs, root=box.root, stdout=99999)


def test_whole_config_needs_no_rootfs(box: Runtime, bundle: Bundle) -> None:
    config = boxes.Config(args=["echo", "hi"], rootfs=bundle.path / "rootfs")
    for given in (config, config.document()):
        result = boxes.run(["echo", "ho"], config=given, root=box.root)
        assert (result.args, result.stdout) == (("echo", "ho"), b"ho\n")
    elsewhere = boxes.Config(args=["false"], rootfs="/nowhere")
    assert boxes.run(["true"], config=elsewhere, rootfs=bundle.rootfs, root=box.root).ok
    with pytest.raises(boxes.UsageError, match="'env' is the config's"):
        boxes.run(["true"], config=config, env={"A": "b"})
    with pytest.raises(boxes.UsageError, match="'rootfs'"):
        boxes.run(["echo"], root=box.root)
