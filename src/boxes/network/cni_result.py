"""What a CNI network answers to ADD, of whatever version: SPEC.md of CNI 1.1.0, section 5, and those before."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def addresses(result: dict[str, Any]) -> list[str]:
    """Those of the container, with the length of their prefix: ``10.1.0.5/24``. Before 0.3 there was one of each
    family."""
    old = [result[key].get("ip", "") for key in ("ip4", "ip6") if isinstance(result.get(key), dict)]
    inside = {number for number, entry in enumerate(result.get("interfaces") or ()) if entry.get("sandbox")}
    new = [
        entry.get("address", "")
        for entry in result.get("ips") or ()
        if entry.get("interface") is None or not inside or entry["interface"] in inside
    ]
    return [address for address in old + new if address]


def gateways(result: dict[str, Any]) -> list[str]:
    """The addresses of the next hops that were given with the container's addresses."""
    old = [result[key].get("gateway") for key in ("ip4", "ip6") if isinstance(result.get(key), dict)]
    return [gateway for gateway in old + [entry.get("gateway") for entry in result.get("ips") or ()] if gateway]


def resolver(result: dict[str, Any]) -> dict[str, list[str]]:
    """What resolv.conf(5) is to say: `nameservers`, `search`, `options`; empty lists if the network does not say."""
    dns = result.get("dns") or {}
    search = list(dns.get("search") or ())
    if not search and dns.get("domain"):
        search = [dns["domain"]]
    return {
        "nameservers": list(dns.get("nameservers") or ()),
        "search": search,
        "options": list(dns.get("options") or ()),
    }


def host_devices(result: dict[str, Any]) -> list[str]:
    """The names of the devices on the host's side: a veth's other end, a bridge."""
    return [entry["name"] for entry in result.get("interfaces") or () if not entry.get("sandbox") and entry.get("name")]
