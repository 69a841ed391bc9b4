"""Sizes and durations as people write them on a command line."""

from __future__ import annotations

_FACTORS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40, "p": 2**50}
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}


def size(text: str) -> int | None:
    """Bytes: `4096`, `100M`, `1.5g`, `2GiB`; `-1` is "no limit". None if it is none, or beyond 63 bits."""
    if text == "-1":
        return -1
    if not text.isascii():
        return None
    number = text.lower().removesuffix("b").removesuffix("i") if text[-1:] in "bB" else text.lower()
    unit = number[-1:] if number[-1:] in _FACTORS else ""
    whole, point, fraction = number.removesuffix(unit).removesuffix(" ").partition(".")
    if not _digits(whole, 19) or (point and not _digits(fraction, 9)):
        return None
    factor = _FACTORS[unit]
    found = int(whole) * factor + int(float(f"0.{fraction or 0}") * factor)
    return found if found < 2**63 else None


def _digits(text: str, most: int) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= most


def duration(text: str) -> float | None:
    """Seconds: `5s`, `1m30s`, `250ms`, as Go writes them; a bare number is seconds. None if it is none."""
    import re

    if re.fullmatch(r"[0-9]{1,9}", text, re.ASCII):
        return float(text)
    part = r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(h|ms|us|µs|ns|m|s)"
    if not re.fullmatch(f"(?:{part})+", text, re.ASCII):
        return None
    return sum(float(number) * _UNITS[unit] for number, unit in re.findall(part, text, re.ASCII))


def shown_size(number: int) -> str:
    """Bytes as people read them: `512 B`, `1.5 MiB`."""
    if number < 1024:
        return f"{number} B"
    value = float(number)
    for unit in ("KiB", "MiB", "GiB", "TiB"):
        value /= 1024
        if value < 1023.95 or unit == "TiB":
            break
    return f"{value:.1f} {unit}"
