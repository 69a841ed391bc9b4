"""`config.json` and the `process` file of `exec`, read and checked."""

from __future__ import annotations

import _stat as stat
import errno

from boxes import system as os
from boxes.errors import ConfigError
from boxes.spec.document import MOST_BYTES, parse
from boxes.spec.validate import validate, validate_process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from boxes.spec.kinds import Notice
    from boxes.spec.shapes import Config, Process


class Loaded:
    """A checked config: the document, the bytes it was read from, and what is worth a warning."""

    __slots__ = ("config", "raw", "warnings")

    def __init__(self, config: Config, raw: bytes, warnings: list[Notice]) -> None:
        self.config = config
        self.raw = raw
        self.warnings = warnings


def load(path: str) -> Loaded:
    """Read and check a config. Raises ConfigError, also when the file cannot be read."""
    return from_bytes(_read(path), source=path)


def from_bytes(raw: bytes, *, source: str = "config.json") -> Loaded:
    """Check a config that was read already; `source` names it in errors."""
    config: Any = parse(raw, source=source)
    warnings = validate(config)
    return Loaded(config, raw, warnings)


def process(path: str) -> tuple[Process, list[Notice]]:
    """Read and check a file that holds a `process` object alone. Raises ConfigError."""
    return process_from(parse(_read(path), source=path))


def process_from(value: Any) -> tuple[Process, list[Notice]]:
    """Check a `process` object alone; the pointers of errors begin at it. Raises ConfigError."""
    warnings = validate_process(value)
    return value, warnings


def _read(path: str) -> bytes:
    try:
        # Without O_NONBLOCK the open of a FIFO waits for a writer that may never come.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except ValueError as error:
        raise ConfigError("the path of the config holds a NUL character") from error
    except OSError as error:
        raise _unread(path, error) from error
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise ConfigError(f"cannot read '{path}': not a regular file", path=path)
        return _read_all(fd)
    except OSError as error:
        raise _unread(path, error) from error
    finally:
        os.close(fd)


def _read_all(fd: int) -> bytes:
    """The whole file, or one byte more than a document may have: `parse` refuses that."""
    chunks = []
    left = MOST_BYTES + 1
    while left and (chunk := os.read(fd, min(left, 1 << 16))):
        chunks.append(chunk)
        left -= len(chunk)
    return b"".join(chunks)


def _unread(path: str, error: OSError) -> ConfigError:
    number = error.errno or errno.EIO
    return ConfigError(f"cannot read '{path}': {os.strerror(number).lower()}", path=path, errno=number)
