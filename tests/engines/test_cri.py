"""Whatever the kubelet asks of containerd comes out with box as it does with runc."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

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
    for line in sorted(Path("/proc/self/mounts").read_text().split("\n"), reverse=True):
        if f" {made.directory}/" in line:
            subprocess.run(["umount", "-l", line.split()[1]], stderr=subprocess.DEVNULL, check=False)


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
