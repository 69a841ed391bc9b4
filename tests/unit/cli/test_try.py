"""`box try`: the config it makes, and the bundle that is gone afterwards."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Any

import pytest

from boxes.cli.try_ import merged, mount, shell
from boxes.errors import StateError, UsageError
from boxes.spec.config import from_bytes
from tests.unit.cli import fakes
from tests.unit.cli.conftest import Box


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where containers are kept; not made yet."""
    monkeypatch.setattr(fakes.Store, "runtime", str(tmp_path / "run"))
    return tmp_path / "run"


def answer(box: Box, directory: Path, status: int = 0) -> list[dict[str, Any]]:
    """Have `run` look at the bundle while it exists; a list to which each config is added."""
    seen: list[dict[str, Any]] = []

    def run(name: str, options: Any) -> int:
        assert options.bundle == f"{directory}/.{name}"
        assert os.listdir(options.bundle) == ["rootfs"]
        assert os.listdir(f"{options.bundle}/rootfs") == []
        seen.append(dict(from_bytes(options.config).config))
        Path(f"{options.bundle}/rootfs/left").symlink_to("/")
        return status

    box.answers["run"] = run
    return seen


def test_command_runs_in_a_bundle_of_its_own(box: Box, directory: Path) -> None:
    seen = answer(box, directory, 7)
    assert box("try", "--", "ls", "-l", "--help") == 7
    process = seen[0]["process"]
    assert process["args"] == ["ls", "-l", "--help"]
    assert process["terminal"] is False
    assert {entry.partition("=")[0] for entry in process["env"]} == {"PATH", "HOME", "LANG"}
    assert os.listdir(directory) == []
    assert box.calls[-1][1].startswith("try-")


def test_without_a_command_a_shell(box: Box, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = answer(box, directory)
    monkeypatch.setenv("SHELL", "/usr/bin/env")
    assert box("try") == 0
    assert seen[0]["process"]["args"] == ["/usr/bin/env"]


@pytest.mark.parametrize("path", ["", "/root/bin/zsh", "/usr/bin/nonexistent", "fish"])
def test_a_shell_the_container_lacks_is_replaced(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.setenv("SHELL", path)
    assert shell() == "/bin/sh"


def test_options(box: Box, directory: Path) -> None:
    seen = answer(box, directory)
    line = "try -e A=1 -e PATH=/x --workdir /tmp --hostname here --bind /etc:/mnt/etc:ro --bind /tmp true"
    assert box(*line.split()) == 0
    config = seen[0]
    assert config["process"]["cwd"] == "/tmp"
    assert config["hostname"] == "here"
    assert "A=1" in config["process"]["env"]
    assert [entry for entry in config["process"]["env"] if entry.startswith("PATH=")] == ["PATH=/x"]
    assert [one["destination"] for one in config["mounts"][-2:]] == ["/mnt/etc", "/tmp"]


def test_the_bundle_is_gone_after_an_error(box: Box, directory: Path) -> None:
    box.answers["run"] = StateError("no")
    assert box("try", "true") == 1
    assert box.err == "box: no\n"
    assert os.listdir(directory) == []


def test_what_a_killed_runtime_left_is_removed_and_what_lives_is_not(box: Box, directory: Path) -> None:
    answer(box, directory)
    for name in (".try-dead", ".try-alive", ".other", "container"):
        (directory / name / "rootfs" / "usr").mkdir(parents=True)
    lock = os.open(directory / ".try-alive", os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    assert box("try", "true") == 0
    assert sorted(os.listdir(directory)) == [".other", ".try-alive", "container"]
    assert ("delete", "try-dead", {"force": True}) in box.calls
    os.close(lock)


def test_what_cannot_be_removed_is_only_told(box: Box, directory: Path) -> None:
    answer(box, directory)
    (directory / ".try-dead").mkdir(parents=True)
    box.answers["delete"] = StateError("stuck")
    assert box("try", "true") == 0
    assert box.err == "box: warning: ignoring '.try-dead', which an earlier run left: stuck\n"
    assert os.listdir(directory) == [".try-dead"]


def test_environments_merge() -> None:
    assert merged(["A=1", "B=2"], ["A=3", "C="]) == ["A=3", "B=2", "C="]


@pytest.mark.parametrize(
    ("text", "source", "destination", "readonly"),
    [
        ("/etc", "/etc", "/etc", False),
        ("/etc:/b", "/etc", "/b", False),
        ("/etc:/b:ro", "/etc", "/b", True),
        ("/etc::ro", "/etc", "/etc", True),
        ("./b", os.path.abspath("b"), os.path.abspath("b"), False),
    ],
)
def test_binds(text: str, source: str, destination: str, readonly: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os.path, "exists", lambda path: path in ("/etc", "./b"))
    made = mount(text)
    assert (made["source"], made["destination"]) == (source, destination)
    assert ("rro" in made["options"]) is readonly


@pytest.mark.parametrize("text", ["", ":/b", "/etc:b", "/etc:/b:rw", "/etc:/b:ro:x", "/etc:/b:", "nothere:/x"])
def test_no_binds(text: str) -> None:
    with pytest.raises(UsageError, match="flag --bind"):
        mount(text)


def test_a_terminal_only_where_there_is_one(box: Box, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = answer(box, directory)
    monkeypatch.setenv("TERM", "vt52")
    monkeypatch.setattr(os, "isatty", lambda fd: True)
    assert box("try", "true") == 0
    assert seen[0]["process"]["terminal"] is True
    assert "TERM=vt52" in seen[0]["process"]["env"]
    monkeypatch.setattr(os, "isatty", lambda fd: fd == 0)
    assert box("try", "true") == 0
    assert seen[1]["process"]["terminal"] is False
    assert "TERM=vt52" not in seen[1]["process"]["env"]
