"""The calls that scheduler, ioPriority, execCPUAffinity, personality and memoryPolicy become."""

from __future__ import annotations

import errno
import struct
from typing import Any

import pytest

from boxes.errors import ConfigError, KernelError
from boxes.plan import attributes
from boxes.plan.attributes import apply, cannot_fork, final_affinity, initial_affinity
from boxes.plan.inner import Steps, _numbers
from boxes.spec import schema_linux, schema_process
from boxes.spec.kinds import Findings

NAMES = {number: name for name, number in _numbers().items()}


def calls(steps: Steps) -> list[tuple[Any, ...]]:
    """(name, arguments …) of each: what is passed by address as the data from there on."""
    found = []
    text = steps.encode()[16:]
    while text:
        _, size = struct.unpack_from("=II", text)
        number, mask, _, _, *values = struct.unpack_from("=IIII6Q", text, 8)
        data = text[8 + 64 : 8 + size]
        found.append((NAMES[number], *(data[v:] if mask >> i & 1 else v for i, v in enumerate(values))))
        text = text[8 + (size + 7) // 8 * 8 :]
    return found


def applied(process: dict[str, Any] | None = None, **linux: Any) -> list[tuple[Any, ...]]:
    steps = Steps()
    apply(steps, process or {}, linux)
    return calls(steps)


def scheduled(**scheduler: Any) -> tuple[int, ...]:
    [(name, pid, data, flags, *_)] = applied({"scheduler": scheduler})
    assert (name, pid, flags) == ("sched_setattr", 0, 0)
    size = struct.unpack_from("=I", data)[0]
    assert size == len(data)
    return struct.unpack_from("=IIQiIQQQ", data)


# ---- scheduler ----


@pytest.mark.parametrize(
    "scheduler, expected",
    [
        ({"policy": "SCHED_OTHER", "nice": -5}, (48, 0, 0, -5, 0, 0, 0, 0)),
        ({"policy": "SCHED_FIFO", "priority": 99}, (48, 1, 0, 0, 99, 0, 0, 0)),
        ({"policy": "SCHED_RR", "priority": 1}, (48, 2, 0, 0, 1, 0, 0, 0)),
        ({"policy": "SCHED_BATCH", "nice": 19}, (48, 3, 0, 19, 0, 0, 0, 0)),
        ({"policy": "SCHED_ISO"}, (48, 4, 0, 0, 0, 0, 0, 0)),
        ({"policy": "SCHED_IDLE"}, (48, 5, 0, 0, 0, 0, 0, 0)),
        ({"policy": "SCHED_DEADLINE", "runtime": 1, "deadline": 2, "period": 3}, (48, 6, 0, 0, 0, 1, 2, 3)),
    ],
)
def test_scheduler_is_a_struct_sched_attr(scheduler: dict[str, Any], expected: tuple[int, ...]) -> None:
    assert scheduled(**scheduler) == expected


def test_scheduler_flags_are_the_kernels() -> None:
    values = [scheduled(policy="SCHED_OTHER", flags=[name])[2] for name in schema_process.SCHEDULER_FLAGS]
    assert values == [1, 2, 4, 8, 16, 32, 64]


def test_utilization_clamps_need_the_longer_structure() -> None:
    assert scheduled(policy="SCHED_OTHER", flags=["SCHED_FLAG_UTIL_CLAMP_MIN"])[0] == 56


def test_every_policy_of_the_schema_is_known() -> None:
    assert {scheduled(policy=policy)[1] for policy in schema_process.POLICIES} == set(range(7))


def test_only_a_deadline_without_reset_on_fork_forbids_to_fork() -> None:
    assert cannot_fork({"scheduler": {"policy": "SCHED_DEADLINE"}})
    assert not cannot_fork({"scheduler": {"policy": "SCHED_DEADLINE", "flags": ["SCHED_FLAG_RESET_ON_FORK"]}})
    assert not cannot_fork({"scheduler": {"policy": "SCHED_FIFO", "priority": 1}})
    assert not cannot_fork({})


# ---- I/O priority ----


@pytest.mark.parametrize(
    "kind, priority, expected",
    [("IOPRIO_CLASS_RT", 0, 0x2000), ("IOPRIO_CLASS_BE", 7, 0x4007), ("IOPRIO_CLASS_IDLE", 0, 0x6000)],
)
def test_io_priority_is_class_and_level(kind: str, priority: int, expected: int) -> None:
    assert applied({"ioPriority": {"class": kind, "priority": priority}})[0][:4] == ("ioprio_set", 1, 0, expected)


# ---- personality ----


@pytest.mark.parametrize(
    "personality, expected",
    [
        ({"domain": "LINUX"}, 0),
        ({"domain": "LINUX32"}, 8),
        ({"domain": "LINUX", "flags": []}, 0),
        ({"domain": "LINUX32", "flags": ["ADDR_NO_RANDOMIZE", "UNAME26"]}, 0x60008),
        ({"domain": "LINUX", "flags": ["ADDR_LIMIT_3GB", "STICKY_TIMEOUTS", "WHOLE_SECONDS"]}, 0xE000000),
    ],
)
def test_personality_is_domain_and_flags(personality: dict[str, Any], expected: int) -> None:
    assert applied(personality=personality)[0][:2] == ("personality", expected)


def test_unknown_personality_flag_is_refused_with_its_place() -> None:
    with pytest.raises(ConfigError, match="'ADDR_RANDOM'") as error:
        applied(personality={"domain": "LINUX", "flags": ["UNAME26", "ADDR_RANDOM"]})
    assert error.value.pointer == "/linux/personality/flags/1"
    assert "ADDR_NO_RANDOMIZE" in str(error.value)


# ---- memory policy ----


@pytest.mark.parametrize(
    "policy, mode, nodes, size",
    [
        ({"mode": "MPOL_DEFAULT"}, 0, 0, 0),
        ({"mode": "MPOL_LOCAL"}, 4, 0, 0),
        ({"mode": "MPOL_PREFERRED", "nodes": ""}, 1, 0, 0),
        ({"mode": "MPOL_BIND", "nodes": "0"}, 2, [1], 65),
        ({"mode": "MPOL_INTERLEAVE", "nodes": "0-2, 63"}, 3, [1 << 63 | 7], 65),
        ({"mode": "MPOL_PREFERRED_MANY", "nodes": "1,64"}, 5, [2, 1], 129),
        ({"mode": "MPOL_WEIGHTED_INTERLEAVE", "nodes": "3"}, 6, [8], 65),
        ({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]}, 0x8002, [1], 65),
        (
            {"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_RELATIVE_NODES", "MPOL_F_NUMA_BALANCING"]},
            0x6002,
            [1],
            65,
        ),
    ],
)
def test_memory_policy_is_mode_and_nodes(policy: dict[str, Any], mode: int, nodes: Any, size: int) -> None:
    name, value, mask, bits, *_ = applied(memoryPolicy=policy)[0]
    assert (name, value, bits) == ("set_mempolicy", mode, size)
    assert mask == nodes or list(struct.unpack(f"={len(nodes)}Q", mask)) == nodes


@pytest.mark.parametrize(
    "nodes, text",
    [("a", "a list of"), ("1-", "a list of"), ("3-1", "wrong way"), ("1024", "more than any"), ("0,,1", "a list of")],
)
def test_nodes_that_are_no_list_are_refused(nodes: str, text: str) -> None:
    with pytest.raises(ConfigError, match=text) as error:
        applied(memoryPolicy={"mode": "MPOL_BIND", "nodes": nodes})
    assert error.value.pointer == "/linux/memoryPolicy/nodes"


# ---- affinity ----


def affinity(function: Any, **lists: str) -> list[tuple[Any, ...]]:
    steps = Steps()
    function(steps, {"execCPUAffinity": lists})
    return [(name, *more[:3]) for name, *more in calls(steps)]


def test_affinity_is_a_mask() -> None:
    expected = [("sched_setaffinity", 0, 8, (1 | 1 << 3 | 1 << 4).to_bytes(8, "little"))]
    assert affinity(initial_affinity, initial="0,3-4") == expected
    assert affinity(final_affinity, final="0,3-4", initial="1") == expected


def test_affinity_of_many_cpus_has_more_words() -> None:
    [(_, _, size, mask)] = affinity(initial_affinity, initial="8191")
    assert (size, mask) == (1024, bytes(1023) + b"\x80")


def test_affinity_that_is_not_given_is_left() -> None:
    assert affinity(initial_affinity, final="1", initial=" ") == affinity(final_affinity, final="") == []


def test_initial_affinity_alone_is_taken_back() -> None:
    [(_, _, size, mask)] = affinity(final_affinity, initial="0")
    assert mask == b"\xff" * size


def test_more_cpus_than_kernels_have_are_refused() -> None:
    with pytest.raises(ConfigError, match="more than any kernel") as error:
        affinity(final_affinity, final="0-8192")
    assert error.value.pointer == "/process/execCPUAffinity/final"


# ---- all ----


def test_nothing_asked_for_is_nothing_done() -> None:
    assert applied() == []
    assert applied({"scheduler": None}, personality=None) == []


def test_scheduling_comes_last() -> None:
    """A deadline or an idle class slows down what follows it."""
    process = {"scheduler": {"policy": "SCHED_IDLE"}, "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 1}}
    made = applied(process, personality={"domain": "LINUX"}, memoryPolicy={"mode": "MPOL_LOCAL"})
    assert [name for name, *_ in made] == ["personality", "set_mempolicy", "ioprio_set", "sched_setattr"]


@pytest.mark.parametrize(
    "process, linux, number, pointer, hint",
    [
        ({"scheduler": {"policy": "SCHED_FIFO"}}, {}, errno.EPERM, "/process/scheduler", "CAP_SYS_NICE"),
        (
            {"ioPriority": {"class": "IOPRIO_CLASS_RT", "priority": 0}},
            {},
            errno.EPERM,
            "/process/ioPriority",
            "CAP_SYS",
        ),
        ({}, {"personality": {"domain": "LINUX32"}}, errno.EINVAL, "/linux/personality", "32-bit"),
        ({}, {"memoryPolicy": {"mode": "MPOL_BIND", "nodes": "9"}}, errno.EINVAL, "/linux/memoryPolicy", "cpuset"),
    ],
)
def test_a_refusal_names_its_place_and_what_may_be_wrong(
    process: dict[str, Any], linux: dict[str, Any], number: int, pointer: str, hint: str
) -> None:
    steps = Steps()
    apply(steps, process, linux)
    error = steps.failed(0, number, b"")
    assert isinstance(error, KernelError)
    assert (error.pointer, error.errno) == (pointer, number)
    assert hint in str(error)


def test_every_personality_flag_that_the_schema_takes_is_judged_here() -> None:
    """The schema takes any string, so an unknown one must not get through."""
    schema_linux.LINUX({"personality": {"domain": "LINUX", "flags": ["NONSENSE"]}}, "/linux", Findings())
    for flag in attributes._PERSONALITY_FLAGS:
        assert applied(personality={"domain": "LINUX", "flags": [flag]})
