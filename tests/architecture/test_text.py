"""Rules about the text of the source, which no linter holds for us."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.support import source


def found(kind: type[ast.AST]) -> list[str]:
    return [
        f"{source.name(path)}:{getattr(node, 'lineno', 0)}"
        for path in source.modules()
        for node in ast.walk(source.tree(path))
        if isinstance(node, kind)
    ]


def test_no_assert_checks_anything() -> None:
    """`-O` takes them away."""
    assert found(ast.Assert) == []


def test_no_except_catches_everything_silently() -> None:
    bare = [
        f"{source.name(path)}:{node.lineno}"
        for path in source.modules()
        for node in ast.walk(source.tree(path))
        if isinstance(node, ast.ExceptHandler) and node.type is None
    ]
    assert bare == []


@pytest.mark.parametrize(
    "module",
    ["ctypes", "pickle", "shelve", "tarfile", "zipfile", "http", "ssl", "xml", "multiprocessing", "pwd", "grp"],
)
def test_module_is_never_imported(module: str) -> None:
    """They load code or data of others in ways that have been attacked; `pwd` and `grp` load NSS."""
    wrong = [
        f"{source.name(path)}:{line}"
        for path in source.modules()
        for line, target in source.imported(path)
        if target.split(".")[0] == module and (source.name(path), module) not in ALLOWED
    ]
    assert wrong == []


# name → reason
ALLOWED: dict[tuple[str, str], str] = {
    ("container/query.py", "pwd"): "`list` names the owner of each container, on the host",
}


def test_types_are_imported_for_the_checker_alone() -> None:
    """`import typing` costs 4 ms: only below `if TYPE_CHECKING:`, which is set to False by hand."""
    wrong = []
    for path in source.modules():
        if source.name(path) == "spec/shapes.py":
            # nothing but types, itself imported for the checker alone: the import budget shows that
            continue
        guarded = [
            child
            for node in ast.walk(source.tree(path))
            if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
            for child in ast.walk(node)
        ]
        for node in ast.walk(source.tree(path)):
            names = (
                [node.module]
                if isinstance(node, ast.ImportFrom)
                else [a.name for a in node.names]
                if isinstance(node, ast.Import)
                else []
            )
            if any(name in ("typing", "collections.abc", "types") for name in names) and node not in guarded:
                wrong.append(f"{source.name(path)}:{getattr(node, 'lineno', 0)}")
    assert wrong == []


def test_paths_below_the_root_filesystem_are_never_strings() -> None:
    """`os.path.join(root, '/x')` is '/x'; every path below a root filesystem goes through a descriptor and openat2."""
    strings = {"path", "makedirs", "walk", "removedirs", "renames"}
    wrong = [
        f"{source.name(path)}:{node.lineno}: os.{node.attr}"
        for path in source.modules("apply")
        for node in ast.walk(source.tree(path))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "os"
        and node.attr in strings
    ]
    assert wrong == []


def test_nothing_sleeps() -> None:
    """Wait for the event, with a deadline."""
    wrong = [
        f"{source.name(path)}:{node.lineno}"
        for path in source.modules()
        for node in ast.walk(source.tree(path))
        if isinstance(node, ast.Attribute)
        and node.attr == "sleep"
        and isinstance(node.value, ast.Name)
        and node.value.id == "time"
    ]
    assert wrong == []


def test_every_module_says_what_it_is() -> None:
    silent = [
        source.name(path)
        for path in source.modules()
        if path.read_text().strip() and not ast.get_docstring(source.tree(path))
    ]
    assert silent == []


def texts() -> list[Path]:
    kinds = ("*.py", "*.c", "*.md", "*.toml", "*.build")
    skipped = {"build", ".git", ".venv", "node_modules"}
    files = [path for kind in kinds for path in source.CHECKOUT.rglob(kind)]
    return [path for path in files if not skipped & set(path.relative_to(source.CHECKOUT).parts)]


def test_nothing_is_left_to_do() -> None:
    # spelled so that this file does not find itself
    pattern = re.compile(r"\b(TOD[O]|FIXM[E]|XX[X])\b")
    wrong = [f"{path.relative_to(source.CHECKOUT)}" for path in texts() if pattern.search(path.read_text())]
    assert wrong == []
