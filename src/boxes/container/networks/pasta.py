"""A network without privileges: ``--network pasta`` (docs/networking-rootless.md)."""

from __future__ import annotations

import os

from boxes.errors import refused
from boxes.linux import procfs
from boxes.network import companion, pasta, resolver

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from boxes.container.networks import Host
    from boxes.plan.networking import Request

_RESOLV = "/etc/resolv.conf"


def plan(request: Request, host: Host) -> dict[str, Any]:
    kind, path = pasta.program()
    ports = [(port.address, port.host, port.container, port.protocol) for port in request.ports]
    pasta.check_ports(kind, ports)
    servers, forward = _servers(kind, request.servers)
    return {
        "driver": "pasta",
        "files": {_RESOLV: f"{host.directory}/resolv.conf"},
        "kind": kind,
        "path": path,
        "user": host.user,
        "ports": [list(port) for port in ports],
        "servers": servers,
        "forward": forward,
        "socket": f"{host.directory}/slirp",
    }


def _servers(kind: str, asked: list[str]) -> tuple[list[str], bool]:
    """What the container is told, and whether the program is to answer for the host's."""
    found = resolver.servers()
    if asked:
        return asked, False
    if kind == pasta.SLIRP:
        return [pasta.SLIRP_RESOLVER], True
    kept = resolver.reachable(found)
    return (kept, False) if kept or not found else ([pasta.FORWARD], True)


def prepare(record: dict[str, Any], save: Callable[[], None]) -> None:
    resolver.write(record["files"][_RESOLV], resolver.text(record["servers"]))


def attach(record: dict[str, Any], netns: int, pid: int, save: Callable[[], None]) -> None:
    from boxes.container import follower

    def born(process: companion.Companion) -> None:
        record["process"] = [process.pid, process.started, procfs.boot_id()]
        save()

    ports = [(address, host, container, protocol) for address, host, container, protocol in record["ports"]]
    wanted = pasta.Attachment(
        record["kind"],
        record["path"],
        pid,
        netns=netns,
        user=record["user"],
        ports=ports,
        forward=record["forward"],
        socket=record["socket"],
    )
    follower.start(pid, pasta.start(wanted, born).pid)


def release(record: dict[str, Any]) -> None:
    if "process" in record:
        pid, started, boot = record["process"]
        if boot == procfs.boot_id():
            companion.end(pid, started)
    try:
        os.unlink(record["socket"])
    except FileNotFoundError:
        pass
    except OSError as error:
        raise refused("cannot remove the socket of slirp4netns", error) from error
