"""The end of a scope, whatever the journal and systemd say of it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from boxes.cgroups import manager as managers
from boxes.cgroups.scope import Scope
from boxes.errors import ServiceError
from tests.support.fakebus import FakeSystemd

UNIT = "box-x.scope"


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeSystemd]:
    (tmp_path / "systemd").mkdir()
    fake = FakeSystemd(tmp_path / "systemd" / "private")
    yield fake
    fake.close()


def scope(tmp_path: Path, *, inode: int = 0, pid: int = 77) -> Scope:
    """As the journal tells of it: a cgroup in a hierarchy that is a plain directory."""
    record: dict[str, Any] = {
        "kind": "unified",
        "restricted": True,
        "shared": False,
        "directories": [[str(tmp_path), f"user.slice/{UNIT}", "", 1, inode]],
        "scope": {"unit": UNIT, "slice": "user.slice", "instance": str(tmp_path), "pid": pid},
    }
    found = managers.from_record(record)
    assert isinstance(found, Scope)
    assert found.record() == record
    return found


def cgroup(tmp_path: Path, *pids: int) -> Path:
    place = tmp_path / "user.slice" / UNIT
    place.mkdir(parents=True)
    (place / "cgroup.procs").write_text("".join(f"{pid}\n" for pid in pids))
    return place


def test_it_is_stopped_and_forgotten(tmp_path: Path, fake: FakeSystemd) -> None:
    scope(tmp_path).remove(5)
    assert fake.names() == ["StopUnit", "ResetFailedUnit"]
    assert fake.calls[0][1] == (UNIT, "replace")


def test_one_without_a_process_is_stopped(tmp_path: Path, fake: FakeSystemd) -> None:
    place = cgroup(tmp_path)
    os.unlink(place / "cgroup.procs")  # a cgroup's files do not keep it
    scope(tmp_path).remove(5)
    assert "StopUnit" in fake.names()
    assert not place.exists()


def test_with_its_own_process_it_is_stopped(tmp_path: Path, fake: FakeSystemd) -> None:
    cgroup(tmp_path, 77)
    with pytest.raises(Exception, match="cannot remove the cgroup"):  # this systemd only says it did
        scope(tmp_path).remove(0.1)
    assert "StopUnit" in fake.names()


def test_anothers_of_its_name_is_left_alone(tmp_path: Path, fake: FakeSystemd) -> None:
    cgroup(tmp_path, 78)
    found = scope(tmp_path)
    found.kill_all(9)
    found.remove(0.1)
    assert fake.names() == []


def test_what_was_made_by_it_is_its_own_whoever_is_in_it(tmp_path: Path, fake: FakeSystemd) -> None:
    inode = cgroup(tmp_path, 78).stat().st_ino
    with pytest.raises(Exception, match="cannot remove the cgroup"):
        scope(tmp_path, inode=inode).remove(0.1)
    assert "StopUnit" in fake.names()


def test_without_its_systemd_there_is_no_unit(tmp_path: Path) -> None:
    scope(tmp_path).remove(5)


def test_a_systemd_that_does_not_answer_is_an_error_in_time(tmp_path: Path, fake: FakeSystemd) -> None:
    fake.answers["StopUnit"] = b""
    before = time.monotonic()
    found = scope(tmp_path)
    with pytest.raises(ServiceError, match="systemd did not answer within 1 s: StopUnit"):
        found.remove(0.5)
    assert time.monotonic() - before < 5
    found.close()


def test_a_refused_unit_is_not_stopped(tmp_path: Path, fake: FakeSystemd) -> None:
    found = scope(tmp_path)
    found.unit.begun = False
    found.kill_all(9)
    found.remove(5)
    assert fake.names() == []


def test_nobody_listens_to_systemd_after_the_limits_are_set(tmp_path: Path, fake: FakeSystemd) -> None:
    place = cgroup(tmp_path)
    (place / "pids.max").write_text("")
    from boxes.cgroups.settings import Setting

    found = scope(tmp_path)
    found.apply([Setting("pids", "pids.max", "5", "")])
    assert fake.calls == [("SetUnitProperties", (UNIT, True, [("TasksMax", ("t", 5))]))]
    assert (place / "pids.max").read_text() == "5"
    assert found.bus is None
    found.close()
