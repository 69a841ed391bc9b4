"""/linux/netDevices: which network devices move into the container's network namespace."""

from __future__ import annotations

from boxes.network.devices import Move

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def moves(devices: dict[str, Any]) -> list[Move]:
    """In the config's order, which decides what ``%d`` becomes."""
    found = []
    for name, device in devices.items():
        pointer = f"/linux/netDevices/{name.replace('~', '~0')}"  # a name has no slash
        found.append(Move(name, device.get("name") or "", pointer))
    return found
