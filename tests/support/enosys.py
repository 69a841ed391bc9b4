"""An older kernel: commands for which it does not know some system calls (enosys.c).

`python -m tests.support.enosys CALL,… COMMAND…` runs one.
"""

from __future__ import annotations

import os
import sys

from tests.support.rootfs import probe_program
from tests.sweeps.points import number_of


def prefix(*calls: str) -> tuple[str, ...]:
    """What to put before a command."""
    return (str(probe_program("enosys")), ",".join(str(number_of(call)) for call in calls))


if __name__ == "__main__":
    os.execvp(str(probe_program("enosys")), [*prefix(*sys.argv[1].split(",")), *sys.argv[2:]])
