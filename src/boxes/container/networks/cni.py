"""Networks of the Container Network Interface: ``--network cni:NAME`` (docs/networking-cni.md)."""

from __future__ import annotations

import json

from boxes.network import cni, cni_conf, cni_plugin, cni_result, resolver
from boxes.plan.networking import IP, NETWORK, PUBLISH

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from boxes.container.networks import Host
    from boxes.network.cni_conf import NetworkConf
    from boxes.plan.networking import Request

_DEVICE = "eth0"
_RESOLV = "/etc/resolv.conf"
# An annotation for each capability that no flag speaks of, whose value is JSON: boxes.network.capability.bandwidth.
CAPABILITY = "boxes.network.capability."
_OF_FLAGS = ("portMappings", "ips")


def plan(request: Request, host: Host) -> dict[str, Any]:
    if not host.privileged:
        request.wrong(NETWORK, "plugins of CNI change the host's network", hint="it takes root; or --network pasta")
    conf = cni_conf.load(request.argument, request.cni_conf or cni_conf.DIRECTORY)
    path = [part for entry in request.cni_bin for part in entry.split(":")] or list(cni_plugin.PATH)
    capabilities, arguments = _wanted(request, host, conf)
    attachment = cni.plan(conf, host.id, _DEVICE, path=path, arguments=arguments, capabilities=capabilities)
    resolv = f"{host.directory}/resolv.conf"
    return {"driver": "cni", "files": {_RESOLV: resolv}, "attachment": attachment, "servers": request.servers}


def _wanted(request: Request, host: Host, conf: NetworkConf) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """Capabilities by their names, and the arguments that every plugin gets. Addresses are for the second, where no
    plugin has the first: CONVENTIONS.md of CNI."""
    offered = conf.capabilities()
    capabilities = _annotated(request, host)
    arguments = [("IgnoreUnknown", "1")]
    if request.ports:
        if "portMappings" not in offered:
            request.wrong(PUBLISH, f"'{conf.file}' has no plugin that publishes ports (the capability portMappings)")
        capabilities["portMappings"] = [
            {"hostPort": port.host, "containerPort": port.container, "protocol": port.protocol, "hostIP": port.address}
            for port in request.ports
        ]
    if request.addresses and "ips" in offered:
        capabilities["ips"] = request.addresses
    elif len(request.addresses) > 1:
        request.wrong(IP, f"'{conf.file}' has no plugin that takes two addresses (the capability ips)")
    else:
        arguments += [("IP", address) for address in request.addresses]
    return capabilities, arguments


def _annotated(request: Request, host: Host) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, text in (host.config.get("annotations") or {}).items():
        if not name.startswith(CAPABILITY):
            continue
        capability = name.removeprefix(CAPABILITY)
        key = f"capability.{capability}"  # the end of the annotation's name
        if capability in _OF_FLAGS:
            request.wrong(key, "this has an annotation of its own: boxes.network.publish, boxes.network.ip")
        try:
            found[capability] = json.loads(text)
        except ValueError as error:
            request.wrong(key, f"is not JSON: {error}")
    return found


def prepare(record: dict[str, Any], save: Callable[[], None]) -> None:
    """A file to be mounted; what the network has to say comes with its answer."""
    resolver.write(record["files"][_RESOLV], _resolv(record, {}))


def _resolv(record: dict[str, Any], found: dict[str, list[str]]) -> str:
    servers = record["servers"] or found.get("nameservers") or resolver.reachable(resolver.servers())
    return resolver.text(servers, found.get("search", ()), found.get("options", ()))


def attach(record: dict[str, Any], netns: int, pid: int, save: Callable[[], None]) -> None:
    result = cni.add(record["attachment"], pid, save)
    resolver.write(record["files"][_RESOLV], _resolv(record, cni_result.resolver(result)))


def release(record: dict[str, Any]) -> None:
    cni.delete(record["attachment"])
