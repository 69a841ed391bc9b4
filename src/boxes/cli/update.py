"""`box update`: change the limits of a container."""

from __future__ import annotations

from boxes import log
from boxes.cli.options import INT, SIZE, Command, Option
from boxes.errors import BoxesError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from boxes.cli.commands import Call

# Option → where its value goes in linux.resources.
_NUMBERS = {
    "blkio-weight": ("blockIO", "weight", "weight of its block I/O, 10 to 1000"),
    "cpu-period": ("cpu", "period", "period of the CPU quota, in microseconds"),
    "cpu-quota": ("cpu", "quota", "CPU time in a period, in microseconds; -1: no limit"),
    "cpu-burst": ("cpu", "burst", "unused CPU time that may be used later, in microseconds"),
    "cpu-share": ("cpu", "shares", "share of CPU time, relative to others"),
    "cpu-rt-period": ("cpu", "realtimePeriod", "period of realtime scheduling, in microseconds (v1)"),
    "cpu-rt-runtime": ("cpu", "realtimeRuntime", "realtime in a period, in microseconds (v1)"),
    "cpu-idle": ("cpu", "idle", "1: run only when nobody else wants to; 0: as others"),
    "pids-limit": ("pids", "limit", "how many processes and threads; -1: no limit"),
}
_TEXTS = {
    "cpuset-cpus": ("cpu", "cpus", "CPUs it may run on, as 0-3,7"),
    "cpuset-mems": ("cpu", "mems", "memory nodes it may use"),
}
_SIZES = {
    "memory": ("memory", "limit", "limit of memory; -1: none"),
    "memory-reservation": ("memory", "reservation", "memory that is left to it when there is little"),
    "memory-swap": ("memory", "swap", "limit of memory and swap together; -1: none"),
    "kernel-memory-tcp": ("memory", "kernelTCP", "limit of the kernel's memory for TCP (v1)"),
}
_RDT = {"l3-cache-schema": "l3CacheSchema", "mem-bw-schema": "memBwSchema"}
_PLACES = _NUMBERS | _TEXTS | _SIZES

COMMAND = Command(
    "update",
    "change the limits of a container",
    usage="ID",
    description=(
        "What is not named stays as it is. Sizes are bytes, or have a suffix: 100M, 1.5g. If a limit cannot be set,\n"
        "none is changed."
    ),
    options=(
        Option("resources", "a file with limits as in linux.resources; '-': standard input", short="r", metavar="FILE"),
        *(Option(name, place[2], kind=INT, metavar="N") for name, place in _NUMBERS.items()),
        *(Option(name, place[2], metavar="LIST") for name, place in _TEXTS.items()),
        *(Option(name, place[2], kind=SIZE, metavar="SIZE") for name, place in _SIZES.items()),
        Option("kernel-memory", "ignored: no kernel has this limit any more", kind=SIZE, metavar="SIZE"),
        Option("l3-cache-schema", "share of the L3 cache (Intel RDT)", metavar="SCHEMA"),
        Option("mem-bw-schema", "share of memory bandwidth (Intel RDT)", metavar="SCHEMA"),
    ),
    least=1,
    most=1,
)


def run(call: Call) -> int:
    from boxes.container import update

    source = call.options.text("resources")
    flags = _from_flags(call)
    if source is not None and flags:
        raise UsageError("'box update' takes --resources or single limits, not both")
    if call.options.integer("kernel-memory") is not None:
        log.warning("ignoring --kernel-memory: no kernel has this limit any more")
    rdt = {place: text for name, place in _RDT.items() if (text := call.options.text(name)) is not None}
    resources = flags if source is None else _from_file(source)
    try:
        update.update(call.store(), call.id(), resources, rdt=rdt)
    except BoxesError as error:
        raise _of_flag(error) if flags else error from None
    return 0


def _of_flag(error: BoxesError) -> BoxesError:
    """The same error, with the flag that asked for what is wrong in the place of the pointer."""
    for option, (section, member, _) in _PLACES.items():
        if error.pointer == f"/{section}/{member}":
            error.message, error.pointer = f"flag --{option}: {error.message}", None
    return error


def _from_flags(call: Call) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for option, (section, member, _) in _PLACES.items():
        text, number = call.options.text(option), call.options.integer(option)
        if text is not None or number is not None:
            found.setdefault(section, {})[member] = number if text is None else text
    if found:
        from boxes.spec import resources

        try:
            resources.check(found)
        except BoxesError as error:
            raise _of_flag(error) from None
    return found


def _from_file(path: str) -> dict[str, Any]:
    from boxes.spec import resources

    found, notices = resources.load(path)
    for notice in notices:
        log.warning(notice.message, pointer=notice.pointer)
    return found
