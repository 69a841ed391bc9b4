"""Configs that are right but for what was done to them: a whole one, changed in a few places, the same for each seed."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

HOOK = {"path": "/bin/true", "args": ["true", "-x"], "env": ["A=1"], "timeout": 5}
MAPPINGS = [{"containerID": 0, "hostID": 1000, "size": 10}, {"containerID": 10, "hostID": 5000, "size": 10}]
THROTTLE = [{"major": 8, "minor": 0, "rate": 1000}]
# Every field of the specification that Linux has, with values that are right together.
WHOLE: dict[str, Any] = {
    "ociVersion": "1.0.2",
    "hostname": "name",
    "domainname": "domain",
    "annotations": {"com.example.key": "value", "org.example": ""},
    "root": {"path": "rootfs", "readonly": True},
    "hooks": {
        name: [HOOK]
        for name in ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
    },
    "mounts": [
        {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec"]},
        {"destination": "/a", "source": "/b", "options": ["bind"], "uidMappings": MAPPINGS, "gidMappings": MAPPINGS},
    ],
    "process": {
        "terminal": True,
        "consoleSize": {"height": 25, "width": 80},
        "cwd": "/",
        "env": ["PATH=/bin", "TERM=xterm"],
        "args": ["sh", "-c", "true"],
        "commandLine": "sh",
        "user": {"uid": 0, "gid": 5, "umask": 18, "additionalGids": [5, 6], "username": "name"},
        "rlimits": [
            {"type": "RLIMIT_CORE", "soft": 0, "hard": 5},
            {"type": "RLIMIT_NOFILE", "soft": 18446744073709551615, "hard": 18446744073709551615},
        ],
        "capabilities": {
            name: ["CAP_KILL", "CAP_CHOWN"] for name in ("bounding", "effective", "inheritable", "permitted", "ambient")
        },
        "noNewPrivileges": True,
        "apparmorProfile": "profile",
        "selinuxLabel": "a:b:c:s0",
        "oomScoreAdj": 100,
        "scheduler": {"policy": "SCHED_RR", "nice": 5, "priority": 10, "flags": ["SCHED_FLAG_RESET_ON_FORK"]},
        "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 4},
        "execCPUAffinity": {"initial": "0-3,7", "final": "1"},
    },
    "linux": {
        "namespaces": [
            {"type": "pid", "path": "/proc/1/ns/pid"},
            *({"type": name} for name in ("network", "mount", "ipc", "uts", "user", "cgroup", "time")),
        ],
        "uidMappings": MAPPINGS,
        "gidMappings": MAPPINGS,
        "timeOffsets": {"boottime": {"secs": 5, "nanosecs": 7}, "monotonic": {"secs": -5}},
        "devices": [
            {"path": "/dev/x", "type": "c", "major": 10, "minor": 229, "fileMode": 438, "uid": 0, "gid": 0},
            {"path": "/dev/y", "type": "p"},
        ],
        "netDevices": {"eth0": {"name": "container_eth0"}, "eth1": {}},
        "cgroupsPath": "/a/b",
        "resources": {
            "devices": [
                {"allow": False, "access": "rwm"},
                {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "r"},
            ],
            "memory": {
                "limit": 100000,
                "reservation": 100,
                "swap": -1,
                "kernel": -1,
                "kernelTCP": 0,
                "swappiness": 60,
                "disableOOMKiller": False,
                "useHierarchy": True,
                "checkBeforeUpdate": True,
            },
            "cpu": {
                "shares": 1024,
                "quota": 10000,
                "burst": 100,
                "period": 50000,
                "realtimeRuntime": 950,
                "realtimePeriod": 1000,
                "cpus": "0-1",
                "mems": "0",
                "idle": 1,
            },
            "pids": {"limit": 100},
            "blockIO": {
                "weight": 10,
                "leafWeight": 10,
                "weightDevice": [{"major": 8, "minor": 0, "weight": 500, "leafWeight": 300}],
                "throttleReadBpsDevice": THROTTLE,
                "throttleWriteBpsDevice": THROTTLE,
                "throttleReadIOPSDevice": THROTTLE,
                "throttleWriteIOPSDevice": THROTTLE,
            },
            "hugepageLimits": [{"pageSize": "2MB", "limit": 4096}, {"pageSize": "64KB", "limit": 0}],
            "network": {"classID": 1048577, "priorities": [{"name": "eth0", "priority": 500}]},
            "rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 10000}},
            "unified": {"memory.high": "100"},
        },
        "rootfsPropagation": "slave",
        "maskedPaths": ["/proc/kcore"],
        "readonlyPaths": ["/proc/sys"],
        "mountLabel": "a:b:c:s0",
        "sysctl": {"net.ipv4.ip_forward": "1", "kernel.msgmax": "5"},
        "seccomp": {
            "defaultAction": "SCMP_ACT_ERRNO",
            "defaultErrnoRet": 38,
            "architectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"],
            "flags": ["SECCOMP_FILTER_FLAG_LOG"],
            "listenerPath": "/agent",
            "listenerMetadata": "data",
            "syscalls": [
                {"names": ["mkdir", "chmod"], "action": "SCMP_ACT_ERRNO", "errnoRet": 5},
                {
                    "names": ["socket"],
                    "action": "SCMP_ACT_ALLOW",
                    "args": [{"index": 1, "value": 5, "valueTwo": 7, "op": "SCMP_CMP_MASKED_EQ"}],
                },
            ],
        },
        "personality": {"domain": "LINUX32", "flags": ["UNAME26"]},
        "memoryPolicy": {"mode": "MPOL_BIND", "nodes": "0-1", "flags": ["MPOL_F_STATIC_NODES"]},
        "intelRdt": {
            "closID": "group",
            "schemata": ["L3:0=f"],
            "l3CacheSchema": "L3:0=f",
            "memBwSchema": "MB:0=50",
            "enableMonitoring": True,
        },
    },
}

WHOLE = json.loads(json.dumps(WHOLE))  # nothing of it is shared

NUMBERS = [
    *(0, 1, -1, 2, 7, 8, 19, 20, -20, -21, 99, 100, 101, 511, 512, 1000, 1001, -1000, -1001, 4095, 4096, 65535, 65536),
    *(2**20 - 1, 2**20, 2**31 - 1, 2**31, -(2**31), -(2**31) - 1, 2**32 - 2, 2**32 - 1, 2**32),
    *(2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 2**64 - 1, 2**64, 10**30),
]
STRINGS = [
    *(
        "",
        "x",
        "/",
        "/a/b",
        "a/b",
        "..",
        "a=b",
        "=",
        "1",
        "-1",
        "0-3,7",
        "3-1",
        "c",
        "b",
        "a",
        "rwm",
        "rwx",
        "2MB",
        "3TB",
    ),
    *("1.2.0", "2.0.0", "1.0", "shared", "pid", "LINUX", "CAP_KILL", "KILL", "RLIMIT_CPU", "RLIMIT_X", "rlimit_cpu"),
    *("SCMP_ACT_KILL", "SCMP_ACT_X", "SCMP_CMP_NE", "SCMP_ARCH_ARM", "SCHED_FIFO", "SCHED_OTHER", "SCHED_DEADLINE"),
    *("MPOL_DEFAULT", "MPOL_LOCAL", "MB:0=1", "L3:0=1", "a b", "a\nb", "a\0b", "é", "x" * 300, "IOPRIO_CLASS_RT"),
    *("eth0", "net.ipv4.x", "kernel.shm_rmid_forced", "kernel.hostname", "vm.swappiness", "bind", "idmap"),
]
OTHERS: list[Any] = [
    None,
    True,
    False,
    1.0,
    1.5,
    1e300,
    [],
    {},
    [[]],
    [{}],
    [1],
    ["x"],
    {"x": 1},
    {"x": "y"},
    {"": "y"},
]


def known_to(errors: Callable[[Any], list[list[Any]]], ours: Callable[[Any], list[list[Any]]]) -> dict[str, Any]:
    """The whole config as an older schema has it: without values that it refuses, and without fields that it does not
    know, which are those it takes with any value. `errors` gives the way to each value that is wrong by it, `ours`
    to those that are by our own."""
    config: dict[str, Any] = copy.deepcopy(WHOLE)
    while found := errors(config) or ours(config):
        _remove(config, found[0])
    for way in list(places(config)):
        holder = _holder(config, way)
        if isinstance(holder, dict) and way[-1] in holder:
            value = holder[way[-1]]
            known = any(errors(_set(config, way, other)) for other in (5, "x", True, [5], {"x": 5}))
            _set(config, way, value)
            if not known:
                del holder[way[-1]]
    return config


def _set(config: dict[str, Any], way: Sequence[Any], value: Any) -> dict[str, Any]:
    _holder(config, way)[way[-1]] = value
    return config


def _remove(config: dict[str, Any], way: Sequence[Any]) -> None:
    holder = _holder(config, way)
    holder.pop(way[-1])


def places(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every value, holders first."""
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, item in list(entries):
        yield (*way, name)
        yield from places(item, (*way, name))


def _holder(config: Any, way: Sequence[Any]) -> Any:
    for name in way[:-1]:
        if isinstance(config, dict):
            config = config.get(name, {})
        elif isinstance(config, list) and name < len(config):
            config = config[name]
        else:
            return None
    return config


def changed(whole: dict[str, Any], seed: int) -> tuple[dict[str, Any], list[str]]:
    """A copy with one to three changes, and what they are."""
    chance = random.Random(seed)
    config = copy.deepcopy(whole)
    if chance.random() < 0.5:  # fewer fields: less hides behind the first error
        for way in [way for way in places(config) if len(way) == 2]:
            if isinstance(way[-1], str) and chance.random() < 0.3:
                _holder(config, way).pop(way[-1])
    return config, [_change(config, chance) for _ in range(chance.choice([1, 1, 1, 2, 3]))]


def _change(config: dict[str, Any], chance: random.Random) -> str:
    way = chance.choice(list(places(config)))
    holder, name = _holder(config, way), way[-1]
    kind = chance.choice(["replace", "replace", "replace", "like", "remove", "repeat", "name"])
    if kind == "remove" or (kind == "name" and isinstance(holder, list)):
        holder.pop(name)
        return f"{way}: removed"
    if kind == "repeat" and isinstance(holder, list):
        holder.append(copy.deepcopy(holder[name]))
        return f"{way}: repeated"
    if kind == "name":
        new = chance.choice([name.upper(), f"{name}x", "", "x", "a/b", "eth0"])
        holder[new] = holder.pop(name)
        return f"{way}: renamed to {new!r}"
    holder[name] = (
        _like(holder[name], chance) if kind == "like" else copy.deepcopy(chance.choice([*NUMBERS, *STRINGS, *OTHERS]))
    )
    return f"{way}: {holder[name]!r}"


def _like(value: Any, chance: random.Random) -> Any:
    """Another value of the same type."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return chance.choice(NUMBERS)
    if isinstance(value, str):
        return chance.choice([*STRINGS, value.lower(), value.upper(), f"{value}x", value[:-1]])
    return type(value)()
