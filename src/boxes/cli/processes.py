"""The table of `box ps` on hosts without a ps: the columns of `ps -ef`, read from /proc (proc(5))."""

from __future__ import annotations

import os
import time

from boxes.cli.output import printable

FORMAT = "{:<8} {:>7} {:>7} {:>5} {:<8} {}\n"


def table(pids: list[int]) -> str:
    """One line for each of `pids` that still exists."""
    ticks = os.sysconf("SC_CLK_TCK")
    text = FORMAT.format("UID", "PID", "PPID", "STIME", "TIME", "CMD")
    for pid in pids:
        row = _row(pid, ticks)
        if row is not None:
            text += FORMAT.format(*row)
    return text


def _row(pid: int, ticks: int) -> tuple[str, int, str, str, str, str] | None:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The name is in parentheses, may hold some itself, and is the only field with blanks.
            name, _, rest = file.read().partition(b"(")[2].rpartition(b")")
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read().rstrip(b"\0").split(b"\0")
        uid = os.stat(f"/proc/{pid}").st_uid
    except OSError:
        return None  # it has ended since
    fields = rest.split()
    used = (int(fields[11]) + int(fields[12])) // ticks
    started = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + int(fields[19]) / ticks
    command = b" ".join(words) or b"[" + name + b"]"
    return (
        str(uid),
        pid,
        fields[1].decode(),
        time.strftime("%H:%M", time.localtime(started)),
        f"{used // 3600:02}:{used // 60 % 60:02}:{used % 60:02}",
        printable(command.decode(errors="surrogateescape")),
    )
