"""`box install-engine`: an engine that is started with what it has written runs containers with box, and without it as before."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engines import cri, rigs

NAMES = {"podman": "containers.conf", "docker": "daemon.json", "containerd": "config.toml"}


@pytest.fixture
def directory() -> Iterator[Path]:
    made = Path(os.environ["BOXES_ENGINES"]) / "in"
    made.mkdir()
    yield made
    rigs.unmount_below(made)
    shutil.rmtree(made)


def install(engine: str, file: Path, *more: str) -> None:
    command = [rigs.runtimes()["box"], "install-engine", engine, "--write", "--file", str(file), *more]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "to go back: take out these settings" in done.stdout


def calls(program: Path) -> list[str]:
    """The verbs that a program in box's place was called with."""
    log = program.with_name("log")
    return log.read_text().split() if log.exists() else []


@pytest.fixture
def box(directory: Path) -> Path:
    """box under its own name, which notes that it was called."""
    program = directory / "bin" / "box"
    program.parent.mkdir()
    real = rigs.runtimes()["box"]
    program.write_text(
        f'#!/bin/bash\necho "$*" | grep -o -w -e create -e delete >>{program.parent}/log\nexec {real} "$@"\n'
    )
    program.chmod(0o755)
    return program


@pytest.mark.parametrize("default", [False, True], ids=["by name", "by default"])
def test_podman(directory: Path, box: Path, image: Path, default: bool) -> None:
    rig = rigs.Podman("runc", directory / "podman", image)
    file = rig.directory / "containers.conf"
    before = file.read_text()
    install("podman", file, "--runtime", str(box), *(["--default"] if default else []))
    named = "" if default else "--runtime box"
    up = f"engine {named} run -d --cgroup-parent /$BOXES_ENGINES_PARENT --network none --name c bb sleep 1000 >/dev/null;"
    rig.check(up + "podman exec c echo hi; podman inspect -f '{{.OCIRuntime}}' c | grep -x box")
    assert "create" in calls(box)
    # A failure's text comes from the log in JSON, which podman asks for since box is in the list.
    assert rig.script(f"engine {named} run --rm --network none bb nosuchprogram").code == 127
    file.write_text(before)
    made = len(calls(box))
    rig.check("engine run --rm --cgroup-parent /$BOXES_ENGINES_PARENT --network none bb true")
    assert len(calls(box)) == made
    file.write_text(before + f'box = ["{box}"]\n')  # it stays until its containers are gone
    rig.check("engine rm -ft0 c")
    assert calls(box)[-1] == "delete"


class _Docker(rigs.Docker):
    """On what was written to its file, with no runtime named on the command line."""

    written: tuple[str, ...]

    def configure(self) -> tuple[str, ...]:
        (self.directory / "daemon.json").write_text(json.dumps({"debug": False}))
        install("docker", self.directory / "daemon.json", *self.written)
        return ()


@pytest.mark.parametrize("default", [False, True], ids=["by name", "by default"])
def test_docker(directory: Path, box: Path, image: Path, default: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    options = ("--runtime", str(box), *(["--default"] if default else []))
    monkeypatch.setattr(_Docker, "written", options, raising=False)
    rig = _Docker("runc", directory / "docker", image)
    try:
        named = "" if default else "--runtime box"
        rig.check(
            f"set -e; docker run -d --network none {named} --name c1 bb sleep 1000; docker exec c1 echo hi; docker rm -f c1"
        )
        assert {"create", "delete"} <= set(calls(box))
        made = len(calls(box))
        if not default:
            rig.check("docker run --rm --network none bb true")
            assert len(calls(box)) == made
    finally:
        rig.close()
    (rig.directory / "daemon.json").write_text("{}")
    rig.begin()
    try:
        rig.check("docker run --rm --network none bb true")
        assert len(calls(box)) == made
    finally:
        rig.close()


class _Containerd(cri.Containerd):
    """Without box, to begin with."""

    def handlers(self) -> dict[str, str]:
        return {"runc": rigs.runtimes()["runc"]}


def test_containerd(directory: Path, box: Path, image: Path) -> None:
    rig = _Containerd("box", directory / "c", image)
    file = rig.directory / "config.toml"
    before = file.read_text()
    try:
        install("containerd", file, "--runtime", str(box))
        rig.restart()
        with cri.Pod(rig, "box", "installed") as pod:
            assert pod.exec(pod.start("sleep", "1000"), "echo", "hi") == (0, "hi\n", "")
        assert {"create", "delete"} <= set(calls(box))
        file.write_text(before)
        rig.restart()
        with cri.Pod(rig, "runc", "as-before") as pod:
            assert pod.exec(pod.start("sleep", "1000"), "echo", "hi") == (0, "hi\n", "")
    finally:
        rig.close()
