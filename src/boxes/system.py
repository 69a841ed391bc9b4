"""The part of the standard library's `os` that the hot verbs need: `posix`, and a few functions on top.

`os` itself costs 1.4 ms of each start, for abstract base classes that nobody here asks for; see
docs/adr/0003-start-up.md. What is of the same name here does the same.
"""

from __future__ import annotations

import posix
from posix import *  # noqa: F403 - this module is `os` by another name
from posix import _exit as _exit

TYPE_CHECKING = False
if TYPE_CHECKING:
    Path = str | bytes

SEEK_SET = 0


def fsencode(name: Path) -> bytes:
    return name.encode("utf-8", "surrogateescape") if isinstance(name, str) else name


def fsdecode(name: Path) -> str:
    return name.decode("utf-8", "surrogateescape") if isinstance(name, bytes) else name


environment = {fsdecode(name): fsdecode(value) for name, value in posix.environ.items()}  # os.environ, read only


def isdir(path: str) -> bool:
    try:
        return posix.stat(path).st_mode & 0o170000 == 0o040000
    except (OSError, ValueError):
        return False


def exists(path: str) -> bool:
    try:
        posix.stat(path)
    except (OSError, ValueError):
        return False
    return True


def normpath(path: str) -> str:
    """Without empty, ``.`` and ``..`` components, as far as the text tells."""
    found: list[str] = []
    for part in path.split("/"):
        if part == ".." and (path.startswith("/") or (found and found[-1] != "..")):
            del found[-1:]
        elif part not in ("", "."):
            found.append(part)
    return ("/" if path.startswith("/") else "") + "/".join(found) or "."


def abspath(path: str) -> str:
    return normpath(path if path.startswith("/") else f"{posix.getcwd()}/{path}")


def makedirs(path: str, mode: int, *, exist_ok: bool = False) -> None:
    """Directories on the way are made with the default mode, the last with `mode`."""
    parent = path.rpartition("/")[0]
    try:
        posix.mkdir(path, mode)
    except FileNotFoundError:
        if not parent:
            raise
        makedirs(parent, 0o777, exist_ok=True)
        posix.mkdir(path, mode)
    except FileExistsError:
        if not (exist_ok and isdir(path)):
            raise


def close(fd: int) -> None:  # type: ignore[no-redef]
    """Whatever close(2) says, the descriptor is free: what it reports of a file's content is for `close_written`."""
    try:
        posix.close(fd)
    except OSError as error:
        if error.errno == 9:  # EBADF: a mistake of ours
            raise


close_written = posix.close


def write_all(fd: int, content: bytes | memoryview) -> None:
    view = memoryview(content)
    while view:
        view = view[posix.write(fd, view) :]


def read_all(fd: int, limit: int) -> bytes:
    """What is left to read, at most `limit` bytes."""
    parts = []
    left = limit
    while left > 0:
        part = posix.read(fd, min(left, 1 << 16))
        if not part:
            break
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def write_file(path: str, content: bytes, mode: int = 0o644) -> None:
    """A file that is new, or whose content is replaced; whatever the umask, of this mode."""
    fd = posix.open(path, posix.O_WRONLY | posix.O_CREAT | posix.O_TRUNC | posix.O_NOFOLLOW | posix.O_CLOEXEC, mode)
    try:
        posix.fchmod(fd, mode)
        write_all(fd, content)
    finally:
        posix.close(fd)
