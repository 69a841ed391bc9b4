"""Mounts that are filled (tmpcopyup) or show other owners than their source has (idmap).

Runtime-spec: config.md, mounts; config.md#linux-mount-options.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.support.bundle import Bundle
from tests.support.marks import not_for, requires
from tests.support.runtime import Runtime

OLD = not_for("runc", "crun", reason="the distribution's version does not know it")
LOOK = "stat -c '%n %u:%g %a %F' "


def mapping(inside: int, outside: int, size: int = 1) -> list[dict[str, int]]:
    return [{"containerID": inside, "hostID": outside, "size": size}]


@pytest.fixture
def volume(bundle: Bundle) -> Path:
    """Files of ids 0 and 1000."""
    directory = bundle.host_directory("volume", a="0", b="1000")
    os.chown(directory / "b", 1000, 1000)
    return directory


def owners(box: Runtime, bundle: Bundle) -> dict[str, str]:
    """uid:gid of each, as the container sees them."""
    result = box.run(bundle.shell(LOOK + "/v/*")).ok()
    return {line.split()[0].removeprefix("/v/"): line.split()[1] for line in result.out.splitlines()}


# ---- idmap ----


@requires("mount_setattr")
@OLD
@pytest.mark.parametrize("option", ["idmap", None])
def test_mount_shows_the_owners_of_its_mappings(box: Runtime, bundle: Bundle, volume: Path, option: str | None) -> None:
    bundle.mount("/v", "bind", volume, "bind", *([option] if option else []))
    uids = mapping(0, 7) + mapping(1000, 8)
    bundle.config["mounts"][-1].update(uidMappings=uids, gidMappings=mapping(0, 9, 2000))
    assert owners(box, bundle) == {"a": "7:9", "b": "8:1009"}


@requires("mount_setattr")
@OLD
def test_what_is_made_belongs_to_the_mapped_owner(box: Runtime, bundle: Bundle, volume: Path) -> None:
    bundle.mount("/v", "bind", volume, "bind", "idmap").process["user"] = {"uid": 7, "gid": 9}
    # the directory has to have an owner too, or nothing can be made in it
    uids, gids = mapping(1000, 7) + mapping(0, 1), mapping(1000, 9) + mapping(0, 1)
    bundle.config["mounts"][-1].update(uidMappings=uids, gidMappings=gids)
    volume.chmod(0o777)
    box.run(bundle.args("/bin/touch", "/v/new")).ok()
    assert ((volume / "new").stat().st_uid, (volume / "new").stat().st_gid) == (1000, 1000)


@requires("mount_setattr")
@not_for("runc", reason="1.1 does not know it")
def test_without_mappings_they_are_the_user_namespaces(box: Runtime, bundle: Bundle, volume: Path) -> None:
    bundle.user_namespace().mount("/v", "bind", volume, "bind", "idmap")
    assert owners(box, bundle) == {"a": "0:0", "b": "1000:1000"}


def test_without_idmap_the_owners_are_strangers(box: Runtime, bundle: Bundle, volume: Path) -> None:
    """What the one above is measured by."""
    bundle.user_namespace().mount("/v", "bind", volume, "bind")
    assert owners(box, bundle) == {"a": "65534:65534", "b": "65534:65534"}


@requires("mount_setattr")
@not_for("runc", reason="1.1 does not know it")
def test_option_with_mappings(box: Runtime, bundle: Bundle, volume: Path) -> None:
    bundle.user_namespace(100000, 65536)
    bundle.mount("/v", "bind", volume, "bind", "idmap=uids=0-100005-1#1000-100006-1;gids=0-100000-1001")
    assert owners(box, bundle) == {"a": "5:0", "b": "6:1000"}


@requires("mount_setattr")
@OLD
def test_option_with_the_containers_mappings(box: Runtime, bundle: Bundle, volume: Path) -> None:
    bundle.user_namespace(100000, 65536)
    bundle.mount("/v", "bind", volume, "bind", "ro", "idmap=uids=@0-5-1#1000-6-1;gids=@0-0-1001")
    assert owners(box, bundle) == {"a": "5:0", "b": "6:1000"}
    assert "ro" in box.probe(bundle).mounts()["/v"].options


@requires("mount_setattr")
@OLD
@pytest.mark.parametrize("option, below", [("idmap", "1000:1000"), ("ridmap", "8:8")])
def test_mounts_below_are_meant_by_ridmap_alone(
    box: Runtime, bundle: Bundle, volume: Path, option: str, below: str
) -> None:
    script = f'mkdir -p {volume}/m && mount --bind {volume} {volume}/m && exec "$@"'
    prefix = ("unshare", "-m", "/bin/sh", "-c", script, "sh")
    bundle.mount("/v", "bind", volume, "rbind", option)
    bundle.config["mounts"][-1].update(uidMappings=mapping(1000, 8), gidMappings=mapping(1000, 8))
    result = box.run(bundle.shell(LOOK + "/v/b /v/m/b"), prefix=prefix).ok()
    assert [line.split()[1] for line in result.out.splitlines()] == ["8:8", below]


@requires("mount_setattr")
@OLD
def test_filesystem_that_cannot_is_refused_with_its_place(box: Runtime, bundle: Bundle) -> None:
    number = len(bundle.config["mounts"])
    bundle.mount("/v", "bind", "/sys/kernel", "bind", "idmap")
    bundle.config["mounts"][-1].update(uidMappings=mapping(0, 8), gidMappings=mapping(0, 8))
    box.run(bundle).refused(f"/mounts/{number}", "filesystem")


@OLD
@pytest.mark.parametrize("kind, options", [("tmpfs", ["idmap"]), ("bind", ["bind", "remount", "idmap"])])
def test_only_binds_can_be_idmapped(box: Runtime, bundle: Bundle, kind: str, options: list[str]) -> None:
    number = len(bundle.config["mounts"])
    bundle.mount("/dev/shm", kind, "x", *options)
    bundle.config["mounts"][-1].update(uidMappings=mapping(0, 8), gidMappings=mapping(0, 8))
    box.run(bundle).refused(f"/mounts/{number}")


# ---- tmpcopyup ----


def filled(bundle: Bundle, *options: str) -> Bundle:
    directory = bundle.rootfs / "var"
    (directory / "deep/er").mkdir(parents=True)
    (directory / "deep/er/file").write_text("content")
    (directory / "deep/er/file").chmod(0o640)
    os.chown(directory / "deep/er/file", 5, 6)
    (directory / "link").symlink_to("deep")
    directory.chmod(0o751)
    return bundle.mount("/var", "tmpfs", "tmpfs", "nosuid", "tmpcopyup", *options)


@not_for("crun", reason="the tmpfs keeps a mode of its own")
def test_tmpfs_is_filled_with_what_it_covers(box: Runtime, bundle: Bundle) -> None:
    script = f"{LOOK} /var /var/deep/er/file; cat /var/link/er/file; echo changed >/var/deep/er/file"
    result = box.run(filled(bundle).capabilities("CAP_DAC_OVERRIDE").shell(script)).ok()
    lines = result.out.splitlines()
    assert lines[0] == "/var 0:0 751 directory"
    assert lines[1:] == ["/var/deep/er/file 5:6 640 regular file", "content"]
    assert (bundle.rootfs / "var/deep/er/file").read_text() == "content"


@not_for("runc", reason="it gives it the mode of what it covers")
def test_options_of_the_tmpfs_stay_its_own(box: Runtime, bundle: Bundle) -> None:
    result = box.run(filled(bundle, "mode=700", "ro").shell(f"{LOOK} /var; touch /var/x")).refused("read-only")
    assert result.out == "/var 0:0 700 directory\n"


def test_tmpfs_that_is_too_small_is_an_error(box: Runtime, bundle: Bundle) -> None:
    filled(bundle, "size=64k")
    (bundle.rootfs / "var/large").write_bytes(bytes(200_000))
    box.run(bundle).refused("no space left")


def test_tmpfs_is_filled_in_a_user_namespace(box: Runtime, bundle: Bundle) -> None:
    bundle.user_namespace()
    (bundle.rootfs / "var/file").write_text("content")
    os.chown(bundle.rootfs / "var/file", 100005, 100006)
    bundle.mount("/var", "tmpfs", "tmpfs", "tmpcopyup")
    assert box.run(bundle.shell(f"{LOOK} /var/file; cat /var/file")).ok().out == (
        "/var/file 5:6 644 regular file\ncontent"
    )


def test_without_tmpcopyup_the_tmpfs_is_empty(box: Runtime, bundle: Bundle) -> None:
    (bundle.rootfs / "var/file").write_text("content")
    bundle.mount("/var", "tmpfs", "tmpfs")
    assert box.run(bundle.args("/bin/ls", "/var")).ok().out == ""


@OLD
def test_only_a_tmpfs_can_be_filled(box: Runtime, bundle: Bundle, volume: Any) -> None:
    number = len(bundle.config["mounts"])
    bundle.mount("/v", "bind", volume, "bind", "tmpcopyup")
    box.run(bundle).refused(f"/mounts/{number}/options/1", "tmpfs")
