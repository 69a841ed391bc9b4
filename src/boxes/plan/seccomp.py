"""/linux/seccomp: how a compiled filter is loaded, and whether inner gets through what comes after it.

With noNewPrivileges the filter is the last thing before the startContainer hooks and the program. Without, loading it
needs CAP_SYS_ADMIN: that is kept until then and given up after it, by one capset(2). All else that needs a system call
was done before, so that few profiles are in the way; docs/seccomp.md lists what is left.
"""

from __future__ import annotations

import errno as e
from _struct import pack

from boxes import system as os
from boxes.errors import BoxesError, ConfigError, KernelError, UnsupportedError
from boxes.linux.flags import CAP_SYS_ADMIN
from boxes.plan import capabilities, inner

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from boxes.plan.inner import Steps

POINTER = "/linux/seccomp"
_NOTIFY = "SCMP_ACT_NOTIFY"

# <linux/seccomp.h>
FLAGS = {
    "SECCOMP_FILTER_FLAG_TSYNC": 1 << 0,
    "SECCOMP_FILTER_FLAG_LOG": 1 << 1,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": 1 << 2,
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": 1 << 5,
}
_TSYNC, _SPEC_ALLOW, _NEW_LISTENER, _TSYNC_ESRCH, _WAIT_KILLABLE_RECV = 1 << 0, 1 << 2, 1 << 3, 1 << 4, 1 << 5

# native/inner.c: how a filter is loaded
_ATTACHED, _SILENT = 1, 2

# What inner calls once the filter is loaded, by machine and by what for. It does without `explanation`, for which C
# libraries differ in what they call, and without `message` if the filter is in their way.
CALLS = {
    "x86_64": {
        "program": "write=1 execve=59",
        "privileges": "capset=126",
        "listener": "read=0 close=3",
        "hooks": "lseek=8 vfork=58 dup2=33 close=3 wait4=61",
        "timeouts": "pidfd_open=434 poll=7 kill=62 close=3",
        "explanation": "access=21 open=2 openat=257 fstat=5 newfstatat=262 read=0",
        "message": "sendmsg=46",
    },
    "aarch64": {
        "program": "write=64 execve=221",
        "privileges": "capset=91",
        "listener": "read=63 close=57",
        "hooks": "lseek=62 clone=220 dup3=24 close=57 wait4=260",
        "timeouts": "pidfd_open=434 ppoll=73 kill=129 close=57",
        "explanation": "faccessat=48 openat=56 fstat=80 newfstatat=79 read=63",
        "message": "sendmsg=211",
    },
}


def calls(purpose: str, machine: str) -> dict[str, int]:
    """What inner calls for this purpose: the numbers by their names."""
    return {name: int(number) for name, number in (entry.split("=") for entry in CALLS[machine][purpose].split())}


class Filter:
    """A compiled filter.

    `program`: struct sock_filter, one after the other; `flags`: those of seccomp(2); `held`: what it does to calls of
    inner's that do not always pass: by their names, ("denied" | "maybe" | "notify", the action).
    """

    def __init__(self, program: bytes, flags: int, held: dict[str, tuple[str, str]]) -> None:
        self.program = program
        self.flags = flags
        self.held = held

    @property
    def listens(self) -> bool:
        return bool(self.flags & _NEW_LISTENER)

    def check(self, process: dict[str, Any], hooks: list[dict[str, Any]], available: int) -> None:
        """Raise ConfigError if inner would be locked out, or UnsupportedError if it may not load it: `hooks` are those
        at startContainer, `available` the capabilities there are."""
        privileged = not process.get("noNewPrivileges")
        if privileged and not available >> CAP_SYS_ADMIN & 1:
            hint = "set /process/noNewPrivileges"
            raise UnsupportedError("loading a filter needs CAP_SYS_ADMIN here", pointer=POINTER, hint=hint)
        timeouts = any(hook.get("timeout") for hook in hooks)
        for purpose, wanted, why, help in (
            ("program", True, "to begin the program", "allow it"),
            ("privileges", privileged, "to drop capabilities", "allow it, or set /process/noNewPrivileges"),
            ("listener", self.listens, "to hand over the listener", "allow it"),
            ("hooks", bool(hooks), "for /hooks/startContainer", "allow it"),
            ("timeouts", timeouts, "for the timeout of a startContainer hook", "allow it, or set no timeout"),
        ):
            for name in calls(purpose, os.uname().machine) if wanted and self.held else ():
                verdict, action = self.held.get(name, ("", ""))
                if verdict == "denied":
                    text = (
                        f"the profile denies '{name}' ({action}), which the runtime calls with the filter loaded, {why}"
                    )
                    raise ConfigError(text, pointer=POINTER, hint=help)

    def load(self, steps: Steps, process: dict[str, Any], sets: capabilities.Sets, kept: int) -> None:
        """`kept`: a descriptor that startContainer hooks need, or -1."""
        how = 0
        if self._passes("message"):
            how |= _ATTACHED
        if not self._passes("explanation"):
            how |= _SILENT
        payload = pack("=IIII", self.flags, kept & 0xFFFFFFFF, how, 0) + self.program
        shown = f"seccomp(SECCOMP_SET_MODE_FILTER, {self.flags:#x}, {len(self.program) // 8} instructions)"
        steps.add(inner.SECCOMP, payload, shown, POINTER, _explained(shown))
        if not process.get("noNewPrivileges"):
            capabilities.capset_step(steps, sets)

    def _passes(self, purpose: str) -> bool:
        return not self.held or not any(name in self.held for name in calls(purpose, os.uname().machine))


def notifies(profile: dict[str, Any]) -> bool:
    return any(rule["action"] == _NOTIFY for rule in profile.get("syscalls") or ())


def flags(profile: dict[str, Any]) -> int:
    """The flags of seccomp(2). Where the profile names none the peers take SPEC_ALLOW: a filter alone is no reason for
    the costly mitigations of speculation."""
    named = profile.get("flags")
    value = _SPEC_ALLOW if named is None else 0
    for name in named or ():
        value |= FLAGS[name]
    if notifies(profile):
        value |= _NEW_LISTENER
        if value & _TSYNC:
            value |= _TSYNC_ESRCH  # else the two exclude each other: seccomp(2), Linux 5.7
    elif value & _WAIT_KILLABLE_RECV:
        where = f"{POINTER}/flags/{(named or []).index('SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV')}"
        raise ConfigError(f"has no meaning without a rule whose action is '{_NOTIFY}'", pointer=where)
    return value


def needed_flags(name: str) -> int:
    """What a flag takes for granted."""
    return _NEW_LISTENER if FLAGS[name] == _WAIT_KILLABLE_RECV else 0


def refuse_notify(profile: dict[str, Any]) -> None:
    """What cannot be asked of a listener, as runc has it: it would be asked before anybody could answer."""
    if profile["defaultAction"] == _NOTIFY:
        raise ConfigError(f"'{_NOTIFY}' cannot be the default action", pointer=f"{POINTER}/defaultAction")
    for number, rule in enumerate(profile.get("syscalls") or ()):
        if rule["action"] == _NOTIFY and "write" in rule["names"]:
            text = f"'{_NOTIFY}' cannot be used for 'write', with which the runtime hands over the listener"
            raise ConfigError(text, pointer=f"{POINTER}/syscalls/{number}/action")


def listener(config: dict[str, Any]) -> str:
    """The path of the agent's socket; crun's annotation is its older form."""
    path = config["linux"]["seccomp"].get("listenerPath")
    if not path and (config.get("annotations") or {}).get("run.oci.seccomp.receiver"):
        from boxes.plan import annotated

        return str(annotated.path(config, annotated.SECCOMP_RECEIVER))
    if not path:
        raise ConfigError(f"is needed for the action '{_NOTIFY}'", pointer=f"{POINTER}/listenerPath")
    if not path.startswith("/"):
        raise ConfigError(f"'{path}' is not an absolute path", pointer=f"{POINTER}/listenerPath")
    return str(path)


def _explained(call: str) -> Any:
    def explain(errno: int, data: bytes) -> BoxesError:
        hint = {
            e.EACCES: "it needs CAP_SYS_ADMIN, or /process/noNewPrivileges",
            e.EBUSY: "there is another filter with a listener already",
            e.EINVAL: "does this kernel know the flags?",
            e.ENOMEM: "with those that are loaded already the filter is too long",
        }.get(errno)
        text = f"cannot load the filter: {os.strerror(errno).lower()}"
        return KernelError(text, pointer=POINTER, call=call, errno=errno, hint=hint)

    return explain
