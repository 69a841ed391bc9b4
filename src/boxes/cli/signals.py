"""Signals by name and number."""

from __future__ import annotations

import _signal

from boxes.cli.options import integer
from boxes.errors import UsageError


def parse(text: str) -> int:
    """`9`, `KILL`, `sigkill`, `RTMIN+1`, `SIGRTMAX-2`: the number, 0 to SIGRTMAX. Raises UsageError.

    0 reaches nobody: it asks whether there is somebody to reach, as in kill(2).
    """
    number = _number(text.upper().removeprefix("SIG"))
    if number is None or not 0 <= number <= _signal.SIGRTMAX:
        raise UsageError(f"unknown signal '{text}'", hint="a name like TERM or a number from 1 to 64")
    return number


def _number(name: str) -> int | None:
    if name[:1] in "0123456789":
        return integer(name)
    for base, sign, direction in (("RTMIN", "+", 1), ("RTMAX", "-", -1)):
        if name.startswith(base + sign):
            start: int = getattr(_signal, f"SIG{base}")
            offset = integer(name[len(base) + 1 :], least=0, most=_signal.SIGRTMAX - _signal.SIGRTMIN)
            return None if offset is None else start + direction * offset
    # The module's other names (SIG_IGN, SIG_BLOCK) begin with an underscore after SIG.
    found = None if name.startswith("_") else getattr(_signal, f"SIG{name}", None)
    return found if type(found) is int else None
