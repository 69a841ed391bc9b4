"""What this runtime can do, for `features`: libseccomp and the kernel are asked, nothing is made."""

from __future__ import annotations

from boxes import system as os
from boxes.linux import syscalls
from boxes.linux.fd import memory
from boxes.plan import features, seccomp
from boxes.plan import seccomp_rules as rules

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def document(annotations: dict[str, str]) -> dict[str, Any]:
    """The document of features.md; `annotations` are what the front end says of this copy."""
    return features.document(_seccomp(), annotations)


def _seccomp() -> features.Seccomp | None:
    try:
        version = syscalls.seccomp_library()[1]
    except ImportError:
        return None
    machine = os.uname().machine
    if machine not in rules.NATIVE:
        return None
    return features.Seccomp(
        ".".join(map(str, version)),
        [name for name in rules.ARCHITECTURES if _compiles(name, machine)],
        [name for name, flag in seccomp.FLAGS.items() if syscalls.seccomp_flags(flag | seccomp.needed_flags(name))],
    )


def _compiles(architecture: str, machine: str) -> bool:
    """Whether a filter can have it: libseccomp knows it, and its bytes are in this machine's order."""
    profile = {"defaultAction": "SCMP_ACT_ALLOW", "architectures": [architecture]}
    parts = rules.Parts(profile, machine, syscalls.seccomp_number)
    fd = memory("filter")
    try:
        return syscalls.seccomp_compile(parts.default, parts.encode(), fd)[1] == 0
    finally:
        os.close(fd)
