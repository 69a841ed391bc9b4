"""Every integration test is also a test that nothing is left behind."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.leaks import CgroupParent, clear, differences, snapshot
from tests.support.runtime import Runtime, wait_until


@pytest.fixture(autouse=True)
def leaves_nothing(apart: None, cgroup_parent: CgroupParent | None, box: Runtime) -> Iterator[None]:
    """Compare the host before and after; `box` is closed in between, so `delete --force` is what must clean up."""
    before = snapshot(cgroup_parent)
    yield
    box.close()
    try:
        # the kernel may take a moment to tear down what has ended
        wait_until(lambda: not differences(before, snapshot(cgroup_parent)), "leak", 1.0)
    except TimeoutError:
        found = differences(before, snapshot(cgroup_parent))
        clear(before, snapshot(cgroup_parent))
        pytest.fail("\n".join(found))
    if box.root.exists():
        left = sorted(str(path) for path in box.root.iterdir() if path.name != ".cache")
        assert left == [], f"left below --root: {left}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "integration" in item.path.parts:
            item.add_marker(pytest.mark.requires("root"))
