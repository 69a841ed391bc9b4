"""Kernels that lack a system call: what is below the oldest supported one is refused by the call's name, and leaves
nothing; what has a substitute works. docs/kernel-features.md says which is which."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import host
from tests.support.bundle import Bundle
from tests.support.enosys import prefix
from tests.support.marks import not_for, requires
from tests.support.runtime import Runtime
from tests.sweeps.shapes import confined

pytestmark = not_for("runc", "crun", reason="they have other substitutes")

# Everywhere since Linux 5.10, and without a substitute.
NEEDED = "clone3 openat2 open_tree move_mount fsopen fsconfig fsmount pidfd_open pidfd_send_signal memfd_create execveat".split()
REPLACED = "mount_setattr close_range renameat2".split()


@pytest.mark.parametrize("call", NEEDED)
def test_lack_of_a_call_without_substitute_is_told_by_its_name(box: Runtime, bundle: Bundle, call: str) -> None:
    confined(bundle)
    result = box.run(bundle, prefix=prefix(call))
    if result.code == 0:  # pidfd_send_signal: no signal had to be sent
        return
    result.refused("function not implemented")
    assert result.err.startswith("box: ") and result.err.count("\n") == 1
    assert call in result.err
    assert not (box.root / bundle.id).exists()


VERBS: dict[str, tuple[str, ...]] = {
    "state": (),
    "ps": (),
    "exec": ("/bin/probe", "exit", "0"),
    "update": ("--pids-limit", "40"),
    "pause": (),
    "resume": (),
    "kill": ("KILL",),
    "delete": ("--force",),
}


@pytest.mark.parametrize("call", [*NEEDED, *REPLACED])
def test_verb_that_lacks_a_call_works_or_tells_its_name(box: Runtime, bundle: Bundle, call: str) -> None:
    """One verb after another, for one container; what it is refused is done then where nothing lacks."""
    confined(bundle)
    box.start(bundle.args("/bin/linger"))
    for verb, more in VERBS.items():
        args = (verb, *more, bundle.id) if verb == "update" else (verb, bundle.id, *more)
        result = box(*args, prefix=prefix(call))
        if result.code:
            result.refused("function not implemented", call, code=result.code)
            assert result.err.startswith("box: ") and result.err.count("\n") == 1
            assert call not in REPLACED
            box(*args).ok()
        else:
            # Hooks of whose failures nothing depends are warned of.
            assert result.err == "" or ("warning" in result.err and call in result.err and call not in REPLACED)


@pytest.mark.parametrize("calls", [*REPLACED, " ".join(REPLACED)])
def test_lack_of_a_call_with_a_substitute_changes_nothing(box: Runtime, bundle: Bundle, calls: str) -> None:
    confined(bundle)
    expected = box.probe(bundle)
    found = box.run(bundle, prefix=prefix(*calls.split())).report()
    assert {key for key in expected if expected[key] != found[key]} <= {
        "mountinfo",
        "namespaces",
        "fds",
        "monotonic",
        "boottime",
    }
    assert all(set(expected[key]) == set(found[key]) for key in ("namespaces", "fds"))
    assert {mount.point: mount.options for mount in found.mounts().values()} == {
        mount.point: mount.options for mount in expected.mounts().values()
    }


MS_NOEXEC, MS_STRICTATIME = 8, 1 << 24


@pytest.fixture
def tree(bundle: Bundle) -> Iterator[Path]:
    """Mounts of the host's, one below the other, whose names mountinfo has to escape."""
    place = bundle.host_directory("place")
    below = place / "a b/c\\d"
    host.mount("tmpfs", str(place), "tmpfs", MS_STRICTATIME)
    below.mkdir(parents=True)
    host.mount("tmpfs", str(below), "tmpfs", MS_NOEXEC)
    (below / "deep").mkdir()
    host.mount("tmpfs", str(below / "deep"), "tmpfs")
    yield place
    host.unmount(str(place))


def test_mounts_below_are_changed_without_mount_setattr(box: Runtime, bundle: Bundle, tree: Path) -> None:
    bundle.mount("/mnt", "bind", tree, "rbind", "rro", "rnosuid")
    expected = {point: mount.options for point, mount in box.probe(bundle).mounts().items()}
    without = box.run(bundle, prefix=prefix("mount_setattr")).report()
    assert {point: mount.options for point, mount in without.mounts().items()} == expected
    below = [point for point in expected if point.startswith("/mnt/")]
    assert len(below) == 2 and all({"ro", "nosuid"} <= expected[point] for point in below)


@requires("mount_setattr")
def test_covered_mount_below_is_refused_without_mount_setattr(box: Runtime, bundle: Bundle, tree: Path) -> None:
    """It could be uncovered later, and would be what the config says it is not."""
    host.mount("tmpfs", str(tree / "a b"), "tmpfs")
    number = len(bundle.config["mounts"])
    bundle.mount("/mnt", "bind", tree, "rbind", "rro")
    assert "ro" in box.probe(bundle).mounts()["/mnt/a\\040b"].options
    box.run(bundle, prefix=prefix("mount_setattr")).refused(f"/mounts/{number}", "covered", "5.12")
    assert not (box.root / bundle.id).exists()


@pytest.mark.parametrize("option", ["ro", "atime", "noatime", "relatime", "strictatime", "diratime", "nodiratime"])
def test_access_times_are_the_same_without_mount_setattr(box: Runtime, bundle: Bundle, tree: Path, option: str) -> None:
    bundle.mount("/mnt", "bind", tree, "bind", option)
    without = box.run(bundle.args("/bin/probe"), prefix=prefix("mount_setattr")).report()
    assert without.mounts()["/mnt"].options == box.probe(bundle).mounts()["/mnt"].options
