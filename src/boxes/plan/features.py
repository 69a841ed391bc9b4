"""The document of `features` (runtime-spec, features.md and features-linux.md), made of the tables that containers are
made by. What has no table is asked of the functions that take a config apart: what they refuse is not there."""

from __future__ import annotations

from boxes.errors import BoxesError
from boxes.plan import attributes, capabilities, labels, namespaces, options, refusals, resources, seccomp, systemd
from boxes.plan import seccomp_rules as rules
from boxes.spec import fields
from boxes.spec.state import OCI_VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Any 1.x is read; that of the first release is the least that can be meant.
OLDEST_VERSION = "1.0.0"
# Annotations by which whoever writes a config changes what the runtime does on the host. A dot at the end: a prefix.
UNSAFE = ("run.oci.", systemd.ANNOTATION, "org.criu.config")


class Seccomp:
    """What the libseccomp in use and the kernel have: a version, or none; architectures and flags by their names."""

    def __init__(self, version: str, architectures: list[str], flags: list[str]) -> None:
        self.version = version
        self.architectures = architectures
        self.flags = flags


def document(found: Seccomp | None, annotations: dict[str, str]) -> dict[str, Any]:
    """`found`: libseccomp, if there is one; `annotations`: what the runtime says of itself."""
    if found is not None:
        annotations = {**annotations, "io.github.seccomp.libseccomp.version": found.version}
    return {
        "ociVersionMin": OLDEST_VERSION,
        "ociVersionMax": OCI_VERSION,
        "hooks": fields.hooks(),
        "mountOptions": [name for name in options.known() if _mounts(name)],
        "linux": _linux(found),
        "annotations": dict(sorted(annotations.items())),
        "potentiallyUnsafeConfigAnnotations": list(UNSAFE),
    }


def _linux(found: Seccomp | None) -> dict[str, Any]:
    mappings = [{"containerID": 0, "hostID": 0, "size": 1}]
    return {
        "namespaces": sorted(namespaces.FLAGS),
        "capabilities": [f"CAP_{name}" for name in capabilities.NAMES],
        "cgroup": {
            "v1": _limits({"pids": {"limit": 1}}, "legacy"),
            "v2": _limits({"pids": {"limit": 1}}, "unified"),
            "systemd": bool(systemd.scope(None, "any", user=False)),
            "systemdUser": bool(systemd.scope(None, "any", user=True)),
            "rdma": _limits({"rdma": {"any": {"hcaHandles": 1}}}, "unified"),
        },
        "seccomp": _seccomp(found),
        "apparmor": {"enabled": bool(labels.labels({"apparmorProfile": "any"}, apparmor=True, selinux=False))},
        "selinux": {"enabled": bool(labels.labels({"selinuxLabel": "any"}, apparmor=False, selinux=True))},
        "intelRdt": {
            "enabled": _accepts(linux={"intelRdt": {"closID": "any"}}),
            "schemata": _accepts(linux={"intelRdt": {"schemata": ["MB:0=10"]}}),
            "monitoring": _accepts(linux={"intelRdt": {"enableMonitoring": True}}),
        },
        "memoryPolicy": {
            "modes": [f"MPOL_{name}" for name in attributes.MODES],
            "flags": list(attributes.MODE_FLAGS),
        },
        "mountExtensions": {"idmap": {"enabled": _mounts("bind", uidMappings=mappings, gidMappings=mappings)}},
        "netDevices": {"enabled": _accepts(linux={"netDevices": {"any": {}}})},
    }


def _seccomp(found: Seccomp | None) -> dict[str, Any]:
    if found is None:
        return {"enabled": False}
    return {
        "enabled": True,
        "actions": sorted(rules.ACTIONS),
        "operators": sorted(rules.OPERATORS),
        "archs": sorted(found.architectures),
        "knownFlags": list(seccomp.FLAGS),
        "supportedFlags": found.flags,
    }


def _mounts(option: str, **more: Any) -> bool:
    """Whether there is a kind of mount that an option can be for."""
    bind = {"destination": "/any", "source": "/any", "type": "bind", "options": ["bind", option], **more}
    tmpfs = {"destination": "/any", "source": "tmpfs", "type": "tmpfs", "options": [option], **more}
    return any(_accepts(mounts=[mount]) for mount in (bind, tmpfs))


def _accepts(**config: Any) -> bool:
    try:
        refusals.refuse(config)
    except BoxesError:
        return False
    return True


def _limits(asked: dict[str, Any], kind: str) -> bool:
    """Whether a version of cgroups gets a file to write for a limit."""
    return len(resources.settings(asked, kind)) > len(resources.settings({}, kind))
