"""User and group ids from a command line."""

from __future__ import annotations

from boxes.cli.options import integer
from boxes.errors import UsageError

LAST = 2**32 - 2
"""The highest id; the kernel takes 2**32 - 1 for "no id", and setresuid(2) then silently does nothing."""


def kernel_id(text: str, flag: str) -> int:
    """A decimal user or group id; no sign, no leading zeros, which elsewhere mean octal. Raises UsageError."""
    number = integer(text, least=0, most=LAST)
    if number is None or text != str(number):
        named = text[:1].isalpha() or text[:1] == "_"
        raise UsageError(
            f"flag {flag}: '{text}' is no id", hint="names are not looked up, give the number" if named else None
        )
    return number


def user(text: str) -> tuple[int, int | None]:
    """`UID[:GID]`, as numbers. Raises UsageError."""
    uid, colon, gid = text.partition(":")
    return kernel_id(uid, "--user"), kernel_id(gid, "--user") if colon else None
