"""Whether a document is what the specification asks for, before anything is done with it."""

from __future__ import annotations

from boxes.errors import ConfigError
from boxes.spec.kinds import Findings, child
from boxes.spec.schema_config import CONFIG
from boxes.spec.schema_process import PROCESS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from boxes.spec.kinds import Notice

# Settings of `linux` and the namespace without which they would act on the host, or not at all.
NEEDS = (
    ("uidMappings", "user"),
    ("gidMappings", "user"),
    ("timeOffsets", "time"),
    ("netDevices", "network"),
)


def validate(config: object) -> list[Notice]:
    """Check a whole config; what is worth a warning is returned.

    Raises ConfigError at the first error. Members that are null are dropped from `config`.
    """
    findings = Findings()
    CONFIG(config, "", findings)
    _check_relations(config)
    return findings.notices


def validate_process(process: object) -> list[Notice]:
    """The same for a `process` object by itself; its pointers begin at the object."""
    findings = Findings()
    PROCESS(process, "", findings)
    return findings.notices


def _check_relations(config: Any) -> None:
    """What the parts of a config demand of one another, each being right by itself: namespaces to act in."""
    linux: dict[str, Any] = config.get("linux", {})
    namespaces = {entry["type"]: entry.get("path", "") for entry in linux.get("namespaces", ())}
    for key in ("hostname", "domainname"):
        if config.get(key):
            _need(namespaces, "uts", f"/{key}")
    for key, kind in NEEDS:
        if linux.get(key):
            _need(namespaces, kind, f"/linux/{key}")
    if linux.get("timeOffsets") and namespaces["time"]:
        raise ConfigError(
            "the offsets of a namespace that is joined by path cannot be set", pointer="/linux/timeOffsets"
        )
    if linux.get("sysctl"):
        _check_sysctl(config, namespaces)
    if "user" not in namespaces:
        _check_idmaps(config)


def _need(namespaces: dict[str, str], kind: str, where: str) -> None:
    if kind not in namespaces:
        raise ConfigError(f"needs a namespace of type '{kind}' in /linux/namespaces", pointer=where)


def _check_sysctl(config: Any, namespaces: dict[str, str]) -> None:
    from boxes.spec.sysctl import namespace_of, parts

    for name in config["linux"]["sysctl"]:
        found = parts(name)
        kind = namespace_of(found) if found else None
        where = child("/linux/sysctl", name)
        if found is None or kind is None:
            raise ConfigError(f"the sysctl '{name}' is not namespaced: it would change the host", pointer=where)
        _need(namespaces, kind, where)
        if kind == "uts" and config.get(found[1]):
            raise ConfigError(f"'{found[1]}' sets the same", pointer=where)


def _check_idmaps(config: Any) -> None:
    for index, mount in enumerate(config.get("mounts", ())):
        options = mount.get("options", ())
        if ("idmap" in options or "ridmap" in options) and not mount.get("uidMappings"):
            raise ConfigError(
                "an idmapped mount needs uidMappings and gidMappings of its own, or a namespace of type 'user'",
                pointer=f"/mounts/{index}/options",
            )
