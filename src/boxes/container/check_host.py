"""What a config asks of the host besides namespaces, mounts and cgroups: hooks, priorities, devices, agents."""

from __future__ import annotations

import _stat as stat

from boxes import system as os
from boxes.errors import BoxesError, ConfigError, HookError, UnsupportedError, located, refused
from boxes.plan.capabilities import number as capability

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from boxes.container.findings import Findings

# Those that the host runs; startContainer's are in the container.
_FATAL = ("prestart", "createRuntime", "createContainer")
_LOGGED = ("poststart", "poststop")
_REAL_TIME = ("SCHED_FIFO", "SCHED_RR", "SCHED_DEADLINE")
_NODES = "/sys/devices/system/node/online"


def hooks(config: dict[str, Any], findings: Findings) -> None:
    """Hooks have to be there, and be programs. What follows on one that fails after the start is a line in the log."""
    for moment in (*_FATAL, *_LOGGED):
        for number, hook in enumerate((config.get("hooks") or {}).get(moment) or ()):
            path, pointer = hook["path"], f"/hooks/{moment}/{number}/path"
            reason = _not_a_program(path)
            if reason and moment in _FATAL:
                findings.error(HookError(f"cannot run hook '{path}': {reason}", pointer=pointer, path=path))
            elif reason:
                findings.warning(f"cannot run hook '{path}': {reason}", pointer)


def _not_a_program(path: str) -> str | None:
    try:
        facts = os.stat(path)
    except OSError as error:
        return (error.strerror or "it cannot be reached").lower()
    if not stat.S_ISREG(facts.st_mode) or not os.access(path, os.X_OK):
        return "permission denied"
    return None


def attributes(config: dict[str, Any], findings: Findings, capabilities: int) -> None:
    """What is set by one system call each, by the rights that it takes."""
    process = config.get("process")
    if process is None:
        if not findings.is_known("/process"):
            findings.error(ConfigError("is needed to start a container", pointer="/process"))
        return
    kinds = {entry["type"] for entry in (config.get("linux") or {}).get("namespaces") or ()}
    nice = bool(capabilities >> (capability("CAP_SYS_NICE") or 0) & 1) and "user" not in kinds
    for asked, pointer, what in _priorities(process):
        if asked and not nice:
            text = f"{what} needs CAP_SYS_NICE on the host"
            findings.error(UnsupportedError(text, pointer=pointer, hint="leave it away, or run as root"))
    policy = (config.get("linux") or {}).get("memoryPolicy")
    if policy and not os.access(_NODES, os.R_OK):
        findings.error(UnsupportedError("this kernel is built without NUMA", pointer="/linux/memoryPolicy"))
    elif policy:
        findings.tried(lambda: _nodes(policy))


def _priorities(process: dict[str, Any]) -> list[tuple[bool, str, str]]:
    scheduler, priority = process.get("scheduler") or {}, process.get("ioPriority") or {}
    policy = scheduler.get("policy", "")
    return [
        (policy in _REAL_TIME, "/process/scheduler/policy", f"the policy '{policy}'"),
        (scheduler.get("nice", 0) < 0, "/process/scheduler/nice", "a nice value below 0"),
        (priority.get("class") == "IOPRIO_CLASS_RT", "/process/ioPriority/class", "the class 'IOPRIO_CLASS_RT'"),
    ]


def _nodes(policy: dict[str, Any]) -> bool:
    """Memory nodes that the machine does not have: set_mempolicy(2) takes what is there of them."""
    from boxes.plan.attributes import nodes

    wanted, flags = nodes(policy), policy.get("flags") or ()
    with open(_NODES, "rb") as file:
        online = nodes({"nodes": file.read().decode().strip()})
    if wanted and not wanted & online and "MPOL_F_RELATIVE_NODES" not in flags:
        text = f"none of the memory nodes '{policy['nodes']}' is online"
        raise UnsupportedError(text, pointer="/linux/memoryPolicy/nodes", hint=f"see {_NODES}")
    return True


def prepared(config: dict[str, Any], findings: Findings) -> None:
    """Classes of service and agents, which have to be there before."""
    if (config.get("linux") or {}).get("intelRdt") is not None:
        findings.tried(lambda: _class(config))
    findings.tried(lambda: _agent(config))


def _class(config: dict[str, Any]) -> bool:
    """As Lent does it, up to what is made."""
    rdt = config["linux"].get("intelRdt")
    if rdt is None:
        return True
    from boxes.apply import resctrl
    from boxes.plan.resctrl import POINTER, group

    root = resctrl.mounted()
    if root is None:
        hint = "where the processor has it: mount -t resctrl resctrl /sys/fs/resctrl"
        raise UnsupportedError("no resctrl filesystem is mounted", pointer=POINTER, hint=hint)
    try:
        with resctrl.Lock(root):
            resctrl.survey(root, group(rdt, "check"))
    except OSError as error:
        raise refused("cannot set the class of service", error, pointer=POINTER) from error
    return True


def network_devices(netns: int, devices: dict[str, Any]) -> list[BoxesError]:
    """Whether each can move to the network namespace of a descriptor: none is touched."""
    from boxes.network.devices import Transfer
    from boxes.plan.network import moves

    found: list[BoxesError] = []
    try:
        transfer = Transfer(netns)
    except BoxesError as error:
        return [located(error, "/linux/netDevices")]
    try:
        for move in moves(devices):
            try:
                transfer.check([move])
            except BoxesError as error:
                found.append(located(error, "/linux/netDevices"))
    finally:
        transfer.close()
    return found


def _agent(config: dict[str, Any]) -> bool:
    from boxes.plan import seccomp

    profile = (config.get("linux") or {}).get("seccomp")
    if not profile or not seccomp.notifies(profile):
        return True
    path = seccomp.listener(config)
    try:
        there = stat.S_ISSOCK(os.stat(path).st_mode)
    except OSError:
        there = False
    if not there:
        hint = "start the seccomp agent first"
        raise BoxesError(f"no socket '{path}'", pointer="/linux/seccomp/listenerPath", path=path, hint=hint)
    return True
