"""The `linux` object (runtime-spec config-linux.md), but for its larger parts: see schema_resources, schema_seccomp."""

from __future__ import annotations

from boxes.errors import ConfigError
from boxes.spec.kinds import (
    Findings,
    absolute,
    absolute_or_unset,
    choice,
    flag,
    int64,
    integer,
    line,
    list_of,
    map_of,
    matching,
    record,
    strings,
    text,
    uint16,
    user_id,
    wrong,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

NAMESPACES = ("pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time")
PROPAGATIONS = ("shared", "slave", "private", "unbindable", "rshared", "rslave", "rprivate", "runbindable", "")
LONGEST_INTERFACE = 15

# Larger numbers would be cut off without a word when they become a device number.
major = integer(0, 2**12 - 1, "a major device number")
minor = integer(0, 2**20 - 1, "a minor device number")


def resources(value: object, where: str, findings: Findings) -> None:
    from boxes.spec.schema_resources import RESOURCES

    RESOURCES(value, where, findings)


def seccomp(value: object, where: str, findings: Findings) -> None:
    from boxes.spec.schema_seccomp import SECCOMP

    SECCOMP(value, where, findings)


def _mapping(mapping: Any, where: str, findings: Findings) -> None:
    for key in ("containerID", "hostID"):
        if mapping[key] + mapping["size"] > 2**32 - 1:
            raise ConfigError(
                f"is too large: '{key}' and 'size' go beyond the last id, 4294967294", pointer=f"{where}/size"
            )


_id_mappings = list_of(
    record(
        {"containerID": user_id, "hostID": user_id, "size": integer(1, 2**32 - 1, "a number of ids")},
        required=("containerID", "hostID", "size"),
        rule=_mapping,
    )
)


def id_mappings(value: object, where: str, findings: Findings) -> None:
    """Ranges of ids, which overlap neither in the container nor on the host."""
    _id_mappings(value, where, findings)
    if type(value) is list and len(value) > 1:
        for key in ("containerID", "hostID"):
            end = 0
            for start, size, index in sorted((entry[key], entry["size"], index) for index, entry in enumerate(value)):
                if start < end:
                    raise ConfigError("lies within the range of another mapping", pointer=f"{where}/{index}/{key}")
                end = start + size


def _fits_interface(name: str) -> bool:
    return (
        0 < len(name.encode()) <= LONGEST_INTERFACE
        and name not in (".", "..")
        and not any(c in "/:" or c.isspace() for c in name)
    )


def _fits_new_interface(name: str) -> bool:
    return name == "" or (_fits_interface(name) and name.count("%") == name.count("%d") <= 1)


interface = matching(_fits_interface, "the name of a network interface (at most 15 bytes)")
new_interface = matching(_fits_new_interface, "a name for a network interface (at most 15 bytes, one '%d' at most)")
_net_devices = map_of(record({"name": new_interface}), name=interface)


def net_devices(value: object, where: str, findings: Findings) -> None:
    _net_devices(value, where, findings)
    taken: set[str] = set()
    for host, device in value.items() if type(value) is dict else ():
        name = device.get("name") or host
        if name in taken:
            raise ConfigError(f"'{name}' is the name of another interface too", pointer=f"{where}/{host}")
        if "%d" not in name:
            taken.add(name)


def _device(device: Any, where: str, findings: Findings) -> None:
    for key in ("major", "minor"):
        if key not in device and device["type"] != "p":
            raise ConfigError(f"is required for a device of type '{device['type']}'", pointer=f"{where}/{key}")


def _policy(policy: Any, where: str, findings: Findings) -> None:
    """Which modes take nodes: set_mempolicy(2)."""
    mode, nodes = policy["mode"], policy.get("nodes", "")
    if mode in ("MPOL_DEFAULT", "MPOL_LOCAL"):
        if nodes:
            raise ConfigError(f"has no meaning with the mode '{mode}'", pointer=f"{where}/nodes")
    elif not nodes and mode != "MPOL_PREFERRED":
        raise ConfigError(f"is required with the mode '{mode}'", pointer=f"{where}/nodes")
    flags = policy.get("flags", ())
    if "MPOL_F_STATIC_NODES" in flags and "MPOL_F_RELATIVE_NODES" in flags:
        raise ConfigError("expected either static or relative nodes, not both", pointer=f"{where}/flags")


def _fits_clos(name: str) -> bool:
    return name == "/" or ("/" not in name and "\n" not in name and name not in (".", ".."))


def lines(value: object, where: str, findings: Findings) -> None:
    strings(value, where, findings)
    for index, entry in enumerate(value if type(value) is list else ()):
        if "\n" in entry:
            raise wrong(f"{where}/{index}", "a string of one line", entry)


def sysctl(value: object, where: str, findings: Findings) -> None:
    """Names and values by themselves; which namespace a name needs is for `validate` to say."""
    map_of(text)(value, where, findings)
    if type(value) is dict and value:
        from boxes.spec.sysctl import check_names

        check_names(value, where)


OFFSET = record({"secs": int64, "nanosecs": integer(0, 10**9 - 1, "a number of nanoseconds below a second")})

LINUX = record(
    {
        "namespaces": list_of(
            record({"type": choice(NAMESPACES), "path": absolute_or_unset}, required=("type",)), unique="type"
        ),
        "uidMappings": id_mappings,
        "gidMappings": id_mappings,
        "timeOffsets": map_of(OFFSET, name=choice(("boottime", "monotonic"))),
        "devices": list_of(
            record(
                {
                    "type": choice(("c", "b", "u", "p")),
                    "path": absolute,
                    "major": major,
                    "minor": minor,
                    # Engines that copy a host's device leave the bits of its type in: 8630 is 0o20666.
                    "fileMode": uint16,
                    "uid": user_id,
                    "gid": user_id,
                },
                required=("type", "path"),
                rule=_device,
            )
        ),
        "netDevices": net_devices,
        "cgroupsPath": line,
        "resources": resources,
        "rootfsPropagation": choice(PROPAGATIONS),
        "maskedPaths": list_of(absolute),
        "readonlyPaths": list_of(absolute),
        "mountLabel": line,
        "sysctl": sysctl,
        "seccomp": seccomp,
        "personality": record({"domain": choice(("LINUX", "LINUX32")), "flags": strings}, required=("domain",)),
        "memoryPolicy": record(
            {
                "mode": choice(
                    (
                        "MPOL_DEFAULT",
                        "MPOL_BIND",
                        "MPOL_INTERLEAVE",
                        "MPOL_WEIGHTED_INTERLEAVE",
                        "MPOL_PREFERRED",
                        "MPOL_PREFERRED_MANY",
                        "MPOL_LOCAL",
                    )
                ),
                "nodes": line,
                "flags": list_of(choice(("MPOL_F_NUMA_BALANCING", "MPOL_F_RELATIVE_NODES", "MPOL_F_STATIC_NODES"))),
            },
            required=("mode",),
            rule=_policy,
        ),
        "intelRdt": record(
            {
                "closID": matching(_fits_clos, "the name of a class of service without '/', or '/' alone"),
                "schemata": lines,
                "l3CacheSchema": line,
                "memBwSchema": matching(
                    lambda schema: schema == "" or (schema[:3] == "MB:" and "\n" not in schema),
                    "one line that begins with 'MB:'",
                ),
                "enableMonitoring": flag,
            }
        ),
    }
)
