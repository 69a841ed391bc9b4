"""The `linux` object, but for resources and seccomp (runtime-spec config-linux.md)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

FULL: dict[str, Any] = {
    "namespaces": [
        {"type": "pid", "path": "/proc/1234/ns/pid"},
        {"type": "network", "path": ""},
        {"type": "mount"},
        {"type": "ipc"},
        {"type": "uts"},
        {"type": "user"},
        {"type": "cgroup"},
        {"type": "time"},
    ],
    "uidMappings": [{"containerID": 0, "hostID": 1000, "size": 1}, {"containerID": 1, "hostID": 0, "size": 1000}],
    "gidMappings": [{"containerID": 0, "hostID": 0, "size": 4294967295}],
    "timeOffsets": {"monotonic": {"secs": -172800, "nanosecs": 999999999}, "boottime": {}},
    "devices": [
        {"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 438, "uid": 0, "gid": 0},
        {"path": "/dev/sda", "type": "b", "major": 4095, "minor": 1048575, "fileMode": 25008},
        {"path": "/dev/pipe", "type": "p"},
        {"path": "/dev/raw", "type": "u", "major": 0, "minor": 0},
    ],
    "netDevices": {"eth0": {"name": "container_eth0"}, "ens4": {}, "ens5": {"name": "eth%d"}, "ens6": {"name": ""}},
    "cgroupsPath": "/myRuntime/myContainer",
    "resources": {},
    "rootfsPropagation": "slave",
    "seccomp": {"defaultAction": "SCMP_ACT_ALLOW"},
    "sysctl": {"net.ipv4.ip_forward": "1", "kernel.shmmax": "1", "fs/mqueue/msg_max": "10"},
    "maskedPaths": ["/proc/kcore"],
    "readonlyPaths": [],
    "mountLabel": "system_u:object_r:svirt_sandbox_file_t:s0:c715,c811",
    "intelRdt": {
        "closID": "guaranteed_group",
        "schemata": ["L3:0=7f0;1=1f", "MB:0=20;1=70"],
        "l3CacheSchema": "L3:0=7f0;1=1f",
        "memBwSchema": "MB:0=20;1=70",
        "enableMonitoring": True,
    },
    "memoryPolicy": {"mode": "MPOL_INTERLEAVE", "nodes": "2-3", "flags": ["MPOL_F_STATIC_NODES"]},
    "personality": {"domain": "LINUX32", "flags": []},
}


def test_every_field_is_accepted(warnings_of: Callable[[str, Any], list[str]]) -> None:
    assert warnings_of("/linux", FULL) == []


@pytest.mark.parametrize(
    "propagation",
    ["", "shared", "slave", "private", "unbindable", "rshared", "rslave", "rprivate", "runbindable"],
)
def test_every_propagation_is_accepted(warnings_of: Callable[[str, Any], list[str]], propagation: str) -> None:
    assert warnings_of("/linux/rootfsPropagation", propagation) == []


ID = "expected a user or group id, an unsigned 32-bit integer (0 to 4294967294), not"
INTERFACE = "expected the name of a network interface (at most 15 bytes), not"
NEW = "expected a name for a network interface (at most 15 bytes, one '%d' at most), not"
CLOS = "expected the name of a class of service without '/', or '/' alone, not"


@pytest.mark.parametrize(
    ("pointer", "value", "text"),
    [
        ("/linux/namespaces", {}, "/linux/namespaces: expected a list, not an object"),
        ("/linux/namespaces", [{}], "/linux/namespaces/0/type: is required"),
        (
            "/linux/namespaces",
            [{"type": "net"}],
            (
                "/linux/namespaces/0/type: expected 'pid', 'network', 'mount', 'ipc', 'uts', 'user', 'cgroup' or 'time', "
                "not 'net'"
            ),
        ),
        (
            "/linux/namespaces",
            [{"type": "pid", "path": "x"}],
            "/linux/namespaces/0/path: expected an absolute path, not 'x'",
        ),
        (
            "/linux/namespaces",
            [{"type": "pid"}, {"type": "ipc"}, {"type": "pid", "path": "/x"}],
            "/linux/namespaces/2/type: expected each only once, but 'pid' is repeated",
        ),
        (
            "/linux/uidMappings",
            [{"containerID": 4294967295, "hostID": 0, "size": 1}],
            f"/linux/uidMappings/0/containerID: {ID} 4294967295",
        ),
        (
            "/linux/uidMappings",
            [{"containerID": 0, "hostID": 0, "size": 0}],
            "/linux/uidMappings/0/size: expected a number of ids (1 to 4294967295), not 0",
        ),
        (
            "/linux/gidMappings",
            [{"containerID": 0, "hostID": 1, "size": 4294967295}],
            "/linux/gidMappings/0/size: is too large: 'hostID' and 'size' go beyond the last id, 4294967294",
        ),
        (
            "/linux/gidMappings",
            [{"containerID": 9, "hostID": 100, "size": 5}, {"containerID": 0, "hostID": 200, "size": 10}],
            "/linux/gidMappings/0/containerID: lies within the range of another mapping",
        ),
        (
            "/linux/uidMappings",
            [{"containerID": 0, "hostID": 100, "size": 5}, {"containerID": 5, "hostID": 104, "size": 5}],
            "/linux/uidMappings/1/hostID: lies within the range of another mapping",
        ),
        (
            "/linux/timeOffsets",
            {"realtime": {"secs": 1}},
            "/linux/timeOffsets/realtime: expected 'boottime' or 'monotonic', not 'realtime'",
        ),
        (
            "/linux/timeOffsets",
            {"boottime": {"nanosecs": 1000000000}},
            (
                "/linux/timeOffsets/boottime/nanosecs: expected a number of nanoseconds below a second (0 to 999999999), "
                "not 1000000000"
            ),
        ),
        (
            "/linux/timeOffsets",
            {"monotonic": {"secs": 1.5}},
            (
                "/linux/timeOffsets/monotonic/secs: expected a signed 64-bit integer "
                "(-9223372036854775808 to 9223372036854775807), not 1.5"
            ),
        ),
        (
            "/linux/devices",
            [{"path": "/x", "type": "a"}],
            "/linux/devices/0/type: expected 'c', 'b', 'u' or 'p', not 'a'",
        ),
        (
            "/linux/devices",
            [{"path": "dev/x", "type": "p"}],
            "/linux/devices/0/path: expected an absolute path, not 'dev/x'",
        ),
        (
            "/linux/devices",
            [{"path": "/x", "type": "c", "minor": 1}],
            "/linux/devices/0/major: is required for a device of type 'c'",
        ),
        (
            "/linux/devices",
            [{"path": "/x", "type": "u", "major": 1}],
            "/linux/devices/0/minor: is required for a device of type 'u'",
        ),
        (
            "/linux/devices",
            [{"path": "/x", "type": "c", "major": 4096, "minor": 1}],
            "/linux/devices/0/major: expected a major device number (0 to 4095), not 4096",
        ),
        (
            "/linux/devices",
            [{"path": "/x", "type": "c", "major": 1, "minor": -1}],
            "/linux/devices/0/minor: expected a minor device number (0 to 1048575), not -1",
        ),
        (
            "/linux/devices",
            [{"path": "/x", "type": "p", "fileMode": "0666"}],
            "/linux/devices/0/fileMode: expected an unsigned 16-bit integer (0 to 65535), not '0666'",
        ),
        ("/linux/devices", [{"path": "/x", "type": "p", "uid": 4294967295}], f"/linux/devices/0/uid: {ID} 4294967295"),
        ("/linux/netDevices", {"a/b": {}}, f"/linux/netDevices/a~1b: {INTERFACE} 'a/b'"),
        ("/linux/netDevices", {"": {}}, f"/linux/netDevices/: {INTERFACE} ''"),
        ("/linux/netDevices", {"..": {}}, f"/linux/netDevices/..: {INTERFACE} '..'"),
        ("/linux/netDevices", {"eth0": []}, "/linux/netDevices/eth0: expected an object, not an empty list"),
        ("/linux/netDevices", {"eth0": {"name": 23}}, f"/linux/netDevices/eth0/name: {NEW} 23"),
        ("/linux/netDevices", {"eth0": {"name": "a" * 16}}, f"/linux/netDevices/eth0/name: {NEW} 'aaaaaaaaaaaaaaaa'"),
        ("/linux/netDevices", {"eth0": {"name": "a b"}}, f"/linux/netDevices/eth0/name: {NEW} 'a b'"),
        ("/linux/netDevices", {"eth0": {"name": "%d%d"}}, f"/linux/netDevices/eth0/name: {NEW} '%d%d'"),
        ("/linux/netDevices", {"eth0": {"name": "%s"}}, f"/linux/netDevices/eth0/name: {NEW} '%s'"),
        (
            "/linux/netDevices",
            {"eth0": {"name": "x"}, "x": {}},
            "/linux/netDevices/x: 'x' is the name of another interface too",
        ),
        ("/linux/cgroupsPath", "a\nb", "/linux/cgroupsPath: expected a string of one line, not 'a\\nb'"),
        ("/linux/cgroupsPath", 1, "/linux/cgroupsPath: expected a string of one line, not 1"),
        (
            "/linux/rootfsPropagation",
            "SHARED",
            (
                "/linux/rootfsPropagation: expected 'shared', 'slave', 'private', 'unbindable', 'rshared', 'rslave', "
                "'rprivate', 'runbindable' or '', not 'SHARED'"
            ),
        ),
        ("/linux/maskedPaths", ["proc/kcore"], "/linux/maskedPaths/0: expected an absolute path, not 'proc/kcore'"),
        ("/linux/maskedPaths", [""], "/linux/maskedPaths/0: expected an absolute path, not ''"),
        ("/linux/maskedPaths", ["/a", "/b\0"], "/linux/maskedPaths/1: expected a string without NUL characters"),
        ("/linux/readonlyPaths", ["x"], "/linux/readonlyPaths/0: expected an absolute path, not 'x'"),
        ("/linux/readonlyPaths", "/x", "/linux/readonlyPaths: expected a list, not '/x'"),
        ("/linux/mountLabel", True, "/linux/mountLabel: expected a string of one line, not true"),
        ("/linux/sysctl", {"net.core.somaxconn": 1}, "/linux/sysctl/net.core.somaxconn: expected a string, not 1"),
        ("/linux/sysctl", {"net.x": "a\0"}, "/linux/sysctl/net.x: expected a string without NUL characters"),
        ("/linux/intelRdt/closID", "a/b", f"/linux/intelRdt/closID: {CLOS} 'a/b'"),
        ("/linux/intelRdt/closID", "..", f"/linux/intelRdt/closID: {CLOS} '..'"),
        (
            "/linux/intelRdt/schemata",
            ["a", "b\nc"],
            "/linux/intelRdt/schemata/1: expected a string of one line, not 'b\\nc'",
        ),
        ("/linux/intelRdt/schemata", "L3:", "/linux/intelRdt/schemata: expected a list of strings, not 'L3:'"),
        (
            "/linux/intelRdt/l3CacheSchema",
            "L3:0=f\nMB:",
            "/linux/intelRdt/l3CacheSchema: expected a string of one line, not 'L3:0=f\\nMB:'",
        ),
        (
            "/linux/intelRdt/memBwSchema",
            "L3:0=f",
            "/linux/intelRdt/memBwSchema: expected one line that begins with 'MB:', not 'L3:0=f'",
        ),
        ("/linux/intelRdt/enableMonitoring", 1, "/linux/intelRdt/enableMonitoring: expected true or false, not 1"),
        ("/linux/memoryPolicy", {"nodes": "0"}, "/linux/memoryPolicy/mode: is required"),
        (
            "/linux/memoryPolicy",
            {"mode": "MPOL_LOCAL", "nodes": "0"},
            "/linux/memoryPolicy/nodes: has no meaning with the mode 'MPOL_LOCAL'",
        ),
        (
            "/linux/memoryPolicy",
            {"mode": "MPOL_BIND"},
            "/linux/memoryPolicy/nodes: is required with the mode 'MPOL_BIND'",
        ),
        (
            "/linux/memoryPolicy",
            {"mode": "MPOL_PREFERRED", "flags": ["MPOL_F_STATIC_NODES", "MPOL_F_RELATIVE_NODES"]},
            "/linux/memoryPolicy/flags: expected either static or relative nodes, not both",
        ),
        (
            "/linux/memoryPolicy",
            {"mode": "MPOL_LOCAL", "flags": ["X"]},
            (
                "/linux/memoryPolicy/flags/0: expected 'MPOL_F_NUMA_BALANCING', 'MPOL_F_RELATIVE_NODES' or "
                "'MPOL_F_STATIC_NODES', not 'X'"
            ),
        ),
        ("/linux/personality", {}, "/linux/personality/domain: is required"),
        ("/linux/personality/domain", "linux", "/linux/personality/domain: expected 'LINUX' or 'LINUX32', not 'linux'"),
    ],
)
def test_a_wrong_value_is_refused_at_its_place(
    refusal: Callable[[str, Any], str], pointer: str, value: object, text: str
) -> None:
    assert refusal(pointer, value) == text
