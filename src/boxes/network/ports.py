"""Whether a port of the host is free to be published."""

from __future__ import annotations

import _socket
import errno

_KINDS = {"tcp": _socket.SOCK_STREAM, "udp": _socket.SOCK_DGRAM}
_ANY = {_socket.AF_INET: "0.0.0.0", _socket.AF_INET6: "::"}


def refusal(address: str, port: int, protocol: str) -> str | None:
    """Why a program of this host could not listen there; None if it could. `address` is "" for all of them."""
    families = [_socket.AF_INET6 if ":" in address else _socket.AF_INET] if address else list(_ANY)
    for family in families:
        try:
            _try(family, address or _ANY[family], port, protocol)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return "a program on this host listens there"
            if error.errno == errno.EADDRNOTAVAIL and address:
                return f"this host does not have the address {address}"
            if error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                return (error.strerror or str(error)).lower()
    return None


def _try(family: int, address: str, port: int, protocol: str) -> None:
    tried = _socket.socket(family, _KINDS[protocol] | _socket.SOCK_CLOEXEC)
    try:
        if family == _socket.AF_INET6:
            tried.setsockopt(_socket.IPPROTO_IPV6, _socket.IPV6_V6ONLY, 1)
        if protocol == "tcp":
            tried.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)  # else what was closed a minute ago counts
        tried.bind((address, port))
        if protocol == "tcp":
            tried.listen(1)  # two may be bound to it that both allow it, but only one can listen
    finally:
        tried.close()
