"""`linux.resources` (runtime-spec config-linux.md, "Control groups"). Imported only for configs that have it."""

from __future__ import annotations

from boxes.errors import ConfigError
from boxes.spec.kinds import (
    Findings,
    choice,
    flag,
    int64,
    integer,
    line,
    list_of,
    map_of,
    matching,
    record,
    text,
    uint16,
    uint32,
    uint64,
    wrong,
)
from boxes.spec.schema_linux import interface, major, minor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# A limit, or -1 for none.
limit = integer(-1, 2**63 - 1)


def _fits_page_size(size: str) -> bool:
    number = size[:-2]
    return size[-2:] in ("KB", "MB", "GB") and number.isascii() and number.isdigit() and number[0] != "0"


def _fits_file(name: str) -> bool:
    return name not in ("", ".", "..") and "/" not in name and "\n" not in name


def _fits_word(name: str) -> bool:
    return name not in ("", ".", "..") and "/" not in name and not any(c.isspace() for c in name)


def _cpu(cpu: Any, where: str, findings: Findings) -> None:
    if 0 < cpu.get("quota", 0) < cpu.get("burst", 0):
        raise wrong(f"{where}/burst", f"at most the quota, {cpu['quota']}", cpu["burst"])


def _some_weight(device: Any, where: str, findings: Findings) -> None:
    if "weight" not in device and "leafWeight" not in device:
        raise ConfigError("expected 'weight', 'leafWeight' or both", pointer=where)


def _some_handles(device: Any, where: str, findings: Findings) -> None:
    if "hcaHandles" not in device and "hcaObjects" not in device:
        raise ConfigError("expected 'hcaHandles', 'hcaObjects' or both", pointer=where)


DEVICE_RULE = record(
    {
        "allow": flag,
        "type": choice(("a", "c", "b", "")),
        # -1 stands for all, as absence does: older engines send it.
        "major": integer(-1, 2**12 - 1, "a major device number"),
        "minor": integer(-1, 2**20 - 1, "a minor device number"),
        "access": matching(frozenset("rwm").issuperset, "a composition of 'r', 'w' and 'm'"),
    },
    required=("allow",),
)

MEMORY = record(
    {
        "limit": limit,
        "reservation": limit,
        "swap": limit,
        "kernel": limit,
        "kernelTCP": limit,
        "swappiness": integer(0, 100),
        "disableOOMKiller": flag,
        "useHierarchy": flag,
        "checkBeforeUpdate": flag,
    }
)

CPU = record(
    {
        "shares": uint64,
        "quota": int64,
        "burst": uint64,
        "period": uint64,
        "realtimeRuntime": int64,
        "realtimePeriod": uint64,
        "cpus": line,
        "mems": line,
        "idle": integer(0, 1),
    },
    rule=_cpu,
)

THROTTLE = list_of(record({"major": major, "minor": minor, "rate": uint64}, required=("major", "minor", "rate")))

BLOCK_IO = record(
    {
        "weight": uint16,
        "leafWeight": uint16,
        "weightDevice": list_of(
            record(
                {"major": major, "minor": minor, "weight": uint16, "leafWeight": uint16},
                required=("major", "minor"),
                rule=_some_weight,
            )
        ),
        "throttleReadBpsDevice": THROTTLE,
        "throttleWriteBpsDevice": THROTTLE,
        "throttleReadIOPSDevice": THROTTLE,
        "throttleWriteIOPSDevice": THROTTLE,
    }
)

RESOURCES = record(
    {
        "devices": list_of(DEVICE_RULE),
        "memory": MEMORY,
        "cpu": CPU,
        "pids": record({"limit": limit}),
        "blockIO": BLOCK_IO,
        "hugepageLimits": list_of(
            record(
                {"pageSize": matching(_fits_page_size, "the size of a page, such as '2MB'"), "limit": uint64},
                required=("pageSize", "limit"),
            )
        ),
        "network": record(
            {
                "classID": uint32,
                "priorities": list_of(record({"name": interface, "priority": uint32}, required=("name", "priority"))),
            }
        ),
        "rdma": map_of(
            record({"hcaHandles": uint32, "hcaObjects": uint32}, rule=_some_handles),
            name=matching(_fits_word, "the name of a device"),
        ),
        "unified": map_of(text, name=matching(_fits_file, "the name of a file of the control group")),
    }
)
