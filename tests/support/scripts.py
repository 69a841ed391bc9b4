"""Scripts, as the maker gets them: whether they are used, and what becomes of one with another step in it."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from boxes.api import client, scripted
from boxes.plan import inner

Steps = list[tuple[int, bytes]]


def decoded(script: bytes) -> Steps:
    count = struct.unpack_from("=I", script, 12)[0]
    found, at = [], 16
    for _ in range(count):
        code, size = struct.unpack_from("=II", script, at)
        found.append((code, script[at + 8 : at + 8 + size]))
        at += 8 + (size + 7) // 8 * 8
    assert at == len(script)
    return found


def encoded(steps: Steps) -> bytes:
    return inner.whole(b"".join(inner.encoded(code, payload) for code, payload in steps), len(steps))


def call(name: str, *arguments: int | bytes) -> tuple[int, bytes]:
    """One step."""
    steps = inner.Steps()
    steps.call(name, *arguments)
    return decoded(steps.encode())[0]


ENDS = call("exit_group", 9)  # whoever comes to it ends as if it was killed before the step in whose place this is
FAILS = call("close", -1)


class Counter:
    """How often a program was begun by a script, what was sent, and of which containers."""

    def __init__(self) -> None:
        self.used = 0
        self.sent: list[bytes] = []
        self.ids: set[str] = set()
        self.change: Callable[[bytes], bytes] | None = None


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter]:
    """Counts, and lets a test change what is sent; a template that has failed is tried again at once."""
    counter = Counter()
    carried_out, send = scripted._carried_out, client.send_script

    def count(*given: Any) -> Any:
        found = yield from carried_out(*given)
        counter.used += found is not None
        return found

    def sent(zygote: Any, script: bytes, fds: Any) -> Any:
        counter.sent.append(script)
        counter.ids |= {found.decode() for found in re.findall(rb"run-[0-9a-f]{16}", script)}
        return send(zygote, script if counter.change is None else counter.change(script), fds)

    monkeypatch.setattr(scripted, "_carried_out", count)
    monkeypatch.setattr(client, "send_script", sent)
    monkeypatch.setattr(scripted, "_AGAIN", 0.0)
    yield counter
    client.shut_down()


def _never(*_: object) -> Any:
    return None
    yield


@contextmanager
def by_workers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Everything in the ordinary way."""
    with monkeypatch.context() as patch:
        patch.setattr(scripted, "run", _never)
        patch.setattr(scripted, "execute", _never)
        yield
