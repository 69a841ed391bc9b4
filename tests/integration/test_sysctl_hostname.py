"""`hostname`, `domainname` and `linux.sysctl` (runtime-spec, config.md#hostname, config-linux.md#sysctl)."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support.bundle import Bundle
from tests.support.marks import not_for
from tests.support.runtime import Runtime


@pytest.mark.parametrize("name", ["box", "a.b-c_d", "x" * 64])
def test_hostname_is_set(box: Runtime, bundle: Bundle, name: str) -> None:
    bundle.config["hostname"] = name
    assert box.probe(bundle)["hostname"] == name


def test_hostname_of_the_host_stays(box: Runtime, bundle: Bundle) -> None:
    before = Path("/proc/sys/kernel/hostname").read_text()
    bundle.config["hostname"] = "inside"
    box.run(bundle).ok()
    assert Path("/proc/sys/kernel/hostname").read_text() == before


def test_hostname_is_the_hosts_when_not_given(box: Runtime, bundle: Bundle) -> None:
    assert box.probe(bundle)["hostname"] == Path("/proc/sys/kernel/hostname").read_text().strip()


@not_for("runc", reason="1.1 does not know domainname")
def test_domainname_is_set(box: Runtime, bundle: Bundle) -> None:
    bundle.config["domainname"] = "example.org"
    assert box.probe(bundle)["domainname"] == "example.org"


def test_hostname_without_a_uts_namespace_is_refused(box: Runtime, bundle: Bundle) -> None:
    bundle.config["hostname"] = "inside"
    box.run(bundle.without_namespace("uts")).refused("uts")


@not_for("runc", reason="1.1 does not know domainname")
def test_domainname_without_a_uts_namespace_is_refused(box: Runtime, bundle: Bundle) -> None:
    bundle.config["domainname"] = "inside"
    box.run(bundle.without_namespace("uts")).refused("uts")


def test_hostname_longer_than_the_kernel_allows_is_refused(box: Runtime, bundle: Bundle) -> None:
    bundle.config["hostname"] = "x" * 65
    box.run(bundle).refused()


@pytest.mark.parametrize(
    "namespace, name, value, path",
    [
        ("network", "net.ipv4.ip_forward", "1", "/proc/sys/net/ipv4/ip_forward"),
        ("network", "net.core.somaxconn", "333", "/proc/sys/net/core/somaxconn"),
        ("ipc", "kernel.shmmax", "12345", "/proc/sys/kernel/shmmax"),
        ("ipc", "kernel.msgmax", "9000", "/proc/sys/kernel/msgmax"),
        ("ipc", "fs.mqueue.msg_max", "17", "/proc/sys/fs/mqueue/msg_max"),
    ],
)
def test_sysctl_is_written(box: Runtime, bundle: Bundle, namespace: str, name: str, value: str, path: str) -> None:
    before = Path(path).read_text()
    bundle.namespace(namespace).linux["sysctl"] = {name: value}
    assert box.run(bundle.args("/bin/cat", path)).ok().out == f"{value}\n"
    assert Path(path).read_text() == before


def test_sysctl_with_several_words_is_written(box: Runtime, bundle: Bundle) -> None:
    bundle.linux["sysctl"] = {"kernel.sem": "250 32000 100 99"}
    assert box.run(bundle.args("/bin/cat", "/proc/sys/kernel/sem")).ok().out.split() == ["250", "32000", "100", "99"]


def test_sysctl_below_a_read_only_path_is_written(box: Runtime, bundle: Bundle) -> None:
    bundle.linux.update(sysctl={"kernel.shmmax": "4321"}, readonlyPaths=["/proc/sys"])
    assert box.run(bundle.args("/bin/cat", "/proc/sys/kernel/shmmax")).ok().out == "4321\n"


@not_for("runc", "crun", reason="they write it through the container's own /proc")
def test_sysctl_without_a_proc_mount_is_written(box: Runtime, bundle: Bundle) -> None:
    bundle.without_mount("/proc").namespace("network").linux["sysctl"] = {"net.core.somaxconn": "777"}
    container = box.running_shell(bundle)
    inside = ["nsenter", "--net", "--target", str(container.pid), "cat", "/proc/sys/net/core/somaxconn"]
    assert subprocess.run(inside, capture_output=True, check=True).stdout == b"777\n"


@pytest.mark.parametrize(
    "namespace, name",
    [
        ("network", "net.ipv4.ip_forward"),
        ("ipc", "kernel.shmmax"),
        ("ipc", "fs.mqueue.msg_max"),
        ("uts", "kernel.domainname"),
    ],
)
def test_sysctl_without_its_namespace_is_refused_and_the_hosts_stays(
    box: Runtime, bundle: Bundle, namespace: str, name: str
) -> None:
    path = Path("/proc/sys") / name.replace(".", "/")
    before = path.read_text()
    bundle.without_namespace(namespace).linux["sysctl"] = {name: "1"}
    box.run(bundle).refused(name)
    assert path.read_text() == before


@pytest.mark.parametrize(
    "name",
    [
        "vm.swappiness",
        "kernel.core_pattern",
        "kernel.panic",
        "fs.file-max",
        "kernel.pid_max",
        "user.max_user_namespaces",
    ],
)
def test_sysctl_of_the_whole_host_is_refused(box: Runtime, bundle: Bundle, name: str) -> None:
    path = Path("/proc/sys") / name.replace(".", "/")
    before = path.read_text()
    bundle.linux["sysctl"] = {name: before.strip()}
    box.run(bundle).refused(name)
    assert path.read_text() == before


@pytest.mark.parametrize(
    "name", ["net.../kernel.core_pattern", "net/../kernel/core_pattern", "net.ipv4/../../kernel/panic", "net.\nx", ""]
)
def test_sysctl_that_climbs_is_refused(box: Runtime, bundle: Bundle, name: str) -> None:
    bundle.namespace("network").linux["sysctl"] = {name: "x"}
    box.run(bundle).refused()


def test_unknown_sysctl_is_refused_and_named(box: Runtime, bundle: Bundle) -> None:
    bundle.namespace("network").linux["sysctl"] = {"net.no.such": "1"}
    box.run(bundle).refused("no such file or directory")


def test_value_that_the_kernel_refuses_is_an_error(box: Runtime, bundle: Bundle) -> None:
    bundle.namespace("network").linux["sysctl"] = {"net.core.somaxconn": "minus one"}
    box.run(bundle).refused("invalid argument")
