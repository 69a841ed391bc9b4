"""A bridge of the host for each network, with addresses, NAT, published ports and names (docs/networking.md).

The record, besides what all have: `network`, `bridge`, `veth` (the host's end of the pair), `token` (whose lease it
is), `ports`, `wanted` (addresses), `servers`, `names`, `directory`, `places` (what errors are about), and from
`prepare` on `addresses`, each with the length of its prefix, and `mtu`.

What all but `plan` takes is in `container.network_joining`, loaded while the container's process loads what it needs.
"""

from __future__ import annotations

from boxes import system as os
from boxes.container import network_records as records
from boxes.errors import NotFoundError, UnsupportedError
from boxes.plan.networking import IP, NETWORK, PUBLISH, is_domain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from boxes.container.networks import Host
    from boxes.plan.networking import Request

_INSIDE_HOSTS, _INSIDE_RESOLVER = "/etc/hosts", "/etc/resolv.conf"


def plan(request: Request, host: Host) -> dict[str, Any]:
    place = request.place(NETWORK)
    if not host.privileged:
        hint = "an ordinary user can have --network pasta"
        raise UnsupportedError(f"{place}: it takes root to set up a bridge", hint=hint)
    name = request.argument
    if not records.exists(name):
        raise NotFoundError(f"{place}: there is no network '{name}'", hint=f"box network create {name}")
    for port in request.ports:
        if port.address == "::1":
            hint = "'127.0.0.1' in its place, where there is IPv4"
            request.wrong(PUBLISH, f"port {port}: a bridge gets nothing from the host's loopback of IPv6", hint=hint)
    token = os.urandom(5).hex()
    return {
        "driver": "bridge",
        "files": {
            _INSIDE_HOSTS: f"{records.RUNTIME}/{name}/hosts",
            _INSIDE_RESOLVER: f"{host.directory}/resolv.conf",
        },
        "network": name,
        "bridge": records.bridge_name(name),
        "veth": f"veth{token}",
        "token": token,
        "id": host.id,
        "names": [text for text in dict.fromkeys((host.id, host.hostname)) if is_domain(text)],
        "ports": [port.record() for port in request.ports],
        "wanted": request.addresses,
        "servers": request.servers,
        "directory": host.directory,
        "places": {key: request.place(key) for key in (NETWORK, PUBLISH, IP)},
    }


def prepare(record: dict[str, Any], save: Callable[[], None]) -> Callable[[], None]:
    from boxes.container import network_joining

    return network_joining.prepare(record, save)


def attach(record: dict[str, Any], netns: int, pid: int, save: Callable[[], None]) -> Callable[[], None]:
    from boxes.container import network_joining

    return network_joining.attach(record, netns)


def release(record: dict[str, Any]) -> None:
    from boxes.container import network_joining

    network_joining.release(record)
