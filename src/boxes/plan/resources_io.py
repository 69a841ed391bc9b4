"""The less common sections of linux.resources: block devices, huge pages, network, RDMA, and v2's own files."""

from __future__ import annotations

from boxes.cgroups.settings import Setting
from boxes.errors import ConfigError, UnsupportedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_AT = "/linux/resources"
_THROTTLES = (
    ("throttleReadBpsDevice", "blkio.throttle.read_bps_device", "rbps"),
    ("throttleWriteBpsDevice", "blkio.throttle.write_bps_device", "wbps"),
    ("throttleReadIOPSDevice", "blkio.throttle.read_iops_device", "riops"),
    ("throttleWriteIOPSDevice", "blkio.throttle.write_iops_device", "wiops"),
)
_NO_LEAF_WEIGHT = "only kernels before 5.0, with the CFQ scheduler, have leaf weights"
# What is no limit: to write these would move, stop or end processes.
_ACTIONS = ("cgroup.procs", "cgroup.threads", "cgroup.kill", "cgroup.freeze", "memory.reclaim")


def block_io(given: dict[str, Any], unified: bool) -> Iterator[Setting]:
    at = f"{_AT}/blockIO"
    if given.get("weight"):
        yield _weight("", given["weight"], f"{at}/weight", unified)
    if given.get("leafWeight"):
        yield _leaf_weight("", given["leafWeight"], f"{at}/leafWeight", unified)
    for number, entry in enumerate(given.get("weightDevice") or ()):
        here = f"{at}/weightDevice/{number}"
        device = _device(entry, here)
        if not (entry.get("weight") or entry.get("leafWeight")):
            raise ConfigError("a weight or a leafWeight is missing", pointer=here)
        if entry.get("weight"):
            yield _weight(f"{device} ", entry["weight"], f"{here}/weight", unified)
        if entry.get("leafWeight"):
            yield _leaf_weight(f"{device} ", entry["leafWeight"], f"{here}/leafWeight", unified)
    for name, file, key in _THROTTLES:
        for number, entry in enumerate(given.get(name) or ()):
            here = f"{at}/{name}/{number}"
            device = _device(entry, here)
            if unified:  # 0 takes the limit away on v1
                yield Setting("io", "io.max", f"{device} {key}={entry['rate'] or 'max'}", f"{here}/rate")
            else:
                yield Setting("blkio", file, f"{device} {entry['rate']}", f"{here}/rate")


def _weight(device: str, weight: int, at: str, unified: bool) -> Setting:
    """A weight, of the whole cgroup or ("8:0 ") for a device; BFQ's where that scheduler is there, as runc and crun."""
    if not 10 <= weight <= 1000:
        raise ConfigError(f"{weight} is not from 10 to 1000", pointer=at)
    value = f"{device}{weight}"
    if not unified:
        suffix = "_device" if device else ""
        bfq = f"blkio.bfq.weight{suffix}"
        return Setting("blkio", f"blkio.weight{suffix}", value, at, instead=(bfq, value))
    converted = f"{device}{1 + (weight - 10) * 9999 // 990}"
    return Setting("io", "io.bfq.weight", value, at, instead=("io.weight", converted))


def _leaf_weight(device: str, weight: int, at: str, unified: bool) -> Setting:
    if unified:
        raise UnsupportedError("cgroup v2 has no such limit", pointer=at, hint=_NO_LEAF_WEIGHT)
    file = "blkio.leaf_weight_device" if device else "blkio.leaf_weight"
    return Setting("blkio", file, f"{device}{weight}", at, hint=_NO_LEAF_WEIGHT)


def _device(entry: dict[str, Any], at: str) -> str:
    for name in ("major", "minor"):
        if entry[name] < 0:
            raise ConfigError(f"{entry[name]} is no device number", pointer=f"{at}/{name}")
    return f"{entry['major']}:{entry['minor']}"


def hugepages(given: list[dict[str, Any]], unified: bool) -> Iterator[Setting]:
    """Both the use and, since Linux 5.7, the reservation of huge pages are limited."""
    end = "max" if unified else "limit_in_bytes"
    for number, entry in enumerate(given):
        at = f"{_AT}/hugepageLimits/{number}"
        size, limit = entry["pageSize"], str(entry["limit"])
        if not _is_page_size(size):
            raise ConfigError(f"'{size}' is no size of huge pages, as '2MB' is", pointer=f"{at}/pageSize")
        hint = f"this machine has no huge pages of {size}, or the controller is not mounted"
        yield Setting("hugetlb", f"hugetlb.{size}.{end}", limit, f"{at}/limit", hint=hint)
        yield Setting("hugetlb", f"hugetlb.{size}.rsvd.{end}", limit, f"{at}/limit", optional=True)


def _is_page_size(size: str) -> bool:
    digits = size.rstrip("KMGTPB")
    return digits.isascii() and digits.isdigit() and size[len(digits) :] in ("B", "KB", "MB", "GB", "TB", "PB")


def network(given: dict[str, Any], unified: bool) -> Iterator[Setting]:
    at = f"{_AT}/network"
    hint = "only cgroup v1 has network classes and priorities"
    if unified and (given.get("classID") is not None or given.get("priorities")):
        raise UnsupportedError("cgroup v2 has no such setting", pointer=at, hint=hint)
    hint = "the kernel lacks the controller, or it is not mounted"
    if given.get("classID") is not None:
        yield Setting("net_cls", "net_cls.classid", str(given["classID"]), f"{at}/classID", hint=hint)
    for number, entry in enumerate(given.get("priorities") or ()):
        here = f"{at}/priorities/{number}"
        name = _word(entry["name"], f"{here}/name")
        yield Setting("net_prio", "net_prio.ifpriomap", f"{name} {entry['priority']}", f"{here}/priority", hint=hint)


def rdma(given: dict[str, dict[str, Any]], unified: bool) -> Iterator[Setting]:
    for device, entry in given.items():
        at = f"{_AT}/rdma/{_escaped(device)}"
        limits = [
            f"{key}={entry[name]}"
            for name, key in (("hcaHandles", "hca_handle"), ("hcaObjects", "hca_object"))
            if entry.get(name) is not None
        ]
        if not limits:
            raise ConfigError("hcaHandles or hcaObjects is missing", pointer=at)
        hint = "the kernel lacks the controller, or it is not mounted"
        yield Setting("rdma", "rdma.max", " ".join([_word(device, at), *limits]), at, hint=hint)


def unified(given: dict[str, str], unified: bool) -> Iterator[Setting]:
    """Files of v2 by name. A value of several lines is written line by line."""
    for file, value in given.items():
        at = f"{_AT}/unified/{_escaped(file)}"
        if not unified:
            raise UnsupportedError("'unified' needs cgroup v2", pointer=at, hint="this host has cgroup v1")
        controller, dot, rest = file.partition(".")
        if not (controller and dot and rest) or "/" in file:
            raise ConfigError(f"'{file}' is no file of a cgroup, as 'memory.high' is", pointer=at)
        if file in _ACTIONS:
            raise ConfigError(f"'{file}' is no limit", pointer=at)
        yield Setting(controller, file, value, at)


def _word(text: str, at: str) -> str:
    """A name that is one word of a line."""
    if not text or text.split() != [text]:
        raise ConfigError(f"'{text}' is no name of a device", pointer=at)
    return text


def _escaped(name: str) -> str:
    """A member's name in a JSON pointer (RFC 6901)."""
    return name.replace("~", "~0").replace("/", "~1")
