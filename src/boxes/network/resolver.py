"""The file resolv.conf(5): which servers the host asks, and what a container is told."""

from __future__ import annotations

from boxes import system
from boxes.errors import refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_HOST = "/etc/resolv.conf"
# Where systemd-resolved says whom it asks itself; resolv.conf names its own address then.
_BEHIND = "/run/systemd/resolve/resolv.conf"
_STUB = "127.0.0.53"
FORWARDER = "127.0.0.1"  # where a container with a policy asks


def servers(path: str = _HOST) -> list[str]:
    """Those that the host asks, in its order."""
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            lines = [line.split() for line in stream]
    except OSError:
        return []
    found = [words[1] for words in lines if len(words) > 1 and words[0] == "nameserver"]
    if found == [_STUB] and path == _HOST:
        return servers(_BEHIND) or found
    return found


def reachable(found: Sequence[str]) -> list[str]:
    """Without those that only the host itself can reach."""
    return [server for server in found if not _is_loopback(server)]


def _is_loopback(server: str) -> bool:
    from ipaddress import ip_address

    try:
        return ip_address(server.partition("%")[0]).is_loopback
    except ValueError:
        return True  # nobody's


def text(nameservers: Sequence[str], search: Sequence[str] = (), options: Sequence[str] = ()) -> str:
    lines = [f"nameserver {server}" for server in nameservers]
    lines += [f"search {' '.join(search)}"] if search else []
    lines += [f"options {' '.join(options)}"] if options else []
    return "".join(f"{line}\n" for line in lines)


def write(path: str, content: str) -> None:
    """In place: a container may have the file mounted already."""
    try:
        system.write_file(path, content.encode())
    except OSError as error:
        raise refused("cannot write the container's resolv.conf", error) from error
