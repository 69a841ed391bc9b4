"""The rulesets of nftables, looked at and changed: <linux/netfilter/nf_tables.h>."""

from __future__ import annotations

import errno
from _struct import pack

from boxes.linux.netlink import NLM_F_CREATE, Netlink, attribute, attributes, string
from boxes.linux.ruleset import FAMILIES, Changes, comment_of

_NETLINK_NETFILTER = 12
_NESTED = 0x8000

# <linux/netfilter/nfnetlink.h>
_SUBSYSTEM = 10
_BATCH_BEGIN, _BATCH_END = 16, 17
_GET_TABLE = _SUBSYSTEM << 8 | 1
_GET_CHAIN, _GET_RULE = _SUBSYSTEM << 8 | 4, _SUBSYSTEM << 8 | 7
_NEW_ELEMENT, _DELETE_ELEMENT = _SUBSYSTEM << 8 | 12, _SUBSYSTEM << 8 | 14

_TABLE_NAME = 1
_LIST_TABLE, _LIST_SET, _LIST_ELEMENTS = 1, 2, 3
_LIST_ELEMENT = 1
_KEY, _TIMEOUT = 1, 4
_VALUE = 1
_CHAIN_TABLE, _CHAIN_NAME, _CHAIN_HOOK, _CHAIN_POLICY = 1, 3, 4, 5
_HOOK_NUMBER = 1
_RULE_TABLE, _RULE_CHAIN, _RULE_HANDLE, _RULE_USERDATA = 1, 2, 3, 7
_DROP = pack(">I", 0)  # NF_DROP


class Nftables(Netlink):
    """The rulesets of the network namespace that its maker is in, or the maker of the socket `fd`."""

    def __init__(self, fd: int = -1) -> None:
        super().__init__(_NETLINK_NETFILTER, fd)

    def has_table(self, family: str, table: str) -> bool:
        body = pack("=BBH", FAMILIES[family], 0, 0) + attribute(_TABLE_NAME, table)
        try:
            self.request(_GET_TABLE, body, call=f"NFT_MSG_GETTABLE({family} {table})")
        except FileNotFoundError:
            return False
        return True

    def dropping(self, hook: int) -> list[tuple[str, str, str]]:
        """The chains at a hook, a number of <linux/netfilter.h>, whose policy is to drop: family, table, name."""
        found = []
        names = {number: name for name, number in FAMILIES.items()}
        for message in self.dump(_GET_CHAIN, pack("=BBH", 0, 0, 0), call="NFT_MSG_GETCHAIN"):
            chain = attributes(message.body, 4)
            number = attributes(chain.get(_CHAIN_HOOK, b"")).get(_HOOK_NUMBER)
            if number == pack(">I", hook) and chain.get(_CHAIN_POLICY) == _DROP and message.body[0] in names:
                found.append((names[message.body[0]], string(chain[_CHAIN_TABLE]), string(chain[_CHAIN_NAME])))
        return found

    def commented(self, comment: str) -> list[tuple[str, str, str, bytes]]:
        """The rules that have this comment: family, table, chain and handle."""
        found = []
        names = {number: name for name, number in FAMILIES.items()}
        for message in self.dump(_GET_RULE, pack("=BBH", 0, 0, 0), call="NFT_MSG_GETRULE"):
            rule = attributes(message.body, 4)
            if comment_of(rule.get(_RULE_USERDATA, b"")) == comment and message.body[0] in names:
                place = string(rule[_RULE_TABLE]), string(rule[_RULE_CHAIN])
                found.append((names[message.body[0]], *place, rule[_RULE_HANDLE]))
        return found

    def delete_table(self, family: str, table: str) -> bool:
        """With all that is in it. Whether there was one."""
        changes = Changes(family, table)
        changes.delete()
        try:
            self.commit(changes)
        except FileNotFoundError:
            return False
        return True

    def commit(self, changes: Changes) -> None:
        """Carry them out, all or none. Raises OSError."""
        mark = pack(">BBH", 0, 0, _SUBSYSTEM)
        call = f"NFT_MSG_NEWRULE({changes.shown})"
        self.transaction((_BATCH_BEGIN, mark), changes.messages, (_BATCH_END, mark), call=call)

    def keep(self, family: str, table: str, name: str, key: bytes, seconds: int) -> None:
        """Have an element in a set for so long from now on, whether it is there already or not.

        A kernel before 6.14 changes no timeout of an element that is there: so it is added, deleted and added, in one
        transaction.
        """
        head = pack("=BBH", FAMILIES[family], 0, 0)
        listed = head + attribute(_LIST_TABLE, table) + attribute(_LIST_SET, name)
        value = attribute(_KEY | _NESTED, attribute(_VALUE, key))
        timed = value + attribute(_TIMEOUT, pack(">Q", seconds * 1000))
        added, deleted = (
            listed + attribute(_LIST_ELEMENTS | _NESTED, attribute(_LIST_ELEMENT | _NESTED, element))
            for element in (timed, value)
        )
        call = f"NFT_MSG_NEWSETELEM({family} {table} {name})"
        mark = pack(">BBH", 0, 0, _SUBSYSTEM)
        changes = [
            (kind, NLM_F_CREATE, body)
            for kind, body in ((_NEW_ELEMENT, added), (_DELETE_ELEMENT, deleted), (_NEW_ELEMENT, added))
        ]
        self.transaction((_BATCH_BEGIN, mark), changes, (_BATCH_END, mark), call=call)


def is_full(error: OSError) -> bool:
    """Whether a set has no room for one more element."""
    return error.errno == errno.ENFILE
