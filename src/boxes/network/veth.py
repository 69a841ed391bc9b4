"""The host's ends of the veth pairs that lead into another network namespace."""

from __future__ import annotations

import json
import os
import socket
import sys
from ipaddress import ip_address

from boxes.errors import UnsupportedError
from boxes.linux.rtnetlink import IFA_ADDRESS, IFA_LOCAL, RT_SCOPE_UNIVERSE, Rtnetlink
from boxes.network import within
from boxes.network.egress_rules import Port

_IFLA_ADDRESS, _IFLA_LINK = 1, 5
_LONGEST = 1 << 16


def port(pid: int) -> Port:
    """The one through which a process reaches the world. Raises UnsupportedError if there are none or more, or others
    than veth pairs."""
    (fd,) = within.descriptors(pid, _inside)
    try:
        found = json.loads(os.pread(fd, _LONGEST, 0))
    finally:
        os.close(fd)
    if len(found) != 1:
        raise UnsupportedError(f"--allow wants one network device in the container, and there are {len(found)}")
    (device,) = found
    links = Rtnetlink()
    try:
        peer = links.link_at(device["peer"]) if device["peer"] else None
    finally:
        links.close()
    if peer is None or _number(peer.attributes.get(_IFLA_LINK, b"")) != device["index"]:
        raise UnsupportedError(f"--allow wants a veth pair, and the container's '{device['name']}' is none")
    return Port(peer.name, device["mac"], device["addresses"])


def _inside() -> list[int]:
    """In a child, in the container's network namespace: what devices there are, as JSON in a file."""
    links = Rtnetlink()
    found = []
    for index, name in socket.if_nameindex():
        link = links.link_at(index)
        if link is None or name == "lo":
            continue
        addresses = [entry.attributes for entry in links.addresses(index) if entry.scope == RT_SCOPE_UNIVERSE]
        found.append(
            {
                "index": index,
                "name": name,
                "peer": _number(link.attributes.get(_IFLA_LINK, b"")),
                "mac": ":".join(f"{octet:02x}" for octet in link.attributes.get(_IFLA_ADDRESS, b"")),
                "addresses": [str(ip_address(entry.get(IFA_LOCAL) or entry[IFA_ADDRESS])) for entry in addresses],
            }
        )
    fd = os.memfd_create("devices", os.MFD_CLOEXEC)
    os.write(fd, json.dumps(found).encode())
    return [fd]


def _number(value: bytes) -> int:
    return int.from_bytes(value[:4], sys.byteorder)
