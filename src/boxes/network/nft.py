"""nft(8), for the rules of --allow: those of networks are made without it."""

from __future__ import annotations

from boxes import system as os
from boxes.errors import UnsupportedError

# Where it is, whatever the caller's PATH: Debian's lies where that of an ordinary user does not lead.
_PLACES = ("/usr/sbin/nft", "/sbin/nft", "/usr/bin/nft", "/usr/local/sbin/nft")


def find() -> str:
    for path in _PLACES:
        if os.access(path, os.X_OK):
            return path
    hint = "it is in the package nftables"
    raise UnsupportedError("there is no 'nft' on this host, which makes the rules of --allow", hint=hint)
