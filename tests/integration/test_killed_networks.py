"""As tests/integration/test_killed.py, for containers with networks: a runtime that is killed leaves no device, rule,
lease, mount or process that `delete --force` does not take away.

Each run tries a sample of the system calls; BOXES_SEED chooses another, BOXES_SWEEP tries all.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.bundle import Bundle
from tests.support.cni import Plugins
from tests.support.host import mount, unmount
from tests.support.killing import Scene, at, calls, patience, points, sample, strace
from tests.support.killing import chance as chance  # a fixture
from tests.support.leaks import CgroupParent
from tests.support.marks import not_for, requires
from tests.support.network import devices, inside, ip, new_namespace
from tests.support.runtime import ENVIRONMENT, Result, Runtime

pytestmark = [
    not_for("runc", "crun", reason="it is no matter of the specification's"),
    requires("root", "strace", "cni plugins", "iptables", "pasta", "nft"),
    pytest.mark.slow,
]


class NetworkScene(Scene):
    """In a network namespace of the test's own, with directories of CNI's that nobody else sees."""

    def left(self) -> list[str]:
        return super().left() + self.of_networks()

    def of_networks(self) -> list[str]:
        files = [path for path in Path("/var/lib/cni").rglob("*") if path.is_file()]
        kept = [f"files: left behind: {path}" for path in files if path.name not in ("lock", "last_reserved_ip.0")]
        kept += [f"devices: left behind: {name}" for name in devices() if name.startswith("veth")]
        tables = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True).stdout
        kept += [f"rules: left behind: {line}" for line in tables.splitlines() if "netdev" in line]
        rules = subprocess.run(["iptables-save", "-t", "nat"], capture_output=True, text=True, check=True).stdout
        return kept + [f"rules: left behind: {line}" for line in rules.splitlines() if "10.88.7." in line]

    def expect(self, what: str, result: Result) -> None:
        super().expect(what, result)
        if "ignoring" in result.err:
            self.failures.append(f"{what}: {result.err}")


@pytest.fixture
def scene(box: Runtime, bundle: Bundle, cgroup_parent: CgroupParent) -> Iterator[NetworkScene]:
    signal.alarm(300)  # each call takes five commands, and plugins their time
    bundle.args("/bin/sleep", "100").capabilities().namespace("network")
    with new_namespace() as namespace, inside(namespace):
        ip("link", "set", "lo", "up")
        ip("link", "add", "out", "type", "veth", "peer", "in")
        ip("address", "add", "8.20.0.254/24", "dev", "out")
        for device in ("in", "out"):
            ip("link", "set", device, "up")
        ip("route", "add", "default", "via", "8.20.0.1")
        places = ["/var/lib/cni", "/var/lib/boxes", "/run/boxes"]
        for place in places:
            os.makedirs(place, exist_ok=True)
            mount("tmpfs", place, "tmpfs", 0)
        try:
            yield NetworkScene(box, bundle, cgroup_parent)
            box.close()
        finally:
            for place in places:
                unmount(place)


def cni(bundle: Bundle, plugins: Plugins) -> None:
    ipam = {"type": "host-local", "ranges": [[{"subnet": "10.88.7.0/24"}]]}
    plugins.network(
        "net",
        {"type": "bridge", "bridge": "cni7", "isGateway": True, "ipMasq": True, "ipam": ipam},
        {"type": "portmap", "capabilities": {"portMappings": True}},
        cniVersion="1.0.0",
    )
    bundle.config["annotations"] = {
        "boxes.network": "cni:net",
        "boxes.network.cni-conf": str(plugins.conf),
        "boxes.network.publish": "8080:80",
    }


def cni_with_policy(bundle: Bundle, plugins: Plugins) -> None:
    cni(bundle, plugins)
    bundle.config["annotations"] |= {"boxes.network.allow": "web.example.org:443", "boxes.network.dns": "8.20.0.53"}


def pasta(bundle: Bundle, plugins: Plugins) -> None:
    bundle.config["annotations"] = {"boxes.network": "pasta", "boxes.network.publish": "127.0.0.1:8080:80"}


def pasta_with_policy(bundle: Bundle, plugins: Plugins) -> None:
    pasta(bundle, plugins)
    bundle.config["annotations"] |= {"boxes.network.allow": "web.example.org:443", "boxes.network.dns": "8.20.0.53"}


def bridge_with_policy(bundle: Bundle, plugins: Plugins) -> None:
    bundle.config["annotations"] = {
        "boxes.network": "bridge",
        "boxes.network.allow": "web.example.org:443",
        "boxes.network.dns": "8.20.0.53",
    }


SHAPES = [cni, cni_with_policy, pasta, pasta_with_policy, bridge_with_policy]


@pytest.mark.parametrize("shape", SHAPES)
def test_create_killed_at_any_call_leaves_nothing(
    scene: NetworkScene, chance: random.Random, shape: Callable[[Bundle, Plugins], None]
) -> None:
    shape(scene.bundle, Plugins(scene.box.directory))
    scene.create().ok()  # what is only made once is made now
    scene.box("delete", "--force", scene.bundle.id).ok()
    killed = 0
    with patience(1800):
        found = calls(scene, f'mkdir("{scene.box.root}/')
        found = sample(chance, found, 6)
        for point in found:
            command = strace(scene.box, scene.bundle, *at(point))
            code = subprocess.run(command, env=ENVIRONMENT, stdin=-3, stdout=-3, stderr=-3, timeout=30).returncode
            killed += code == -signal.SIGKILL
            scene.check(f"{point}")
    scene.verdict("state")
    assert killed >= len(found) * 0.9, "the runs differ too much"


@pytest.mark.parametrize("shape", SHAPES)
def test_delete_killed_at_any_call_can_be_repeated(
    scene: NetworkScene, chance: random.Random, shape: Callable[[Bundle, Plugins], None]
) -> None:
    shape(scene.bundle, Plugins(scene.box.directory))
    log = scene.box.directory / "calls"
    scene.create().ok()
    command = ["strace", "-qq", "-o", str(log), *scene.box.command("delete", "--force", scene.bundle.id)]
    subprocess.run(command, env=ENVIRONMENT, stdin=-3, stdout=-3, stderr=-3, check=True, timeout=30)
    with patience(1800):
        for point in sample(chance, points(log, "pidfd_open("), 6):
            scene.create().ok()
            command = ["strace", "-qq", *at(point), *scene.box.command("delete", "--force", scene.bundle.id)]
            subprocess.run(command, env=ENVIRONMENT, stdin=-3, stdout=-3, stderr=-3, timeout=30)
            if (scene.box.root / scene.bundle.id).exists():
                scene.expect(f"{point}", scene.box("delete", "--force", scene.bundle.id))
    scene.verdict()
    assert not os.path.exists(scene.box.root / scene.bundle.id)
