"""Talking to a systemd that is slow, refuses, or says nonsense: a clear error, in time."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from jeepney.wrappers import new_method_return  # type: ignore[import-untyped]  # it has no types

from boxes.cgroups import systemd
from boxes.cgroups.bus import Bus, RefusedError, SilentError
from boxes.cgroups.dbus import Variant
from boxes.cgroups.systemd import Unit
from boxes.errors import ServiceError, StateError, UnsupportedError
from tests.support.fakebus import JOB, FakeSystemd, job_removed, serialised

PATIENCE = 0.3
EXISTS = "org.freedesktop.systemd1.UnitExists"
NO_UNIT = "org.freedesktop.systemd1.NoSuchUnit"
READ_ONLY = "org.freedesktop.DBus.Error.PropertyReadOnly"


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeSystemd]:
    (tmp_path / "systemd").mkdir()
    fake = FakeSystemd(tmp_path / "systemd" / "private")
    yield fake
    fake.close()


@pytest.fixture
def connection(fake: FakeSystemd, tmp_path: Path) -> Iterator[Bus]:
    found = systemd.connect(str(tmp_path), PATIENCE)
    yield found
    found.close()


def unit() -> Unit:
    return Unit("box-x.scope", "a-b.slice", "", 77, [("KillSignal", Variant("i", 9))])


def properties_of(fake: FakeSystemd) -> dict[str, object]:
    (values,) = [values for name, values in fake.calls if name == "StartTransientUnit"][-1:]
    return {name: value for name, (_, value) in values[2]}


class TestStart:
    def test_asks_for_a_delegated_scope_with_the_process(self, fake: FakeSystemd, connection: Bus) -> None:
        systemd.start(connection, unit(), [("TasksMax", Variant("t", 5))])
        assert fake.names() == ["StartTransientUnit"]
        assert fake.calls[0][1][:2] == ("box-x.scope", "fail")
        asked = properties_of(fake)
        assert asked["PIDs"] == [77]
        assert asked["Slice"] == "a-b.slice"
        assert asked["Delegate"] is True
        assert asked["DefaultDependencies"] is False
        assert asked["CollectMode"] == "inactive-or-failed"
        assert asked["KillSignal"] == 9
        assert asked["TasksMax"] == 5
        assert all(asked[f"{name}Accounting"] is True for name in ("CPU", "Memory", "IO", "Tasks"))

    def test_what_the_config_asks_for_comes_in_the_place_of_a_default(self, fake: FakeSystemd, connection: Bus) -> None:
        asked = unit()
        asked.properties = [("CollectMode", Variant("s", "inactive"))]
        systemd.start(connection, asked, [])
        (values,) = [values for name, values in fake.calls if name == "StartTransientUnit"]
        assert [value for name, value in values[2] if name == "CollectMode"] == [("s", "inactive")]

    @pytest.mark.parametrize("result", ["failed", "timeout", "canceled", "dependency"])
    def test_a_job_that_fails_is_an_error(self, fake: FakeSystemd, connection: Bus, result: str) -> None:
        fake.answers["StartTransientUnit"] = lambda call: (
            serialised(new_method_return(call, "o", (JOB,))) + job_removed(result)
        )
        with pytest.raises(ServiceError, match=f"the job's result is '{result}'"):
            systemd.start(connection, unit(), [])

    def test_jobs_of_others_are_passed_over(self, fake: FakeSystemd, connection: Bus) -> None:
        fake.answers["StartTransientUnit"] = lambda call: (
            job_removed("failed", "/other")
            + serialised(new_method_return(call, "o", (JOB,)))
            + job_removed("failed", "/another")
            + job_removed()
        )
        systemd.start(connection, unit(), [])

    def test_a_unit_that_failed_is_cleared_away_once(self, fake: FakeSystemd, connection: Bus) -> None:
        fake.refuse("StartTransientUnit", EXISTS, "Unit exists.", times=1)
        systemd.start(connection, unit(), [])
        assert fake.names() == ["StartTransientUnit", "ResetFailedUnit", "StartTransientUnit"]

    def test_a_unit_that_lives_is_another_containers(self, fake: FakeSystemd, connection: Bus) -> None:
        fake.refuse("StartTransientUnit", EXISTS, "Unit exists.")
        asked = unit()
        with pytest.raises(StateError, match=r"there is a unit 'box-x\.scope' already"):
            systemd.start(connection, asked, [])
        assert not asked.begun

    def test_properties_an_older_systemd_lacks_are_left_out(self, fake: FakeSystemd, connection: Bus) -> None:
        text = "Cannot set property AllowedCPUs, or unknown property."
        fake.refuse("StartTransientUnit", READ_ONLY, text, times=1)
        systemd.start(connection, unit(), [("AllowedCPUs", Variant("ay", b"\1")), ("TasksMax", Variant("t", 5))])
        assert "AllowedCPUs" not in properties_of(fake)
        assert properties_of(fake)["TasksMax"] == 5

    def test_any_other_property_that_is_refused_is_an_error(self, fake: FakeSystemd, connection: Bus) -> None:
        fake.refuse("StartTransientUnit", READ_ONLY, "Cannot set property TasksMax, or unknown property.")
        with pytest.raises(RefusedError, match="StartTransientUnit: Cannot set property TasksMax"):
            systemd.start(connection, unit(), [("TasksMax", Variant("t", 5))])


class TestStop:
    def test_stops_and_forgets(self, fake: FakeSystemd, connection: Bus) -> None:
        systemd.stop(connection, "box-x.scope")
        assert fake.names() == ["StopUnit", "ResetFailedUnit"]

    def test_a_unit_that_is_not_there_is_as_well(self, fake: FakeSystemd, connection: Bus) -> None:
        for name in ("StopUnit", "ResetFailedUnit"):
            fake.refuse(name, NO_UNIT, "Unit box-x.scope not loaded.")
        systemd.stop(connection, "box-x.scope")

    def test_another_refusal_is_an_error(self, fake: FakeSystemd, connection: Bus) -> None:
        fake.refuse("StopUnit", "org.freedesktop.DBus.Error.AccessDenied", "Permission denied")
        with pytest.raises(ServiceError, match="systemd refused: StopUnit: Permission denied"):
            systemd.stop(connection, "box-x.scope")


class TestDeadline:
    def test_no_answer(self, fake: FakeSystemd, connection: Bus) -> None:
        fake.answers["StartTransientUnit"] = b""
        asked = unit()
        before = time.monotonic()
        with pytest.raises(SilentError, match=r"systemd did not answer within 0\.3 s: StartTransientUnit"):
            systemd.start(connection, asked, [])
        assert PATIENCE <= time.monotonic() - before < PATIENCE + 2
        assert asked.silent

    def test_no_end_of_the_job(self, fake: FakeSystemd, connection: Bus) -> None:
        fake.answers["StartTransientUnit"] = lambda call: serialised(new_method_return(call, "o", (JOB,)))
        with pytest.raises(SilentError, match=r"within 0\.3 s: the start of 'box-x\.scope'"):
            systemd.start(connection, unit(), [])

    def test_signals_do_not_put_it_off(self, fake: FakeSystemd, tmp_path: Path) -> None:
        listener = socket.socket(socket.AF_UNIX)
        path = str(tmp_path / "chatty")
        listener.bind(path)
        listener.listen()

        def talk() -> None:
            peer, _ = listener.accept()
            with peer:
                peer.recv(4096)
                peer.sendall(fake.welcome)
                end = time.monotonic() + 3
                try:
                    while time.monotonic() < end:
                        peer.sendall(job_removed(job="/other"))
                        time.sleep(0.02)
                except OSError:
                    pass

        thread = threading.Thread(target=talk)
        thread.start()
        connection = Bus(path, private=True, patience=PATIENCE)
        before = time.monotonic()
        with pytest.raises(SilentError):
            systemd.control_group(connection)
        assert time.monotonic() - before < PATIENCE + 1
        connection.close()
        thread.join()
        listener.close()

    def test_nobody_accepts(self, tmp_path: Path) -> None:
        listener = socket.socket(socket.AF_UNIX)
        path = str(tmp_path / "full")
        listener.bind(path)
        listener.listen(0)
        others = []
        for _ in range(3):
            other = socket.socket(socket.AF_UNIX)
            other.setblocking(False)
            try:
                other.connect(path)
            except BlockingIOError:
                pass
            others.append(other)
        with pytest.raises(SilentError):
            Bus(path, private=True, patience=1)
        for other in (*others, listener):
            other.close()


class TestNonsense:
    def test_rejection(self, fake: FakeSystemd, tmp_path: Path) -> None:
        fake.welcome = b"REJECTED EXTERNAL\r\n"
        with pytest.raises(ServiceError, match="systemd does not let us in: REJECTED"):
            Bus(str(tmp_path / "systemd" / "private"), private=True, patience=PATIENCE)

    def test_a_line_without_an_end(self, fake: FakeSystemd, tmp_path: Path) -> None:
        fake.welcome = b"D" * 20000
        with pytest.raises(ServiceError, match="a line without an end"):
            Bus(str(tmp_path / "systemd" / "private"), private=True, patience=PATIENCE)

    @pytest.mark.parametrize(
        "answer",
        [b"x" * 16, b"l\2\0\1" + b"\xff" * 12, b"l\2\0\1\0\0\0\0\1\0\0\0\x08\0\0\0\5\1s\0\xff\xff\xff\xff"],
    )
    def test_bytes_that_are_no_message(self, fake: FakeSystemd, connection: Bus, answer: bytes) -> None:
        fake.answers["Get"] = answer
        with pytest.raises(ServiceError, match="systemd's answer to Get cannot be read"):
            systemd.control_group(connection)

    def test_an_answer_of_another_type(self, fake: FakeSystemd, connection: Bus) -> None:
        fake.answers["StartTransientUnit"] = lambda call: serialised(new_method_return(call, "u", (1,)))
        with pytest.raises(ServiceError, match="'u' is not 'o'"):
            systemd.start(connection, unit(), [])

    def test_a_property_of_another_type(self, fake: FakeSystemd, connection: Bus) -> None:
        fake.answers["Get"] = lambda call: serialised(new_method_return(call, "v", (("u", 1),)))
        with pytest.raises(ServiceError, match="does not say where its cgroups are"):
            systemd.control_group(connection)

    def test_hanging_up(self, fake: FakeSystemd, connection: Bus) -> None:
        fake.hang_up_after = "StartTransientUnit"
        with pytest.raises(ServiceError, match="systemd hung up instead of answering: StartTransientUnit"):
            systemd.start(connection, unit(), [])


class TestConnect:
    def test_nobody_there(self, tmp_path: Path) -> None:
        with pytest.raises(UnsupportedError, match="there is no systemd of this user"):
            systemd.connect(str(tmp_path), PATIENCE)

    def test_the_bus_when_systemd_has_no_socket(self, tmp_path: Path) -> None:
        fake = FakeSystemd(tmp_path / "bus")
        fake.answers["Hello"] = lambda call: serialised(new_method_return(call, "s", (":1.5",)))
        connection = systemd.connect(str(tmp_path), PATIENCE)
        assert fake.names() == ["Hello", "Subscribe", "AddMatch"]
        rule = fake.calls[-1][1]
        assert "member='JobRemoved'" in rule[0]
        connection.close()
        fake.close()
        assert fake.calls[-1] == ("RemoveMatch", rule)

    def test_which_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(systemd, "_owner", lambda path: 65534)
        assert systemd.instance_of({"XDG_RUNTIME_DIR": "/run/user/7"}, rootless=False) == ""
        assert systemd.instance_of({"XDG_RUNTIME_DIR": "/run/user/7"}, rootless=True) == "/run/user/7"
        assert systemd.instance_of({}, rootless=True).startswith("/run/user/")


def test_a_name_is_sent_as_it_is(fake: FakeSystemd, connection: Bus) -> None:
    """What systemd is asked is data, whatever the config says: nothing is spliced into a text."""
    asked = unit()
    asked.properties = [("Description", Variant("s", "x\n[Unit]\nWants=evil.service"))]
    systemd.start(connection, asked, [])
    assert properties_of(fake)["Description"] == "x\n[Unit]\nWants=evil.service"
