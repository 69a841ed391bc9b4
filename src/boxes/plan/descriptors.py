"""The descriptors that inner's steps name."""

from __future__ import annotations


class Descriptors:
    """Numbers that are reserved before the builder is made, and hold what they say by the time inner runs.

    `root`: the finished root; `listening`: the start socket; `state`: what startContainer hooks read; `mount_namespace`:
    the one that is joined, or -1.
    """

    def __init__(self, root: int, listening: int, state: int, mount_namespace: int = -1) -> None:
        self.root = root
        self.listening = listening
        self.state = state
        self.mount_namespace = mount_namespace

    @property
    def all(self) -> list[int]:
        joined = [self.mount_namespace] if self.mount_namespace >= 0 else []
        return [self.root, self.listening, self.state, *joined]
