"""The examples of docs/python.md do what they say."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from boxes.api import client
from tests.support import source
from tests.support.bundle import Bundle
from tests.support.runtime import Runtime, wait_until

EXAMPLES = re.findall(
    r"^```python\n(.*?)^```$", (source.CHECKOUT / "docs" / "python.md").read_text(), re.MULTILINE | re.DOTALL
)


@pytest.fixture(autouse=True)
def zygote() -> Iterator[None]:
    yield
    client.shut_down()


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_example_holds(
    number: int, box: Runtime, bundle: Bundle, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from boxes.api import place
    from boxes.container.store import Store

    monkeypatch.setattr(place, "store", lambda root=None: Store(str(box.root), str(box.root)))
    names = {"ROOTFS": bundle.path / "rootfs", "SCRATCH": directory / "scratch", "STATE": box.root}
    exec(compile(EXAMPLES[number], f"docs/python.md, example {number}", "exec"), names)  # noqa: S102
    wait_until(lambda: not any(path.name != ".cache" for path in box.root.iterdir()), "the removal of what it held")
