"""The runtime's own source, as text and as syntax trees, for the tests of its architecture."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
PACKAGE = CHECKOUT / "src" / "boxes"


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def modules(*layers: str) -> list[Path]:
    """The package's files, or those of some of its folders."""
    if layers:
        return [path for layer in layers for path in sorted((PACKAGE / layer).rglob("*.py"))]
    return sorted(PACKAGE.rglob("*.py"))


def name(path: Path) -> str:
    """`container/store.py` for messages and allow-lists."""
    return str(path.relative_to(PACKAGE))


def layer(path: Path) -> str:
    """The folder of a file: 'plan'; for one at the top its own name: 'errors'."""
    relative = path.relative_to(PACKAGE)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """Line and full name of each import, wherever it is: `from boxes.linux import fd` gives boxes.linux.fd."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name(path)}:{node.lineno}: relative import"
            for alias in node.names:
                yield node.lineno, f"{node.module}.{alias.name}"
