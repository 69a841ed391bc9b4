"""linux.resources of config.json as what is written to the files of cgroup v1 or v2.

Where v2 has another scale or meaning than v1, in whose terms the specification is written, values are converted as the
current runc does (opencontainers/cgroups, fs2). Nothing is left out: what a version of cgroups cannot express is an
error with its place in config.json. A 0 stands for "not set" where v1 gave it that meaning.
"""

from __future__ import annotations

from boxes.cgroups.settings import ALL_ACCESS, MKNOD, READ, WRITE, DeviceRule, DeviceRules, Setting
from boxes.errors import ConfigError, UnsupportedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    Section = Callable[[Any, bool], Iterator[Setting]]

_AT = "/linux/resources"
_UNLIMITED = -1
_MOST_TASKS = 1 << 22  # PID_MAX_LIMIT of <linux/threads.h>: a kernel has no more, and refuses a greater limit
_DEFAULT_PERIOD = 100000  # microseconds: cpu.max of cgroup-v2.rst

# What every container may use: the devices the specification supplies, terminals, and mknod itself, since a node is of
# no use without the right to open it. /dev/net/tun is there for compatibility: without it, VPNs in containers break.
_BASE = [
    ("c", None, None, MKNOD),
    ("b", None, None, MKNOD),
    ("c", 1, 3, ALL_ACCESS),  # /dev/null
    ("c", 1, 5, ALL_ACCESS),  # /dev/zero
    ("c", 1, 7, ALL_ACCESS),  # /dev/full
    ("c", 1, 8, ALL_ACCESS),  # /dev/random
    ("c", 1, 9, ALL_ACCESS),  # /dev/urandom
    ("c", 5, 0, ALL_ACCESS),  # /dev/tty
    ("c", 5, 2, ALL_ACCESS),  # /dev/ptmx
    ("c", 136, None, ALL_ACCESS),  # /dev/pts/*
    ("c", 10, 200, ALL_ACCESS),  # /dev/net/tun
]
_ACCESS = {"r": READ, "w": WRITE, "m": MKNOD}


def settings(resources: dict[str, Any] | None, kind: str) -> list[Setting | DeviceRules]:
    """What to write for `resources`, in order; `kind` is "unified" for the files of v2, else those of v1.

    The device rules are always among them: what the config does not give, the container does not get. ConfigError and
    UnsupportedError carry the pointer of the value.
    """
    given = resources or {}
    unified = kind == "unified"
    found: list[Setting | DeviceRules] = [device_rules(given.get("devices"))]
    for name, section in _SECTIONS:
        value = given.get(name)
        if value:
            found += section(value, unified)
    return found


def device_rules(devices: list[dict[str, Any]] | None) -> DeviceRules:
    """linux.resources.devices as rules, of which the last one that matches decides.

    A rule for all devices begins anew: to deny all leaves the default devices, to allow all is the default from there.
    """
    pointer = f"{_AT}/devices"
    allow = False
    rules: list[DeviceRule] = []
    for number, entry in enumerate(devices or ()):
        at = f"{pointer}/{number}"
        if _is_reset(entry):
            allow = entry["allow"]
            rules = []
        else:
            rules += _rules(entry, at)
    base = [] if allow else [DeviceRule(*numbers) for numbers in _BASE]
    return DeviceRules(allow=allow, base=base, rules=rules, pointer=pointer if devices else None)


def weight(shares: int) -> int:
    """cpu.shares (2 to 262144, 1024 by default) as cpu.weight (1 to 10000, 100 by default), on a logarithmic scale."""
    if shares <= 2:
        return 1
    if shares >= 262144:
        return 10000
    from math import ceil, log2

    log = log2(shares)
    return ceil(10 ** ((log * log + 125 * log) / 612.0 - 7.0 / 34.0))


def _is_reset(entry: dict[str, Any]) -> bool:
    """Whether an entry speaks of all devices and all access to them."""
    access = entry.get("access") or "rwm"
    numbers = (entry.get("major"), entry.get("minor"))
    return _kind(entry) == "a" and all(number in (None, -1) for number in numbers) and set(access) == set("rwm")


def _rules(entry: dict[str, Any], at: str) -> list[DeviceRule]:
    """One rule, or two: "a" with numbers or with less than all access is b and c (v1's own "a" means everything)."""
    text = entry.get("access") or ""
    if not text and entry["allow"]:
        raise ConfigError("a rule that allows must say which access: r, w, m", pointer=f"{at}/access")
    access = 0
    for letter in text or "rwm":
        if letter not in _ACCESS:
            raise ConfigError(f"'{text}' is no access to a device: it is made of r, w and m", pointer=f"{at}/access")
        access |= _ACCESS[letter]
    major, minor = (_number(entry.get(name), f"{at}/{name}") for name in ("major", "minor"))
    kind = _kind(entry)
    if kind not in ("a", "b", "c"):
        raise ConfigError(f"'{kind}' is no type of device: a, b and c are", pointer=f"{at}/type")
    kinds = "bc" if kind == "a" else kind
    return [DeviceRule(each, major, minor, access, allow=entry["allow"], pointer=at) for each in kinds]


def _kind(entry: dict[str, Any]) -> str:
    kind: str = entry.get("type") or "a"
    return "c" if kind == "u" else kind  # mknod(1): an unbuffered character device


def _number(value: int | None, at: str) -> int | None:
    if value is None or value == -1:
        return None
    if not 0 <= value < 1 << 32:
        raise ConfigError(f"{value} is no device number", pointer=at)
    return value


def _memory(given: dict[str, Any], unified: bool) -> Iterator[Setting]:
    at = f"{_AT}/memory"
    limit, swap = given.get("limit") or 0, given.get("swap") or 0
    for name in ("limit", "swap", "reservation"):
        if (given.get(name) or 0) < _UNLIMITED:
            raise ConfigError(f"{given[name]} is no size: it is a number of bytes, or -1", pointer=f"{at}/{name}")
    if 0 < swap < limit or (swap > 0 and limit == _UNLIMITED and not unified):
        raise ConfigError("the limit of memory and swap together is below that of memory", pointer=f"{at}/swap")
    yield from (_memory_unified if unified else _memory_legacy)(given, limit, swap)


def _memory_legacy(given: dict[str, Any], limit: int, swap: int) -> Iterator[Setting]:
    at = f"{_AT}/memory"
    swap_file = "memory.memsw.limit_in_bytes"
    hint = "the kernel does not account swap: boot it with swapaccount=1"
    if limit:
        yield Setting("memory", "memory.limit_in_bytes", str(limit), f"{at}/limit", again=True, optional=limit < 0)
    if swap:
        yield Setting("memory", swap_file, str(swap), f"{at}/swap", again=True, optional=swap < 0, hint=hint)
    elif limit == _UNLIMITED:
        yield Setting("memory", swap_file, "-1", f"{at}/limit", again=True, optional=True)
    if given.get("reservation"):
        yield Setting("memory", "memory.soft_limit_in_bytes", str(given["reservation"]), f"{at}/reservation")
    for name, file in (("kernel", "memory.kmem.limit_in_bytes"), ("kernelTCP", "memory.kmem.tcp.limit_in_bytes")):
        if (given.get(name) or 0) not in (0, _UNLIMITED):
            yield Setting("memory", file, str(given[name]), f"{at}/{name}", hint="newer kernels have no such limit")
    if given.get("swappiness") is not None:
        if given["swappiness"] > 100:
            raise ConfigError(f"{given['swappiness']} is not from 0 to 100", pointer=f"{at}/swappiness")
        yield Setting("memory", "memory.swappiness", str(given["swappiness"]), f"{at}/swappiness")
    if given.get("disableOOMKiller") is not None:
        off = given["disableOOMKiller"]
        yield Setting("memory", "memory.oom_control", str(int(off)), f"{at}/disableOOMKiller", optional=not off)
    if given.get("useHierarchy") is not None:
        use = given["useHierarchy"]
        yield Setting("memory", "memory.use_hierarchy", str(int(use)), f"{at}/useHierarchy", optional=use)


def _memory_unified(given: dict[str, Any], limit: int, swap: int) -> Iterator[Setting]:
    at = f"{_AT}/memory"
    if swap > 0 and limit == 0:
        raise ConfigError("swap alone cannot be limited without the limit of memory", pointer=f"{at}/swap")
    if swap or limit == _UNLIMITED:
        # v2 counts swap apart. Where the kernel accounts none, none can be used either.
        alone = swap - limit if swap > 0 and limit > 0 else swap or _UNLIMITED
        place = f"{at}/swap" if swap else f"{at}/limit"
        yield Setting("memory", "memory.swap.max", _or_max(alone), place, optional=alone <= 0)
    if limit:
        above = "memory.current" if given.get("checkBeforeUpdate") and limit > 0 else None
        yield Setting("memory", "memory.max", _or_max(limit), f"{at}/limit", above=above, optional=limit < 0)
    if given.get("reservation"):
        yield Setting("memory", "memory.low", _or_max(given["reservation"]), f"{at}/reservation")
    for name in ("kernel", "kernelTCP"):
        if (given.get(name) or 0) not in (0, _UNLIMITED):
            raise _only_legacy(f"{at}/{name}")
    if given.get("swappiness") is not None:
        raise _only_legacy(f"{at}/swappiness")
    if given.get("disableOOMKiller"):
        raise _only_legacy(f"{at}/disableOOMKiller")
    if given.get("useHierarchy") is False:
        raise _only_legacy(f"{at}/useHierarchy")


def _cpu(given: dict[str, Any], unified: bool) -> Iterator[Setting]:
    at = f"{_AT}/cpu"
    quota, burst = given.get("quota") or 0, given.get("burst") or 0
    if 0 < quota < burst:
        raise ConfigError(f"{burst} is above the quota {quota}", pointer=f"{at}/burst")
    if given.get("idle") not in (None, 0, 1):
        raise ConfigError(f"{given['idle']} is neither 0 nor 1", pointer=f"{at}/idle")
    if given.get("idle") is not None:
        # COMPAT(linux<5.15): no cpu.idle, and 0 is what there is.
        yield Setting("cpu", "cpu.idle", str(given["idle"]), f"{at}/idle", optional=given["idle"] == 0)
        if given["idle"] == 1 and given.get("shares"):
            # An idle group has the least share there is, and the kernel lets it have no other (EINVAL).
            given = {**given, "shares": 0}
    yield from (_cpu_unified if unified else _cpu_legacy)(given)
    for name in ("cpus", "mems"):
        if given.get(name):
            yield Setting("cpuset", f"cpuset.{name}", given[name], f"{at}/{name}")


def _cpu_legacy(given: dict[str, Any]) -> Iterator[Setting]:
    at = f"{_AT}/cpu"
    shares = given.get("shares") or 0
    if shares and not 2 <= shares <= 262144:  # the kernel would take another value in silence
        raise ConfigError(f"{shares} is not from 2 to 262144", pointer=f"{at}/shares")
    files = (
        ("shares", "cpu.shares"),
        # Each of these is checked against the others: hence `again`.
        ("realtimePeriod", "cpu.rt_period_us"),
        ("realtimeRuntime", "cpu.rt_runtime_us"),
        ("period", "cpu.cfs_period_us"),
        ("burst", "cpu.cfs_burst_us"),
        ("quota", "cpu.cfs_quota_us"),
    )
    for name, file in files:
        value = given.get(name)
        if value or (name == "burst" and value is not None):
            # COMPAT(linux<5.14): no burst, and 0 is what there is.
            optional = value == (0 if name == "burst" else _UNLIMITED)
            yield Setting("cpu", file, str(value), f"{at}/{name}", again=True, optional=optional)


def _cpu_unified(given: dict[str, Any]) -> Iterator[Setting]:
    at = f"{_AT}/cpu"
    for name in ("realtimePeriod", "realtimeRuntime"):
        if given.get(name):
            raise _only_legacy(f"{at}/{name}")
    if given.get("shares"):
        yield Setting("cpu", "cpu.weight", str(weight(given["shares"])), f"{at}/shares")
    burst = given.get("burst")
    if burst is not None:
        yield Setting("cpu", "cpu.max.burst", str(burst), f"{at}/burst", again=True, optional=burst == 0)
    quota, period = given.get("quota") or 0, given.get("period") or 0
    if quota or period:
        value = f"{quota if quota > 0 else 'max'} {period or _DEFAULT_PERIOD}"
        yield Setting("cpu", "cpu.max", value, f"{at}/quota" if quota else f"{at}/period", optional=quota <= 0)


def _pids(given: dict[str, Any], unified: bool) -> Iterator[Setting]:
    limit = given.get("limit")
    if limit is not None:
        if limit < _UNLIMITED:
            raise ConfigError(f"{limit} is no number of tasks, nor -1", pointer=f"{_AT}/pids/limit")
        value = _or_max(limit if limit <= _MOST_TASKS else _UNLIMITED)
        yield Setting("pids", "pids.max", value, f"{_AT}/pids/limit", optional=limit < 0)


def _or_max(value: int) -> str:
    return "max" if value < 0 else str(value)


def _only_legacy(pointer: str) -> UnsupportedError:
    return UnsupportedError("cgroup v2 has no such limit", pointer=pointer, hint="only cgroup v1 has")


def _further(name: str) -> Section:
    """A section of `resources_io`, which is loaded where it is asked for."""

    def section(given: Any, unified: bool) -> Iterator[Setting]:
        from boxes.plan import resources_io

        found: Iterator[Setting] = getattr(resources_io, name)(given, unified)
        return found

    return section


_SECTIONS: list[tuple[str, Section]] = [
    ("memory", _memory),
    ("cpu", _cpu),
    ("pids", _pids),
    ("blockIO", _further("block_io")),
    ("hugepageLimits", _further("hugepages")),
    ("network", _further("network")),
    ("rdma", _further("rdma")),
    ("unified", _further("unified")),
]
