"""Networks of the Container Network Interface: ``--network cni:NAME`` (docs/networking-cni.md)."""

from __future__ import annotations

import errno
import json

from boxes import log
from boxes import system as os
from boxes.errors import BoxesError, NotFoundError, refused
from boxes.linux import flags as k
from boxes.linux import syscalls
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
    try:
        conf = cni_conf.load(request.argument, request.cni_conf or cni_conf.DIRECTORY)
    except NotFoundError as error:
        raise NotFoundError(f"{request.place(NETWORK)}: {error.message}", path=error.path) from error
    path = [part for entry in request.cni_bin for part in entry.split(":")] or list(cni_plugin.PATH)
    cni.status(conf, path)
    capabilities, arguments = _wanted(request, host, conf)
    attachment = cni.plan(conf, host.id, _DEVICE, path=path, arguments=arguments, capabilities=capabilities)
    resolv = f"{host.directory}/resolv.conf"
    return {
        "driver": "cni",
        "files": {_RESOLV: resolv},
        "attachment": attachment,
        "servers": request.servers,
        "netns": f"{host.directory}/netns",
    }


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
    """The namespace is kept until the container is deleted: plugins look into it to know what to take away."""
    try:
        os.close(os.open(record["netns"], os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        syscalls.mount(f"/proc/self/fd/{netns}", record["netns"], None, k.MS_BIND)
    except OSError as error:
        raise refused("cannot keep the network namespace", error) from error
    result = cni.add(record["attachment"], record["netns"], save)
    resolver.write(record["files"][_RESOLV], _resolv(record, cni_result.resolver(result)))


def release(record: dict[str, Any]) -> None:
    """A plugin that fails, perhaps since somebody flushed its rules, is no reason for a container to stay for ever: its
    result stays where it is kept, for the collection of garbage, or for the next container of this id."""
    try:
        cni.delete(record["attachment"])
    except BoxesError as error:
        log.warning(f"ignoring: {error}")
    try:
        syscalls.umount2(record["netns"], k.MNT_DETACH)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.EINVAL):  # it is no mount (any more)
            raise refused("cannot let the network namespace go", error) from error
