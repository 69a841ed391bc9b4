"""Flows of UDP that go on when what they lead to has changed.

The kernel decides where a flow leads with its first packet, and remembers it as long as packets come. Who sends from
one port all the time, as relays of logs and of names do, would go on to talk to a container that is gone, or to the
host, and never reach the one that has the port now.
"""

from __future__ import annotations

from boxes.linux.conntrack import UDP, Conntrack
from boxes.linux.rtnetlink import IFA_ADDRESS, IFA_LOCAL, Rtnetlink
from boxes.network.addresses import ANY, family_of, packed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from boxes.network.rules import Published


def forget(published: Sequence[Published]) -> None:
    """Those to published ports of UDP, but for those that lead where they shall. What goes through the host to the same
    port of somebody else is left alone. Raises OSError."""
    known = Conntrack()
    try:
        own = _of_host()
        for address, port, container, _, protocol in published:
            family = family_of(container)
            for flow in known.flows(family, UDP, port) if protocol == "udp" else ():
                meant = _is_own(flow.destination, own) if address in ANY else flow.destination == packed(address)
                if meant and flow.answers_from != packed(container):
                    known.forget(flow)
    finally:
        known.close()


def _of_host() -> set[bytes]:
    route = Rtnetlink()
    try:
        found = [address.attributes for address in route.addresses(0)]
        return {each[IFA_LOCAL] if IFA_LOCAL in each else each[IFA_ADDRESS] for each in found}
    finally:
        route.close()


def _is_own(address: bytes, own: set[bytes]) -> bool:
    return address in own or (len(address) == 4 and address[0] == 127)
