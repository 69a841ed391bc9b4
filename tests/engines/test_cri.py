"""Whatever the kubelet asks of containerd comes out with box as it does with runc."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engines import rigs
from tests.engines.conftest import Outcomes
from tests.engines.cri import Containerd
from tests.engines.cri_lifecycle import LIFECYCLE
from tests.engines.cri_scenarios import SCENARIOS
from tests.engines.cri_streams import STREAMS

ALL = SCENARIOS | LIFECYCLE | STREAMS


@pytest.fixture(scope="module")
def containerd(image: Path) -> Iterator[Containerd]:
    made = Containerd("box", Path(os.environ["BOXES_ENGINES"]) / "cri", image)
    yield made
    made.close()
    rigs.unmount_below(made.directory)


@pytest.mark.parametrize("name", ALL)
def test_box_does_what_runc_does_for_the_kubelet(containerd: Containerd, outcomes: Outcomes, name: str) -> None:
    said, found = outcomes.setdefault(("cri", name), {}), {}
    for runtime in ("runc", "box"):
        said[runtime] = "failed"
        found[runtime] = ALL[name](containerd, runtime)
        said[runtime] = "worked"
    same = found["box"] == found["runc"]
    said["box"] = "the same" if same else "differs"
    assert same, found
