"""The API for asyncio: the same names as in `boxes`, to be awaited."""

from __future__ import annotations

from boxes.api import once
from boxes.api.flow import awaitable

__all__ = ["run"]

run = awaitable(once.run)
