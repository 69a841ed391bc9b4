"""The forwarder of DNS for a container that may reach some names only.

A process of its own. It listens in the container's network namespace and asks from the host's, so that nothing of it
can be reached by others. Names that are not allowed are refused; of those that are, the addresses of the answer are put
into sets of nftables for as long as the answer is good, before the container learns of them.
"""

from __future__ import annotations

import select
import socket
import threading
from ipaddress import ip_address
from secrets import randbelow

from boxes.network import dns_message as dns
from boxes.network import egress_rules, resolver

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from boxes.linux.nftables import Nftables
    from boxes.linux.routes import Routes
    from boxes.network.dns_notes import Notes
    from boxes.network.egress_policy import Policy

LISTEN = (resolver.FORWARDER, 53)
# An address is reachable a little longer than the answer is good, and what is cached too long is shown as less.
SHORTEST, LONGEST, GRACE = 60, 3600, 30  # seconds
_PATIENCE = 3.0  # seconds that a server has
_IDLE = 10.0  # seconds that a stream may be silent
_STREAMS, _QUESTIONS = 32, 64  # at a time; what is beyond waits in the kernel's queues, or is lost there
_LONGEST_MESSAGE = 65535
_KINDS = (dns.A, dns.AAAA, dns.CNAME, dns.MX, dns.TXT, dns.SRV)


class Gate:
    """The sets of one container: a family and a table of nftables, in which what was resolved becomes reachable."""

    def __init__(self, nftables: Nftables, family: str, table: str, routes: Routes) -> None:
        self._nftables = nftables
        self._family = family
        self._table = table
        self._routes = routes
        self._lock = threading.Lock()  # sockets of netlink are for one question at a time

    def is_local(self, address: bytes) -> bool:
        with self._lock:
            return self._routes.is_local(address)

    def open(self, service: int, address: bytes, seconds: int) -> None:
        name = egress_rules.set_of(service, 4 if len(address) == 4 else 6)
        with self._lock:
            self._nftables.keep(self._family, self._table, name, address, seconds)


class Resolver:
    """Answers questions by the policy; knows nothing of sockets but those towards the servers."""

    def __init__(self, policy: Policy, servers: Sequence[str], gate: Gate, notes: Notes) -> None:
        self._policy = policy
        self._servers = list(servers)
        self._gate = gate
        self._notes = notes

    def answer(self, data: bytes, *, stream: bool) -> bytes:
        """What is to be sent back, or nothing."""
        try:
            question = dns.Question(data)
        except dns.MalformedError:
            self._notes.malformed()
            return dns.failure(data, dns.FORMERR)
        if not self._policy.matching(question.name):
            self._notes.refused(question.name)
            return dns.response(question, dns.REFUSED, [], stream=stream)
        if question.kind not in _KINDS:  # HTTPS records and the like have addresses of their own: there are none
            return dns.response(question, dns.NOERROR, [], stream=stream)
        answer = self._ask(question)
        if answer is None:
            return dns.response(question, dns.SERVFAIL, [], stream=stream)
        records = dns.chain(question, answer.records)
        try:
            kept = [record for record in records if self._admit(question.name, record)]
        except OSError as error:
            self._notes.failed(str(error))
            return dns.response(question, dns.SERVFAIL, [], stream=stream)
        if records and not any(record.kind != dns.CNAME for record in kept) and len(kept) < len(records):
            return dns.response(question, dns.REFUSED, [], stream=stream)
        return dns.response(question, answer.code, kept, stream=stream)

    def _admit(self, name: str, record: dns.Record) -> bool:
        """Make an address reachable. False if the policy does not let the name have it."""
        record.ttl = min(record.ttl, LONGEST)
        if record.kind not in (dns.A, dns.AAAA):
            return True
        address = ip_address(record.data)
        local = self._gate.is_local(record.data)
        allowed = [each for each in self._policy.matching(name) if self._policy.may_be(address, each, local=local)]
        for each in allowed:
            number = self._policy.services.index(each.service)
            self._gate.open(number, record.data, max(record.ttl, SHORTEST) + GRACE)
        if not allowed:
            self._notes.withheld(name, str(address))
        return bool(allowed)

    def _ask(self, question: dns.Question) -> dns.Answer | None:
        for server in self._servers:
            for stream in (False, True):
                try:
                    answer = _over_stream(server, question) if stream else _over_datagrams(server, question)
                except (OSError, dns.MalformedError) as error:
                    self._notes.failed(f"{server}: {error}")
                    break
                if not answer.cut_off:
                    return answer
        return None


def _server(text: str, kind: int) -> socket.socket:
    """``10.0.0.1``, ``fd00::1`` or with a port ``10.0.0.1#5353``."""
    host, _, port = text.partition("#")
    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind | socket.SOCK_CLOEXEC)
    try:
        made.settimeout(_PATIENCE)
        made.connect((host, int(port or 53)))
    except OSError:
        made.close()
        raise
    return made


def _over_datagrams(server: str, question: dns.Question) -> dns.Answer:
    """A socket for each question, with a port that the kernel chooses: who would forge an answer has to guess both."""
    identity = randbelow(1 << 16)
    with _server(server, socket.SOCK_DGRAM) as made:
        made.send(dns.query(question, identity))
        while True:
            data = made.recv(_LONGEST_MESSAGE)
            try:
                return dns.Answer(question, identity, data)
            except dns.MalformedError:
                continue  # another may come in time


def _over_stream(server: str, question: dns.Question) -> dns.Answer:
    identity = randbelow(1 << 16)
    with _server(server, socket.SOCK_STREAM) as made:
        _send(made, dns.query(question, identity))
        return dns.Answer(question, identity, _receive(made))


def _send(stream: socket.socket, message: bytes) -> None:
    stream.sendall(len(message).to_bytes(2, "big") + message)


def _receive(stream: socket.socket) -> bytes:
    """The next message; nothing at the end."""
    size = _exactly(stream, 2)
    return _exactly(stream, int.from_bytes(size, "big")) if len(size) == 2 else b""


def _exactly(stream: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        part = stream.recv(size - len(found))
        if not part:
            return b""
        found += part
    return found


class Server:
    """Takes questions from a container until its process has ended. A thread for each question or stream, up to a
    number."""

    def __init__(self, resolver: Resolver, datagrams: socket.socket, streams: socket.socket) -> None:
        self._resolver = resolver
        self._datagrams = datagrams
        self._streams = streams
        self._questions = threading.BoundedSemaphore(_QUESTIONS)
        self._open = threading.BoundedSemaphore(_STREAMS)

    def run(self, pidfd: int) -> None:
        self._datagrams.setblocking(False)
        self._streams.setblocking(False)
        poll = select.poll()
        for fd in (pidfd, self._datagrams.fileno(), self._streams.fileno()):
            poll.register(fd, select.POLLIN)
        while True:
            ready = {fd for fd, _ in poll.poll()}
            if pidfd in ready:
                return
            if self._datagrams.fileno() in ready:
                self._take_datagram()
            if self._streams.fileno() in ready:
                self._take_stream()

    def _take_datagram(self) -> None:
        try:
            data, sender = self._datagrams.recvfrom(_LONGEST_MESSAGE)
        except OSError:
            return
        self._questions.acquire()
        threading.Thread(target=self._answer_datagram, args=(data, sender), daemon=True).start()

    def _answer_datagram(self, data: bytes, sender: tuple[str, int]) -> None:
        try:
            answer = self._resolver.answer(data, stream=False)
            if answer:
                self._datagrams.sendto(answer, sender)
        except OSError:
            pass  # who asked has gone
        finally:
            self._questions.release()

    def _take_stream(self) -> None:
        try:
            stream, _ = self._streams.accept()
        except OSError:
            return
        if not self._open.acquire(blocking=False):
            stream.close()
            return
        threading.Thread(target=self._answer_stream, args=(stream,), daemon=True).start()

    def _answer_stream(self, stream: socket.socket) -> None:
        try:
            with stream:
                stream.settimeout(_IDLE)
                while data := _receive(stream):
                    answer = self._resolver.answer(data, stream=True)
                    if not answer:
                        return
                    _send(stream, answer)
        except OSError:
            pass  # who asked has gone, or is silent
        finally:
            self._open.release()


def listen() -> tuple[socket.socket, socket.socket]:
    """Sockets for datagrams and streams, in the network namespace that this process is in."""
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    streams = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        streams.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        datagrams.bind(LISTEN)
        streams.bind(LISTEN)
        streams.listen(_STREAMS)
    except OSError:
        datagrams.close()
        streams.close()
        raise
    return datagrams, streams
