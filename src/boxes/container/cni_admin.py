"""What can be done with networks of CNI besides attaching containers: `box cni`."""

from __future__ import annotations

from boxes.errors import StateError
from boxes.network import cni, cni_conf, cni_plugin

TYPE_CHECKING = False
if TYPE_CHECKING:
    from boxes.container.store import Store
    from boxes.errors import BoxesError


def check(store: Store, id: str) -> None:
    """Whether a container's network is as the plugins left it. Raises what the first says that finds it is not."""
    with store.peek(id) as place:
        record = place.load().get("network") or {}
    if record.get("driver") != "cni":
        raise StateError(f"container '{id}' is on no network of CNI")
    cni.check(record["attachment"])


def status(name: str, directory: str, path: list[str]) -> None:
    """Whether containers can be added to a network now. Raises what a plugin says if they cannot."""
    cni.status(cni_conf.load(name, directory or cni_conf.DIRECTORY), path or cni_plugin.PATH)


def collect(name: str, directory: str, path: list[str]) -> list[BoxesError]:
    """Take away what containers have left that are gone, whatever runtime made them. Returns what went wrong."""
    conf = cni_conf.load(name, directory or cni_conf.DIRECTORY)
    return cni.collect(conf, cni.valid(conf.name), path or cni_plugin.PATH)
