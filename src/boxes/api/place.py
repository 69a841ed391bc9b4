"""Where containers that are made from Python are kept, and what they are called."""

from __future__ import annotations

import os

from boxes.container.store import Store
from boxes.errors import UsageError
from boxes.spec import given as check
from boxes.spec.identifier import check_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def store(root: str | os.PathLike[str] | None = None) -> Store:
    """That of the command line: `root` is its --root."""
    if root is None:
        return Store.default(os.environ, None)
    path = check.path("root", root)
    if os.path.exists(path) and not os.path.isdir(path):
        raise UsageError(f"'root' is a directory, and '{path}' is none")
    return Store.default(os.environ, path)


def new_id(prefix: str) -> str:
    return f"{prefix}-{os.urandom(8).hex()}"


def given(where: Store, id: str) -> dict[str, Any]:
    """The part of a request that says which container."""
    check.instance("id", id, str)
    return {"runtime": where.runtime, "state": where.state, "id": check_id(id)}
