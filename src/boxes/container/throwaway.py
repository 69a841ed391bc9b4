"""Containers that leave nothing: a bundle of their own, made for one run and removed after it.

The bundle is a directory `.try-XXXX` beside the containers' own (no id begins with '.'), and the container is called
`try-XXXX`. Whoever runs it holds a lock on the directory, so that the next one can tell what a killed runtime left.
"""

from __future__ import annotations

import fcntl
import os

from boxes import log
from boxes.container import lifecycle
from boxes.errors import BoxesError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from boxes.container.store import Store

PREFIX = ".try-"


def run(
    store: Store,
    config: bytes,
    *,
    cgroup_manager: str = "auto",
    rootless: str = "auto",
    network: dict[str, list[str]] | None = None,
) -> int:
    """Run `config`, whose root is the empty directory `rootfs`, to its end. The exit status. Raises BoxesError."""
    os.makedirs(store.runtime, mode=0o700, exist_ok=True)
    _sweep(store)
    name, lock = _make(store.runtime)
    try:
        options = lifecycle.CreateOptions(
            bundle=f"{store.runtime}/{name}",
            config=config,
            cgroup_manager=cgroup_manager,
            rootless=rootless,
            network=network,
        )
        return lifecycle.run(store, name[1:], options)
    finally:
        _remove(store.runtime, name)
        os.close(lock)


def _make(parent: str) -> tuple[str, int]:
    """A new bundle directory: its name, and the descriptor that holds its lock."""
    while True:
        name = f"{PREFIX}{os.urandom(6).hex()}"
        os.mkdir(f"{parent}/{name}", 0o700)
        lock = _lock(f"{parent}/{name}")
        if lock is not None:
            os.mkdir(f"{parent}/{name}/rootfs", 0o755)
            return name, lock
        # Between mkdir and lock somebody swept it away; the next name will do.


def _lock(path: str) -> int | None:
    """Lock a directory, if nobody has and it still exists."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(fd).st_nlink:  # 0 once it is removed
            return fd
    except BlockingIOError:
        pass  # whoever made it is alive
    os.close(fd)
    return None


def _sweep(store: Store) -> None:
    """Remove what runtimes left that were killed, the container first: its mounts hang on the directory."""
    for name in os.listdir(store.runtime):
        if not name.startswith(PREFIX):
            continue
        lock = _lock(f"{store.runtime}/{name}")
        if lock is not None:
            try:
                lifecycle.delete(store, name[1:], force=True)
                _remove(store.runtime, name)
            except BoxesError as error:
                log.warning(f"ignoring '{name}', which an earlier run left: {error}")
            finally:
                os.close(lock)


def _remove(parent: str, name: str) -> None:
    import shutil

    # rmtree works by descriptors and follows no link that the container may have made.
    shutil.rmtree(f"{parent}/{name}", ignore_errors=True)
