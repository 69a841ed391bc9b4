"""What a container with a policy (``--allow``) has been refused."""

from __future__ import annotations

from boxes.container import status
from boxes.errors import StateError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from boxes.container.store import Store


def of(store: Store, id: str) -> dict[str, Any]:
    """See container.networks.egress.report. Raises StateError if the container has no policy."""
    from boxes.container.networks import egress

    with store.peek(id) as place:
        journal = place.load()
        record = (journal.get("network") or {}).get("egress")
        if record is None:
            raise StateError(f"container '{id}' has no policy", hint="--allow gives it one, when it is created")
        alive = status.of(place, journal) not in (status.STOPPED, status.CREATING)
    return egress.report(record, journal["pid"] if alive else 0)
