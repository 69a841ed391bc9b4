"""What a process is besides its identity: how it is scheduled, its personality, its label, its home.

Runtime-spec: config.md#process, config.md#linux-process, config-linux.md (personality, memoryPolicy, mountLabel).
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.support import host
from tests.support.bundle import Bundle
from tests.support.marks import not_for
from tests.support.runtime import Container, Runtime

OLD = not_for("runc", "crun", reason="the distribution's version does not know the field")
ALL_CPUS = sorted(os.sched_getaffinity(0))
NO_APPARMOR = not Path("/sys/module/apparmor").exists()
NO_SELINUX = not Path("/sys/fs/selinux/enforce").exists()


@pytest.fixture
def process_file(bundle: Bundle) -> Any:
    """A function that writes a process document and returns its path."""

    def write(**fields: Any) -> str:
        document = {"args": ["/bin/probe"], "cwd": "/", "user": {"uid": 0, "gid": 0}, "env": ["PATH=/bin"], **fields}
        path = bundle.path / "process.json"
        path.write_text(json.dumps(document))
        return str(path)

    return write


def exec_file(container: Container, file: str) -> Any:
    return container.runtime("exec", "--process", file, container.id)


# ---- scheduler ----

DEADLINE = {"policy": "SCHED_DEADLINE", "runtime": 5_000_000, "deadline": 20_000_000, "period": 20_000_000}


def policy(number: int, *, flags: int = 0, nice: int = 0, priority: int = 0, times: tuple[int, ...] = (0, 0, 0)) -> Any:
    return {"policy": number, "flags": flags, "nice": nice, "priority": priority, "times": list(times)}


SCHEDULERS = [
    ({"policy": "SCHED_OTHER", "nice": 7}, policy(0, nice=7)),
    ({"policy": "SCHED_OTHER", "nice": -7}, policy(0, nice=-7)),
    ({"policy": "SCHED_BATCH", "nice": 3}, policy(3, nice=3)),
    ({"policy": "SCHED_FIFO", "priority": 3}, policy(1, priority=3)),
    ({"policy": "SCHED_RR", "priority": 5, "flags": ["SCHED_FLAG_RESET_ON_FORK"]}, policy(2, flags=1, priority=5)),
    (DEADLINE, policy(6, times=(5_000_000, 20_000_000, 20_000_000))),
]


def real_time(bundle: Bundle) -> None:
    """Give the container a share of real-time, where cgroups have to have one (cgroup v1, CONFIG_RT_GROUP_SCHED)."""
    place = host.cgroup_roots().get("cpu", Path("/")) / Path(bundle.linux["cgroupsPath"]).parent.name
    budget = place / "cpu.rt_runtime_us"
    if budget.exists():
        budget.write_text("200000")
        bundle.linux["resources"] = {"cpu": {"realtimeRuntime": 50_000, "realtimePeriod": 1_000_000}}


def same(seen: dict[str, Any], expected: dict[str, Any]) -> bool:
    """The kernel tells the slice of an ordinary process as its runtime since Linux 6.12."""
    times = seen["times"] if expected["times"] != [0, 0, 0] else [0, 0, 0]
    return {**seen, "times": times} == expected


@OLD
@pytest.mark.parametrize("scheduler, expected", SCHEDULERS, ids=lambda value: value["policy"])
def test_scheduler_is_the_configured_one(
    box: Runtime, bundle: Bundle, scheduler: dict[str, Any], expected: dict[str, Any]
) -> None:
    real_time(bundle)
    bundle.process["scheduler"] = scheduler
    seen = box.probe(bundle)["scheduler"]
    assert same(seen, expected), seen


@OLD
def test_idle_scheduler(box: Runtime, bundle: Bundle) -> None:
    bundle.process["scheduler"] = {"policy": "SCHED_IDLE"}
    assert box.probe(bundle)["scheduler"]["policy"] == 5


@OLD
def test_scheduler_needs_no_capability_of_the_containers(box: Runtime, bundle: Bundle) -> None:
    """It is set with the runtime's rights, whoever the process is."""
    real_time(bundle)
    bundle.process["scheduler"] = {"policy": "SCHED_FIFO", "priority": 1}
    bundle.process["user"] = {"uid": 1000, "gid": 1000}
    seen = box.probe(bundle)
    assert (seen["scheduler"]["policy"], seen["uids"], seen.capabilities()["effective"]) == (1, [1000] * 3, set())


@OLD
def test_scheduler_the_kernel_lacks_is_refused_by_create(box: Runtime, bundle: Bundle) -> None:
    bundle.process["scheduler"] = {"policy": "SCHED_ISO"}
    box("create", *box.bundle_args(bundle)).refused("/process/scheduler", "invalid argument")


@OLD
def test_more_time_than_there_is_is_refused(box: Runtime, bundle: Bundle) -> None:
    bundle.process["scheduler"] = {**DEADLINE, "runtime": 20_000_000, "period": 10_000_000}
    box.run(bundle).refused("/process/scheduler")


@OLD
def test_real_time_needs_the_hosts_privilege(box: Runtime, bundle: Bundle) -> None:
    bundle.user_namespace().process["scheduler"] = {"policy": "SCHED_FIFO", "priority": 1}
    box.run(bundle).refused("/process/scheduler", "not permitted", "CAP_SYS_NICE")


@OLD
def test_start_container_hooks_and_a_deadline_exclude_each_other(box: Runtime, bundle: Bundle) -> None:
    bundle.hook("startContainer", "/bin/true").process["scheduler"] = DEADLINE
    box.run(bundle).refused("/process/scheduler/policy", "SCHED_FLAG_RESET_ON_FORK")
    bundle.process["scheduler"] = {**DEADLINE, "flags": ["SCHED_FLAG_RESET_ON_FORK"]}
    assert box.probe(bundle)["scheduler"]["policy"] == 6


@OLD
def test_scheduler_of_another_process_is_its_own(box: Runtime, bundle: Bundle, process_file: Any) -> None:
    real_time(bundle)
    bundle.process["scheduler"] = {"policy": "SCHED_BATCH", "nice": 2}
    container = box.running_shell(bundle)
    assert container.exec("/bin/probe").report()["scheduler"]["policy"] == 3
    file = process_file(scheduler={"policy": "SCHED_FIFO", "priority": 4})
    assert exec_file(container, file).report()["scheduler"]["priority"] == 4
    assert exec_file(container, process_file()).report()["scheduler"]["policy"] == 0


# ---- I/O priority ----


@OLD
@pytest.mark.parametrize(
    "kind, level, expected",
    [("IOPRIO_CLASS_RT", 1, [1, 1]), ("IOPRIO_CLASS_BE", 6, [2, 6]), ("IOPRIO_CLASS_IDLE", 0, [3, 0])],
)
def test_io_priority_is_the_configured_one(
    box: Runtime, bundle: Bundle, kind: str, level: int, expected: list[int]
) -> None:
    bundle.process["ioPriority"] = {"class": kind, "priority": level}
    container = box.running_shell(bundle)
    assert container.exec("/bin/probe").report()["io_priority"] == expected
    container.kill("KILL")
    container.delete("--force").ok()
    assert box.probe(bundle)["io_priority"] == expected


@OLD
def test_real_time_io_needs_the_hosts_privilege(box: Runtime, bundle: Bundle) -> None:
    bundle.user_namespace().process["ioPriority"] = {"class": "IOPRIO_CLASS_RT", "priority": 1}
    box.run(bundle).refused("/process/ioPriority", "CAP_SYS_NICE")
    bundle.process["ioPriority"] = {"class": "IOPRIO_CLASS_BE", "priority": 1}
    assert box.probe(bundle)["io_priority"] == [2, 1]


# ---- CPU affinity ----


@OLD
def test_affinity_of_init_is_left_alone(box: Runtime, bundle: Bundle) -> None:
    bundle.process["execCPUAffinity"] = {"initial": "0", "final": "0"}
    assert box.probe(bundle)["cpu_list"] == ALL_CPUS


@OLD
@pytest.mark.skipif(len(ALL_CPUS) < 2, reason="one CPU")
def test_affinity_of_another_process_is_the_final_one(box: Runtime, bundle: Bundle, process_file: Any) -> None:
    bundle.process["execCPUAffinity"] = {"initial": "0", "final": "1"}
    container = box.running_shell(bundle)
    assert container.exec("/bin/probe").report()["cpu_list"] == [1]
    assert exec_file(container, process_file(execCPUAffinity={"final": " 0-0 "})).report()["cpu_list"] == [0]


@OLD
def test_initial_affinity_does_not_stay(box: Runtime, bundle: Bundle, process_file: Any) -> None:
    container = box.running_shell(bundle)
    assert exec_file(container, process_file(execCPUAffinity={"initial": "0"})).report()["cpu_list"] == ALL_CPUS


@OLD
@pytest.mark.parametrize("when", ["initial", "final"])
def test_cpus_that_are_not_there_are_refused(box: Runtime, bundle: Bundle, process_file: Any, when: str) -> None:
    container = box.running_shell(bundle)
    result = exec_file(container, process_file(execCPUAffinity={when: "8000"}))
    result.refused(f"/process/execCPUAffinity/{when}", "cpuset", code=255)


# ---- personality ----


@not_for("runc", reason="1.1 does not know the field")
def test_personality_changes_the_machine(box: Runtime, bundle: Bundle) -> None:
    bundle.linux["personality"] = {"domain": "LINUX32"}
    seen = box.probe(bundle)
    assert (seen["personality"], seen["machine"] != os.uname().machine) == (8, True)


@OLD
def test_personality_flags_are_those_of_the_manual(box: Runtime, bundle: Bundle) -> None:
    flags = ["ADDR_NO_RANDOMIZE", "ADDR_COMPAT_LAYOUT", "SHORT_INODE", "WHOLE_SECONDS", "STICKY_TIMEOUTS", "UNAME26"]
    bundle.linux["personality"] = {"domain": "LINUX", "flags": flags}
    container = box.running_shell(bundle)
    assert container.exec("/bin/probe").report()["personality"] == 0x7260000
    container.delete("--force").ok()
    bundle.linux["personality"] = {"domain": "LINUX", "flags": ["ADDR_NO_RANDOMIZE"]}
    assert box.probe(bundle)["personality"] == 0x40000


@OLD
def test_unknown_personality_flag_is_refused(box: Runtime, bundle: Bundle) -> None:
    bundle.linux["personality"] = {"domain": "LINUX", "flags": ["ADDR_NO_RANDOMIZE", "NONSENSE"]}
    box.run(bundle).refused("/linux/personality/flags/1", "'NONSENSE'")


# ---- memory policy ----


@OLD
@pytest.mark.parametrize(
    "asked, mode, flags, nodes",
    [
        ({"mode": "MPOL_BIND", "nodes": "0"}, 2, 0, 1),
        ({"mode": "MPOL_INTERLEAVE", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]}, 3, 0x8000, 1),
        ({"mode": "MPOL_PREFERRED", "nodes": "0"}, 1, 0, 1),
        ({"mode": "MPOL_LOCAL"}, 4, 0, 0),
    ],
)
def test_memory_policy_is_the_configured_one(
    box: Runtime, bundle: Bundle, asked: dict[str, Any], mode: int, flags: int, nodes: int
) -> None:
    bundle.linux["memoryPolicy"] = asked
    seen = box.probe(bundle)["memory_policy"]
    assert (seen["mode"], seen["flags"] & 0xFFFF) == (mode, flags)
    assert seen["nodes"] == nodes


@OLD
def test_memory_policy_is_for_other_processes_too(box: Runtime, bundle: Bundle) -> None:
    bundle.linux["memoryPolicy"] = {"mode": "MPOL_BIND", "nodes": "0"}
    assert box.running_shell(bundle).exec("/bin/probe").report()["memory_policy"]["mode"] == 2


@OLD
def test_memory_of_a_node_that_is_not_there_is_refused(box: Runtime, bundle: Bundle) -> None:
    bundle.linux["memoryPolicy"] = {"mode": "MPOL_BIND", "nodes": "1000"}
    box.run(bundle).refused("/linux/memoryPolicy", "invalid argument")


# ---- labels ----


@pytest.mark.skipif(not NO_APPARMOR, reason="this host has AppArmor")
@pytest.mark.parametrize("way", ["create", "exec"])
def test_profile_on_a_host_without_apparmor_is_refused(box: Runtime, bundle: Bundle, way: str) -> None:
    if way == "create":
        bundle.process["apparmorProfile"] = "some-profile"
        box.run(bundle).refused("apparmor")
    else:
        container = box.running_shell(bundle)
        result = container.exec("/bin/true", flags=("--apparmor", "some-profile"))
        assert result.code != 0
        assert "apparmor" in result.err.lower()


@pytest.mark.skipif(not NO_APPARMOR, reason="this host has AppArmor")
@pytest.mark.parametrize("profile", ["", pytest.param("unconfined", marks=not_for("runc", reason="it refuses it"))])
@not_for("crun", reason="even an empty one is too much for it")
def test_no_profile_needs_no_apparmor(box: Runtime, bundle: Bundle, profile: str) -> None:
    bundle.process["apparmorProfile"] = profile
    container = box.running_shell(bundle)
    container.exec("/bin/true", flags=("--apparmor", profile) if profile else ()).ok()


@pytest.mark.skipif(NO_APPARMOR, reason="this host has no AppArmor")
def test_unknown_profile_is_refused(box: Runtime, bundle: Bundle) -> None:
    bundle.process["apparmorProfile"] = "there-is-no-such-profile"
    box("create", *box.bundle_args(bundle)).refused("apparmor", "there-is-no-such-profile")


@pytest.mark.skipif(not NO_SELINUX, reason="this host has SELinux")
@not_for("crun", reason="it fails without saying at what")
def test_label_on_a_host_without_selinux_is_refused(box: Runtime, bundle: Bundle) -> None:
    bundle.process["selinuxLabel"] = "system_u:system_r:container_t:s0"
    box.run(bundle).refused("selinux")


@pytest.mark.skipif(not NO_SELINUX, reason="this host has SELinux")
@not_for("crun", reason="it passes it over")
def test_label_of_another_process_is_refused_too(box: Runtime, bundle: Bundle) -> None:
    container = box.running_shell(bundle)
    flags = ("--process-label", "system_u:system_r:container_t:s0")
    container.exec("/bin/true", flags=flags).refused("selinux", code=255)


@pytest.mark.skipif(not NO_SELINUX, reason="this host has SELinux")
@not_for("runc", reason="1.1 hands it to the kernel, which refuses it")
def test_mount_label_on_a_host_without_selinux_is_passed_over(box: Runtime, bundle: Bundle) -> None:
    bundle.linux["mountLabel"] = "system_u:object_r:svirt_sandbox_file_t:s0:c715,c811"
    box.run(bundle.args("/bin/true")).ok()


# ---- HOME ----


UNKNOWN = pytest.param(5, "/", marks=not_for("crun", reason="it sets none"))


def home(box: Runtime, bundle: Bundle, uid: int = 0) -> str:
    bundle.process["user"] = {"uid": uid, "gid": 0}
    return box.probe(bundle).environment()["HOME"]


@pytest.mark.parametrize("uid, expected", [(0, "/root"), (1000, "/home"), UNKNOWN])
def test_home_is_from_the_root_filesystems_passwd(box: Runtime, bundle: Bundle, uid: int, expected: str) -> None:
    assert home(box, bundle, uid) == expected


def test_home_of_the_config_stays(box: Runtime, bundle: Bundle) -> None:
    bundle.process["env"] = ["HOME=/elsewhere", "A=1"]
    assert box.probe(bundle)["env"] == ["HOME=/elsewhere", "A=1"]


@not_for("runc", reason="it takes an empty one for none")
def test_even_an_empty_home_stays(box: Runtime, bundle: Bundle) -> None:
    bundle.process["env"] = ["HOME=", "HOMELESS=1"]
    assert box.probe(bundle)["env"] == ["HOME=", "HOMELESS=1"]


def test_home_without_a_passwd_is_the_root(box: Runtime, bundle: Bundle) -> None:
    (bundle.rootfs / "etc/passwd").unlink()
    assert home(box, bundle) == "/"


def test_passwd_that_is_mounted_counts(box: Runtime, bundle: Bundle) -> None:
    """As podman does it."""
    directory = bundle.host_directory(passwd="root:x:0:0::/mounted:/bin/sh\n")
    bundle.mount("/etc/passwd", "bind", directory / "passwd", "bind", "ro")
    assert home(box, bundle) == "/mounted"


def test_passwd_is_never_the_hosts(box: Runtime, bundle: Bundle) -> None:
    outside = bundle.host_directory(passwd="root:x:0:0::/outside:/bin/sh\n") / "passwd"
    (bundle.rootfs / "etc/passwd").unlink()
    (bundle.rootfs / "etc/passwd").symlink_to(outside)
    assert home(box, bundle) == "/"


@not_for("runc", "crun", reason="they hang until somebody writes to it")
def test_fifo_as_passwd_does_not_hold_the_runtime_up(box: Runtime, bundle: Bundle) -> None:
    (bundle.rootfs / "etc/passwd").unlink()
    os.mkfifo(bundle.rootfs / "etc/passwd")
    assert home(box, bundle) == "/"
    container = box.running_shell(bundle)
    assert container.exec("/bin/probe").report().environment()["HOME"] == "/"


def test_home_of_another_process_is_its_users(box: Runtime, bundle: Bundle) -> None:
    container = box.running_shell(bundle)
    assert container.exec("/bin/probe").report().environment()["HOME"] == "/root"
    assert container.exec("/bin/probe", flags=("--user", "1000")).report().environment()["HOME"] == "/home"
    given = container.exec("/bin/probe", flags=("--env", "HOME=/given")).report()
    assert given.environment()["HOME"] == "/given"


def test_home_in_a_user_namespace(box: Runtime, bundle: Bundle) -> None:
    assert home(box, bundle.user_namespace(), 1000) == "/home"


def test_home_without_a_mount_namespace(box: Runtime, bundle: Bundle) -> None:
    if box.name != "box":
        pytest.skip("runc and crun want masks and mounts to be away too")
    bundle.without_namespace("mount").config["mounts"] = []
    assert home(box, bundle) == "/root"


def test_this_host_is_looked_at_right() -> None:
    """The skips above go by the same facts as the runtime: a host with both modules would run the other half."""
    assert host.lacks("root") is None
    lsm = Path("/sys/kernel/security/lsm")
    if lsm.exists():
        assert ("apparmor" in lsm.read_text()) != NO_APPARMOR
