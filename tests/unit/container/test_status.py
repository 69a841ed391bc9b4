"""What is said of a container whose cgroup cannot be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from boxes.container import status
from boxes.errors import KernelError


def test_one_whose_freezer_cannot_be_read_is_not_said_to_run(tmp_path: Path) -> None:
    with pytest.raises(KernelError, match="whether the container is paused"):
        status._frozen({"frozen_sign": [str(tmp_path), "FROZEN"]})


def test_one_whose_cgroup_has_gone_is_not_paused(tmp_path: Path) -> None:
    assert not status._frozen({"frozen_sign": [str(tmp_path / "freezer.state"), "FROZEN"]})
    assert not status._frozen({})
