"""/process/apparmorProfile and selinuxLabel: what the process is confined by from its execve on. /linux/mountLabel.

A label is written by inner to its own attributes in procfs, as its first act: no container is in reach then, and the
descriptor is closed before one is. It takes effect at the next execve, so the startContainer hooks get it too.
"""

from __future__ import annotations

import errno as e
from _struct import pack

from boxes.errors import UnsupportedError
from boxes.plan import annotated, failures, inner

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from boxes.plan.inner import Steps

_APPARMOR, _SELINUX = "/process/apparmorProfile", "/process/selinuxLabel"

# Filesystems whose inodes the policy labels by itself: a context for them is refused, or means nothing. An mqueue is
# there before it is mounted, so its root alone can be labelled.
_OWN_LABELS = frozenset(("proc", "sysfs", "cgroup", "cgroup2", "mqueue"))


class Label:
    """`file` below the attributes of a process, what is written there, and what asks for it."""

    def __init__(self, file: str, text: str, pointer: str) -> None:
        self.file = file
        self.text = text
        self.pointer = pointer


def labels(process: dict[str, Any], *, apparmor: bool, selinux: bool) -> list[Label]:
    """What is to be written. Raises UnsupportedError where the host lacks the module that would heed it."""
    found = []
    profile, label = process.get("apparmorProfile"), process.get("selinuxLabel")
    if profile and apparmor:
        found.append(Label("apparmor/exec", f"exec {profile}", _APPARMOR))  # Linux 5.8
    elif profile and profile != "unconfined":
        hint = "leave it away, or boot with AppArmor"
        raise UnsupportedError(
            f"profile '{profile}' is asked for and the host has no AppArmor", pointer=_APPARMOR, hint=hint
        )
    if label and not selinux:
        hint = "leave it away, or boot with SELinux"
        raise UnsupportedError(f"label '{label}' is asked for and the host has no SELinux", pointer=_SELINUX, hint=hint)
    if label:
        found.append(Label("keycreate", label, _SELINUX))  # of the session keyring; the execve resets it
        found.append(Label("exec", label, _SELINUX))
    return found


def write(steps: Steps, found: list[Label], proc: int) -> None:
    """`proc`: a descriptor of a procfs."""
    for label in found:
        path, text = f"self/attr/{label.file}", label.text.encode()
        payload = pack("=iI", proc, len(text)) + inner.string(path) + text
        shown = f'write("/proc/{path}", "{label.text}")'
        steps.add(inner.WRITE, payload, shown, label.pointer, _explained(label, shown))
    if found:
        steps.call("close", proc)


def _explained(label: Label, shown: str) -> Any:
    if label.pointer == _APPARMOR:
        profile = label.text.removeprefix("exec ")
        hints = {
            e.ENOENT: f"is profile '{profile}' loaded? See /sys/kernel/security/apparmor/profiles",
            e.EACCES: "the runtime's own profile does not allow the change",
            e.EPERM: "the runtime's own profile, or no_new_privs, does not allow the change",
        }
        return failures.of_call("cannot apply the AppArmor profile", shown, label.pointer, hints)
    hints = {
        e.EINVAL: f"the policy has no label '{label.text}'",
        e.EACCES: "the policy does not let the runtime set it",
    }
    return failures.of_call("cannot apply the SELinux label", shown, label.pointer, hints)


def context(kind: str, label: str, config: dict[str, Any]) -> tuple[str, ...]:
    """The option that labels a new filesystem. crun's annotation chooses which: mount(8), SELinux."""
    if not label or kind in _OWN_LABELS:
        return ()
    return (f"{annotated.context_type(config)}={label}",)
