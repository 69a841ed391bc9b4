"""The session keyring is new, whatever keyrings others have made: one that is joined by its name may be anybody's."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.support.bundle import Bundle
from tests.support.runtime import Runtime
from tests.support.tally import Row

# Any user: makes a keyring of that name, as its own session's, and lets everybody search it. Says its number.
PLANT = """
import ctypes, platform, sys
libc = ctypes.CDLL(None, use_errno=True)
keyctl = {"x86_64": 250, "aarch64": 219}[platform.machine()]
number = libc.syscall(keyctl, 1, sys.argv[1].encode())  # KEYCTL_JOIN_SESSION_KEYRING
assert number > 0 and libc.syscall(keyctl, 5, number, 0x3f3f3f3f) == 0, ctypes.get_errno()  # KEYCTL_SETPERM
print(number, flush=True)
sys.stdin.read()
"""


@contextmanager
def planted(name: str) -> Iterator[int]:
    command = [sys.executable, "-c", PLANT, name]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, stdin=pipe, stdout=pipe, text=True, cwd="/", user=65534, group=65534, extra_groups=[]
    ) as other:
        assert other.stdout is not None
        yield int(other.stdout.readline())
        other.communicate("")


@pytest.fixture
def names(bundle: Bundle) -> list[str]:
    return ["_ses", f"_ses.{bundle.id}", bundle.id]


def joined(runtime: Runtime, bundle: Bundle, name: str) -> bool:
    with planted(name) as number:
        ran = runtime.run(bundle.args("/bin/probe")).report()
        return bool(ran["keyring"]["id"] == number)


def test_keyring_that_another_user_planted_is_not_joined(
    box: Runtime, bundle: Bundle, names: list[str], tally: Row
) -> None:
    for name in names:
        assert not joined(box, bundle, name)
    tally.tried(len(names))


def test_nor_by_exec(box: Runtime, bundle: Bundle, names: list[str], tally: Row) -> None:
    container = box.start(bundle.args("/bin/sleep", "100"))
    for name in names:
        with planted(name) as number:
            assert container.exec("/bin/probe").report()["keyring"]["id"] != number
    tally.tried(len(names))


@pytest.mark.parametrize("name", ["runc", "crun"])
def test_control(bundle: Bundle, peer: Callable[[str], Runtime], names: list[str], tally: Row, name: str) -> None:
    runtime = peer(name)
    tally.red(name, any(joined(runtime, bundle, each) for each in names))
