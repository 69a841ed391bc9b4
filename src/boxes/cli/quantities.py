"""Sizes and durations as people write them on a command line."""

from __future__ import annotations

_FACTORS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40, "p": 2**50}
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}


def size(text: str) -> int | None:
    """Bytes: `4096`, `100M`, `1.5g`, `2GiB`; `-1` is "no limit". None if it is none, or beyond 63 bits."""
    import re

    if text == "-1":
        return -1
    match = re.fullmatch(r"([0-9]{1,19})(\.[0-9]{1,9})? ?([kmgtp]?)(i?b)?", text, re.ASCII | re.IGNORECASE)
    if match is None:
        return None
    whole, fraction, unit, _ = match.groups()
    factor = _FACTORS[unit.lower()]
    number = int(whole) * factor + int(float(fraction or 0) * factor)
    return number if number < 2**63 else None


def duration(text: str) -> float | None:
    """Seconds: `5s`, `1m30s`, `250ms`, as Go writes them; a bare number is seconds. None if it is none."""
    import re

    if re.fullmatch(r"[0-9]{1,9}", text, re.ASCII):
        return float(text)
    part = r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(h|ms|us|µs|ns|m|s)"
    if not re.fullmatch(f"(?:{part})+", text, re.ASCII):
        return None
    return sum(float(number) * _UNITS[unit] for number, unit in re.findall(part, text, re.ASCII))
