"""A read of the container's terminal that fails once does not cut its output off."""

from __future__ import annotations

import errno

import pytest

from boxes.container import relay


def test_read_that_fails_for_a_moment_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[bytes | OSError] = [OSError(errno.ENOMEM, "no memory"), b"text"]

    def read(fd: int, size: int) -> bytes:
        answer = answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer

    monkeypatch.setattr("boxes.container.relay.os.read", read)
    assert relay._read(3) == b"text"
    answers[:] = [BlockingIOError(), b"not read"]
    with pytest.raises(BlockingIOError):
        relay._read(3)
    assert answers == [b"not read"]
