"""The fields that the schema tables know, for who lists them: the document of `features`, and tests."""

from __future__ import annotations

from boxes.spec import schema_linux
from boxes.spec.schema_config import CONFIG

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from boxes.spec.kinds import Kind


def members(kind: Kind) -> Mapping[str, Kind]:
    """The fields of a record; nothing for what is none."""
    found: Mapping[str, Kind] = vars(_unwrapped(kind)).get("fields", {})
    return found


def hooks() -> list[str]:
    """The names of the hooks, in the order of their moments."""
    return list(members(members(CONFIG)["hooks"]))


def paths(kind: Kind = CONFIG, at: str = "") -> Iterator[str]:
    """The pointer of every field, with ``*`` for a position in a list and for a name that is free."""
    inner = _unwrapped(kind)
    for name, field in members(inner).items():
        yield f"{at}/{name}"
        yield from paths(field, f"{at}/{name}")
    for holder in ("item", "value"):
        below = vars(inner).get(holder)
        if below is not None:
            yield from paths(below, f"{at}/*")


def _unwrapped(kind: Kind) -> Kind:
    """What a kind that does something besides, or that is loaded late, leaves to another."""
    from boxes.spec.schema_resources import RESOURCES
    from boxes.spec.schema_seccomp import SECCOMP

    wrapped: dict[Kind, Kind] = {
        schema_linux.resources: RESOURCES,
        schema_linux.seccomp: SECCOMP,
        schema_linux.id_mappings: schema_linux._id_mappings,
        schema_linux.net_devices: schema_linux._net_devices,
    }
    return wrapped.get(kind, kind)
