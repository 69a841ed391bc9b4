"""What a keeper reports."""

from __future__ import annotations

from struct import pack
from typing import Any

import pytest

from boxes.container.attached import outcome
from boxes.container.fallback import without_cgroups
from boxes.errors import InternalError

EXITED, KILLED = 1, 2


def report(code: int, status: int, *texts: bytes) -> bytes:
    return pack("=iiqq", code, status, 1234, 56) + b"".join(pack("=I", len(text)) + text for text in texts)


def test_status_and_signal_are_told_apart() -> None:
    assert outcome(report(EXITED, 9), [])["exit_code"] == 9
    found = outcome(report(KILLED, 9), [])
    assert (found["exit_code"], found["signal"]) == (None, 9)


def test_use_is_the_process_own_without_cgroups() -> None:
    found = outcome(report(EXITED, 0), [])
    assert (found["cpu_usec"], found["memory_peak"], found["oom_kills"]) == (1234, 56 << 10, None)


def test_use_is_what_cgroups_of_v2_tell() -> None:
    data = report(EXITED, 0, b"usage_usec 77\nuser_usec 1\n", b"4096\n", b"low 0\noom_kill 2\n")
    found = outcome(data, ["cpu.stat", "memory.peak", "memory.events"])
    assert (found["cpu_usec"], found["memory_peak"], found["oom_kills"]) == (77, 4096, 2)


def test_use_is_what_cgroups_of_v1_tell() -> None:
    data = report(EXITED, 0, b"77000\n", b"4096\n", b"oom_kill_disable 0\noom_kill 1\n")
    found = outcome(data, ["cpuacct.usage", "memory.max_usage_in_bytes", "memory.oom_control"])
    assert (found["cpu_usec"], found["memory_peak"], found["oom_kills"]) == (77, 4096, 1)


def test_report_that_is_cut_short_is_an_error() -> None:
    with pytest.raises(InternalError):
        outcome(b"short", [])
    assert outcome(report(EXITED, 0), ["cpu.stat"])["cpu_usec"] == 1234


def test_limits_without_cgroups_are_those_of_processes() -> None:
    config: dict[str, Any] = {
        "process": {"args": ["true"], "rlimits": [{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}]},
        "linux": {"resources": {"memory": {"limit": 1 << 20}, "pids": {"limit": 7}, "cpu": {"quota": 1}}},
    }
    found = without_cgroups({"config": config, "id": "x"})
    assert found["cgroup_manager"] == "disabled"
    assert "resources" not in found["config"]["linux"]
    assert found["config"]["process"]["rlimits"] == [
        {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
        {"type": "RLIMIT_AS", "soft": 1 << 20, "hard": 1 << 20},
        {"type": "RLIMIT_NPROC", "soft": 7, "hard": 7},
    ]
    assert "resources" in config["linux"]
