"""Where every layer leaves what is worth telling but no error.

Libraries raise, front ends log: this module only holds the hook between them. Until a front end calls `configure`,
nothing is kept and a call costs next to nothing. Facts are those of `BoxesError`: pointer, path, call, errno, hint.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Facts = Mapping[str, str | int]
    Sink = Callable[[str, str, Facts], None]

# One per process, as standard error is: what is said here belongs to no container and to no call.
_sink: Sink | None = None


def configure(sink: Sink | None) -> None:
    """Send what is said from now on to `sink(level, message, facts)`; None silences it."""
    global _sink
    _sink = sink


def debug(message: str, **facts: str | int) -> None:
    """For whoever looks for a fault in boxes itself, or on the host."""
    if _sink is not None:
        _sink("debug", message, facts)


def warning(message: str, **facts: str | int) -> None:
    """For whoever wrote the config: it works, but probably not as they meant."""
    if _sink is not None:
        _sink("warning", message, facts)
