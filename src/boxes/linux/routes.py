"""Where the kernel would send a packet: rtnetlink(7), RTM_GETROUTE."""

from __future__ import annotations

import errno
from _struct import pack

from boxes.linux.netlink import attribute
from boxes.linux.rtnetlink import Rtnetlink

_AF_INET, _AF_INET6 = 2, 10
_RTM_NEWROUTE, _RTM_GETROUTE = 24, 26
_ROUTE = "=BBBBBBBBI"  # struct rtmsg: family, lengths of both prefixes, tos, table, protocol, scope, type, flags
_TYPE_AT = 7
_RTA_DST = 1
_RTN_LOCAL = 2


class Routes(Rtnetlink):
    """The routes of the network namespace that its maker is in."""

    def is_local(self, address: bytes) -> bool:
        """Whether an address (4 or 16 bytes) is this namespace's own. What cannot be reached at all is not."""
        family = _AF_INET if len(address) == 4 else _AF_INET6
        body = pack(_ROUTE, family, 8 * len(address), 0, 0, 0, 0, 0, 0, 0) + attribute(_RTA_DST, address)
        try:
            answer = self.request(_RTM_GETROUTE, body, call="RTM_GETROUTE")
        except OSError as error:
            if error.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EINVAL, errno.EACCES):
                return False
            raise
        return any(message.kind == _RTM_NEWROUTE and message.body[_TYPE_AT] == _RTN_LOCAL for message in answer)
