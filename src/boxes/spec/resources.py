"""A `linux.resources` object by itself, as `update` takes it, read and checked. The pointers of errors begin at it."""

from __future__ import annotations

from boxes.spec.document import parse, read, read_all
from boxes.spec.kinds import Findings
from boxes.spec.schema_resources import RESOURCES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from boxes.spec.kinds import Notice


def load(path: str) -> tuple[dict[str, Any], list[Notice]]:
    """From a file, or from standard input if it is "-". Raises ConfigError."""
    value: Any = parse(read_all(0), source="standard input") if path == "-" else parse(read(path), source=path)
    return value, check(value)


def check(value: object) -> list[Notice]:
    """What is worth a warning; members that are null are dropped. Raises ConfigError."""
    findings = Findings()
    RESOURCES(value, "", findings)
    return findings.notices
