"""A false /proc or /sys, which would take labels and kernel parameters that then confine nobody.

CVE-2019-16884, CVE-2019-19921, CVE-2023-27561, CVE-2023-28642, CVE-2025-54867, CVE-2025-52881, CVE-2025-62596,
CVE-2015-3630, CVE-2015-3631.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.bundle import Bundle
from tests.support.canaries import Outside
from tests.support.marks import red_for, requires
from tests.support.racer import exchanged
from tests.support.runtime import Runtime
from tests.support.tally import Row, patience, size

RED = red_for("runc", reason="1.1.5 is vulnerable")
PARAMETER = "sys/net/core/somaxconn"


@pytest.mark.parametrize("destination", ["/proc", "/sys"])
@pytest.mark.parametrize("target", ["/tmp", "tmp", "./tmp/../tmp"])
def test_symlink_is_refused(box: Runtime, bundle: Bundle, destination: str, target: str) -> None:
    (bundle.rootfs / destination.lstrip("/")).rmdir()
    (bundle.rootfs / destination.lstrip("/")).symlink_to(target)
    box.run(bundle).refused(destination)


@pytest.mark.parametrize("kind", ["bind", "tmpfs"])
@pytest.mark.parametrize(
    "destination",
    ["/proc", "/proc/self", "/proc/self/attr", "/proc/thread-self/attr", "/proc/sys", "/proc/1", "/proc/sys/net"],
)
def test_mount_over_proc_is_refused(
    box: Runtime, bundle: Bundle, outside: Outside, destination: str, kind: str
) -> None:
    if (destination, kind) == ("/proc", "tmpfs"):
        bundle.without_mount("/proc")  # then it is the container's /proc, and none: nothing is written there
        bundle.linux["maskedPaths"] = ["/proc/keys"]
        box.run(bundle.mount(destination, "tmpfs", "tmpfs"))
        return
    box.run(
        bundle.mount(destination, kind, outside.path if kind == "bind" else "tmpfs", *["bind"][: kind == "bind"])
    ).refused()
    outside.unchanged()


@pytest.mark.parametrize("link", ["/opt", "/opt/deep"])
@pytest.mark.parametrize("target", ["/proc", "/proc/self/attr", "/proc/sys/net", "/proc/1/../sys"])
def test_mount_on_a_link_into_proc_is_refused(box: Runtime, bundle: Bundle, link: str, target: str) -> None:
    """Whatever the destination is called: what counts is where it is."""
    place = bundle.rootfs / link.lstrip("/")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(target)
    box.run(bundle.mount(link, "tmpfs", "tmpfs")).refused()


@pytest.mark.parametrize("place", ["/proc/self/attr", "/proc/sys/net"])
def test_control_mounts_over_proc(peer: Callable[[str], Runtime], bundle: Bundle, tally: Row, place: str) -> None:
    result = peer("runc").run(bundle.mount(place, "tmpfs", "tmpfs"))
    tally.red(f"runc 1.1.5 tmpfs on {place}", result.code == 0)


@pytest.mark.parametrize("name", ["cpuinfo", "meminfo", "stat", "uptime", "loadavg"])
def test_files_that_lxcfs_gives_are_allowed(box: Runtime, bundle: Bundle, name: str) -> None:
    file = bundle.host_directory("lxcfs", **{name: "faked\n"}) / name
    bundle.mount(f"/proc/{name}", "bind", file, "bind").args("/bin/cat", f"/proc/{name}")
    assert box.run(bundle).ok().out == "faked\n"


def false_proc(bundle: Bundle) -> Path:
    """A directory that looks like a procfs, as far as a parameter."""
    fake = bundle.host_directory("fake")
    (fake / PARAMETER).parent.mkdir(parents=True)
    (fake / PARAMETER).write_text("untouched")
    bundle.namespace("network").linux["sysctl"] = {"net.core.somaxconn": "77"}
    return fake


def naive_write(root: Path, name: str, value: str) -> None:
    """As runtimes did: a path below the container's root."""
    (root / "proc" / name).write_text(value)


@pytest.mark.parametrize("how", ["bound", "in the image", "link in the image"])
def test_parameter_is_not_written_to_a_file_below_a_false_proc(box: Runtime, bundle: Bundle, how: str) -> None:
    fake = false_proc(bundle)
    bundle.without_mount("/proc")
    if how == "bound":
        bundle.mount("/proc", "bind", fake, "bind")
    else:
        (bundle.rootfs / "proc").rmdir()
        fake.rename(bundle.rootfs / ("proc" if how == "in the image" else "false"))
        fake = bundle.rootfs / ("proc" if how == "in the image" else "false")
        if how == "link in the image":
            (bundle.rootfs / "proc").symlink_to("/false")
    box.run(bundle)
    assert (fake / PARAMETER).read_text() == "untouched"


def test_control_of_a_false_proc_takes_the_value(bundle: Bundle, tally: Row) -> None:
    fake = false_proc(bundle)
    (bundle.rootfs / "proc").rmdir()
    (bundle.rootfs / "proc").symlink_to(fake)
    naive_write(bundle.rootfs, PARAMETER, "77")
    tally.red("naive write below the root", (fake / PARAMETER).read_text() == "77")


@requires("root")
def test_parameter_is_applied_where_it_belongs(box: Runtime, bundle: Bundle) -> None:
    before = Path("/proc", PARAMETER).read_text()
    bundle.namespace("network").linux["sysctl"] = {"net.core.somaxconn": "77"}
    assert box.run(bundle.args("/bin/cat", f"/proc/{PARAMETER}")).ok().out == "77\n"
    assert Path("/proc", PARAMETER).read_text() == before


def test_proc_that_is_exchanged_meanwhile_takes_nothing(box: Runtime, bundle: Bundle, tally: Row) -> None:
    """The rootfs is another container's volume too: /proc is now a directory, now a link to a false one."""
    fake = false_proc(bundle)
    link = bundle.rootfs / "other"
    link.symlink_to("/false")
    fake.rename(bundle.rootfs / "false")
    bundle.args("/bin/cat", f"/proc/{PARAMETER}")
    rounds = size(20, 300, 10_000)
    patience(60, 200, 3600)
    refused = 0
    with exchanged((bundle.rootfs / "proc", link)):
        for _ in range(rounds):
            result = box.run(bundle)
            assert (bundle.rootfs / "false" / PARAMETER).read_text() == "untouched"
            # It ran: then what it sees is what was asked for, unless its own view of /proc was exchanged since.
            refused += result.code != 0
            assert result.code in (0, 1)
    tally.tried(rounds)
    print(f"{refused} of {rounds} refused")
