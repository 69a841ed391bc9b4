"""docs/conformance.md: a row for each field of the schema tables, a test that exists in each row."""

from __future__ import annotations

import ast
from fnmatch import fnmatchcase
from functools import cache

import pytest

from boxes.spec import fields
from tests.support import source

TESTS = source.CHECKOUT / "tests"
DOCUMENT = source.CHECKOUT / "docs" / "conformance.md"


def rows() -> list[tuple[list[str], str, list[str]]]:
    """Of the tables by field: the fields, the test, and what is said of others."""
    found = []
    for line in DOCUMENT.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if line.startswith("| ") and len(cells) == 5 and "::" in cells[1]:
            listed = [field.strip("` ") for field in cells[0].split("<br>")]
            found.append((listed, cells[1].strip("` "), cells[2:]))
    return found


@cache
def names_in(file: str) -> set[str]:
    """The names of the tests of a file, with their class in front if they have one."""
    found = set()
    for node in ast.parse((TESTS / file).read_text()).body:
        if isinstance(node, ast.FunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.ClassDef):
            found |= {f"{node.name}::{part.name}" for part in node.body if isinstance(part, ast.FunctionDef)}
    return found


PATTERNS = [field for listed, _, _ in rows() for field in listed if field.startswith("/")]


def test_every_field_has_a_row() -> None:
    missing = [path for path in fields.paths() if not any(fnmatchcase(path, pattern) for pattern in PATTERNS)]
    assert missing == []


def test_every_row_is_about_a_field() -> None:
    known = list(fields.paths())
    assert [pattern for pattern in PATTERNS if not any(fnmatchcase(path, pattern) for path in known)] == []


@pytest.mark.parametrize("test", sorted({test for _, test, _ in rows()}))
def test_every_row_has_a_test(test: str) -> None:
    file, _, name = test.partition("::")
    assert (TESTS / file).is_file()
    assert name in names_in(file)


def test_every_row_says_something_of_the_others() -> None:
    assert [listed for listed, _, others in rows() if not all(others)] == []
    assert len(rows()) > 80
