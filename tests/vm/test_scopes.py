"""Containers in scopes of systemd: where they are, what limits them, and that a reload takes nothing away."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from boxes.cgroups import manager as managers
from boxes.plan.resources import settings
from tests.support.bundle import Bundle
from tests.support.host import CGROUPS
from tests.support.marks import not_for
from tests.support.runtime import Container, Runtime, executable, wait_for_exit, wait_until
from tests.vm.conftest import SLICE, left, systemctl

MIB = 1 << 20
STAY = ("/bin/sleep", "1000")


def cgroup_of(pid: int) -> str:
    return Path(f"/proc/{pid}/cgroup").read_text().strip().removeprefix("0::")


def place(bundle: Bundle) -> Path:
    return CGROUPS / SLICE / f"bt-{bundle.id}.scope"


def value(bundle: Bundle, file: str) -> str:
    return (place(bundle) / file).read_text().strip()


def shown(unit: str, name: str) -> str:
    return systemctl("show", "--value", "-p", name, unit).strip()


def scope(bundle: Bundle) -> str:
    return f"bt-{bundle.id}.scope"


class TestPlace:
    def test_it_is_a_delegated_scope_in_the_slice(self, box: Runtime, bundle: Bundle) -> None:
        container = box.create(bundle.args(*STAY))
        assert cgroup_of(container.pid) == f"/{SLICE}/{scope(bundle)}"
        assert shown(scope(bundle), "ActiveState") == "active"
        assert shown(scope(bundle), "Delegate") == "yes"
        assert shown(scope(bundle), "Slice") == SLICE
        assert shown(scope(bundle), "TasksAccounting") == "yes"

    def test_slices_lie_in_each_other(self, box: Runtime, bundle: Bundle) -> None:
        bundle.linux["cgroupsPath"] = f"boxtest-a-b.slice:bt:{bundle.id}"
        container = box.create(bundle.args(*STAY))
        path = f"/{SLICE}/boxtest-a.slice/boxtest-a-b.slice/{scope(bundle)}"
        assert cgroup_of(container.pid) == path
        container.delete("--force").ok()
        assert not Path(f"{CGROUPS}{path}").exists()

    @not_for("runc", "crun", reason="their scopes are called after them")
    def test_without_a_path_it_is_named_after_the_container(self, box: Runtime, bundle: Bundle) -> None:
        del bundle.linux["cgroupsPath"]
        container = box.create(bundle.args(*STAY))
        assert cgroup_of(container.pid) == f"/system.slice/box-{bundle.id}.scope"

    @not_for("runc", "crun", reason="they do not escape")
    def test_a_name_that_units_cannot_have_is_escaped(self, box: Runtime, bundle: Bundle) -> None:
        bundle.linux["cgroupsPath"] = f"{SLICE}:bt:a b+{bundle.id}"
        container = box.create(bundle.args(*STAY))
        assert cgroup_of(container.pid) == f"/{SLICE}/bt-a\\x20b\\x2b{bundle.id}.scope"

    @not_for("runc", reason="it does not say")
    def test_state_names_the_scope(self, box: Runtime, bundle: Bundle) -> None:
        assert box.create(bundle.args(*STAY)).state()["systemd-scope"] == scope(bundle)

    @pytest.mark.parametrize("path", ["/boxtest/x", "x", "a.slice:b", "x:bt:c", "a--b.slice:bt:c"])
    @not_for("crun", reason="it takes some of these")
    def test_another_path_is_refused(self, box: Runtime, bundle: Bundle, path: str) -> None:
        bundle.linux["cgroupsPath"] = path
        result = box.run(bundle.args("/bin/true")).refused("slice")
        assert box.name != "box" or "/linux/cgroupsPath" in result.err

    def test_a_cgroup_namespace_is_rooted_at_the_scope(self, box: Runtime, bundle: Bundle) -> None:
        bundle.namespace("cgroup").mount("/sys/fs/cgroup", "cgroup", "cgroup", "ro")
        out = box.run(bundle.shell("cat /proc/self/cgroup; ls /sys/fs/cgroup")).ok().out
        assert out.startswith("0::/\n")
        assert "cgroup.type" in out

    def test_its_own_limits_are_not_the_containers_to_change(self, box: Runtime, bundle: Bundle) -> None:
        """What nsdelegate, which systemd mounts with, is for."""
        bundle.linux["resources"] = {"pids": {"limit": 20}}
        bundle.namespace("cgroup").mount("/sys/fs/cgroup", "cgroup", "cgroup", "rw")
        bundle.shell(
            "echo max >/sys/fs/cgroup/pids.max; cat /sys/fs/cgroup/pids.max; mkdir /sys/fs/cgroup/a && echo made"
        )
        result = box.run(bundle)
        assert result.out == "20\nmade\n"
        assert "not permitted" in result.err

    def test_with_a_user_namespace(self, box: Runtime, bundle: Bundle) -> None:
        container = box.create(bundle.user_namespace().args(*STAY))
        assert cgroup_of(container.pid) == f"/{SLICE}/{scope(bundle)}"

    @not_for("runc", "crun", reason="they name other processes to systemd than they mean")
    def test_from_another_pid_namespace_it_is_refused(self, box: Runtime, bundle: Bundle) -> None:
        """There its numbers are not systemd's."""
        apart = ("unshare", "--pid", "--fork", "--mount-proc")
        result = box("run", *box.bundle_args(bundle.args("/bin/true")), prefix=apart)
        result.refused("systemd is outside of this pid namespace")

    def test_exec_enters_it(self, box: Runtime, bundle: Bundle) -> None:
        container = box.start(bundle.args(*STAY))
        assert container.exec("/bin/cat", "/proc/self/cgroup").ok().out.endswith(f"/{scope(bundle)}\n")
        assert cgroup_of(container.pid) == f"/{SLICE}/{scope(bundle)}"

    def test_later_verbs_need_no_flag(self, box: Runtime, bundle: Bundle) -> None:
        box.create(bundle.args(*STAY))
        plain = Runtime(box.path, box.directory)
        plain("start", bundle.id).ok()
        assert plain("exec", bundle.id, "/bin/cat", "/proc/self/cgroup").ok().out.endswith(f"/{scope(bundle)}\n")
        plain("kill", bundle.id, "KILL").ok()
        plain("delete", "--force", bundle.id).ok()
        assert left() == []

    @not_for("runc", reason="it waits, and does not end")
    def test_the_name_of_a_unit_that_lives_is_refused(self, box: Runtime, make_bundle: Callable[[], Bundle]) -> None:
        first, second = make_bundle().args(*STAY), make_bundle().args(*STAY)
        second.linux["cgroupsPath"] = first.linux["cgroupsPath"]
        container = box.start(first)
        box.run(second).refused("bt-" if box.name == "box" else "")
        box("delete", "--force", second.id)
        assert container.status == "running"
        assert shown(scope(first), "ActiveState") == "active"


# resources, and what is in which file, and in which property, afterwards
LIMITS: list[tuple[dict[str, Any], str, str, str, str]] = [
    ({"memory": {"limit": 64 * MIB}}, "memory.max", f"{64 * MIB}", "MemoryMax", f"{64 * MIB}"),
    ({"memory": {"reservation": 32 * MIB}}, "memory.low", f"{32 * MIB}", "MemoryLow", f"{32 * MIB}"),
    ({"cpu": {"quota": 20000, "period": 50000}}, "cpu.max", "20000 50000", "CPUQuotaPerSecUSec", "400ms"),
    ({"cpu": {"cpus": "0"}}, "cpuset.cpus", "0", "AllowedCPUs", "0"),
    ({"cpu": {"cpus": "0-1", "mems": "0"}}, "cpuset.mems", "0", "AllowedMemoryNodes", "0"),
    ({"pids": {"limit": 17}}, "pids.max", "17", "TasksMax", "17"),
    ({"unified": {"memory.high": "50331648"}}, "memory.high", "50331648", "MemoryHigh", "50331648"),
]
# Those of which runc tells systemd nothing, or the Debian's converts otherwise.
MORE: list[tuple[dict[str, Any], str, str, str, str]] = [
    ({"memory": {"limit": -1}}, "memory.max", "max", "MemoryMax", "infinity"),
    ({"pids": {"limit": -1}}, "pids.max", "max", "TasksMax", "infinity"),
    ({"cpu": {"shares": 2048}}, "cpu.weight", "174", "CPUWeight", "174"),
    ({"cpu": {"idle": 1}}, "cpu.idle", "1", "CPUWeight", "idle"),
    ({"unified": {"io.weight": "500"}}, "io.weight", "default 500", "IOWeight", "500"),
    ({"unified": {"memory.min": "4194304"}}, "memory.min", "4194304", "MemoryMin", "4194304"),
]


class TestLimits:
    def check(
        self, box: Runtime, bundle: Bundle, resources: dict[str, Any], file: str, text: str, name: str, told: str
    ) -> None:
        bundle.linux["resources"] = resources
        box.start(bundle.args(*STAY))
        if not (place(bundle) / file).exists():
            pytest.skip(f"this kernel has no {file}")
        assert value(bundle, file) == text
        assert shown(scope(bundle), name) == told
        systemctl("daemon-reload")
        assert value(bundle, file) == text
        assert shown(scope(bundle), name) == told

    @pytest.mark.parametrize(("resources", "file", "text", "name", "told"), LIMITS, ids=[row[3] for row in LIMITS])
    def test_survives_a_reload(
        self, box: Runtime, bundle: Bundle, resources: Any, file: str, text: str, name: str, told: str
    ) -> None:
        self.check(box, bundle, resources, file, text, name, told)

    @pytest.mark.parametrize(("resources", "file", "text", "name", "told"), MORE, ids=[row[1] for row in MORE])
    @not_for("runc", "crun", reason="they do not tell systemd, or convert otherwise")
    def test_survives_a_reload_too(
        self, box: Runtime, bundle: Bundle, resources: Any, file: str, text: str, name: str, told: str
    ) -> None:
        self.check(box, bundle, resources, file, text, name, told)

    def test_a_quota_of_no_whole_per_cent_is_no_less_after_a_reload(self, box: Runtime, bundle: Bundle) -> None:
        bundle.linux["resources"] = {"cpu": {"quota": 12345, "period": 100000}}
        box.start(bundle.args(*STAY))
        assert value(bundle, "cpu.max") in ("12345 100000", "13000 100000")
        systemctl("daemon-reload")
        assert value(bundle, "cpu.max") == "13000 100000"

    @not_for("runc", "crun", reason="their systemd is not asked to")
    def test_a_controller_that_systemd_does_not_know_is_enabled_when_it_is_needed(
        self, box: Runtime, bundle: Bundle
    ) -> None:
        bundle.linux["resources"] = {"hugepageLimits": [{"pageSize": "2MB", "limit": 2 * MIB}]}
        box.start(bundle.args(*STAY))
        assert value(bundle, "hugetlb.2MB.max") == f"{2 * MIB}"
        systemctl("daemon-reload")
        assert value(bundle, "hugetlb.2MB.max") == f"{2 * MIB}"

    def test_memory_kills(self, box: Runtime, bundle: Bundle) -> None:
        bundle.linux["resources"] = {"memory": {"limit": 32 * MIB, "swap": 32 * MIB}}
        bundle.shell("head -c 64m /dev/zero > /dev/shm/x")
        assert box.run(bundle).code in (137, 1)

    def test_an_oom_kill_leaves_no_failed_unit(self, box: Runtime, bundle: Bundle) -> None:
        bundle.linux["resources"] = {"memory": {"limit": 32 * MIB, "swap": 32 * MIB}}
        container = box.start(bundle.shell("head -c 64m /dev/zero | tail -c 60m"))
        wait_for_exit(container.pid)
        container.delete("--force").ok()
        assert left() == []

    @not_for("runc", "crun", reason="they need more")
    def test_a_small_limit_starts_true(self, box: Runtime, bundle: Bundle) -> None:
        bundle.linux["resources"] = {"memory": {"limit": MIB}}
        box.run(bundle.args("/bin/true")).ok()

    def test_pids_hold(self, box: Runtime, bundle: Bundle) -> None:
        bundle.linux["resources"] = {"pids": {"limit": 3}}
        assert "can't fork" in box.run(bundle.shell("for i in 1 2 3 4 5; do sleep 1 & done; wait")).err

    def test_quota_holds(self, box: Runtime, bundle: Bundle) -> None:
        bundle.linux["resources"] = {"cpu": {"quota": 10000, "period": 100000}}
        box.start(bundle.shell("while :; do :; done"))
        wait_until(lambda: "nr_throttled 0" not in value(bundle, "cpu.stat").splitlines(), "throttling")

    @pytest.mark.parametrize("cpus", ["9999", "abc"])
    def test_what_the_kernel_refuses_is_named_and_nothing_is_left(
        self, box: Runtime, bundle: Bundle, cpus: str
    ) -> None:
        bundle.linux["resources"] = {"cpu": {"cpus": cpus}}
        box.run(bundle).refused("cpus" if box.name == "box" else "")
        assert not place(bundle).exists()

    @not_for("runc", "crun", reason="asks our manager")
    def test_new_limits_are_told_to_systemd(self, box: Runtime, bundle: Bundle) -> None:
        bundle.linux["resources"] = {"memory": {"limit": 64 * MIB}, "pids": {"limit": 17}}
        box.start(bundle.args(*STAY))
        journal = json.loads((box.root / bundle.id / "state.json").read_text())
        with managers.from_record(journal["cgroups"]) as manager:
            new = settings({"memory": {"limit": 48 * MIB}, "cpu": {"quota": 20000}}, manager.kind)
            manager.apply(new[1:])
        for _ in range(2):
            assert value(bundle, "memory.max") == f"{48 * MIB}"
            assert value(bundle, "cpu.max") == "20000 100000"
            assert value(bundle, "pids.max") == "17"
            assert shown(scope(bundle), "MemoryMax") == f"{48 * MIB}"
            systemctl("daemon-reload")


class TestDevices:
    RULES = (
        {"allow": False, "access": "rwm"},
        {"allow": True, "type": "c", "major": 1, "minor": 11, "access": "rwm"},
    )
    NODES = "mknod /tmp/kmsg c 1 11; mknod /tmp/port c 1 4; mknod /tmp/null c 1 3; echo made; sleep 1000"

    def can(self, container: Container, name: str) -> bool:
        out = container.exec("/bin/probe", "--open", f"/tmp/{name}").out
        assert out in ("ok\n", "Operation not permitted\n")
        return out == "ok\n"

    def begin(self, box: Runtime, bundle: Bundle, *rules: dict[str, Any]) -> Container:
        bundle.capabilities("CAP_MKNOD")
        bundle.process["noNewPrivileges"] = False
        bundle.linux["resources"] = {"devices": list(rules)}
        container = box.start(bundle.shell(self.NODES))
        assert container.readline() == "made"
        return container

    def test_a_reload_takes_none_away_and_gives_none(self, box: Runtime, bundle: Bundle) -> None:
        container = self.begin(box, bundle, *self.RULES)
        for _ in range(2):
            assert self.can(container, "kmsg")
            assert self.can(container, "null")
            assert not self.can(container, "port")
            systemctl("daemon-reload")

    def test_properties_set_by_others_take_none_away(self, box: Runtime, bundle: Bundle) -> None:
        """So do Kubernetes' CPU manager, and people."""
        container = self.begin(box, bundle, *self.RULES)
        systemctl("set-property", "--runtime", scope(bundle), "CPUWeight=50", "TasksMax=40")
        assert self.can(container, "kmsg")
        assert not self.can(container, "port")

    def test_all_devices(self, box: Runtime, bundle: Bundle) -> None:
        container = self.begin(box, bundle, {"allow": True, "access": "rwm"})
        systemctl("daemon-reload")
        assert self.can(container, "kmsg")

    @not_for("runc", "crun", reason="systemd's program comes in the place of theirs")
    def test_all_but_one(self, box: Runtime, bundle: Bundle) -> None:
        """systemd cannot say that."""
        denied = {"allow": False, "type": "c", "major": 1, "minor": 4, "access": "rwm"}
        container = self.begin(box, bundle, {"allow": True, "access": "rwm"}, denied | {"access": "rw"})
        for _ in range(2):
            assert self.can(container, "kmsg")
            assert not self.can(container, "port")
            systemctl("daemon-reload")

    @not_for("runc", "crun", reason="asks our manager")
    def test_new_rules_come_in_the_place_of_the_old(self, box: Runtime, bundle: Bundle) -> None:
        container = self.begin(box, bundle, *self.RULES)
        journal = json.loads((box.root / bundle.id / "state.json").read_text())
        port = {"allow": True, "type": "c", "major": 1, "minor": 4, "access": "r"}
        with managers.from_record(journal["cgroups"]) as manager:
            manager.apply(settings({"devices": [self.RULES[0], port]}, manager.kind)[:1])
        for _ in range(2):
            assert not self.can(container, "kmsg")
            assert self.can(container, "null")
            systemctl("daemon-reload")


class TestAnnotations:
    def test_what_podman_sets(self, box: Runtime, bundle: Bundle) -> None:
        bundle.config["annotations"] = {
            "org.systemd.property.KillSignal": "10",
            "org.systemd.property.TimeoutStopUSec": "uint64 7000000",
            "org.systemd.property.CollectMode": "'inactive-or-failed'",
            "org.systemd.property.After": "['multi-user.target']",
        }
        box.create(bundle.args(*STAY))
        assert shown(scope(bundle), "KillSignal") == "10"
        assert shown(scope(bundle), "TimeoutStopUSec") == "7s"
        assert shown(scope(bundle), "CollectMode") == "inactive-or-failed"
        assert "multi-user.target" in shown(scope(bundle), "After")

    def test_seconds(self, box: Runtime, bundle: Bundle) -> None:
        bundle.config["annotations"] = {"org.systemd.property.TimeoutStopSec": "9"}
        box.create(bundle.args(*STAY))
        assert shown(scope(bundle), "TimeoutStopUSec") == "9s"

    @pytest.mark.parametrize("name", ["FailureAction", "PIDs", "Slice"])
    @not_for("runc", "crun", reason="they take any")
    def test_what_reaches_beyond_the_unit_is_refused(self, box: Runtime, bundle: Bundle, name: str) -> None:
        bundle.config["annotations"] = {f"org.systemd.property.{name}": "'reboot'"}
        box.run(bundle).refused(f"/annotations/org.systemd.property.{name}")

    @pytest.mark.parametrize(
        "line",
        [
            pytest.param(name, id=name)
            for names in [
                "MemoryHigh=uint64 67108864",
                "TasksMax=50",
                "CPUWeight=50",
                "IOWeight=50",
                "MemoryLow=4096",
                "MemoryMin=4096",
                "MemoryMax=uint64 67108864",
                "MemorySwapMax=0",
                "StartupCPUWeight=50",
                "StartupIOWeight=50",
                "CPUQuotaPerSecUSec=500000",
                "CPUQuotaPeriodUSec=50000",
                "RuntimeMaxSec=1000",
                "AllowedCPUs=[byte 1]",
                "AllowedMemoryNodes=[byte 1]",
                "KillMode='control-group'",
                "FinalKillSignal=9",
                "WatchdogSignal=6",
                "SendSIGHUP=true",
                "SendSIGKILL=true",
                "IPAccounting=true",
                "Documentation=['man:box(1)']",
                "Description='x'",
                "Before=['shutdown.target']",
                "DefaultDependencies=true",
                "OOMPolicy='continue'",
                "ManagedOOMSwap='auto'",
                "ManagedOOMMemoryPressure='auto'",
                "ManagedOOMMemoryPressureLimit=uint32 0",
                "ManagedOOMPreference='none'",
                "MemoryZSwapMax=0",
                "CPUAccounting=true",
                "IOAccounting=true",
                "MemoryAccounting=true",
                "TasksAccounting=true",
            ]
            for name in [names]
        ],
    )
    @not_for("runc", "crun", reason="a list of our own")
    def test_all_that_may_be_asked_for_are_of_the_type_that_systemd_wants(
        self, box: Runtime, bundle: Bundle, line: str
    ) -> None:
        """systemd refuses what is of another; one it does not know, being older, is refused by name."""
        name, _, text = line.partition("=")
        bundle.config["annotations"] = {f"org.systemd.property.{name}": text}
        result = box.run(bundle.args("/bin/true"))
        if name in ("OOMPolicy", "MemoryZSwapMax"):  # of systemd 253
            assert result.code == 0 or name in result.err
        else:
            result.ok()


class TestEnd:
    def test_delete_leaves_nothing(self, box: Runtime, bundle: Bundle) -> None:
        container = box.start(bundle.args("/bin/true"))
        wait_for_exit(container.pid)
        container.delete().ok()
        assert left() == []

    def test_delete_by_force_of_many(self, box: Runtime, bundle: Bundle) -> None:
        container = box.start(bundle.shell("for i in 1 2 3 4 5 6 7 8; do sleep 1000 & done; echo up; wait"))
        assert container.readline() == "up"
        container.delete("--force").ok()
        assert left() == []

    def test_a_unit_that_was_stopped_by_hand_is_no_obstacle(self, box: Runtime, bundle: Bundle) -> None:
        container = box.start(bundle.args(*STAY))
        systemctl("kill", "-s", "KILL", scope(bundle))
        wait_for_exit(container.pid)
        container.delete().ok()
        assert left() == []

    @not_for("runc", "crun", reason="they leave the failed unit")
    def test_systemctl_stop_ends_the_container(self, box: Runtime, bundle: Bundle) -> None:
        bundle.config["annotations"] = {"org.systemd.property.TimeoutStopUSec": "uint64 500000"}
        container = box.start(bundle.args(*STAY))
        systemctl("stop", scope(bundle))
        assert container.status == "stopped"
        container.delete().ok()

    def test_cgroups_below_go_as_well(self, box: Runtime, bundle: Bundle) -> None:
        container = box.start(bundle.args(*STAY))
        (place(bundle) / "a/b").mkdir(parents=True)
        container.delete("--force").ok()
        assert left() == []

    @not_for("runc", "crun", reason="kills by our own record")
    def test_kill_all_reaches_processes_that_share_pids(self, box: Runtime, bundle: Bundle) -> None:
        bundle.without_namespace("pid").without_mount("/proc")
        container = box.start(bundle.shell("sleep 1000 & echo up; wait"))
        assert container.readline() == "up"
        container.kill("KILL", flags=("--all",))
        wait_until(lambda: not place(bundle).exists() or not value(bundle, "cgroup.procs"), "processes")
        container.delete().ok()

    def test_a_create_that_fails_leaves_nothing(self, box: Runtime, bundle: Bundle) -> None:
        bundle.mount("/mnt", "bind", "/nonexistent", "bind")
        box.run(bundle).refused()
        assert left() == []


@not_for("runc", "crun", reason="they leave some of it")
class TestKilled:
    """The runtime is killed before each of its calls that talk to systemd or write its journal."""

    @pytest.mark.parametrize("call", ["connect", "sendto", "recvfrom", "rename", "mkdir"])
    def test_create(self, box: Runtime, bundle: Bundle, call: str) -> None:
        bundle.args(*STAY).save()
        box.identifiers.append(bundle.id)
        killed = 0
        for number in range(1, 16):
            inject = (
                "strace",
                "-qq",
                "-o",
                "/dev/null",
                "-e",
                f"trace={call}",
                "-e",
                f"inject={call}:signal=KILL:when={number}",
            )
            command = [*inject, *box.command("create", "--bundle", str(bundle.path), bundle.id)]
            code = subprocess.run(command, stdin=-3, stdout=-3, stderr=-3, timeout=30).returncode
            box("delete", "--force", bundle.id).ok()
            wait_until(lambda: not left(), f"{call} {number}: {left()}", 5)
            assert not (box.root / bundle.id).exists()
            if code == 0:
                break
            killed += 1
        assert killed

    @pytest.mark.parametrize("call", ["connect", "sendto", "recvfrom", "unlink"])
    def test_delete(self, box: Runtime, bundle: Bundle, call: str) -> None:
        for number in range(1, 10):
            container = box.create(bundle.args(*STAY))
            inject = (
                "strace",
                "-qq",
                "-o",
                "/dev/null",
                "-e",
                f"trace={call}",
                "-e",
                f"inject={call}:signal=KILL:when={number}",
            )
            command = [*inject, *box.command("delete", "--force", bundle.id)]
            code = subprocess.run(command, stdin=-3, stdout=-3, stderr=-3, timeout=30).returncode
            box("delete", "--force", bundle.id).ok()
            wait_until(lambda: not left(), f"{call} {number}: {left()}", 5)
            assert container.pid
            if code == 0:
                return

    def test_a_unit_of_anothers_is_left_alone(self, box: Runtime, make_bundle: Callable[[], Bundle]) -> None:
        """The creation of the second was cut short before systemd could refuse the name."""
        first, second = make_bundle().args(*STAY), make_bundle().args(*STAY)
        second.linux["cgroupsPath"] = first.linux["cgroupsPath"]
        container = box.start(first)
        box.identifiers.append(second.id)
        second.save()
        inject = ("strace", "-qq", "-o", "/dev/null", "-e", "trace=sendto", "-e", "inject=sendto:signal=KILL:when=")
        command = box.command("create", "--bundle", str(second.path), second.id)
        for number in range(1, 9):
            subprocess.run(
                [*inject[:-1], f"{inject[-1]}{number}", *command], stdin=-3, stdout=-3, stderr=-3, timeout=30
            )
            box("delete", "--force", second.id).ok()
            assert container.status == "running"
            assert os.path.exists(place(first))


def test_is_the_runtime_under_test() -> None:
    assert executable().exists()
