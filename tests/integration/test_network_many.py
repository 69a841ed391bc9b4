"""Many containers on one network at once: with BOXES_SWEEP set 200, which takes minutes where others work too."""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from boxes.network import leases
from tests.support import lan as lans
from tests.support.bundle import Bundle
from tests.support.marks import not_for, requires
from tests.support.network import look, network_of
from tests.support.runtime import ENVIRONMENT, Runtime

pytestmark = [requires("root", "nft"), not_for("runc", "crun", reason="they make no networks")]

COUNT, AT_ONCE = 200 if os.environ.get("BOXES_SWEEP") else 24, 24
PATIENCE = 10.0  # seconds, for one to reach all


def all_at_once(commands: list[list[str]]) -> None:
    """Each of them, so many at a time; all must succeed."""
    for first in range(0, len(commands), AT_ONCE):
        running = [
            subprocess.Popen(command, env=ENVIRONMENT, stdin=-3, stdout=-3)
            for command in commands[first : first + AT_ONCE]
        ]
        assert [process.wait(120) for process in running] == [0] * len(running)


@pytest.mark.takes(900)
def test_many_containers_have_addresses_of_their_own_and_reach_each_other(
    box: Runtime, make_bundle: Callable[[], Bundle]
) -> None:
    with lans.made() as lan:
        try:
            _all(box, make_bundle)
        finally:
            all_at_once([box.command("delete", "--force", id) for id in box.identifiers])
        lan.settle(20)


def _all(box: Runtime, make_bundle: Callable[[], Bundle]) -> None:
    bundles = [make_bundle().namespace("network").args("/bin/sleep", "1000") for _ in range(COUNT)]
    all_at_once(
        [
            box.command("create", *box.bundle_args(bundle, "--network", "bridge", "-p", f"{10000 + number}:80"))
            for number, bundle in enumerate(bundles)
        ]
    )
    states = [json.loads((box.root / bundle.id / "state.json").read_text()) for bundle in bundles]
    addresses = [state["network"]["addresses"][0][0] for state in states]
    assert len(set(addresses)) == COUNT
    _meet(addresses, [state["pid"] for state in states])
    _check_names(Path("/run/boxes/.networks/default/hosts").read_text(), [state["id"] for state in states])
    assert len([link for link in look("link", "show") if link.get("master") == "bx-default"]) == COUNT


def _meet(addresses: list[str], pids: list[int]) -> None:
    """Each calls each, by datagrams. They are told their neighbours' hardware addresses: the kernel finds out 1024 in
    five seconds, of all its network namespaces together, and forgets others for them."""
    told = "".join(
        f"neigh replace {address} lladdr {leases.mac(address).hex(':')} dev eth0 nud permanent\n"
        for address in addresses
    )
    peers = {}
    for address, pid in zip(addresses, pids, strict=True):
        with network_of(pid):
            subprocess.run(["ip", "-batch", "-"], input=told.encode(), check=True)
            made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            made.bind(("", 5000))
            peers[address] = made
    try:
        for address, caller in peers.items():
            missing = set(peers)
            deadline = time.monotonic() + PATIENCE
            while missing and time.monotonic() < deadline:
                for other in missing:
                    caller.sendto(address.encode(), (other, 5000))
                missing -= {other for other in missing if _heard(peers[other], address)}
            assert not missing, f"{address} did not reach {len(missing)}: {sorted(missing)[:5]}"
    finally:
        for made in peers.values():
            made.close()


def _heard(peer: socket.socket, address: str) -> bool:
    """Whether a datagram that says this has come; all that have come are read."""
    heard = False
    while select.select([peer], [], [], 0 if heard else 0.02)[0]:
        heard |= peer.recv(16) == address.encode()
    return heard


def _check_names(hosts: str, ids: list[str]) -> None:
    known = {name for line in hosts.splitlines() if not line.startswith("#") for name in line.split()[1:]}
    assert known >= set(ids)
