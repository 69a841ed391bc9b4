"""A host for tests of networks: a network namespace of the test's own, with another one as what lies outside.

    outside (192.0.2.9, 2001:db8::9) ──── lan0 (192.0.2.1, 2001:db8::1) the host ──── its containers

The state of networks is on filesystems of the test's own too.
"""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.support.host import mount, unmount
from tests.support.network import devices, inside, ip, network_of, new_namespace
from tests.support.runtime import wait_until

HOST, HOST6, OUTSIDE, OUTSIDE6 = "192.0.2.1", "2001:db8::1", "192.0.2.9", "2001:db8::9"
RUNTIME, DEFINED = Path("/run/boxes"), Path("/var/lib/boxes")
STATE = RUNTIME / ".networks"
SOON = 0.5  # seconds until what is not let through counts as dropped
LATE = 5.0  # seconds that what is let through may take on a busy machine


class Lan:
    """The two namespaces; this process is in the host's."""

    def __init__(self, outside: int) -> None:
        self._outside = outside
        self._devices = devices()
        self.rules = ruleset()

    @contextmanager
    def outside(self) -> Iterator[None]:
        with inside(self._outside):
            yield

    def left(self) -> list[str]:
        """What is there of networks, containers' devices and rules."""
        found = [f"device: {name}" for name in devices() - self._devices]
        if ruleset() != self.rules:
            found.append(f"rules: {ruleset()}")
        return found + [f"state: {path}" for path in sorted(STATE.glob("*")) if path.name != "lock"]

    def settle(self, seconds: float = 3.0) -> None:
        """Wait until nothing is left."""
        with suppress(TimeoutError):
            wait_until(lambda: not self.left(), "left", seconds)
        assert self.left() == []


def ruleset() -> str:
    done = subprocess.run(["nft", "--stateless", "list", "ruleset"], check=True, capture_output=True, text=True)
    return done.stdout


@contextmanager
def made() -> Iterator[Lan]:
    with new_namespace() as host, new_namespace() as outside, inside(host):
        for directory in (RUNTIME, DEFINED):
            directory.mkdir(exist_ok=True)
            mount("tmpfs", str(directory), "tmpfs", 0, "mode=700")
        try:
            _connect(outside)
            lan = Lan(outside)
            yield lan
            lan.settle()
        finally:
            for directory in (RUNTIME, DEFINED):
                unmount(str(directory))


def _connect(outside: int) -> None:
    ip("link", "set", "lo", "up")
    ip("link", "add", "lan0", "type", "veth", "peer", "name", "lan1")
    ip("link", "set", "lan1", "netns", f"/proc/{os.getpid()}/fd/{outside}")
    ip("address", "add", f"{HOST}/24", "dev", "lan0")
    ip("address", "add", f"{HOST6}/64", "dev", "lan0", "nodad")
    ip("link", "set", "lan0", "up")
    with inside(outside):
        ip("link", "set", "lo", "up")
        ip("address", "add", f"{OUTSIDE}/24", "dev", "lan1")
        ip("address", "add", f"{OUTSIDE6}/64", "dev", "lan1", "nodad")
        ip("link", "set", "lan1", "up")
    ip("route", "add", "default", "via", OUTSIDE)
    ip("-6", "route", "add", "default", "via", OUTSIDE6)
    # such rules as a host has
    subprocess.run(["nft", "add table inet hosts; add chain inet hosts input"], check=True)


class Listener:
    """A server, made where this process is at the moment, that answers nobody by itself."""

    def __init__(self, port: int, kind: int = socket.SOCK_STREAM) -> None:
        self.socket = socket.socket(socket.AF_INET6, kind)
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        self.socket.bind(("::", port))
        self.kind = kind
        if kind == socket.SOCK_STREAM:
            self.socket.listen(64)

    def close(self) -> None:
        self.socket.close()

    def is_reached(self, address: str, port: int) -> bool:
        """Whether it is: to be asked where it shall not be, as it is not waited for long."""
        return self.met(address, port, SOON) is not None

    def met(self, address: str, port: int, seconds: float = LATE) -> str | None:
        """Who this listener sees when the process, where it is now, calls an address; None if it does not get through.
        What is said comes back."""
        self.socket.settimeout(seconds)
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family, self.kind) as caller:
            caller.settimeout(seconds)
            try:
                caller.connect((address, port))
                caller.sendall(b"hello")
                seen = self._answer()
                if caller.recv(16) != b"hello":
                    return None
            except OSError:
                return None
            return seen.removeprefix("::ffff:")

    def _answer(self) -> str:
        if self.kind == socket.SOCK_DGRAM:
            said, peer = self.socket.recvfrom(16)
            self.socket.sendto(said, peer)
        else:
            connection, peer = self.socket.accept()
            with connection:
                connection.settimeout(self.socket.gettimeout())
                connection.sendall(connection.recv(16))
        return str(peer[0])


@contextmanager
def listening(port: int, pid: int | None = None, kind: int = socket.SOCK_STREAM) -> Iterator[Listener]:
    """In the namespace of a process, or where this one is."""
    if pid is None:
        made = Listener(port, kind)
    else:
        with network_of(pid):
            made = Listener(port, kind)
    try:
        yield made
    finally:
        made.close()
