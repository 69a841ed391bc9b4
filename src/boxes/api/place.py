"""Where containers that are made from Python are kept, and what they are called."""

from __future__ import annotations

import os

from boxes.container.store import Store
from boxes.spec.identifier import check_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def store(root: str | os.PathLike[str] | None = None) -> Store:
    """That of the command line: `root` is its --root."""
    return Store.default(os.environ, None if root is None else os.fspath(root))


def new_id(prefix: str) -> str:
    return f"{prefix}-{os.urandom(8).hex()}"


def given(where: Store, id: str) -> dict[str, Any]:
    """The part of a request that says which container."""
    return {"runtime": where.runtime, "state": where.state, "id": check_id(id)}
