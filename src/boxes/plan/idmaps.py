"""/mounts/N/uidMappings and gidMappings, and the options idmap and ridmap: whose files a bind mount shows.

Without mappings of its own a mount has those of the container's user namespace: what is root's on the host is root's
in the container. crun's ``idmap=uids=0-1000-10#…;gids=…`` names them in the option: first id of the source, first id on
the host, how many; after an ``@`` the second is the container's.
"""

from __future__ import annotations

from boxes.errors import ConfigError, UnsupportedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from boxes.plan.namespaces import Namespaces

    Mapping = tuple[int, int, int]  # the first id of the source, the first on the host, how many
    Idmap = tuple[list[Mapping], list[Mapping], bool]

_LARGEST = 2**32 - 2  # the one above is no id


def idmap(mount: dict[str, Any], pointer: str, namespaces: Namespaces) -> Idmap:
    """(uids, gids, whether mounts below are meant too). Raises ConfigError or UnsupportedError."""
    option, where = "", pointer
    for number, name in enumerate(mount.get("options") or ()):
        if name in ("idmap", "ridmap") or name.startswith(("idmap=", "ridmap=")):
            option, where = name, f"{pointer}/options/{number}"
    recursive = option.startswith("r")
    text = option.partition("=")[2]
    if mount.get("uidMappings"):
        if text:
            raise ConfigError("the mount has uidMappings and gidMappings, which say the same", pointer=where)
        return _listed(mount["uidMappings"]), _listed(mount["gidMappings"]), recursive
    if text:
        return *_written(text, where, namespaces), recursive
    if "user" not in namespaces.new:
        hint = "give it uidMappings and gidMappings"
        raise UnsupportedError(
            "the mappings of a user namespace that is joined are not known", pointer=where, hint=hint
        )
    return namespaces.uid_mappings, namespaces.gid_mappings, recursive


def _listed(mappings: list[dict[str, Any]]) -> list[Mapping]:
    return [(entry["containerID"], entry["hostID"], entry["size"]) for entry in mappings]


def _written(text: str, pointer: str, namespaces: Namespaces) -> tuple[list[Mapping], list[Mapping]]:
    found: dict[str, list[Mapping]] = {}
    for part in text.split(";"):
        name, equals, value = part.partition("=")
        if name not in ("uids", "gids") or not equals or name in found:
            raise ConfigError(f"expected 'uids=…;gids=…' after idmap, not '{text}'", pointer=pointer)
        within = None
        if value.startswith("@"):
            within = namespaces.uid_mappings if name == "uids" else namespaces.gid_mappings
        found[name] = [_range(entry, pointer, within) for entry in value.removeprefix("@").split("#")]
    if len(found) < 2:
        raise ConfigError(f"expected both uids and gids after idmap, not '{text}'", pointer=pointer)
    return found["uids"], found["gids"]


def _range(text: str, pointer: str, within: list[Mapping] | None) -> Mapping:
    numbers = text.split("-")
    if len(numbers) != 3 or not all(number.isascii() and number.isdigit() and len(number) < 11 for number in numbers):
        raise ConfigError(f"expected FROM-TO-COUNT, not '{text}'", pointer=pointer)
    inside, outside, count = map(int, numbers)
    if within is not None:
        for first, host, size in within:
            if first <= outside and outside + count <= first + size:
                outside += host - first
                break
        else:
            raise ConfigError(f"'{text}' is not within one mapping of the user namespace", pointer=pointer)
    if not count or max(inside, outside) + count - 1 > _LARGEST:
        raise ConfigError(f"'{text}' has no ids, or more than there are", pointer=pointer)
    return inside, outside, count
