"""Attacks on the runtime, each of which leaves the host as it was, and rows for a table of them: see tests.support.tally.

All of it happens in a mount namespace of the tests' own, with a /dev/null of its own, as other runtimes give the
host's away.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest

from tests.integration.conftest import leaves_nothing
from tests.support import host
from tests.support.bundle import Bundle
from tests.support.canaries import Outside, digests
from tests.support.peers import vulnerable
from tests.support.runtime import Runtime
from tests.support.tally import Row, Table

__all__ = ["leaves_nothing"]

TABLE = pytest.StashKey[Table]()
MS_BIND = 0x1000


def pytest_configure(config: pytest.Config) -> None:
    config.stash[TABLE] = Table()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "security" in item.path.parts:
            item.add_marker(pytest.mark.requires("root"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        item.config.stash[TABLE].row(item).failed = True
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    path = os.environ.get("BOXES_SECURITY_TABLE")
    if path:
        session.config.stash[TABLE].append_to(path)


@pytest.fixture(autouse=True)
def tally(request: pytest.FixtureRequest) -> Iterator[Row]:
    """The row of the test's file. A test is one point, unless it counts its own or is a control."""
    row = request.config.stash[TABLE].row(request.node)
    points, controls = row.points, dict(row.controls)
    yield row
    if row.points == points and row.controls == controls and "control" not in request.node.name:
        row.tried()


@pytest.fixture(scope="session", autouse=True)
def private_null(apart: None, session_directory: Path) -> Iterator[None]:
    """A /dev/null that may change its owner."""
    if os.geteuid() != 0:
        yield
        return
    null = session_directory / "null"
    os.mknod(null, stat.S_IFCHR | 0o666, os.makedev(1, 3))
    null.chmod(0o666)
    host.mount(str(null), "/dev/null", None, MS_BIND)
    yield
    host.unmount("/dev/null")


@pytest.fixture(scope="session", autouse=True)
def runtime_stays_as_it_was(private_null: None) -> Iterator[None]:
    """Whatever was attacked: not a byte of the interpreter's files, or of ours, is another afterwards."""
    before = digests()
    yield
    assert digests() == before


@pytest.fixture
def outside(bundle: Bundle) -> Outside:
    return Outside(bundle)


@pytest.fixture
def peer(directory: Path, tally: Row) -> Iterator[Callable[[str], Runtime]]:
    """A function that gives a runtime of the distribution which is known to be vulnerable."""
    made: list[Runtime] = []

    def find(name: str) -> Runtime:
        made.append(vulnerable(name, directory, tally))
        return made[-1]

    yield find
    for runtime in made:
        runtime.close()
    info = os.stat("/dev/null")
    if (info.st_uid, info.st_gid, stat.S_IMODE(info.st_mode)) != (0, 0, 0o666):
        os.chown("/dev/null", 0, 0)
        os.chmod("/dev/null", 0o666)
