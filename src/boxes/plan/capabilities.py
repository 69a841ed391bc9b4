"""Capability names and the sets of a process: /process/capabilities."""

from __future__ import annotations

from _struct import pack

from boxes.errors import ConfigError
from boxes.linux import flags as k

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from boxes.plan.inner import Steps

# <linux/capability.h>, in the order of their numbers
NAMES = (
    "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE "
    "NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN "
    "SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE "
    "MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE"
).split()
_NUMBERS = {f"CAP_{name}": number for number, name in enumerate(NAMES)}
_EPERM = 1
_SETS = ("bounding", "effective", "inheritable", "permitted", "ambient")


def _mask(names: str) -> int:
    mask = 0
    for name in names.split():
        mask |= 1 << _NUMBERS[f"CAP_{name}"]
    return mask


# What process.session and process.identity need on the way to a process's own.
_ON_THE_WAY = _mask("CHOWN DAC_OVERRIDE SETGID SETUID SETPCAP SYS_NICE SYS_RESOURCE")


class Sets:
    """The five sets as masks. What the host does not have is left out, with a word in `missing`."""

    def __init__(self, capabilities: dict[str, Any], available: int) -> None:
        self.missing: list[str] = []
        self.available = available
        masks = {}
        for name in _SETS:
            mask = 0
            for number, capability in enumerate(capabilities.get(name) or ()):
                bit = _NUMBERS.get(capability)
                if bit is None or not available >> bit & 1:
                    self.missing.append(f"/process/capabilities/{name}/{number}: '{capability}' is not to be had here")
                else:
                    mask |= 1 << bit
            masks[name] = mask
        self.bounding = masks["bounding"]
        self.effective = masks["effective"]
        self.inheritable = masks["inheritable"]
        self.permitted = masks["permitted"]
        self.ambient = masks["ambient"] & self.permitted & self.inheritable
        if self.ambient != masks["ambient"]:
            # As runc 1.1's own template has it: the specification wants a warning for what cannot be granted.
            self.missing.append("/process/capabilities/ambient: needs the same in permitted and inheritable; left out")
        extra = self.effective & ~self.permitted
        if extra:
            shown = f"CAP_{NAMES[(extra & -extra).bit_length() - 1]}"
            raise ConfigError(f"'{shown}' is not in permitted", pointer="/process/capabilities/effective")


def capset(effective: int, permitted: int, inheritable: int) -> tuple[bytes, bytes]:
    """The two structures of capset(2), for the calling thread."""
    words = []
    for shift in (0, 32):
        words += [mask >> shift & 0xFFFFFFFF for mask in (effective, permitted, inheritable)]
    return pack("=Ii", k.LINUX_CAPABILITY_VERSION_3, 0), pack("=6I", *words)


def number(name: str) -> int | None:
    """The number of a capability by its name, CAP_ and all."""
    return _NUMBERS.get(name)


def capset_step(steps: Steps, sets: Sets, held: int = 0) -> None:
    """Set the three sets of capset(2). `held`: a mask of capabilities that are needed until the next time."""
    effective, permitted = sets.effective | held, sets.permitted | held
    header, data = capset(effective, permitted, sets.inheritable)
    shown = f"capset(effective={effective:#x}, permitted={permitted:#x}, inheritable={sets.inheritable:#x})"
    steps.call("capset", header, data, pointer="/process/capabilities", shown=shown)


def lessen(steps: Steps, sets: Sets, held: int) -> None:
    """Give up what no later step needs. Whoever traces this process from here on gets no more than is left: in a
    container with CAP_SYS_PTRACE that is its own processes (CVE-2016-9962). `held`: as above."""
    given = sets.bounding | sets.permitted | sets.inheritable | held
    kept = given | _ON_THE_WAY & sets.available
    header, data = capset(kept, kept, 0)
    # EPERM: it has less than that
    steps.call("capset", header, data, pointer="/process/capabilities", shown=f"capset({kept:#x})", ignore=_EPERM)


def apply(steps: Steps, sets: Sets, held: int = 0) -> None:
    """Set them all; the bounding set was dropped before the identity changed."""
    pointer = "/process/capabilities"
    capset_step(steps, sets, held)
    steps.call("prctl", k.PR_CAP_AMBIENT, k.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0, pointer=pointer)
    for bit in range(len(NAMES)):
        if sets.ambient >> bit & 1:
            steps.call("prctl", k.PR_CAP_AMBIENT, k.PR_CAP_AMBIENT_RAISE, bit, 0, 0, pointer=f"{pointer}/ambient")
