"""Fixtures of all tests. Which runtime is tested says BOXES_RUNTIME (a path); by default it is the checkout's bin/box."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import host, reaper
from tests.support.bundle import Bundle
from tests.support.leaks import CgroupParent
from tests.support.rootfs import Template
from tests.support.runtime import Runtime, executable, temporary_directory

# What a host may lack without the run being worth less; with BOXES_MUST_RUN set any other skip is a failure.
MAY_LACK = {
    "cgroup2",
    "cgroup1",
    "criu",
    "dirty tracking",
    "debian",
    "resctrl",
    "systemd",
    "features schema",
    "loop devices",
}

LIMIT = 60
_numbers = itertools.count(1)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "requires(*features): what the host must offer")
    config.addinivalue_line("markers", "red_for(*runtimes, reason): runtimes that have the defect which is tested for")
    config.addinivalue_line("markers", "takes(seconds): until the test is thought to hang, where that is long")
    config.addinivalue_line("markers", "not_for(*runtimes, reason): runtimes that are known to differ, and in what")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for mark in item.iter_markers("red_for"):
            if executable().name in mark.args:
                item.add_marker(pytest.mark.xfail(reason=mark.kwargs["reason"], strict=True))


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("not_for"):
        if executable().name in mark.args:
            pytest.skip(f"not for {executable().name}: {mark.kwargs['reason']}")
    for mark in item.iter_markers("requires"):
        for feature in mark.args:
            reason = host.lacks(feature)
            if reason is None:
                continue
            if os.environ.get("BOXES_MUST_RUN") and feature not in MAY_LACK:
                pytest.fail(f"this host should offer '{feature}': {reason}")
            pytest.skip(reason)


@pytest.fixture(autouse=True)
def watchdog(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test that hangs fails."""
    mark = request.node.get_closest_marker("takes")
    limit = mark.args[0] if mark else LIMIT

    def bark(number: int, frame: object) -> None:
        raise TimeoutError(f"a test took more than {limit} s")

    signal.signal(signal.SIGALRM, bark)
    signal.alarm(limit)
    yield
    signal.alarm(0)


@pytest.fixture(scope="session")
def session_directory() -> Iterator[Path]:
    """On the filesystem of the bundles; removed at the end."""
    path = temporary_directory()
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="session")
def apart() -> None:
    """This process in a mount namespace of its own, and parent of all orphans below it."""
    reaper.install()
    if os.geteuid() == 0:
        host.unshare_mounts()


@pytest.fixture(scope="session")
def template(session_directory: Path) -> Template:
    return Template(session_directory / "template")


@pytest.fixture(scope="session")
def cgroup_parent(apart: None) -> Iterator[CgroupParent | None]:
    """Made here, since a runtime need not remove the parents of a container's cgroup."""
    if os.geteuid() != 0:
        yield None
        return
    parent = CgroupParent(f"boxes-test-{os.getpid()}")
    parent.make()
    yield parent
    parent.remove()


@pytest.fixture
def directory(session_directory: Path) -> Iterator[Path]:
    """The test's own: short, and open to all users."""
    path = session_directory / f"{next(_numbers)}"
    path.mkdir(mode=0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def box(directory: Path, apart: None) -> Iterator[Runtime]:
    """The runtime under test, with a --root of its own. Containers that a test leaves are deleted by force."""
    runtime = Runtime(executable(), directory)
    yield runtime
    runtime.close()


@pytest.fixture
def make_bundle(directory: Path, template: Template) -> Callable[[], Bundle]:
    """A function that makes bundles, for tests that need more than one."""
    numbers = itertools.count(1)

    def make() -> Bundle:
        number = next(numbers)
        path = directory / f"bundle{number}"
        path.mkdir(mode=0o755)
        template.populate(path / "rootfs")
        identifier = f"t{directory.name}-{number}"
        return Bundle(path, identifier, f"/boxes-test-{os.getpid()}/{identifier}")

    return make


@pytest.fixture
def bundle(make_bundle: Callable[[], Bundle]) -> Bundle:
    """A bundle with busybox and the probe."""
    return make_bundle()
