"""The API for asyncio: the same names as in `boxes`, to be awaited, or used as asynchronous blocks."""

from __future__ import annotations

import functools

from boxes.api import once
from boxes.api.container import AsyncContainer as Container
from boxes.api.flow import awaitable
from boxes.api.pool import AsyncPool as Pool
from boxes.api.program import AsyncPopen as Popen
from boxes.api.sandbox import AsyncSandbox as Sandbox

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any, ParamSpec

    from boxes.api.flow import Flow
    from boxes.api.process import Running
    from boxes.api.streams import Streams

    P = ParamSpec("P")

__all__ = ["Container", "Pool", "Popen", "Sandbox", "popen", "run"]

run = awaitable(once.run)


def _started(start: Callable[P, Flow[tuple[Running, Streams]]]) -> Callable[P, Coroutine[Any, Any, Popen]]:
    @functools.wraps(start)
    async def face(*args: P.args, **kwargs: P.kwargs) -> Popen:
        return Popen(*await awaitable(start)(*args, **kwargs))

    return face


popen = _started(once.start)
