"""`pause` and `resume`: a container's processes stopped where they are, and let go on. The runtime specification has no
such operations; errors have runc's words, since engines look for them."""

from __future__ import annotations

from boxes import log
from boxes import system as os
from boxes.container import status
from boxes.container.status import cgroups_of
from boxes.errors import StateError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from boxes.container.store import Place, Store


def pause(store: Store, id: str) -> None:
    """Freeze a running container; it runs on if that fails."""
    with store.open(id) as place:
        journal = place.load()
        found = status.of(place, journal)
        if found != status.RUNNING:
            raise StateError(f"container not running: it is {found}")
        with cgroups_of(journal) as cgroups:
            if cgroups.shared:
                raise StateError("the container shares its cgroup: others would be paused with it")
            cgroups.freeze()
        _tell(place)


def resume(store: Store, id: str) -> None:
    with store.open(id) as place:
        journal = place.load()
        found = status.of(place, journal)
        if found != status.PAUSED:
            raise StateError(f"container not paused: it is {found}")
        with cgroups_of(journal) as cgroups:
            cgroups.thaw()
        _tell(place)


def _tell(place: Place) -> None:
    """Whoever watches the directory (`box events`) looks again: a freezer of v1 tells nobody."""
    try:
        os.utime(place.path)
    except OSError as error:
        log.warning(f"ignoring: who watches the container is not told: {error}")
