"""The whole of `config.json` (runtime-spec config.md): version, root, mounts, hooks, annotations.

Sections of other platforms are known by name and otherwise ignored.
"""

from __future__ import annotations

from boxes.errors import ConfigError
from boxes.spec.kinds import (
    Findings,
    absolute,
    anything,
    flag,
    integer,
    list_of,
    map_of,
    matching,
    nonempty,
    record,
    show,
    strings,
    text,
    wrong,
)
from boxes.spec.schema_linux import LINUX, id_mappings
from boxes.spec.schema_process import PROCESS, environment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MAJOR = "1"
LONGEST_NAME = 64
WORD = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-")
DIGITS = frozenset("0123456789")


def _is_number(part: str) -> bool:
    return part != "" and DIGITS.issuperset(part) and (part == "0" or part[0] != "0")


def _is_semver(version: str) -> bool:
    """SemVer 2.0.0: three numbers, perhaps `-` and the words of a pre-release, perhaps `+` and those of a build."""
    version, plus, build = version.partition("+")
    core, dash, release = version.partition("-")
    numbers = core.split(".")
    if len(numbers) != 3 or not all(map(_is_number, numbers)):
        return False
    words = (release.split(".") if dash else []) + (build.split(".") if plus else [])
    if not all(word and WORD.issuperset(word) for word in words):
        return False
    return not dash or all(_is_number(word) for word in release.split(".") if DIGITS.issuperset(word))


_semver = matching(_is_semver, "a version of the specification, such as '1.3.0'")


def version(value: object, where: str, findings: Findings) -> None:
    _semver(value, where, findings)
    if str(value).partition(".")[0] != MAJOR:
        raise wrong(where, f"version {MAJOR}.x of the specification", value)


def host_name(value: object, where: str, findings: Findings) -> None:
    text(value, where, findings)
    if len(str(value).encode()) > LONGEST_NAME:
        raise ConfigError(f"expected at most {LONGEST_NAME} bytes, not {show(value)}", pointer=where)


def _mount(mount: Any, where: str, findings: Findings) -> None:
    destination = mount["destination"]
    if destination[0] != "/":
        findings.warn(f"{where}/destination", f"is taken as '/{destination}': a relative destination is deprecated")
    options = mount.get("options", ())
    if not mount.get("source") and ("bind" in options or "rbind" in options) and "remount" not in options:
        raise ConfigError("is required for a bind mount", pointer=f"{where}/source")
    if bool(mount.get("uidMappings")) != bool(mount.get("gidMappings")):
        missing = "gidMappings" if mount.get("uidMappings") else "uidMappings"
        raise ConfigError("is required, as uidMappings and gidMappings go together", pointer=f"{where}/{missing}")


MOUNT = record(
    {
        "destination": nonempty,
        "source": text,
        "type": text,
        "options": strings,
        "uidMappings": id_mappings,
        "gidMappings": id_mappings,
    },
    required=("destination",),
    rule=_mount,
)

HOOKS = list_of(
    record(
        {
            "path": absolute,
            "args": strings,
            "env": environment,
            "timeout": integer(1, 2**31 - 1, "a number of seconds"),
        },
        required=("path",),
    )
)

CONFIG = record(
    {
        "ociVersion": version,
        "root": record({"path": nonempty, "readonly": flag}, required=("path",)),
        "process": PROCESS,
        "hostname": host_name,
        "domainname": host_name,
        "mounts": list_of(MOUNT),
        "hooks": record(
            {
                "prestart": HOOKS,
                "createRuntime": HOOKS,
                "createContainer": HOOKS,
                "startContainer": HOOKS,
                "poststart": HOOKS,
                "poststop": HOOKS,
            }
        ),
        "annotations": map_of(text, name=nonempty),
        "linux": LINUX,
        "freebsd": anything,
        "solaris": anything,
        "vm": anything,
        "windows": anything,
        "zos": anything,
    },
    required=("ociVersion", "root"),
)
