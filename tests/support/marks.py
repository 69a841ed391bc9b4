"""Decorators that say where a test applies. Each gives a reason; `tests/conftest.py` turns them into skips."""

from __future__ import annotations

import pytest


def requires(*features: str) -> pytest.MarkDecorator:
    """The host must offer these: see `tests.support.host.lacks`."""
    return pytest.mark.requires(*features)


def not_for(*peers: str, reason: str) -> pytest.MarkDecorator:
    """The test holds for box, but not for these runtimes; `reason` says in what they differ."""
    return pytest.mark.not_for(*peers, reason=reason)


def red_for(*peers: str, reason: str) -> pytest.MarkDecorator:
    """A positive control: the test is run for these runtimes too, which have the very defect, and is expected to fail."""
    return pytest.mark.red_for(*peers, reason=reason)
