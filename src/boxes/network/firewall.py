"""Other rules of the host that drop what is forwarded, and so cut containers off.

A packet has to pass the chains of all tables: what ours accept, another's policy can still drop. Those rules are
somebody's who may replace them at any time, so nothing is added to them: whoever administers the host is told what to
add. What iptables-legacy has is not seen.
"""

from __future__ import annotations

from boxes.linux.nftables import Nftables
from boxes.network import BRIDGES, nft

_FORWARD = 2  # NF_INET_FORWARD
_PROGRAMS = {"ip": "iptables", "ip6": "ip6tables"}
_OF_DOCKER = "DOCKER-USER"  # dockerd leaves it to who administers the host
_LONGEST = 10  # seconds


def warnings(families: list[str]) -> list[str]:
    """What to say of each chain of these families, ip or ip6, that drops what no rule accepts, where its table has none
    for our bridges. Raises OSError."""
    tables = Nftables()
    try:
        found = tables.dropping(_FORWARD)
    finally:
        tables.close()
    said = []
    for family, table, chain in found:
        if family in ("inet", *families):
            rules = _listed(family, table)
            if f'"{BRIDGES}' not in rules:
                text = (
                    f"the host drops what is forwarded ({family} {table} {chain}), perhaps also from and to containers"
                )
                said.append(f"{text}; this lets them through: {_remedy(family, table, chain, rules)}")
    return said


def _listed(family: str, table: str) -> str:
    import subprocess

    command = [nft.find(), "--stateless", "list", "table", family, table]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=_LONGEST).stdout
    except subprocess.TimeoutExpired:
        return ""


def _remedy(family: str, table: str, chain: str, rules: str) -> str:
    if family in _PROGRAMS and (table, chain) == ("filter", "FORWARD"):
        first = f"{_PROGRAMS[family]} -I {_OF_DOCKER if f'chain {_OF_DOCKER} ' in rules else chain}"
        return f"{first} -i {BRIDGES}+ -j ACCEPT; {first} -o {BRIDGES}+ -j ACCEPT"
    first = f"nft insert rule {family} {table} {chain}"
    return f"{first} iifname '{BRIDGES}*' accept; {first} oifname '{BRIDGES}*' accept"
