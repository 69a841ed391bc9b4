"""The distribution's runtimes as positive controls: old enough to have published defects."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.support.runtime import Runtime
from tests.support.tally import Row

# What the distribution has had, and what is known to be open in it.
VULNERABLE = {"runc": "1.1.5", "crun": "1.8.1"}
# crun refuses hosts with a controller on v2 beside v1: let it see no v2 there.
NO_HYBRID = """#!/bin/sh
exec unshare --mount --propagation private /bin/sh -c '
    [ ! -e /sys/fs/cgroup/unified ] || mount -t tmpfs none /sys/fs/cgroup/unified
    exec "$0" "$@"' {} "$@"
"""


def version(name: str) -> str | None:
    """What `NAME --version` says, without the distribution's suffix; None if it is not installed."""
    if shutil.which(name) is None:
        return None
    said = subprocess.run([name, "--version"], capture_output=True, text=True, check=True).stdout
    return said.split()[2].partition("+")[0]


def vulnerable(name: str, directory: Path, row: Row) -> Runtime:
    """The peer with a --root of its own. Skips, with the reason in the table, if it is another than is known."""
    found, wanted = version(name), VULNERABLE[name]
    if found is None:
        row.not_run(f"{name} {wanted}", "not installed")
    if found != wanted:
        row.not_run(f"{name} {wanted}", f"this is {name} {found}")
    place = directory / name
    place.mkdir(exist_ok=True)
    program = Path(shutil.which(name) or name)
    if name != "crun":
        return Runtime(program, place)
    wrapper = place / "crun"
    wrapper.write_text(NO_HYBRID.format(program))
    wrapper.chmod(0o755)
    runtime = Runtime(wrapper, place)
    runtime.globals = ("--cgroup-manager=disabled",)
    return runtime
