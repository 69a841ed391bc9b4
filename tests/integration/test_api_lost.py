"""Containers whose maker is lost, or lets go of them, while they are made: nothing is left of them."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import FrameType

import pytest

import boxes
from boxes.api import client
from tests.support.bundle import Bundle
from tests.support.runtime import CHECKOUT, Runtime, wait_until

MOMENTS = [number / 1000 for number in range(0, 24, 2)]  # seconds: a sandbox takes some 12 ms


@pytest.fixture(autouse=True)
def zygote() -> Iterator[None]:
    yield
    client.shut_down()


def nothing_is_left(box: Runtime) -> None:
    wait_until(lambda: not list(box.root.glob("[!.]*")), "the end of what nobody has")


def ready(box: Runtime, bundle: Bundle) -> Path:
    """With a zygote that waits; the root filesystem."""
    boxes.run(["/bin/true"], rootfs=bundle.rootfs, root=box.root).check()
    return bundle.rootfs


CALLER = """
import os, sys, threading, time
import boxes
kind, rootfs, root, moment = sys.argv[1:]
boxes.run(["/bin/true"], rootfs=rootfs, root=root).check()
threading.Thread(target=lambda: (time.sleep(float(moment)), os.kill(os.getpid(), 9))).start()
if kind == "sandbox":
    kept = boxes.Sandbox(rootfs, root=root)
else:
    kept = boxes.Container("lost", root=root)
    kept.create(config=boxes.Config(args=["/bin/sleep", "1000"], rootfs=rootfs))
time.sleep(10)
"""


@pytest.mark.parametrize("kind", ["sandbox", "container"])
def test_caller_that_is_killed_as_it_makes_one(box: Runtime, bundle: Bundle, kind: str) -> None:
    env = os.environ | {"PYTHONPATH": str(CHECKOUT / "src")}
    for moment in MOMENTS:
        command = [sys.executable, "-c", CALLER, kind, str(bundle.rootfs), str(box.root), str(moment)]
        assert subprocess.run(command, env=env, timeout=30, check=False).returncode == -signal.SIGKILL
        nothing_is_left(box)
    boxes.Sandbox(bundle.rootfs, root=box.root).close()  # takes layers away that have no owner


@pytest.mark.parametrize("kind", ["sandbox", "container"])
def test_task_that_is_cancelled_as_it_makes_one(box: Runtime, bundle: Bundle, kind: str) -> None:
    rootfs = ready(box, bundle)

    async def make() -> None:
        if kind == "sandbox":
            async with boxes.aio.Sandbox(rootfs, root=box.root):
                pass
        else:
            config = boxes.Config(args=["/bin/sleep", "1000"], rootfs=rootfs)
            await boxes.aio.Container("cancelled", root=box.root).create(config=config)

    async def cancelled(moment: float) -> None:
        task = asyncio.create_task(make())
        await asyncio.sleep(moment)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    for moment in MOMENTS:
        asyncio.run(cancelled(moment))
        nothing_is_left(box)
    wait_until(lambda: not (box.root / ".layers").exists(), "the end of its layers")


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("kind", ["sandbox", "container"])
def test_signal_whose_handler_raises(box: Runtime, bundle: Bundle, kind: str) -> None:
    rootfs = ready(box, bundle)
    config = boxes.Config(args=["/bin/sleep", "1000"], rootfs=rootfs)

    armed = False

    def make() -> None:
        """In a frame of its own, that keeps nothing which would keep the container."""
        if kind == "sandbox":
            boxes.Sandbox(rootfs, root=box.root, layered=False).close()
            return
        with boxes.Container("interrupted", root=box.root) as container:
            container.create(config=config)

    def interrupt(number: int, frame: FrameType | None) -> None:
        if armed:
            raise KeyboardInterrupt

    make()  # once in peace, for an import that is interrupted leaves files open
    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        for moment in MOMENTS:
            timer = threading.Timer(moment + 0.0005, os.kill, (os.getpid(), signal.SIGUSR1))
            timer.start()
            with suppress(KeyboardInterrupt):
                armed = True
                make()
                armed = False
            armed = False
            timer.join()
            nothing_is_left(box)
    finally:
        signal.signal(signal.SIGUSR1, before)


HOOKED = """
import os, sys
import boxes
rootfs, root, end = sys.argv[1:]
config = boxes.Config(args=["/bin/sleep", "1000"], rootfs=rootfs).document()
config["hooks"] = {"poststop": [{"path": "/bin/touch", "args": ["touch", root + "/../told"]}]}
program = boxes.popen(["/bin/sleep", "1000"], config=config, root=root)
if end == "killed":
    os.kill(os.getpid(), 9)
program.close()
"""


@pytest.mark.parametrize("end", ["killed", "closed"])
def test_container_that_others_are_concerned_of_is_deleted(box: Runtime, bundle: Bundle, end: str) -> None:
    """It takes more than to remove files and cgroups: here a hook."""
    env = os.environ | {"PYTHONPATH": str(CHECKOUT / "src")}
    command = [sys.executable, "-c", HOOKED, str(bundle.rootfs), str(box.root), end]
    subprocess.run(command, env=env, timeout=30, check=False)
    nothing_is_left(box)
    assert (box.root.parent / "told").exists()


def test_shortage_of_descriptors_leaves_nothing(box: Runtime, bundle: Bundle) -> None:
    """Neither an error of another kind, nor a container half made: what takes it back may need descriptors, too."""
    code = (
        "import sys, boxes\n"
        "rootfs, root = sys.argv[1:]\n"
        "for make in boxes.run, boxes.popen:\n"
        "    try:\n"
        "        made = make(['/bin/true'], rootfs=rootfs, root=root, limits=boxes.Limits(open_files=None))\n"
        "        made.close() if make is boxes.popen else made.check()\n"
        "    except boxes.BoxesError: pass\n"
    )
    env = os.environ | {"PYTHONPATH": str(CHECKOUT / "src")}
    for most in range(14, 42, 3):
        limited = ["sh", "-c", f'ulimit -n {most}; exec "$@"', "sh", sys.executable, "-c", code]
        done = subprocess.run([*limited, str(bundle.rootfs), str(box.root)], env=env, timeout=60, check=False)
        assert done.returncode == 0
        nothing_is_left(box)
