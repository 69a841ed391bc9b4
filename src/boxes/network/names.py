"""/etc/hosts and /etc/resolv.conf of containers on a network.

All containers of a network share one hosts file, which is bound into each. It is changed while they read it, so a
change is one that no reader can see half of: lines have a fixed length, a free one begins with '#', and what makes a
line count, or not count, is its first character.
"""

from __future__ import annotations

from boxes import system as os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_LENGTH = 192  # of a line: an address of IPv6, an id of 64 characters and a name of 64
_FREE = b"#"
_HEAD = b"127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n"


def _line(text: str) -> bytes:
    return text.encode().ljust(_LENGTH - 1) + b"\n"


_FIRST = _HEAD.ljust(_LENGTH - 1, b"#") + b"\n"


def line(address: str, names: Sequence[str]) -> bytes:
    """With as many names as there is room for."""
    text = address
    for name in names:
        if len(text) + 1 + len(name) < _LENGTH:
            text = f"{text} {name}"
    return _line(text)


class Hosts:
    """The file, for whoever has the network's lock."""

    def __init__(self, path: str) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        os.fchmod(self._fd, 0o644)
        if not os.fstat(self._fd).st_size:
            os.pwrite(self._fd, _FIRST, 0)

    def close(self) -> None:
        os.close(self._fd)

    def _lines(self) -> list[bytes]:
        content = os.pread(self._fd, os.fstat(self._fd).st_size, 0)
        return [content[at : at + _LENGTH] for at in range(0, len(content), _LENGTH)]

    def add(self, addresses: Sequence[str], names: Sequence[str]) -> None:
        """Let these names mean these addresses."""
        self.remove(addresses)
        lines = self._lines()
        free = [number for number, found in enumerate(lines) if number and found[:1] == _FREE]
        for address in addresses:
            made = line(address, names)
            number = free.pop(0) if free else len(lines)
            if number == len(lines):
                lines.append(made)
                os.pwrite(self._fd, _FREE + made[1:], number * _LENGTH)
            else:
                os.pwrite(self._fd, made[1:], number * _LENGTH + 1)
            os.pwrite(self._fd, made[:1], number * _LENGTH)

    def remove(self, addresses: Sequence[str]) -> None:
        wanted = {address.encode() for address in addresses}
        for number, found in enumerate(self._lines()):
            if found.split(b" ", 1)[0] in wanted:
                os.pwrite(self._fd, _FREE, number * _LENGTH)


def resolver(servers: Sequence[str]) -> bytes:
    """The content of a resolv.conf(5): these servers, or those of the host that a container can reach."""
    if servers:
        return "".join(f"nameserver {server}\n" for server in servers).encode()
    for path in ("/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"):
        kept = _without_loopback(path)
        if any(found.split()[:1] == [b"nameserver"] for found in kept):
            return b"".join(kept)
    return b"# The host has no name server that a container can reach.\n"


def _without_loopback(path: str) -> list[bytes]:
    """The lines but for name servers on the host's loopback, which is not the container's."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return []
    try:
        lines = os.read_all(fd, 1 << 16).splitlines(keepends=True)
    finally:
        os.close(fd)
    return [found for found in lines if not _is_loopback(found.split())]


def _is_loopback(words: list[bytes]) -> bool:
    return words[:1] == [b"nameserver"] and words[1:2] != [] and (words[1].startswith(b"127.") or words[1] == b"::1")
