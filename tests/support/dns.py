"""Questions of DNS as a container asks them, and a server for tests: dnsmasq(8) with its records on the command line."""

from __future__ import annotations

import socket
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

KINDS = {"A": 1, "CNAME": 5, "MX": 15, "TXT": 16, "AAAA": 28, "SRV": 33, "HTTPS": 65}
CODES = {0: "NOERROR", 1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 5: "REFUSED"}


def encoded(name: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"


def question(name: str, kind: str = "A", identity: int = 7) -> bytes:
    return struct.pack(">HHHHHH", identity, 0x0100, 1, 0, 0, 0) + encoded(name) + struct.pack(">HH", KINDS[kind], 1)


class Reply:
    """An answer: its code by name, whether it was cut off, and of addresses their text and TTL."""

    def __init__(self, asked: bytes, data: bytes) -> None:
        self.data = data
        self.identity, flags, questions, count, _, _ = struct.unpack_from(">HHHHHH", data)
        self.code = CODES[flags & 0xF]
        self.cut_off = bool(flags & 0x200)
        at = 12
        if questions:
            assert data[12 : 12 + len(asked) - 12] == asked[12:]
            at = len(asked)
        self.addresses: list[str] = []
        self.ttls: list[int] = []
        self.kinds: list[int] = []
        for _ in range(count):
            at = _skip(data, at)
            kind, _, ttl, size = struct.unpack_from(">HHIH", data, at)
            at += 10 + size
            self.kinds.append(kind)
            self.ttls.append(ttl)
            if kind in (1, 28):
                self.addresses.append(socket.inet_ntop({1: 2, 28: 10}[kind], data[at - size : at]))


def _skip(data: bytes, at: int) -> int:
    while data[at]:
        if data[at] >= 0xC0:
            return at + 2
        at += data[at] + 1
    return at + 1


def ask(name: str, kind: str = "A", *, server: tuple[str, int] = ("127.0.0.1", 53), stream: bool = False) -> Reply:
    return send(question(name, kind), server=server, stream=stream)


def send(data: bytes, *, server: tuple[str, int] = ("127.0.0.1", 53), stream: bool = False) -> Reply:
    """Raises OSError if nobody answers."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM if stream else socket.SOCK_DGRAM) as made:
        made.settimeout(10)
        made.connect(server)
        if not stream:
            made.send(data)
            return Reply(data, made.recv(65535))
        made.sendall(struct.pack(">H", len(data)) + data)
        with made.makefile("rb") as reader:
            (size,) = struct.unpack(">H", reader.read(2))
            return Reply(data, reader.read(size))


@contextmanager
def server(address: str, *records: str) -> Iterator[None]:
    """In the network namespace that this process is in; `records` are options of dnsmasq, without dashes."""
    command = [
        "dnsmasq", "--keep-in-foreground", "--no-resolv", "--no-hosts", "--bind-interfaces", "--conf-file=/dev/null",
        f"--listen-address={address}", "--user=root", "--pid-file", "--log-facility=-", "--cache-size=0",
        "--auth-ttl=120", *(f"--{record}" for record in records),
    ]  # fmt: skip
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "started" in line:
                break
        else:
            raise RuntimeError("dnsmasq has not started")
        try:
            yield
        finally:
            process.kill()
