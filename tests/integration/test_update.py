"""`update`: other limits for a container that runs. All of them hold, or those there were."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.bundle import Bundle
from tests.support.cgroup import Cgroup
from tests.support.marks import not_for, requires
from tests.support.runtime import Container, Result, Runtime

MIB = 1 << 20
NO_SWAP = "this kernel does not account swap"


class Updated:
    """A container, and what `update` makes of it."""

    def __init__(self, container: Container) -> None:
        self.container = container
        self.cgroup = Cgroup(container.pid)

    def __call__(self, *flags: str, **more: Any) -> Result:
        return self.container.runtime("update", *flags, self.container.id, **more)

    def read(self, what: str) -> str:
        return self.cgroup.read(what)


@pytest.fixture
def resources() -> dict[str, Any]:
    """What the container begins with."""
    return {
        "memory": {"limit": 64 * MIB},
        "cpu": {"quota": 50000, "period": 100000, "shares": 512},
        "pids": {"limit": 50},
    }


@pytest.fixture
def update(box: Runtime, bundle: Bundle, resources: dict[str, Any]) -> Updated:
    bundle.linux["resources"] = resources
    return Updated(box.running_shell(bundle))


class TestFlag:
    @pytest.mark.parametrize(
        "flags, what, expected",
        [
            (("--memory", "100M"), "memory", str(100 * MIB)),
            (("--memory", str(32 * MIB)), "memory", str(32 * MIB)),
            (("--memory-reservation", "16m"), "reservation", str(16 * MIB)),
            (("--cpuset-cpus", "0"), "cpus", "0"),
            (("--cpuset-mems", "0"), "mems", "0"),
            (("--pids-limit", "77"), "pids", "77"),
            (("--pids-limit", "-1"), "pids", "max"),
            pytest.param(
                ("--cpu-idle", "1"), "idle", "1", marks=not_for("runc", "crun", reason="not those that are stable")
            ),
            pytest.param(
                ("--cpu-burst", "20000"),
                "burst",
                "20000",
                marks=not_for("crun", "runc", reason="not those that are stable"),
            ),
        ],
        ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
    )
    def test_changes_the_limit(self, update: Updated, flags: tuple[str, ...], what: str, expected: str) -> None:
        update(*flags).ok()
        assert update.read(what) == expected

    def test_unlimited_memory(self, update: Updated) -> None:
        update("--memory", "-1").ok()
        assert update.read("memory") == ("max" if update.cgroup.unified else "9223372036854771712")

    def test_shares(self, update: Updated) -> None:
        update("--cpu-share", "2048").ok()
        if update.cgroup.unified:
            assert int(update.read("shares")) > 100
        else:
            assert update.read("shares") == "2048"

    def test_quota_alone_keeps_the_period(self, update: Updated) -> None:
        update("--cpu-quota", "30000").ok()
        assert update.cgroup.quota() == ("30000", "100000")

    def test_period_alone_keeps_the_quota(self, update: Updated) -> None:
        update("--cpu-period", "200000").ok()
        assert update.cgroup.quota() == ("50000", "200000")

    def test_quota_of_minus_one_is_none(self, update: Updated) -> None:
        update("--cpu-quota", "-1").ok()
        assert update.cgroup.quota() == ("max", "100000")

    def test_others_stay(self, update: Updated) -> None:
        before = update.cgroup.snapshot()
        update("--pids-limit", "77").ok()
        assert update.cgroup.snapshot() == before | {"pids": "77"}

    def test_none_changes_nothing(self, update: Updated) -> None:
        before = update.cgroup.snapshot()
        update().ok()
        assert update.cgroup.snapshot() == before

    @not_for("crun", reason="it takes it for a limit")
    def test_kernel_memory_is_ignored(self, update: Updated) -> None:
        before = update.cgroup.snapshot()
        update("--kernel-memory", "100M").ok()
        assert update.cgroup.snapshot() == before

    @not_for("runc", "crun", reason="they say something else, or nothing")
    @pytest.mark.parametrize("flag", ["--l3-cache-schema", "--mem-bw-schema"])
    def test_share_of_caches_without_a_group_is_refused(self, update: Updated, flag: str) -> None:
        update(flag, "L3:0=f").refused("linux.intelRdt")

    @pytest.mark.parametrize(
        "flags",
        [
            ("--memory", "much"),
            ("--pids-limit", "x"),
            ("--cpu-quota", "1.5"),
            ("--memory", "-5"),
            ("--cpuset-cpus", "4000"),
            ("--blkio-weight", "5"),
        ],
    )
    @not_for("runc", "crun", reason="they take some of these")
    def test_value_that_is_none_is_refused(self, update: Updated, flags: tuple[str, str]) -> None:
        before = update.cgroup.snapshot()
        update(*flags).refused(flags[0])
        assert update.cgroup.snapshot() == before

    @not_for("runc", "crun", reason="they ignore the others")
    def test_flags_beside_resources_are_refused(self, update: Updated) -> None:
        update("--resources", "-", "--memory", "1g", input="{}").refused("--resources")


class TestSwap:
    @pytest.fixture
    def resources(self) -> dict[str, Any]:
        return {"memory": {"limit": 32 * MIB, "swap": 64 * MIB}}

    @pytest.fixture(autouse=True)
    def accounted(self, box: Runtime) -> None:
        if not Cgroup(1).unified and not (Cgroup(1).roots["memory"] / "memory.memsw.limit_in_bytes").exists():
            pytest.skip(NO_SWAP)

    @pytest.mark.parametrize("limit, swap", [(128, 256), (16, 24), (48, 48)])
    def test_both_rise_and_fall(self, update: Updated, limit: int, swap: int) -> None:
        update("--memory", f"{limit}M", "--memory-swap", f"{swap}M").ok()
        assert update.read("memory") == str(limit * MIB)
        assert update.read("swap") == str((swap - limit if update.cgroup.unified else swap) * MIB)

    def test_unlimited_memory_is_unlimited_swap(self, update: Updated) -> None:
        update("--memory", "-1").ok()
        assert update.read("swap") == ("max" if update.cgroup.unified else "9223372036854771712")

    @not_for("runc", "crun", reason="they leave that to the kernel")
    def test_memory_above_both_is_refused(self, update: Updated) -> None:
        update("--memory", "128M").refused("swap")
        assert update.read("memory") == str(32 * MIB)


class TestDocument:
    @pytest.mark.parametrize("place", ["-", "file"])
    def test_is_applied(self, update: Updated, directory: Path, place: str) -> None:
        document = json.dumps({"memory": {"limit": 48 * MIB}, "pids": {"limit": 99}, "cpu": {"quota": 20000}})
        if place == "-":
            update("--resources", "-", input=document).ok()
        else:
            (directory / "limits.json").write_text(document)
            update("-r", str(directory / "limits.json")).ok()
        assert (update.read("memory"), update.read("pids")) == (str(48 * MIB), "99")
        assert update.cgroup.quota() == ("20000", "100000")

    def test_with_zeros_as_engines_send_them_changes_what_is_not_zero(self, update: Updated) -> None:
        before = update.cgroup.snapshot()
        cpu = {"shares": 0, "quota": 0, "period": 0, "realtimeRuntime": 0, "realtimePeriod": 0, "cpus": "", "mems": ""}
        memory = {"limit": 48 * MIB, "reservation": 0, "swap": 0, "kernel": 0, "kernelTCP": 0}
        document = {"memory": memory, "cpu": cpu, "blockIO": {"weight": 0}}
        update("--resources=-", input=json.dumps(document)).ok()
        assert update.cgroup.snapshot() == before | {"memory": str(48 * MIB)}

    @not_for("runc", "crun", reason="they check little, and name no place")
    @pytest.mark.parametrize(
        "document, pointer",
        [
            ('{"memory": {"limit": "1g"}}', "/memory/limit"),
            ('{"memory": {"limit": -2}}', "/memory/limit"),
            ('{"cpu": {"quota": 10, "burst": 20}}', "/cpu/burst"),
            ('{"cpu": {"cpus": 3}}', "/cpu/cpus"),
            ('{"pids": []}', "/pids"),
            ('{"devices": [{"type": "c"}]}', "/devices/0"),
            ('{"hugepageLimits": [{"pageSize": "2XB", "limit": 1}]}', "/hugepageLimits/0/pageSize"),
            ("[]", "/"),
            ("{", "line 1"),
            ("", "standard input"),
        ],
    )
    def test_that_is_wrong_is_refused_with_its_place(self, update: Updated, document: str, pointer: str) -> None:
        before = update.cgroup.snapshot()
        update("--resources", "-", input=document).refused(pointer)
        assert update.cgroup.snapshot() == before

    def test_that_is_missing_is_refused(self, update: Updated) -> None:
        update("--resources", "/nowhere.json").refused("/nowhere.json")


class TestAtomicity:
    @not_for("runc", "crun", reason="they leave what was written before the failure")
    @pytest.mark.parametrize(
        "bad, named",
        [
            ({"cpu": {"quota": 20000, "cpus": "999"}}, "/cpu/cpus"),
            ({"cpu": {"period": 5}}, "/cpu/"),
            ({"pids": {"limit": 30}, "hugepageLimits": [{"pageSize": "3MB", "limit": 1}]}, "/hugepageLimits/0"),
            (
                {
                    "memory": {"limit": 50 * MIB},
                    "blockIO": {"throttleReadBpsDevice": [{"major": 4000, "minor": 9, "rate": 1}]},
                },
                "/blockIO/",
            ),
        ],
        ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
    )
    def test_failing_limit_leaves_the_old_ones(self, update: Updated, bad: dict[str, Any], named: str) -> None:
        before = update.cgroup.snapshot()
        document = {"memory": {"limit": 40 * MIB, "reservation": 20 * MIB}, **bad}
        update("--resources", "-", input=json.dumps(document)).refused(named)
        assert update.cgroup.snapshot() == before

    @not_for("runc", "crun", reason="the same")
    def test_failed_update_is_not_remembered(self, update: Updated) -> None:
        update("--resources", "-", input='{"cpu": {"quota": 20000, "cpus": "999"}}').refused("/cpu/cpus")
        update("--cpu-period", "200000").ok()
        assert update.cgroup.quota() == ("50000", "200000")

    @not_for("runc", "crun", reason="v1 of runc resets usage, crun does not know it on v1")
    @requires("cgroup2")
    def test_limit_below_what_is_in_use_is_refused_if_it_is_checked(self, update: Updated) -> None:
        update("--resources", "-", input='{"memory": {"limit": 4096, "checkBeforeUpdate": true}}').refused(
            "/memory/limit"
        )
        assert update.read("memory") == str(64 * MIB)


class TestMemory:
    def test_of_earlier_updates_is_kept(self, update: Updated) -> None:
        update("--cpu-period", "200000").ok()
        update("--cpu-quota", "30000").ok()
        assert update.cgroup.quota() == ("30000", "200000")


class TestDevices:
    @not_for("runc", "crun", reason="they take no device rules here")
    def test_rules_are_replaced(self, box: Runtime, bundle: Bundle) -> None:
        bundle.capabilities("CAP_MKNOD").process["noNewPrivileges"] = False
        container = box.running_shell(bundle)
        script = "[ -e /tmp/node ] || mknod /tmp/node c 1 11; /bin/probe --open /tmp/node"
        assert container.exec("/bin/sh", "-c", script).ok().out == "Operation not permitted\n"
        rule = {"allow": True, "type": "c", "major": 1, "minor": 11, "access": "rwm"}
        document = {"devices": [{"allow": False, "access": "rwm"}, rule]}
        box("update", "--resources", "-", container.id, input=json.dumps(document)).ok()
        assert container.exec("/bin/sh", "-c", script).ok().out == "ok\n"
        assert container.exec("/bin/sh", "-c", "echo x > /dev/null && echo fine").ok().out == "fine\n"


def test_stopped_container_is_refused(box: Runtime, bundle: Bundle) -> None:
    container = box.start(bundle)
    container.wait()
    box("update", "--pids-limit", "7", container.id).refused("not running")


def test_created_and_paused_containers_are_updated(box: Runtime, bundle: Bundle) -> None:
    container = box.create(bundle.args("/bin/probe", "--catch"))
    cgroup = Cgroup(container.pid)
    box("update", "--pids-limit", "7", container.id).ok()
    assert cgroup.read("pids") == "7"
    container.start().ok()
    assert container.readline() == "ready"
    box("pause", container.id).ok()
    box("update", "--pids-limit", "8", container.id).ok()
    assert cgroup.read("pids") == "8"
    assert container.status == "paused"


def test_missing_container_is_refused(box: Runtime) -> None:
    box("update", "--pids-limit", "7", "nobody").refused("does not exist")
