"""Layers: directories that an overlay writes a container's changes to, one for each container, made and swept here.

They lie in `<state>/.layers/<id>/`, with a lock that their owner holds: what a killed owner left is told apart by that.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import shutil
import stat
import time

from boxes.errors import BoxesError, refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from boxes.container.store import Store

_FOLDER = ".layers"
_AGAIN = 20  # milliseconds
_OPAQUE = ("trusted.overlay.opaque", "user.overlay.opaque")


class Layer:
    """`upper`: what was changed; `work`: the kernel's. Both belong to one container at a time."""

    _lock = -1

    def __init__(self, store: Store, id: str, folder: str | None = None) -> None:
        parent = folder or f"{store.state}/{_FOLDER}"
        self.path = f"{parent}/{id}"
        self.upper, self.work = f"{self.path}/upper", f"{self.path}/work"
        self._ours = folder is None  # the directory that holds it
        try:
            self._take(store, parent, sweep=self._ours)
            self._lock = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._make()
        except OSError as error:
            raise refused("cannot make the layer", error) from error

    def _take(self, store: Store, parent: str, *, sweep: bool) -> None:
        """The directory; who closed the last layer may have removed the parent meanwhile."""
        for attempt in range(8):
            os.makedirs(parent, mode=0o700, exist_ok=True)
            try:
                if sweep:
                    _sweep(store, parent)
                os.mkdir(self.path, 0o700)
                return
            except FileNotFoundError:
                if attempt == 7:
                    raise

    def _make(self) -> None:
        for path, mode in ((self.upper, 0o755), (self.work, 0o700)):
            os.mkdir(path, mode)
            os.chmod(path, mode)

    def empty(self) -> None:
        """Forget all changes. Not while it is mounted."""
        _remove(self.upper)
        _remove(self.work)
        self._make()

    def check_target(self, target: str) -> None:
        """Whether `move_to` can go there. Raises KernelError."""
        try:
            if os.stat(self.path).st_dev != os.stat(os.path.dirname(target)).st_dev:
                raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), target)
            if os.path.lexists(target) and os.listdir(target):
                raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), target)
        except OSError as error:
            raise _not_kept(target, error) from error

    def move_to(self, target: str) -> None:
        """Give what was changed another place, on the same filesystem, and begin anew. Not while it is mounted."""
        try:
            os.rename(self.upper, target)
        except OSError as error:
            raise _not_kept(target, error) from error
        self.empty()

    def changes(self) -> Iterator[tuple[str, str]]:
        """(kind, path) of each: "changed" for what was made or written, "deleted" for what is hidden; overlayfs.rst,
        "whiteouts and opaque directories"."""
        yield from _changes(self.upper, "")

    def close(self, patience: float = 0) -> None:
        """Remove it; for `patience` seconds again, while a container that is about to end has it mounted still."""
        if self._lock >= 0:
            deadline = time.monotonic() + patience
            _remove(self.path)
            while os.path.exists(self.path) and time.monotonic() < deadline:
                select.poll().poll(_AGAIN)
                _remove(self.path)
            self._unlock()
            if self._ours:
                with contextlib.suppress(OSError):
                    os.rmdir(os.path.dirname(self.path))  # if it was the last

    def _unlock(self) -> None:
        lock, self._lock = self._lock, -1  # never twice, whatever comes between
        if lock >= 0:
            os.close(lock)

    def __del__(self) -> None:
        self._unlock()  # one that was not closed is swept away with the next


def _not_kept(target: str, error: OSError) -> BoxesError:
    hint = "a layer can only be moved within its filesystem: see 'scratch'" if error.errno == errno.EXDEV else None
    return refused(f"cannot keep the layer in '{target}'", error, hint=hint)


def _remove(path: str) -> None:
    """A tree that nobody changes any more. The kernel makes directories of mode 0, which only root can look into."""
    if os.geteuid() != 0:
        for parent, names, _ in os.walk(path):
            for name in names:
                if not os.path.islink(f"{parent}/{name}"):
                    os.chmod(f"{parent}/{name}", 0o700)
    shutil.rmtree(path, ignore_errors=True)


def _changes(directory: str, below: str) -> Iterator[tuple[str, str]]:
    with os.scandir(directory) as entries:
        for entry in sorted(entries, key=lambda found: found.name):
            path = f"{below}/{entry.name}"
            facts = entry.stat(follow_symlinks=False)
            if stat.S_ISCHR(facts.st_mode) and facts.st_rdev == 0:
                yield "deleted", path
                continue
            if stat.S_ISDIR(facts.st_mode):
                yield ("replaced" if _opaque(entry.path) else "changed"), path
                yield from _changes(entry.path, path)
            else:
                yield "changed", path


def _opaque(path: str) -> bool:
    for name in _OPAQUE:
        try:
            if os.getxattr(path, name, follow_symlinks=False) == b"y":
                return True
        except OSError:
            continue
    return False


def _sweep(store: Store, parent: str) -> None:
    """Remove what owners left that were killed, once their containers have gone."""
    from boxes.container import lifecycle

    for name in os.listdir(parent):
        path = f"{parent}/{name}"
        try:
            lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            lifecycle.delete(store, name, force=True)
            _remove(path)
        except (OSError, BoxesError):
            continue  # its owner lives, or the next one will do it
        finally:
            os.close(lock)
