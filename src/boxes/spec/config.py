"""`config.json` and the `process` file of `exec`, read and checked."""

from __future__ import annotations

from boxes.spec.document import parse, read
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
    return from_bytes(read(path), source=path)


def from_bytes(raw: bytes, *, source: str = "config.json") -> Loaded:
    """Check a config that was read already; `source` names it in errors."""
    return from_value(parse(raw, source=source), raw)


def from_value(config: Any, raw: bytes = b"") -> Loaded:
    """Check a config that was parsed already."""
    return Loaded(config, raw, validate(config))


def process(path: str) -> tuple[Process, list[Notice]]:
    """Read and check a file that holds a `process` object alone. Raises ConfigError."""
    return process_from(parse(read(path), source=path))


def process_from(value: Any) -> tuple[Process, list[Notice]]:
    """Check a `process` object alone; the pointers of errors begin at it. Raises ConfigError."""
    warnings = validate_process(value)
    return value, warnings
