"""A sandbox's files, reached from outside: each operation is prepared by the caller, and done there or in a thread."""

from __future__ import annotations

import asyncio
import functools
from abc import ABC, abstractmethod

from boxes.container.transfer import Inside
from boxes.errors import UsageError
from boxes.spec import given as check

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Coroutine, Mapping
    from typing import Any, ParamSpec, TypeVar

    from boxes.api.process import Running
    from boxes.container.layers import Layer

    T = TypeVar("T")
    P = ParamSpec("P")
    Work = Callable[[], T]

LARGEST = 64 << 20  # bytes that `read_file` reads, by default


def at_once(prepare: Callable[P, Work[T]]) -> Callable[P, T]:
    """The synchronous face of what is prepared."""

    @functools.wraps(prepare)
    def face(*args: P.args, **kwargs: P.kwargs) -> T:
        return prepare(*args, **kwargs)()

    return face


def in_thread(prepare: Callable[P, Work[T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """The asynchronous one: no event loop waits for a disk. Cancelled, it is done to its end all the same."""

    @functools.wraps(prepare)
    async def face(*args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.to_thread(prepare(*args, **kwargs))

    return face


class Reached(ABC):
    """What can be done with the files of a container that is there."""

    @abstractmethod
    def _alive(self) -> Running:
        """The container. Raises StateError if there is none any more."""

    @abstractmethod
    def _own_layer(self) -> Layer:
        """Where all changes are. Raises StateError if there is none."""

    @abstractmethod
    def _whole_config(self) -> Mapping[str, Any]:
        """What the container was made from."""

    def _owner(self) -> tuple[int, int] | None:
        """Whom files are given that come from outside; the caller's, if ids are mapped."""
        config = self._whole_config()
        linux = config.get("linux") or {}
        if any(each["type"] == "user" for each in linux.get("namespaces") or ()):
            return None
        user = (config.get("process") or {}).get("user") or {}
        return user.get("uid", 0), user.get("gid", 0)

    def _work(self, what: Callable[[Inside], T]) -> Work[T]:
        running = self._alive()
        inside = Inside(running.pid, running.pidfd)

        def whole() -> T:
            with inside:
                return what(inside)

        return whole

    def _copy_in(self, source: str | os.PathLike[str], target: str) -> Work[None]:
        """Copy a file or directory of the host to be `target` in the sandbox, owned by its user. Links in a directory
        stay links. Raises KernelError."""
        path, owner = check.path("source", source), self._owner()
        check.instance("target", target, str)
        return self._work(lambda inside: inside.copy_in(path, target, owner))

    def _copy_out(self, source: str, target: str | os.PathLike[str]) -> Work[None]:
        """Copy a file or directory of the sandbox to be `target` on the host. Links stay links: take care what follows
        them. Files of the kernel's (/proc, /sys) are refused."""
        path = check.path("target", target)
        check.path("source", source)
        return self._work(lambda inside: inside.copy_out(source, path))

    def _read_file(self, path: str, *, most: int = LARGEST) -> Work[bytes]:
        """What a file of the sandbox holds. Raises KernelError, also if it is more than `most` bytes, or is no file but
        the kernel's (/proc, /sys), a device or a pipe."""
        check.instance("path", path, str)
        check.size("most", most)
        return self._work(lambda inside: inside.read(path, most))

    def _write_file(self, path: str, content: bytes | str, *, mode: int = 0o644) -> Work[None]:
        """Make a file in the sandbox, with the directories on the way."""
        check.instance("path", path, str)
        check.data("content", content)
        if content is None or type(mode) is not int or not 0 <= mode <= 0o7777:
            raise UsageError(f"a file has content and a mode, not {content!r:.40} and {mode!r}")
        data = content.encode() if isinstance(content, str) else content
        owner = self._owner()
        return self._work(lambda inside: inside.write(path, data, mode, owner))

    def _diff(self) -> Work[list[tuple[str, str]]]:
        """(kind, path) of what its programs have changed of its root: "changed", "deleted", or "replaced" for a
        directory of which nothing below is left."""
        layer = self._own_layer()
        return lambda: list(layer.changes())
