"""What there is: the containers of a store, the processes of a container."""

from __future__ import annotations

from boxes import log
from boxes.container import status
from boxes.container.lifecycle import describe
from boxes.errors import BoxesError, NotFoundError, StateError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from boxes.container.store import Store


def listing(store: Store) -> list[dict[str, Any]]:
    """The state documents of all containers, `owner` being a user's name. One that vanishes meanwhile is left out, and
    one that cannot be told of is warned of."""
    found = []
    for id in store.ids():
        try:
            with store.peek(id) as place:
                journal = place.load()
                document = describe(journal, status.of(place, journal))
        except NotFoundError:
            continue
        except BoxesError as error:
            log.warning(f"cannot tell of container '{id}': {error}")
            continue
        document["owner"] = _name(journal["owner"])
        found.append(document)
    return found


def processes(store: Store, id: str) -> list[int]:
    """The pids of a container's processes, as the runtime sees them."""
    with store.peek(id) as place:
        journal = place.load()
        if status.of(place, journal) == status.STOPPED or "pid" not in journal:
            raise StateError("container not running")
    cgroups = status.cgroups_of(journal)
    try:
        return cgroups.processes() or [journal["pid"]]
    finally:
        cgroups.close()


def _name(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
