"""The descriptors that inner's steps name."""

from __future__ import annotations


class Descriptors:
    """Numbers that are reserved before the builder is made, and hold what they say by the time inner runs.

    `root`: the finished root; `old_root`: the host's, to be left, or -1 where there is nothing of it; `listening`: the
    start socket, or -1 to start at once; `state`: what startContainer hooks read; `mount_namespace`: the one that is
    joined, or -1; `proc`: a procfs to write labels through, or -1; `bare`: the bare mount namespace, or -1, which inner
    finds at `old_root`, to go there instead of leaving the host's root (container/bare.py).
    """

    def __init__(
        self,
        root: int,
        old_root: int,
        listening: int,
        state: int,
        mount_namespace: int = -1,
        proc: int = -1,
        bare: int = -1,
    ) -> None:
        self.root = root
        self.old_root = old_root
        self.listening = listening
        self.state = state
        self.mount_namespace = mount_namespace
        self.proc = proc
        self.bare = bare

    @property
    def all(self) -> list[int]:
        given = [fd for fd in (self.listening, self.mount_namespace, self.proc) if fd >= 0]
        return [self.root, self.old_root, self.state, *given]
