"""One rig for each engine and runtime, started when the first scenario asks for it; the table of all outcomes at the end."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.engines import rigs

Outcomes = dict[tuple[str, str], dict[str, str]]
_outcomes: Outcomes = {}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "engines" in item.path.parts:
            item.add_marker(pytest.mark.engines)
            item.add_marker(pytest.mark.takes(240))
            if "BOXES_ENGINES" not in os.environ:
                item.add_marker(pytest.mark.skip(reason="run by scripts/test-engines, in namespaces of its own"))


@pytest.fixture(scope="session")
def image() -> Path:
    """What all rigs import."""
    return rigs.make_image(Path(os.environ["BOXES_ENGINES"]) / "image")


@pytest.fixture(scope="session")
def rig(image: Path) -> Iterator[Callable[[str, str], rigs.Rig]]:
    made: dict[tuple[str, str], rigs.Rig] = {}

    def get(engine: str, runtime: str) -> rigs.Rig:
        if (engine, runtime) not in made:
            directory = Path(os.environ["BOXES_ENGINES"]) / f"{engine}-{runtime}"
            made[engine, runtime] = rigs.ENGINES[engine](runtime, directory, image)
        return made[engine, runtime]

    yield get
    for each in made.values():
        each.close()
        rigs.unmount_below(each.directory)


@pytest.fixture(scope="session")
def outcomes() -> Outcomes:
    """What each scenario came to, by engine and name, then by runtime."""
    return _outcomes


def pytest_runtest_teardown() -> None:
    """Write the table after each scenario: a run which is terminated has one too."""
    if "BOXES_ENGINES" in os.environ and _outcomes:
        lines = [f"{'engine':12}{'scenario':40}{'runc':14}box"]
        lines += [
            f"{engine:12}{name:40}{said.get('runc', '-'):14}{said.get('box', '-')}"
            for (engine, name), said in _outcomes.items()
        ]
        (Path(os.environ["BOXES_ENGINES"]) / "table").write_text("\n".join(lines) + "\n")
