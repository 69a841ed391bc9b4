"""Networks that nobody is on any more: their rules and bridges are removed.

The kernel takes about 10 ms to free rules and 50 to remove a bridge, and whoever deletes a container is not to wait for
that: a process of its own does it, and ends. A bridge is given a moment, in which the next container finds it as it
is. If the process is killed or cannot be had, whoever deletes a container or looks at networks next does the same.
"""

from __future__ import annotations

import select

from boxes import log
from boxes import system as os
from boxes.container import network_records as records
from boxes.container.network_records import Lock, Network
from boxes.errors import BoxesError
from boxes.linux import procfs
from boxes.linux.nftables import Nftables
from boxes.linux.rtnetlink import Rtnetlink
from boxes.network import bridge, firewall, rules

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

_MOMENT = 250  # milliseconds; nothing tells that somebody comes


def start() -> None:
    """Have it done. The process has nothing of this one open, and is not waited for: whoever deletes a container is
    about to end. If there can be none it is logged: what is left has no lease, and is in nobody's way."""
    try:
        if os.fork() == 0:
            _live()
    except OSError as error:
        log.warning(f"a network that nobody is on stays until 'box network ls': no process to remove it: {error}")


def _live() -> NoReturn:
    try:
        os.setsid()
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        for fd in range(3):
            os.dup2(null, fd)
        procfs.close_range(3)
        os.chdir("/")
        sweep(bridges=False)
        select.poll().poll(_MOMENT)
        sweep(bridges=True)
    finally:
        os._exit(0)


def sweep(*, bridges: bool) -> None:
    """Remove the rules of networks without members. With `bridges` also devices that are still there of containers that
    have left, as somebody keeps their namespace, and bridges. Raises OSError, BoxesError."""
    with Lock():
        for network in list(records.all_in_use()):
            if not network.members:
                _remove_rules(network)
            if bridges:
                _remove_devices(network)


def sweep_if_needed() -> None:
    """At once, if there is a network that nobody is on. What cannot be is logged."""
    try:
        if any(network.leaving or not network.members for network in records.all_in_use()):
            sweep(bridges=True)
    except (BoxesError, OSError) as error:
        log.debug(f"ignoring: {error}")


def _remove_rules(network: Network) -> None:
    tables = Nftables()
    try:
        tables.delete_table("inet", rules.table(network.name))
        firewall.take_back(tables, network.name)
    finally:
        tables.close()


def _remove_devices(network: Network) -> None:
    route = Rtnetlink()
    try:
        for veth in network.leaving:
            bridge.detach(route, veth)
        if not network.members:
            route.delete_link(network.bridge)
    finally:
        route.close()
    if not network.members:
        records.forget(network.name)
    elif network.leaving:
        network.leaving.clear()
        network.save()
