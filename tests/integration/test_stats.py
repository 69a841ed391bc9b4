"""`stats`: what containers use, for people, as JSON, and for Prometheus."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.bundle import Bundle
from tests.support.marks import not_for
from tests.support.runtime import Container, Runtime, read_line

pytestmark = not_for("runc", "crun", reason="nobody else has it")
MIB = 1 << 20
LINE = re.compile(r'boxes_[a-z_]+\{id="[^"]+"(,[a-z]+="[^"]*")*\} -?[0-9.]+(e-?[0-9]+)?')


@pytest.fixture
def container(box: Runtime, bundle: Bundle) -> Container:
    bundle.linux["resources"] = {"memory": {"limit": 64 * MIB}, "pids": {"limit": 50}}
    found = box.start(bundle.shell("head -c 8m /dev/zero > /dev/shm/x; echo up; while :; do :; done"))
    assert found.readline() == "up"
    return found


def test_table_has_a_line_for_each_that_runs(
    box: Runtime, container: Container, make_bundle: Callable[[], Bundle]
) -> None:
    ended = box.start(make_bundle())
    ended.wait()
    header, *lines = box("stats", "--no-stream", "--interval", "200ms").ok().out.splitlines()
    assert header.split("  ")[0] == "ID"
    assert [line.split()[:2] for line in lines] == [[container.id, "running"]]
    assert "64.0 MiB" in lines[0]
    assert "1/50" in lines[0]


def test_json_is_a_list_a_look(box: Runtime, container: Container) -> None:
    (found,) = box("stats", "--no-stream", "--interval", "300ms", "-f", "json", container.id).json()
    assert found["id"] == container.id
    assert 1 < found["cpu_percent"] <= 120  # of a machine that others use as well
    assert found["memory_limit"] == 64 * MIB
    assert 8 * MIB <= found["working_set"] <= found["memory"] <= 64 * MIB
    assert found["memory_percent"] == pytest.approx(100 * found["memory"] / (64 * MIB), abs=0.01)
    assert (found["pids"], found["pids_limit"], found["oom_kills"]) == (1, 50, 0)


def test_it_goes_on_until_it_is_told_to_end(box: Runtime, container: Container) -> None:
    process = box.popen("stats", "-f", "json", "--interval", "100ms", stdout=subprocess.PIPE)
    used = [json.loads(read_line(process.stdout))[0]["cpu_usec"] for _ in range(3)]
    assert used == sorted(used) and used[0] < used[2]
    process.terminate()
    process.wait(10)


def test_prometheus_text_is_well_formed(box: Runtime, container: Container) -> None:
    text = box("stats", "--format", "prometheus").ok().out
    values: dict[str, Any] = {}
    types: dict[str, str] = {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            assert name not in types
            types[name] = kind
        elif not line.startswith("# HELP "):
            assert LINE.fullmatch(line), line
            labelled, value = line.rsplit(" ", 1)
            assert labelled not in values
            values[labelled] = float(value)
    names = {name.partition("{")[0] for name in values}
    assert names == set(types)
    assert all(name.endswith("_total") is (kind == "counter") for name, kind in types.items())
    own = f'{{id="{container.id}"}}'
    assert values[f"boxes_memory_limit_bytes{own}"] == 64 * MIB
    assert values[f"boxes_pids_limit{own}"] == 50
    assert values[f"boxes_cpu_seconds_total{own}"] > 0


def test_without_containers_there_is_nothing(box: Runtime) -> None:
    assert box("stats", "--format", "prometheus").ok().out == ""
    assert len(box("stats", "--no-stream", "--interval", "1ms").ok().out.splitlines()) == 1


def test_stopped_or_missing_one_is_refused(box: Runtime, bundle: Bundle) -> None:
    ended = box.start(bundle)
    ended.wait()
    box("stats", "--no-stream", ended.id).refused("not running")
    box("stats", "--no-stream", "nobody").refused("does not exist")


def test_what_nobody_counts_is_not_zero(box: Runtime, bundle: Bundle) -> None:
    bundle.linux.pop("resources", None)
    box.globals = ("--cgroup-manager", "disabled")
    container = box.start(bundle.shell("echo up; sleep 1000"))
    (found,) = box("stats", "--no-stream", "--interval", "10ms", "-f", "json", container.id).json()
    assert {name for name, value in found.items() if value is not None} == {"id", "status"}
    line = box("stats", "--no-stream", "--interval", "10ms", container.id).ok().out.splitlines()[1]
    assert line.split() == [container.id, "running"] + ["-"] * 8
    text = box("stats", "-f", "prometheus", container.id).ok().out
    assert "container_state" in text and "cpu_seconds" not in text
