"""The C part: small, static, and without a loader."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import pytest

from tests.support import source

NATIVE = source.CHECKOUT / "native"
PT_INTERP, PT_DYNAMIC, PT_GNU_STACK = 3, 2, 0x6474E551
STATIC = {"launcher": source.CHECKOUT / "bin" / "box", "inner": source.PACKAGE / "libexec" / "inner"}


def segments(path: Path) -> dict[int, int]:
    """Type and flags of each program header of a 64-bit ELF file (elf(5))."""
    data = path.read_bytes()
    assert data[:5] == b"\x7fELF\x02"
    offset, size, number = struct.unpack_from("<Q", data, 32)[0], *struct.unpack_from("<HH", data, 54)
    headers = [struct.unpack_from("<II", data, offset + index * size) for index in range(number)]
    return dict(headers)


def test_is_near_two_thousand_lines() -> None:
    lines = sum(len(path.read_text().splitlines()) for path in NATIVE.glob("*.[ch]"))
    assert 500 < lines <= 2075


def test_is_three_files() -> None:
    assert sorted(path.name for path in NATIVE.glob("*.c")) == ["inner.c", "launcher.c", "syscalls.c"]


@pytest.mark.parametrize("program", STATIC)
def test_program_needs_no_loader(program: str) -> None:
    assert PT_INTERP not in segments(STATIC[program])


@pytest.mark.parametrize("program", STATIC)
def test_stack_is_not_executable(program: str) -> None:
    assert segments(STATIC[program])[PT_GNU_STACK] & 1 == 0


def test_inner_is_small() -> None:
    """It is copied to a memfd for each container."""
    assert STATIC["inner"].stat().st_size < 64 * 1024


@pytest.mark.parametrize(
    "word",
    ["system", "popen", "getenv", "strcpy", "strcat", "sprintf", "gets", "alloca", "getpwuid", "getpwnam", "mktemp"],
)
def test_dangerous_function_is_not_called(word: str) -> None:
    calls = re.compile(rf"(?<![\w.]){word}\s*\(")
    assert [path.name for path in NATIVE.glob("*.c") if calls.search(path.read_text())] == []


def test_warnings_are_errors() -> None:
    flags = (NATIVE / "cflags").read_text() + (source.CHECKOUT / "Makefile").read_text()
    assert {"-Wall", "-Wextra", "-Werror"} <= set(re.findall(r"-W\w+", flags))


def test_extension_uses_the_limited_api() -> None:
    assert (
        "Py_LIMITED_API"
        in (NATIVE / "syscalls.c").read_text() + (NATIVE / "meson.build").read_text() + (NATIVE / "cflags").read_text()
    )
