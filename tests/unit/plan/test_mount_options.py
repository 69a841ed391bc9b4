"""Names of mount options, and what they are sorted into."""

from __future__ import annotations

import pytest

from boxes.apply import operations as op
from boxes.linux import flags as k
from boxes.plan import mounts, options
from boxes.plan.facts import Facts
from boxes.plan.namespaces import Namespaces


def planned(*given: str, kind: str = "bind") -> tuple[list[op.Operation], list[str]]:
    warnings: list[str] = []
    mount = {"destination": "/a", "type": kind, "source": "/x", "options": list(given)}
    config = {"root": {"path": "rootfs"}, "mounts": [mount]}
    facts = Facts(id="a", bundle="/b", rootfs="/b/rootfs", namespaces=Namespaces(config))
    return mounts.mounts(config, facts, warnings), warnings


@pytest.mark.parametrize(
    "given, flags",
    [
        (["sync"], k.MS_SYNCHRONOUS),
        (["sync", "rasync"], 0),
        (["rsync"], k.MS_SYNCHRONOUS),
        (["rdirsync", "rmand"], k.MS_DIRSYNC | k.MS_MANDLOCK),
        (["mand", "rnomand"], 0),
        (["iversion", "silent", "lazytime"], k.MS_I_VERSION | k.MS_SILENT | k.MS_LAZYTIME),
        (["iversion", "silent", "lazytime", "noiversion", "loud", "nolazytime"], 0),
    ],
)
def test_flags_of_a_filesystem(given: list[str], flags: int) -> None:
    found = options.parse(given)
    assert (found.flags, found.superblock, found.data) == (flags, given, [])


@pytest.mark.parametrize("name", ["rlazytime", "riversion", "rbindx", "nosymfollows", "copy-symlinks"])
def test_what_no_table_knows_is_data(name: str) -> None:
    assert options.parse([name]).data == [name]


@pytest.mark.parametrize(
    "given, link, on_link",
    [
        (["bind"], "", False),
        (["bind", "src-nofollow"], "mount", False),
        (["bind", "dest-nofollow"], "", True),
        (["bind", "copy-symlink", "src-nofollow"], "copy", False),
        (["bind", "src-nofollow", "copy-symlink", "dest-nofollow"], "copy", True),
    ],
)
def test_links_of_a_bind(given: list[str], link: str, on_link: bool) -> None:
    [made], _ = planned(*given)
    assert isinstance(made, op.Bind)
    assert (made.source_link, made.on_link) == (link, on_link)


def test_filesystems_flags_on_a_bind_are_warned_of() -> None:
    _, warnings = planned("bind", "sync", "rdirsync", "ro")
    assert warnings == ["/mounts/0/options: a bind cannot change 'sync', 'rdirsync', which the whole filesystem has"]


@pytest.mark.parametrize("kind, given", [("bind", ["bind", "ro"]), ("tmpfs", ["sync"])])
def test_the_rest_is_not_warned_of(kind: str, given: list[str]) -> None:
    assert planned(*given, kind=kind)[1] == []


def test_remount_with_bind_is_of_the_mount_alone() -> None:
    [made], _ = planned("remount", "bind", "ro")
    assert isinstance(made, op.Remount)
    assert made.mount_only
    assert made.attributes.set == k.MOUNT_ATTR_RDONLY


def test_remount_names_all_flags() -> None:
    given = ("remount", "ro", "nosuid", "nodev", "noexec", "noatime", "nodiratime", "nosymfollow", "sync", "size=1")
    [made], _ = planned(*given, kind="tmpfs")
    assert isinstance(made, op.Remount)
    wanted = k.MS_RDONLY | k.MS_NOSUID | k.MS_NODEV | k.MS_NOEXEC | k.MS_NOATIME | k.MS_NODIRATIME
    assert made.flags == wanted | k.MS_NOSYMFOLLOW | k.MS_SYNCHRONOUS
    assert (made.data, made.mount_only) == (("size=1",), False)
