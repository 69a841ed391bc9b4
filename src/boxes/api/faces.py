"""The synchronous functions."""

from __future__ import annotations

import functools

from boxes.api import once
from boxes.api.flow import blocking
from boxes.api.program import Popen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import ParamSpec

    from boxes.api.flow import Flow
    from boxes.api.process import Running
    from boxes.api.streams import Streams

    P = ParamSpec("P")

run = blocking(once.run)


def _started(start: Callable[P, Flow[tuple[Running, Streams]]]) -> Callable[P, Popen]:
    @functools.wraps(start)
    def face(*args: P.args, **kwargs: P.kwargs) -> Popen:
        return Popen(*blocking(start)(*args, **kwargs))

    return face


popen = _started(once.start)
