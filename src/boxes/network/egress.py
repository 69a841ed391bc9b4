"""Holding a container to what it may reach: rules of nftables, and a forwarder of DNS (docs/egress.md)."""

from __future__ import annotations

import _signal
import errno

from boxes import system as os
from boxes.errors import ServiceError
from boxes.linux import flags as k
from boxes.linux import syscalls
from boxes.linux.fd import Fds, sealed
from boxes.network import companion, egress_rules, nft

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from boxes.network.companion import Companion
    from boxes.network.egress_policy import Policy
    from boxes.network.egress_rules import Port

_NAME = "the forwarder of DNS"
_SHOWN = 400
_LONGEST = 1 << 20


def load(ruleset: str) -> None:
    """One transaction, in the network namespace that this process is in. If this process is killed, nft is too: whoever
    takes the rules away afterwards does not come before they are made."""
    with Fds() as fds:
        given = fds.add(sealed("rules", ruleset.encode()))
        output = fds.add(os.memfd_create("nft", os.MFD_CLOEXEC))
        parent, path = os.getpid(), nft.find()
        pid = os.fork()
        if pid == 0:
            _become_nft(path, parent, given, output)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        os.lseek(output, 0, os.SEEK_SET)
        said = os.read_all(output, _LONGEST).decode("utf-8", "replace").strip().partition("\n")[0]
    if code:
        hint = (
            "rules on a bridge's ports need Linux 5.16, with CONFIG_NETFILTER_EGRESS" if "netdev" in ruleset else None
        )
        raise ServiceError(f"nft refused the rules of --allow: {said[:_SHOWN] or f'it ended with {code}'}", hint=hint)


def _become_nft(path: str, parent: int, given: int, output: int) -> None:
    try:
        syscalls.prctl(k.PR_SET_PDEATHSIG, _signal.SIGKILL)
        if os.getppid() == parent:
            os.dup2(given, 0)
            os.dup2(output, 1)
            os.dup2(output, 2)
            os.execve(path, [path, "-f", "-"], {})
    finally:
        os._exit(127)


def remove(table: str) -> None:
    """Take away what was loaded for a container on a bridge, whether it is there or not."""
    load(egress_rules.gone("netdev", table))


class Forwarding:
    """What a forwarder is given: the policy, servers of DNS (``10.0.0.1`` or ``10.0.0.1#5353``), the file for what it
    refuses, and the container's init, which `pid` and `pidfd` name."""

    def __init__(self, policy: Policy, servers: list[str], notes: str, pid: int, pidfd: int) -> None:
        self.policy = policy
        self.servers = servers
        self.notes = notes
        self.pid = pid
        self.pidfd = pidfd


def on_bridge(given: Forwarding, table: str, port: Port, born: Callable[[Companion], None]) -> Companion:
    """Load the rules for the host's end of a veth pair, then start the forwarder."""
    load(egress_rules.on_bridge(table, given.policy, port))

    from boxes.network import within

    def live(said: int) -> None:
        _forward(given, "netdev", table, [-1, *within.descriptors(given.pid, _listen)], said)

    return companion.start(_NAME, lambda: _loaded(live), born, kept=[given.pidfd])


def inside(given: Forwarding, born: Callable[[Companion], None]) -> Companion:
    """Load the rules into the container's own network namespace, then start the forwarder."""

    from boxes.network import within

    def prepare() -> list[int]:
        load(egress_rules.inside(given.policy))
        return [_detached(), *_listen()]

    def live(said: int) -> None:
        _forward(given, "inet", egress_rules.INSIDE, within.descriptors(given.pid, prepare), said)

    return companion.start(_NAME, lambda: _loaded(live), born, kept=[given.pidfd])


def _loaded(body: Callable[[int], None]) -> Callable[[int], None]:
    """With all that the forwarder needs: so it is the forwarder that pays, and not the runtime."""
    import secrets  # noqa: F401

    import boxes.linux.nftables
    import boxes.linux.routes
    import boxes.network.dns_forwarder
    import boxes.network.dns_notes  # noqa: F401

    return body


def _detached() -> int:
    """A socket of nftables, of the namespace that this process is in."""
    from boxes.linux.nftables import Nftables

    return Nftables().detach()


def _listen() -> list[int]:
    """Sockets for DNS on the loopback interface, which is set up."""
    from boxes.linux.rtnetlink import Rtnetlink
    from boxes.network import dns_forwarder

    links = Rtnetlink()
    loopback = links.link("lo")
    if loopback is not None:
        links.set_link(loopback.index, up=True)
    links.close()
    return [made.detach() for made in dns_forwarder.listen()]


def _forward(given: Forwarding, family: str, table: str, fds: list[int], said: int) -> None:
    """Runs in the forwarder. It says that it is ready, and lives as long as the container."""
    import socket

    from boxes.linux.nftables import Nftables
    from boxes.linux.routes import Routes
    from boxes.network import dns_forwarder
    from boxes.network.dns_notes import Notes

    with open("/proc/self/comm", "w", encoding="ascii") as comm:
        comm.write("box: dns")
    _give_up_rights()
    nftables, datagrams, streams = fds
    gate = dns_forwarder.Gate(Nftables(nftables), family, table, Routes())
    resolver = dns_forwarder.Resolver(given.policy, given.servers, gate, Notes(given.notes))
    server = dns_forwarder.Server(resolver, socket.socket(fileno=datagrams), socket.socket(fileno=streams))
    os.write(said, b"\0")
    os.close(said)
    server.run(given.pidfd)
    os._exit(0)


def _give_up_rights() -> None:
    """All but what adds addresses to the rules; an ordinary user's forwarder has that as the owner of the container's
    user namespace. A process that is not dumpable is not traced by others of its user."""
    syscalls.prctl(k.PR_SET_DUMPABLE, 0, 0, 0, 0)
    syscalls.prctl(k.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    syscalls.prctl(k.PR_CAP_AMBIENT, k.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    try:
        for number in range(64):
            syscalls.prctl(k.PR_CAPBSET_DROP, number, 0, 0, 0)
    except OSError as error:  # the kernel has no more; or this process has no right to, nor any to give up
        if error.errno not in (errno.EINVAL, errno.EPERM):
            raise
    try:
        syscalls.capset(1 << k.CAP_NET_ADMIN)
    except PermissionError:
        syscalls.capset(0)


class Watch:
    """What the rules of a container have counted: on a bridge, or within the namespaces of the process `pid`."""

    def __init__(self, table: str, pid: int = 0) -> None:
        self._family = "inet" if pid else "netdev"
        self._table = egress_rules.INSIDE if pid else table
        self._pid = pid

    def refusals(self) -> list[dict[str, Any]]:
        """What was refused, by destination: `address`, `protocol`, `port`, `packets`, and how many seconds ago the last
        came. The most frequent first."""
        found = []
        for version in (4, 6):
            listed = self._listed("set", "set", egress_rules.refusals(version))
            found += [_refusal(element["elem"]) for each in listed for element in each.get("elem", ())]
        return sorted(found, key=lambda refusal: -refusal["packets"])

    def counters(self) -> dict[str, int]:
        """Packets that were `refused`, and on a bridge those `spoofed`: from addresses that are not the container's."""
        return {counter["name"]: counter["packets"] for counter in self._listed("counter", "counters", "table")}

    def _listed(self, kind: str, what: str, name: str) -> list[dict[str, Any]]:
        import json
        import subprocess

        subject = [name, self._family, self._table] if name == "table" else [self._family, self._table, name]
        done = subprocess.run(
            [nft.find(), "-j", "list", what, *subject], capture_output=True, check=False, preexec_fn=self._enter
        )
        if done.returncode != 0:
            return []  # it has gone
        return [entry[kind] for entry in json.loads(done.stdout)["nftables"] if kind in entry]

    def _enter(self) -> None:
        if self._pid:
            from boxes.network import within

            within.enter(self._pid)


def _refusal(element: dict[str, Any]) -> dict[str, Any]:
    address, protocol, port = element["val"]["concat"]
    return {
        "address": address,
        "protocol": protocol,
        "port": port,
        "packets": element["counter"]["packets"],
        "ago": egress_rules.REFUSAL_KEPT - element["expires"],
    }
