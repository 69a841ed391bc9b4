"""Networks without privileges: pasta(1), or slirp4netns(1) where it is missing, translate between sockets of the host
and a device in the container's network namespace.
"""

from __future__ import annotations

import json
import os
import socket

from boxes.errors import ServiceError, UnsupportedError
from boxes.linux.sockets import connect_stream
from boxes.network import companion

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from boxes.network.companion import Companion

    # Address of the host or empty, its port, the container's port, protocol.
    Published = tuple[str, int, int, str]

PASTA, SLIRP = "pasta", "slirp4netns"
# What pasta answers for names in the place of a resolver that listens on the host's loopback interface.
FORWARD = "169.254.1.1"
SLIRP_RESOLVER = "10.0.2.3"
_PATH = ("/usr/bin", "/usr/local/bin", "/bin", "/usr/sbin")
_PACKAGE = "Debian and Ubuntu: the package passt, or slirp4netns"
_LONGEST = 4096


def program() -> tuple[str, str]:
    """Which of the two there is, and where."""
    for name in (PASTA, SLIRP):
        for directory in _PATH:
            if os.access(f"{directory}/{name}", os.X_OK):
                return name, f"{directory}/{name}"
    raise UnsupportedError("there is neither pasta(1) nor slirp4netns(1)", hint=_PACKAGE)


def check_ports(name: str, ports: Sequence[Published]) -> None:
    """What slirp4netns cannot do."""
    for address, _, _, _ in ports:
        if name == SLIRP and ":" in address:
            raise UnsupportedError(f"slirp4netns cannot publish ports on [{address}]", hint="pasta can")


class Attachment:
    """What is started: the program's kind and path, the process whose namespaces it serves and whether these include a
    user namespace, the ports; `forward` whether it answers for names; `socket` is the path of slirp4netns's API."""

    def __init__(
        self,
        kind: str,
        path: str,
        pid: int,
        *,
        netns: int,
        user: bool,
        ports: Sequence[Published],
        forward: bool,
        socket: str,
    ) -> None:
        self.kind = kind
        self.path = path
        self.pid = pid
        self.netns = netns
        self.user = user
        self.ports = ports
        self.forward = forward
        self.socket = socket

    def arguments(self) -> list[str]:
        return self._pasta() if self.kind == PASTA else self._slirp()

    def _pasta(self) -> list[str]:
        found = [PASTA, "--foreground", "--quiet", "--config-net", "--no-map-gw", "--netns", "/proc/self/fd/0"]
        found += ["--userns", f"/proc/{self.pid}/ns/user"] if self.user else ["--netns-only"]
        if os.geteuid() == 0:
            found += ["--runas", "0:0"]  # it drops its capabilities; nobody's could not enter the namespace
        found += ["--dns-forward", FORWARD] if self.forward else []
        for flag, protocol in (("--tcp-ports", "tcp"), ("--udp-ports", "udp")):
            wanted = [_shown(port) for port in self.ports if port[3] == protocol]
            found += [part for each in wanted or ["none"] for part in (flag, each)]
        return [*found, "--tcp-ns", "none", "--udp-ns", "none", "--pid", "/proc/self/fd/1"]

    def _slirp(self) -> list[str]:
        found = [SLIRP, "--configure", "--mtu=65520", "--disable-host-loopback", "--ready-fd=1"]
        found += [f"--userns-path=/proc/{self.pid}/ns/user"] if self.user else []
        found += [] if self.forward else ["--disable-dns"]
        found += [f"--api-socket={self.socket}"] if self.ports else []
        return [*found, "--netns-type=path", "/proc/self/fd/0", "tap0"]


def _shown(port: Published) -> str:
    address, host, container, _ = port
    return f"{address}{'/' if address else ''}{host}:{container}"


def start(wanted: Attachment, born: Callable[[Companion], None]) -> Companion:
    """Start it, and wait until the network is there and the ports lead to it."""
    errors = os.memfd_create("errors", os.MFD_CLOEXEC)
    try:

        def run(said: int) -> None:
            os.dup2(wanted.netns, 0)  # by descriptor: without capabilities it could not open another's by its path
            os.dup2(said, 1)
            os.dup2(errors, 2)
            os.execve(wanted.path, wanted.arguments(), {"PATH": ":".join(_PATH)})

        ready = b"\n" if wanted.kind == PASTA else b"1"
        started = companion.start(
            wanted.kind, lambda: run, born, kept=[wanted.netns, errors], ready=ready, errors=errors
        )
    finally:
        os.close(errors)
    if wanted.kind == SLIRP:
        try:
            for port in wanted.ports:
                _forward(wanted.socket, port)
        except BaseException:
            companion.end(started.pid, started.started)
            raise
    return started


def _forward(path: str, port: Published) -> None:
    address, host, container, protocol = port
    arguments = {"proto": protocol, "host_addr": address or "0.0.0.0", "host_port": host, "guest_port": container}
    try:
        stream = connect_stream(path)
        try:
            stream.sendall(json.dumps({"execute": "add_hostfwd", "arguments": arguments}).encode())
            stream.shutdown(socket.SHUT_WR)
            answer = json.loads(stream.recv(_LONGEST) or b"{}")
        finally:
            stream.close()
    except (OSError, ValueError) as error:
        raise ServiceError(f"slirp4netns does not answer: {error}") from None
    if "error" in answer or "return" not in answer:
        reason = (answer.get("error") or {}).get("desc", "it gave no reason")
        raise ServiceError(f"slirp4netns cannot publish port {host}/{protocol}: {reason}")
