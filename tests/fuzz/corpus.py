"""What the fuzzer of plans begins with: `python -m tests.fuzz.corpus DIRECTORY` writes a plan of each kind of step, and
one of all of them."""

from __future__ import annotations

import sys
from pathlib import Path
from struct import pack

CALL, FORK, CONSOLE, READY, WAIT, BOUNDING, CHDIR, STDIO, HOOK, EXEC, SECCOMP, WRITE = range(1, 13)
KEEP, UNDO, SPAWN, LAUNCHED, NOTE, PASS, DEVICES, NULL_DEVICE = range(13, 21)
_VECTORS = bytes(8 * 4)  # two arguments' worth: one argument, one variable, and their NULLs
STEPS: list[tuple[int, bytes]] = [
    (CALL, pack("=IIII6Q", 0, 1, 2, 0, 0, 0, 0, 0, 0, 0) + b"/proc\0\0\0"),
    (FORK, b""),
    (CONSOLE, pack("=IIII", 1, 1000, 24, 80)),
    (READY, b""),
    (BOUNDING, pack("=Q", 0xA1)),
    (CHDIR, pack("=I", 1) + b"/\0"),
    (STDIO, pack("=I", 1000)),
    (HOOK, pack("=IIII", 5, 100, 1, 1) + _VECTORS + b"/bin/true\0true\0A=b\0"),
    (SECCOMP, pack("=IIII", 8, 4, 1, 0) + pack("=HBBI", 6, 0, 0, 0x7FFF0000)),
    (WRITE, pack("=II", 7, 2) + b"attr/exec\0xy"),
    (UNDO, pack("=I", 1)),
    (SPAWN, pack("=QIIII", 0x20000000, 7, 0xFFFFFFFF, 6, 14)),
    (LAUNCHED, pack("=III", 5, 0, 1)),
    (NOTE, pack("=II", 5, 3) + b"state\0\0\0" + pack("=II", 0, 4) + b"{}ab" + pack("=IIII", 1, 0, 4, 0)),
    (PASS, pack("=III", 5, 6, 0) + b"cpuset.cpus\0"),
    (PASS, pack("=III", 5, 0xFFFFFFFF, 2) + b"freezer.state\0) "),
    (DEVICES, pack("=II", 5, 0) + bytes(16)),
    (NULL_DEVICE, pack("=II", 5, 0)),
    (KEEP, pack("=IIIIII", 5, 6, 2, 0, 7, 8)),
    (EXEC, pack("=II", 1, 1) + _VECTORS + b"sh\0PATH=/bin:/usr/bin\0"),
]


def encoded(steps: list[tuple[int, bytes]]) -> bytes:
    """As tests/fuzz/plan.c reads it: the number of steps less one, then the steps."""
    body = b"".join(pack("=II", code, len(payload)) + payload + bytes(-len(payload) % 8) for code, payload in steps)
    return bytes([len(steps) - 1]) + body


def main(directory: Path) -> None:
    for number, step in enumerate(STEPS):
        (directory / f"step{number}").write_bytes(encoded([step]))
    (directory / "all").write_bytes(encoded(STEPS))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
