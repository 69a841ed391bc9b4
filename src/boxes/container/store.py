"""Where containers are kept: a directory each, with its lock and its journal.

`<runtime>/<id>/` is where every verb begins: it holds the start socket, and is locked by whoever changes the container.
The journal `state.json` and the config lie in `<state>/<id>/`, which for root is the same directory, and for an
ordinary user outlives the session; the runtime directory then holds a file `state` with its path.
"""

from __future__ import annotations

import errno
import fcntl

from boxes import log
from boxes import system as os
from boxes.errors import BoxesError, ConfigError, ExistsError, InternalError, NotFoundError, UsageError, refused
from boxes.linux import procfs
from boxes.spec.document import dump, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

START_SOCKET = "start"  # in a container's directory: where `start` knocks
VERSION = 1  # of the journal's form
# What a journal of this form has from the beginning; what there can be in a container's directory.
_MEMBERS = set("id bundle rootfs annotations created owner boot maker status options own_pids poststop cgroups".split())
_FILES = set(
    "config.json egress.json exit hosts netns notify outcome resolv.conf slirp state state.json waiting".split()
)
_FILES |= {START_SOCKET, "yard"}
_LIMIT = 64 << 20


class Store:
    """All containers of one owner."""

    def __init__(self, runtime: str, state: str) -> None:
        self.runtime = runtime
        self.state = state

    @classmethod
    def default(cls, environ: Mapping[str, str], root: str | None) -> Store:
        """By --root, or by who asks: root of the host has /run/boxes, whatever its environment says, because engines
        drop that between two calls; everybody else the XDG directories."""
        if root is not None:
            path = os.abspath(root)
            if not root or path == "/":
                raise UsageError(f"--root cannot be '{root}'")
            return cls(path, path)
        uid = os.geteuid()
        if uid == 0 and (procfs.in_initial_user_namespace() or "XDG_RUNTIME_DIR" not in environ):
            return cls("/run/boxes", "/run/boxes")
        runtime = environ.get("XDG_RUNTIME_DIR") or f"/run/user/{uid}"
        if not os.isdir(runtime):
            runtime = _private_directory(f"/tmp/boxes-{uid}", uid)
        home = environ.get("HOME")
        state = environ.get("XDG_STATE_HOME") or (f"{home}/.local/state" if home else runtime)
        return cls(f"{runtime}/boxes", f"{state}/boxes")

    def ids(self) -> list[str]:
        try:
            names = os.listdir(self.runtime)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise refused("cannot list containers", error) from error
        return sorted(name for name in names if not name.startswith("."))

    def new(self, id: str) -> Place:
        """Take an id: its directory, locked. Raises ExistsError."""
        path = f"{self.runtime}/{id}"
        state = f"{self.state}/{id}"
        try:
            os.makedirs(self.runtime, mode=0o700, exist_ok=True)
            os.mkdir(path, 0o700)
        except FileExistsError:
            raise ExistsError(f"container '{id}' exists already", path=path) from None
        except OSError as error:
            raise refused(f"cannot keep container '{id}'", error) from error
        try:
            place = self.open(id)
            others = os.listdir(path)
        except (BoxesError, OSError):
            _remove_empty(path)
            raise
        if others:  # ours was deleted before it was locked, and this is another's
            place.close()
            raise ExistsError(f"container '{id}' exists already", path=path)
        if state != path:
            try:
                os.makedirs(state, mode=0o700, exist_ok=True)
                place.write("state", os.fsencode(state))
                place.state = state
            except OSError:
                place.state = path  # an ordinary user without a home: the runtime directory will do
        return place

    def open(self, id: str, *, busy: Callable[[], None] | None = None) -> Place:
        """Lock the container's directory, waiting for who has it; `busy` is called before. Raises NotFoundError."""
        path = f"{self.runtime}/{id}"
        while True:
            try:
                fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            except (FileNotFoundError, NotADirectoryError):
                raise NotFoundError(f"container '{id}' does not exist") from None
            except OSError as error:
                raise refused(f"cannot open container '{id}'", error) from error
            try:
                _lock(fd, busy)
                there = os.fstat(fd).st_nlink  # 0: it was deleted while we waited
            except BaseException:
                os.close(fd)  # else this process would wait for itself the next time
                raise
            if there:
                return Place(id, path, fd)
            os.close(fd)

    def peek(self, id: str) -> Place:
        """The container's directory without its lock: for verbs that only look."""
        path = f"{self.runtime}/{id}"
        try:
            return Place(id, path, os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC))
        except (FileNotFoundError, NotADirectoryError):
            raise NotFoundError(f"container '{id}' does not exist") from None
        except OSError as error:
            raise refused(f"cannot open container '{id}'", error) from error


class Place:
    """One container's directory. The descriptor `fd` carries its lock, until `close`."""

    def __init__(self, id: str, path: str, fd: int) -> None:
        self.id = id
        self.path = path
        self.fd = fd
        self._state: str | None = None

    @property
    def state(self) -> str:
        """The directory of the journal."""
        if self._state is None:
            try:
                self._state = os.fsdecode(self._read("state"))
            except FileNotFoundError:
                self._state = self.path
        return self._state

    @state.setter
    def state(self, path: str) -> None:
        self._state = path

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __enter__(self) -> Place:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def load(self) -> dict[str, Any]:
        """The journal. Raises InternalError if it is not whole: `delete --force` then removes what it can. KernelError
        if it cannot be read now, which says nothing about what there is to remove."""
        path = f"{self.state}/state.json"
        try:
            found = parse(_read(path), source=path)
        except FileNotFoundError:
            raise NotFoundError(f"container '{self.id}' does not exist", hint="its creation was cut short") from None
        except OSError as error:
            raise refused(f"cannot read the state of container '{self.id}'", error) from error
        except ConfigError as error:
            hint = f"'box delete --force {self.id}' removes what there is"
            raise InternalError(
                f"the state of container '{self.id}' cannot be read: {error}", path=path, hint=hint
            ) from error
        if not isinstance(found, dict) or found.get("version") != VERSION or not found.keys() >= _MEMBERS:
            raise InternalError(f"the state of container '{self.id}' is of another version of boxes", path=path)
        return found

    def save(self, journal: dict[str, Any]) -> None:
        try:
            self.write_state("state.json", dump(journal).encode())
        except OSError as error:
            raise refused("cannot keep the container's state", error) from error

    def config(self) -> dict[str, Any]:
        """The config as it was when the container was created."""
        found = parse(_read(f"{self.state}/config.json"), source="config.json")
        if not isinstance(found, dict):
            raise InternalError(f"the config of container '{self.id}' is not whole", path=self.state)
        return found

    def write(self, name: str, content: bytes) -> None:
        """A file in the runtime directory, replaced whole."""
        replace(f"{self.path}/{name}", content)

    def write_state(self, name: str, content: bytes) -> None:
        replace(f"{self.state}/{name}", content)

    def _read(self, name: str) -> bytes:
        return _read(f"{self.path}/{name}")

    def check_ours(self) -> None:
        """Raise InternalError if there is anything that no container has: a slip of --root must cost nobody's files."""
        for name in os.listdir(self.path):
            if name not in _FILES and not name.endswith(".new"):
                raise InternalError(f"'{self.path}' is not a container's directory: it has '{name}'", path=self.path)

    def remove(self) -> None:
        """Remove the directories; nothing in them is one but those of notification.py, and nothing is followed."""
        for name in ("notify", "yard"):
            _remove_flat(f"{self.path}/{name}")
        state = self.state
        if state != self.path:
            _remove_flat(state)
        _remove_flat(self.path)


def _lock(fd: int, busy: Callable[[], None] | None) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if busy is not None:
            busy()
        fcntl.flock(fd, fcntl.LOCK_EX)


def replace(path: str, content: bytes, mode: int = 0o600) -> None:
    """Write a file so that a reader finds the old or the new content, never part of one: rename(2)."""
    made = f"{path}.{os.getpid()}.new"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        fd = os.open(made, flags, mode)
    except FileExistsError:
        # a killed one's; or planted, since a pid file may lie where others write, and its name is known
        os.unlink(made)
        fd = os.open(made, flags, mode)
    try:
        try:
            os.write_all(fd, content)
        except OSError:
            os.close(fd)
            raise
        os.close_written(fd)
        _rename(made, path)
    except OSError:
        _forget(made)
        raise


def _forget(made: str) -> None:
    """A name that is of no use any more: what has become of the content is what counts."""
    for _ in range(2):
        try:
            os.unlink(made)
            return
        except FileNotFoundError:
            return
        except OSError as error:
            log.debug(f"ignoring: {error}")


def forget_pid(path: str, pid: int) -> None:
    """Remove the pid file of a container that is not to be, if nobody has written another one."""
    try:
        if _read(path) == str(pid).encode():
            os.unlink(path)
    except OSError as error:
        log.debug(f"ignoring: {error}")


def write_pid(path: str, pid: int) -> None:
    """A pid file: the number and no newline, since engines convert the whole of it."""
    try:
        given = os.abspath(path), str(pid).encode(), 0o644
        if not _made(*given):
            replace(*given)
    except OSError as error:
        error.filename = path  # not the name under which it was made
        raise


def _made(path: str, content: bytes, mode: int) -> bool:
    """Write a file where none is yet, which gets its name once it is whole: who is killed meanwhile leaves nothing.
    False: one is there, or the filesystem cannot, or whatever `replace` will tell. open(2), O_TMPFILE"""
    try:
        fd = os.open(path.rpartition("/")[0] or "/", os.O_WRONLY | os.O_TMPFILE | os.O_CLOEXEC, mode)
    except OSError:
        return False
    try:
        os.write_all(fd, content)
        # Any descriptor makes it linkat(2), which follows.
        os.link(f"/proc/self/fd/{fd}", path, src_dir_fd=fd, follow_symlinks=True)
    except OSError:
        return False
    finally:
        os.close(fd)
    return True


def _rename(made: str, path: str) -> None:
    """rename(2). Where a file is replaced ext4 would write its content to the disk first, a millisecond and more; an
    exchange of the two names spares that, and no reader sees the difference. Nothing here has to outlive the host."""
    if not os.exists(path):
        os.rename(made, path)
        return
    from boxes.linux import syscalls

    try:
        syscalls.exchange(made, path)
    except OSError:  # gone meanwhile, or a filesystem that cannot
        os.rename(made, path)
    else:
        _forget(made)


def _read(path: str) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        return os.read_all(fd, _LIMIT)
    finally:
        os.close(fd)


def _remove_flat(path: str) -> None:
    try:
        for name in os.listdir(path):
            try:
                os.unlink(f"{path}/{name}")
            except IsADirectoryError:  # the mark of a keeper that was killed while it removed: attached.py
                os.rmdir(f"{path}/{name}")
        os.rmdir(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise refused("cannot remove the container's state", error) from error


def _remove_empty(path: str) -> None:
    try:
        os.rmdir(path)
    except OSError:
        pass  # somebody else was quicker


def _private_directory(path: str, uid: int) -> str:
    """A directory in /tmp, which anybody could have made before us."""
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass
    facts = os.stat(path, follow_symlinks=False)
    if facts.st_uid != uid or facts.st_mode & 0o077:
        raise refused("cannot keep containers", OSError(errno.EPERM, "it is not ours alone", path))
    return path
