"""A procfs of one's own: nobody else can reach it, and nothing can be mounted over what is written (CVE-2025-52881)."""

from __future__ import annotations

from boxes import system as os
from boxes.linux import syscalls


def private(*, subset: bool = False) -> int:
    """A new procfs of the pid namespace of the caller, attached nowhere. `subset`: processes only (Linux 5.8)."""
    context = syscalls.fsopen("proc")
    try:
        if subset:
            syscalls.fsconfig_string(context, "subset", "pid")
        syscalls.fsconfig_create(context)
        return syscalls.fsmount(context, 0)
    finally:
        os.close(context)
