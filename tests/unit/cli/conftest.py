"""The command line over a fake container layer, in process and as a program."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import boxes.container
from boxes import log
from boxes.cli.main import dispatch
from tests.unit.cli import fakes

PROJECT = Path(__file__).resolve().parents[3]


class Box:
    """Runs command lines in this process; `answers` are what the container layer returns, `calls` what it was asked."""

    def __init__(self, capfd: pytest.CaptureFixture[str]) -> None:
        self.answers: dict[str, Any] = {}
        self.calls = fakes.CALLS
        self.out = self.err = ""
        self._capfd = capfd

    def __call__(self, *argv: str) -> int:
        self.calls.clear()
        status = dispatch(argv)
        self.out, self.err = self._capfd.readouterr()
        return status


@pytest.fixture
def box(capfd: pytest.CaptureFixture[str]) -> Iterator[Box]:
    loaded, known = dict(sys.modules), dict(vars(boxes.container))
    runner = Box(capfd)
    fakes.install(runner.answers)
    yield runner
    log.configure(None)
    for name in fakes.MODULES:
        sys.modules.pop(f"boxes.container.{name}", None)
        vars(boxes.container).pop(name, None)
    sys.modules.update(loaded)
    vars(boxes.container).update(known)


@pytest.fixture
def program() -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """Runs `box ARGV` as the launcher does, `through` a line of shell; `answers` are those of `Box`, as source."""

    def run(*argv: str, answers: str = "{}", through: str = '"$@"', **named: Any) -> subprocess.CompletedProcess[bytes]:
        text = (
            "import os, posix, sys\n"
            f"sys.path[:0] = [{str(PROJECT / 'src')!r}, {str(PROJECT)!r}]\n"
            "from tests.unit.cli import fakes\n"
            f"fakes.install({answers})\n"
            "from boxes.cli.main import main\n"
            "main()\n"
        )
        command = ["/bin/sh", "-c", through, "sh", sys.executable, "-I", "-S", "-c", text, *argv]
        environment = {"PATH": os.environ["PATH"], **named.pop("env", {})}
        named.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.run(command, env=environment, capture_output=True, timeout=20, check=False, **named)

    return run
