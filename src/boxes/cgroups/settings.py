"""What is to be written into a cgroup, as values that can be printed, compared and tested."""

from __future__ import annotations

MKNOD, READ, WRITE = 1, 2, 4  # <linux/bpf.h>: BPF_DEVCG_ACC_*
ALL_ACCESS = MKNOD | READ | WRITE


class Setting:
    """One limit: `value` is written to `file` of the cgroup of `controller`, line by line.

    `pointer` says where in config.json it was asked for. `optional`: without this file, or without the controller, all
    is as wanted anyway. `again`: if the kernel refuses the value for its relation to another, try once more after the
    others. `instead`: another (file, value) for kernels without `file`. `above`: a file whose number `value` must
    exceed. `hint`: what helps where the file is missing.
    """

    __slots__ = ("above", "again", "controller", "file", "hint", "instead", "optional", "pointer", "value")

    def __init__(
        self,
        controller: str,
        file: str,
        value: str,
        pointer: str,
        *,
        optional: bool = False,
        again: bool = False,
        instead: tuple[str, str] | None = None,
        above: str | None = None,
        hint: str | None = None,
    ) -> None:
        self.controller = controller
        self.file = file
        self.value = value
        self.pointer = pointer
        self.optional = optional
        self.again = again
        self.instead = instead
        self.above = above
        self.hint = hint

    def __repr__(self) -> str:
        return f"{self.file} = {self.value!r}"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Setting):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self.__slots__)

    __hash__ = None  # type: ignore[assignment]


class DeviceRule:
    """Access to the block or character devices (`kind` b or c) of a number; None stands for every number.

    `access` is a set of MKNOD, READ and WRITE.
    """

    __slots__ = ("access", "allow", "kind", "major", "minor", "pointer")

    def __init__(
        self,
        kind: str,
        major: int | None,
        minor: int | None,
        access: int,
        *,
        allow: bool = True,
        pointer: str | None = None,
    ) -> None:
        self.kind = kind
        self.major = major
        self.minor = minor
        self.access = access
        self.allow = allow
        self.pointer = pointer

    def line(self, access: int) -> str:
        """As devices.allow and devices.deny of v1 read it: ``c 1:* rwm``."""
        letters = "".join(letter for letter, bit in (("r", READ), ("w", WRITE), ("m", MKNOD)) if access & bit)
        numbers = ":".join("*" if number is None else str(number) for number in (self.major, self.minor))
        return f"{self.kind} {numbers} {letters}"

    def covers(self, other: DeviceRule) -> bool:
        """Whether this rule speaks of every device of which `other` does."""
        return self.kind == other.kind and self.major in (None, other.major) and self.minor in (None, other.minor)

    def meets(self, other: DeviceRule) -> bool:
        """Whether there can be a device of which both speak."""
        return (
            self.kind == other.kind
            and (self.major is None or other.major is None or self.major == other.major)
            and (self.minor is None or other.minor is None or self.minor == other.minor)
        )

    def __repr__(self) -> str:
        return f"{'allow' if self.allow else 'deny'} {self.line(self.access)}"


class DeviceRules:
    """Which devices may be used: the last rule which speaks of a device and an access decides, `base` before `rules`.

    Where none speaks, `allow` decides. `pointer` says where they were asked for; None: nowhere, they are the default.
    """

    __slots__ = ("allow", "base", "pointer", "rules")

    def __init__(self, *, allow: bool, base: list[DeviceRule], rules: list[DeviceRule], pointer: str | None) -> None:
        self.allow = allow
        self.base = base
        self.rules = rules
        self.pointer = pointer

    def __repr__(self) -> str:
        default = "allow all" if self.allow else "deny all"
        return ", ".join([default, *(repr(rule) for rule in (*self.base, *self.rules))])
