"""Other rules of the host that drop what is forwarded, as dockerd's do, and would cut containers off.

A packet has to pass the chains of all tables: what ours accept, another's policy can still drop. So each such chain
gets two rules at its end for the bridge of a network: what somebody wrote there against containers holds, only the
policy does not. They are known by their comment. What iptables-legacy has is not seen.
"""

from __future__ import annotations

from boxes.linux import ruleset as nft
from boxes.network import rules

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from boxes.linux.nftables import Nftables


def let_through(tables: Nftables, network: str, bridge: str, families: Iterable[str]) -> list[str]:
    """Have every chain that drops what is forwarded let through what comes from this bridge and goes to it: of these
    families, ip or ip6, and of inet. What to tell of those that cannot be changed. Raises OSError."""
    found = [each for each in tables.dropping(nft.FORWARD) if each[0] in ("inet", *families)]
    if not found:
        return []
    there = {(family, table, chain) for family, table, chain, _ in tables.commented(rules.table(network))}
    said = []
    for family, table, chain in found:
        if (family, table, chain) in there:
            continue
        changes = nft.Changes(family, table)
        for match in (nft.comes_by(bridge), nft.leaves_by(bridge)):
            changes.rule(chain, match, nft.verdict(nft.ACCEPT), comment=rules.table(network))
        try:
            tables.commit(changes)
        except OSError as error:  # whoever made a table can have it to itself
            said.append(f"the host drops what is forwarded, also for '{bridge}' ({family} {table} {chain}): {error}")
    return said


def take_back(tables: Nftables, network: str) -> None:
    """Whatever was added for a network. Raises OSError."""
    for family, table, chain, handle in tables.commented(rules.table(network)):
        changes = nft.Changes(family, table)
        changes.delete_rule(chain, handle)
        try:
            tables.commit(changes)
        except FileNotFoundError:
            pass  # somebody has replaced it meanwhile
