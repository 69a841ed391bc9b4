"""The home directory of a user of the container, from its root filesystem's /etc/passwd.

The file is the container's: it is found below the root, must be a regular file, and is parsed here. No library of the
host, which might ask a directory service, has a part in it.
"""

from __future__ import annotations

import _stat as stat
import errno

from boxes import system as os
from boxes.errors import refused
from boxes.linux import path

# Nothing of that name, or nothing that could be followed or opened.
_NONE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EACCES, errno.EXDEV, errno.ENAMETOOLONG, errno.ENXIO}
_LIMIT = 1 << 20  # bytes; a larger file is read so far


def home(root: int, uid: int) -> str:
    """`/` for a user that is not there, or a file that is not there or none to be read: a container needs none. What
    fails otherwise says nothing of that user, and is an error."""
    try:
        text = _read(root)
    except OSError as error:
        if error.errno not in _NONE:
            raise refused("cannot look for the user's home directory", error) from error
        return "/"
    return parse(text, uid) or "/"


def parse(text: bytes, uid: int) -> str | None:
    """The sixth field of the first entry with this uid, if it is not empty: passwd(5)."""
    for line in text.split(b"\n"):
        fields = line.split(b":")
        if len(fields) >= 6 and fields[2].isdigit() and len(fields[2]) <= 10 and int(fields[2]) == uid:
            return os.fsdecode(fields[5]) if fields[5] and b"\0" not in fields[5] else None
    return None


def _read(root: int) -> bytes:
    """Looked at before it is opened, since opening a device does something; by its descriptor it stays the same."""
    found = path.open_in_root(root, "etc/passwd")
    try:
        if not stat.S_ISREG(os.fstat(found).st_mode):
            return b""
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        fd = os.open(f"/proc/self/fd/{found}", flags)
    finally:
        os.close(found)
    try:
        return os.read_all(fd, _LIMIT)
    finally:
        os.close(fd)
