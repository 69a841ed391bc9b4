"""What a container may reach: ``--allow`` (docs/egress.md)."""

from __future__ import annotations

from boxes import log
from boxes import system as os
from boxes.linux import procfs
from boxes.network import companion, egress, nft, resolver
from boxes.plan.networking import ALLOW

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from boxes.container.networks import Host
    from boxes.plan.networking import Request

_RESOLV = "/etc/resolv.conf"
_NOTES = "egress.json"  # in the container's directory
# With these a container could change rules in its own network namespace, or send past them.
_TOO_MUCH = ("CAP_NET_ADMIN", "CAP_NET_RAW")


def plan(request: Request, host: Host, record: dict[str, Any]) -> dict[str, Any]:
    from boxes.network.egress_policy import Policy
    from boxes.plan import mounts

    inside = record["driver"] == "pasta"
    if inside:
        _check_capabilities(request, host)
    nft.find()
    files = record.setdefault("files", {})
    files.setdefault(_RESOLV, f"{host.directory}/resolv.conf")
    servers = request.servers or resolver.servers()
    policy = Policy(request.allowed or ())
    if policy.names and not servers:
        request.wrong(ALLOW, "the host has no server of names to ask", hint="give one by --dns")
    if policy.names and mounts.covers(host.config, _RESOLV) is not None:
        text = "the config has a mount there: names that are allowed are known at"
        log.warning(f"{_RESOLV}: {text} {resolver.FORWARDER} alone", path=_RESOLV)
    return {
        "inside": inside,
        "table": f"boxes-{os.urandom(8).hex()}",
        "allowed": policy.entries,
        "servers": servers,
        "resolv": files[_RESOLV],
        "notes": f"{host.directory}/{_NOTES}",
    }


def _check_capabilities(request: Request, host: Host) -> None:
    held = (host.config.get("process") or {}).get("capabilities") or {}
    for name in _TOO_MUCH:
        if any(name in (kept or ()) for kept in held.values()):
            text = f"the container keeps {name}, with which it could undo this in its own network namespace"
            request.wrong(ALLOW, text, hint="take it from /process/capabilities, or use --network bridge")


def prepare(record: dict[str, Any], save: Callable[[], None]) -> None:
    resolver.write(record["resolv"], resolver.text([resolver.FORWARDER]))


def attach(record: dict[str, Any], netns: int, pid: int, save: Callable[[], None]) -> None:
    """The rules come first; the driver has wired the container by now, and its process waits."""
    resolver.write(record["resolv"], resolver.text([resolver.FORWARDER]))  # whatever the driver wrote

    from boxes.network import veth
    from boxes.network.egress_policy import Policy

    def born(process: companion.Companion) -> None:
        record["process"] = [process.pid, process.started]
        save()

    record["boot"] = procfs.boot_id()
    save()
    pidfd = os.pidfd_open(pid)
    try:
        policy = Policy(record["allowed"])
        given = egress.Forwarding(policy, record["servers"], record["notes"], pid, pidfd)
        if record["inside"]:
            egress.inside(given, born)
        else:
            egress.on_bridge(given, record["table"], veth.port(pid), born)
    finally:
        os.close(pidfd)


def release(record: dict[str, Any]) -> None:
    if record.get("boot") != procfs.boot_id():
        return
    if "process" in record:
        companion.end(*record["process"])
    if not record["inside"]:
        egress.remove(record["table"])


def report(record: dict[str, Any], pid: int) -> dict[str, Any]:
    """What was allowed, and what has been refused: destinations by the kernel, names by the forwarder. `pid` is that of
    the container's init, as long as it lives, or 0."""
    from boxes.network import dns_notes

    found: dict[str, Any] = {"allowed": record["allowed"], "names": dns_notes.read(record["notes"])}
    if pid or not record["inside"]:
        watch = egress.Watch(record["table"], pid if record["inside"] else 0)
        found |= {"packets": watch.counters(), "destinations": watch.refusals()}
    return found
