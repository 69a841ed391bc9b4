"""Limits as properties of a systemd unit: systemd.resource-control(5), org.freedesktop.systemd1(5).

systemd writes what it knows of to a unit's cgroup again after a reload, and at other times. So it is told what is
written there; what it does not know of, it leaves alone.
"""

from __future__ import annotations

from boxes.cgroups.dbus import Variant
from boxes.cgroups.settings import DeviceRule, DeviceRules, Setting
from boxes.errors import UnsupportedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    Property = tuple[str, Variant]

NONE = (1 << 64) - 1  # "infinity"
_SUFFIXES = {"k": 10, "m": 20, "g": 30, "t": 40, "p": 50, "e": 60}  # of the kernel's memparse()
_WIDEST = 8192  # CPUs of a kernel: CONFIG_NR_CPUS
_PAIRS = "a(ss)"
_PERCENT = 10000  # microseconds of CPU time in a second that are 1 %: systemd keeps no less
# Files whose number is the property's.
_NUMBERS = {
    "memory.min": "MemoryMin",
    "memory.low": "MemoryLow",
    "memory.high": "MemoryHigh",
    "memory.max": "MemoryMax",
    "memory.swap.max": "MemorySwapMax",
    "memory.zswap.max": "MemoryZSwapMax",
    "cpu.weight": "CPUWeight",
    "pids.max": "TasksMax",
    "memory.limit_in_bytes": "MemoryLimit",
    "cpu.shares": "CPUShares",
    "blkio.weight": "BlockIOWeight",
}
_SETS = {"cpuset.cpus": "AllowedCPUs", "cpuset.mems": "AllowedMemoryNodes"}
_RATES = {
    "rbps": "IOReadBandwidthMax",
    "wbps": "IOWriteBandwidthMax",
    "riops": "IOReadIOPSMax",
    "wiops": "IOWriteIOPSMax",
    "blkio.throttle.read_bps_device": "BlockIOReadBandwidth",
    "blkio.throttle.write_bps_device": "BlockIOWriteBandwidth",
}


def properties(
    settings: Sequence[Setting | DeviceRules], *, unified: bool, bfq: bool, held: Callable[[str, str], str]
) -> list[Property]:
    """The properties that say what `settings` say, in their order.

    `bfq`: BFQ schedules the block devices of these cgroups, and io.bfq.weight is the file that counts. `held`: called
    with a controller and a file, says what that holds now, or nothing if there is none yet.
    """
    found: list[Property] = []
    for setting in settings:
        if isinstance(setting, DeviceRules):
            found += device_properties(setting, unified=unified)
        elif setting.file in _NUMBERS:
            found += _number(_NUMBERS[setting.file], setting.value)
        elif setting.file in _SETS and unified:
            found += _mask(_SETS[setting.file], setting.value)
        elif setting.file in ("io.bfq.weight", "io.weight"):
            found += [each for line in setting.value.splitlines() for each in _weight(setting, line, bfq=bfq)]
        elif setting.file == "io.max" or setting.file in _RATES:
            found += [each for line in setting.value.splitlines() for each in _rates(setting.file, line)]
        elif setting.file == "cpu.max":
            quota, _, each = setting.value.partition(" ")
            found += _quota(quota, each or "100000")
    given = {each.file: each.value for each in settings if isinstance(each, Setting)}
    if not unified:
        found += _legacy_quota(given, held)
    return found + _idle(given, held)


def device_properties(rules: DeviceRules, *, unified: bool) -> list[Property]:
    """What systemd shall allow: at least what the rules do.

    On v2 its device program stands beside ours, and an access needs the consent of both; so what systemd cannot say
    may be wider. On v1 systemd writes to the very files: there it has to be the same. Raises UnsupportedError.
    """
    if unified:
        allowed = [(_line(rule), rule) for rule in (*rules.base, *rules.rules) if rule.allow and not rules.allow]
        entries = [_device(line, exact=False, pointer=rule.pointer) for line, rule in allowed]
    else:
        from boxes.cgroups.devices import lines

        asked, others = lines(rules)
        if rules.allow and len(asked) > 1:
            raise _inexpressible("systemd cannot allow all devices but some", rules.pointer)
        kept = [] if rules.allow else [*(line for _, line in asked[1:]), *others]
        entries = [_device(line, exact=True, pointer=rules.pointer) for line in kept]
    # An empty list first: what is there already is added to otherwise.
    found = [("DevicePolicy", Variant("s", "auto" if rules.allow else "strict")), ("DeviceAllow", Variant(_PAIRS, []))]
    return [*found, ("DeviceAllow", Variant(_PAIRS, entries))] if entries else found


def _line(rule: DeviceRule) -> str:
    return rule.line(rule.access)


def _device(line: str, *, exact: bool, pointer: str | None) -> tuple[str, str]:
    """``c 1:* rwm`` as systemd says it. It takes the numbers from the path without looking whether there is a node."""
    letter, numbers, access = line.split(" ")
    kind = "block" if letter == "b" else "char"
    major, _, minor = numbers.partition(":")
    if major != "*" and minor != "*":
        return f"/dev/{kind}/{numbers}", access
    if minor != "*" and exact:
        raise _inexpressible("systemd has no rule for one minor number of all majors", pointer)
    return f"{kind}-{major}", access


def _inexpressible(text: str, pointer: str | None) -> UnsupportedError:
    hint = "on cgroup v1 its rules would come in the place of these; --cgroup-manager cgroupfs has no such limit"
    return UnsupportedError(text, pointer=pointer, hint=hint)


def _number(name: str, value: str) -> Iterable[Property]:
    number = _parsed(value)
    return [] if number is None else [(name, Variant("t", number))]


def _parsed(value: str) -> int | None:
    """A number as the kernel reads it; None for what is none, which the kernel will refuse by itself."""
    value = value.strip()
    if value in ("max", "-1"):
        return NONE
    shift = _SUFFIXES.get(value[-1:].lower(), 0)
    digits = value[:-1] if shift else value
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 20:
        return None
    return min(int(digits) << shift, NONE)


def _mask(name: str, value: str) -> Iterable[Property]:
    """``0-3,8`` as bits, the first byte being that of the lowest numbers."""
    if not value.strip():  # what there was before it was set
        return [(name, Variant("ay", b""))]
    bits = 0
    for part in value.strip().split(","):
        first, dash, last = part.strip().partition("-")
        ends = (first, last) if dash else (first, first)
        if not all(end.isascii() and end.isdigit() and len(end) < 6 for end in ends):
            return []
        low, high = int(ends[0]), int(ends[1])
        if not low <= high < _WIDEST:
            return []
        bits |= (1 << high + 1) - (1 << low)
    return [(name, Variant("ay", bits.to_bytes(bits.bit_length() + 7 >> 3, "little")))]


def _quota(quota: str, period: str) -> list[Property]:
    """Rounded up to what systemd can keep, so that after a reload there is a little more, not less, than was asked."""
    runtime, each = _parsed(quota), _parsed(period)
    if runtime is None or not each or each == NONE:
        return []
    if runtime == NONE:
        second = NONE
    else:
        second = -(-runtime * 10**6 // each)
        second = -(-second // _PERCENT) * _PERCENT
    return [("CPUQuotaPeriodUSec", Variant("t", each)), ("CPUQuotaPerSecUSec", Variant("t", second))]


def _legacy_quota(given: dict[str, str], held: Callable[[str, str], str]) -> list[Property]:
    """Of two files that may come alone, and then stand beside what the other holds."""
    names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
    if not any(name in given for name in names):
        return []
    quota, period = (given.get(name) or held("cpu", name) for name in names)
    return _quota(quota, period or "100000")


def _idle(given: dict[str, str], held: Callable[[str, str], str]) -> list[Property]:
    """For systemd it is a weight; it comes after the weight, since an idle cgroup has none."""
    idle = given.get("cpu.idle")
    if idle == "1":
        return [("CPUWeight", Variant("t", 0))]
    if idle == "0" and "cpu.weight" not in given and held("cpu", "cpu.idle") == "1":
        return [("CPUWeight", Variant("t", NONE))]  # not set
    return []


def _weight(setting: Setting, value: str, *, bfq: bool) -> list[Property]:
    """BFQ's weights are from 1 to 1000. systemd, whose own go to 10000, maps those up to 100 to themselves."""
    file = setting.file
    if file == "io.bfq.weight" and not bfq and setting.instead is not None:
        file, value = setting.instead
    device, _, text = value.removeprefix("default ").rpartition(" ")
    number = _parsed(text)
    if number is None:
        return []
    if file == "io.bfq.weight" and number > 100:
        number = 100 + (number - 100) * 11
    if device:
        return [("IODeviceWeight", Variant("a(st)", [(f"/dev/block/{device}", number)]))]
    return [("IOWeight", Variant("t", number))]


def _rates(file: str, line: str) -> list[Property]:
    """``8:0 rbps=1048576 wiops=max``, or of v1 ``8:0 1048576``, where 0 is no limit."""
    found: list[Property] = []
    device, *rates = line.split() or [""]
    for rate in rates:
        key, equals, text = rate.partition("=")
        number = _parsed(text if equals else rate)
        name = _RATES.get(key if equals else file)
        if number is not None and name is not None:
            value: Any = [(f"/dev/block/{device}", number or NONE)]
            found.append((name, Variant("a(st)", value)))
    return found
