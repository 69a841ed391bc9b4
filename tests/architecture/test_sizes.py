"""Functions of at most 40 lines, files of at most 400: what is longer has a reason here."""

from __future__ import annotations

import ast

from tests.support import source

FUNCTION, FILE = 40, 400
# name → reason. An entry that is not needed any more is an error, so that the list shrinks.
LONG_FUNCTIONS: dict[str, str] = {}
LONG_FILES: dict[str, str] = {}


def functions() -> dict[str, int]:
    """Lines of each function, decorators, signature and docstring not counted: those are data."""
    found = {}
    for path in source.modules():
        for node in ast.walk(source.tree(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                body = node.body[1:] if ast.get_docstring(node) and len(node.body) > 1 else node.body
                assert node.end_lineno is not None
                found[f"{source.name(path)}:{node.name}"] = node.end_lineno - body[0].lineno + 1
    return found


def files() -> dict[str, int]:
    return {source.name(path): len(path.read_text().splitlines()) for path in source.modules()}


def test_functions_are_short() -> None:
    assert {name: lines for name, lines in functions().items() if lines > FUNCTION and name not in LONG_FUNCTIONS} == {}


def test_files_are_short() -> None:
    assert {name: lines for name, lines in files().items() if lines > FILE and name not in LONG_FILES} == {}


def test_exceptions_are_needed() -> None:
    assert [name for name in LONG_FUNCTIONS if functions().get(name, 0) <= FUNCTION] == []
    assert [name for name in LONG_FILES if files().get(name, 0) <= FILE] == []


def test_median_function_is_small() -> None:
    lines = sorted(functions().values())
    assert lines[len(lines) // 2] <= 10


def test_no_module_is_a_bag_of_things() -> None:
    vague = {"utils.py", "util.py", "helpers.py", "helper.py", "common.py", "misc.py", "tools.py"}
    assert [source.name(path) for path in source.modules() if path.name in vague] == []
