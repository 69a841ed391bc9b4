"""Every name of runtime-spec's table of mount options, by what it does (config.md, "Linux mount options"), and crun's.

`tmpcopyup`, `idmap` and `ridmap` have files of their own.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.bundle import Bundle
from tests.support.host import mount, unmount
from tests.support.marks import not_for, requires
from tests.support.runtime import Runtime

# <sys/mount.h>
FLAGS = {
    "ro": 1,
    "nosuid": 2,
    "nodev": 4,
    "noexec": 8,
    "nosymfollow": 256,
    "noatime": 1024,
    "nodiratime": 2048,
    "relatime": 1 << 21,
    "strictatime": 1 << 24,
}
# What is done to a mount: the option, what the source has, and what is then there and what is not.
OF_A_MOUNT = [
    ("ro", "", "ro", "rw"),
    ("rw", "ro", "rw", "ro"),
    ("nosuid", "", "nosuid", ""),
    ("suid", "nosuid", "", "nosuid"),
    ("nodev", "", "nodev", ""),
    ("dev", "nodev", "", "nodev"),
    ("noexec", "", "noexec", ""),
    ("exec", "noexec", "", "noexec"),
    ("nosymfollow", "", "nosymfollow", ""),
    ("symfollow", "nosymfollow", "", "nosymfollow"),
    ("noatime", "relatime", "noatime", "relatime"),
    ("atime", "noatime", "relatime", "noatime"),
    ("nodiratime", "", "nodiratime", ""),
    ("diratime", "nodiratime", "", "nodiratime"),
    ("relatime", "noatime", "relatime", "noatime"),
    ("norelatime", "noatime", "relatime", "noatime"),
    ("strictatime", "relatime", "", "relatime"),
    ("nostrictatime", "strictatime", "relatime", ""),
]
# Of a filesystem: the options, and what is then there and what is not.
OF_A_FILESYSTEM = [
    (("sync",), "sync", ""),
    (("sync", "async"), "", "sync"),
    (("dirsync",), "dirsync", ""),
    (("lazytime",), "lazytime", ""),
    (("lazytime", "nolazytime"), "", "lazytime"),
    (("mand", "nomand"), "", "mand"),
    (("rsync",), "sync", ""),
    (("sync", "rasync"), "", "sync"),
    (("rdirsync",), "dirsync", ""),
]


@pytest.fixture
def tree(bundle: Bundle) -> Iterator[Path]:
    """A directory of the host; `restricted` mounts a filesystem on it, and one below."""
    place = bundle.host_directory("place")
    yield place
    while os.path.ismount(place):
        unmount(str(place))


def restricted(place: Path, *names: str) -> Path:
    flags = sum(FLAGS[name] for name in names if name)
    mount("tmpfs", str(place), "tmpfs")
    (place / "sub").mkdir()
    mount("tmpfs", str(place / "sub"), "tmpfs", flags)
    mount(None, str(place), None, 32 | 4096 | flags)  # MS_REMOUNT | MS_BIND: only now, as it may be read-only
    return place


@pytest.mark.parametrize("option, before, there, gone", OF_A_MOUNT, ids=[case[0] for case in OF_A_MOUNT])
@not_for("runc", "crun", reason="some of these names are unknown to it, or have only the effect of a remount")
class TestOfAMount:
    def test_on_a_bind(
        self, box: Runtime, bundle: Bundle, tree: Path, option: str, before: str, there: str, gone: str
    ) -> None:
        restricted(tree, before)
        seen = box.probe(bundle.mount("/mnt", "bind", tree, "bind", option)).mounts()["/mnt"].options
        assert {there} - {""} <= seen
        assert gone not in seen

    def test_on_a_new_filesystem(
        self, box: Runtime, bundle: Bundle, tree: Path, option: str, before: str, there: str, gone: str
    ) -> None:
        given = [name for name in (before, option) if name]
        seen = box.probe(bundle.mount("/mnt", "tmpfs", "tmpfs", *given)).mounts()["/mnt"].options
        assert {there} - {""} <= seen
        assert gone not in seen

    def test_with_r_on_all_mounts_below(
        self, box: Runtime, bundle: Bundle, tree: Path, option: str, before: str, there: str, gone: str
    ) -> None:
        restricted(tree, before)
        mounts = box.probe(bundle.mount("/mnt", "bind", tree, "rbind", f"r{option}")).mounts()
        for point in ("/mnt", "/mnt/sub"):
            assert {there} - {""} <= mounts[point].options
            assert gone not in mounts[point].options

    def test_without_r_not_on_mounts_below(
        self, box: Runtime, bundle: Bundle, tree: Path, option: str, before: str, there: str, gone: str
    ) -> None:
        restricted(tree, before)
        mounts = box.probe(bundle.mount("/mnt", "bind", tree, "rbind", option)).mounts()
        assert {before} - {""} - {"strictatime"} <= mounts["/mnt/sub"].options
        assert (there not in mounts["/mnt/sub"].options) or (there in ("", before))

    def test_on_a_remount_of_a_bind(
        self, box: Runtime, bundle: Bundle, tree: Path, option: str, before: str, there: str, gone: str
    ) -> None:
        restricted(tree, before)
        bundle.mount("/mnt", "bind", tree, "bind").mount("/mnt", "none", "none", "remount", "bind", option)
        seen = box.probe(bundle).mounts()["/mnt"].options
        assert {there} - {""} <= seen
        assert gone not in seen


@not_for("runc", "crun", reason="they want a source that is there")
def test_remount_of_a_bind_leaves_the_hosts_filesystem_alone(box: Runtime, bundle: Bundle, tree: Path) -> None:
    mount("tmpfs", str(tree), "tmpfs")
    bundle.mount("/mnt", "bind", tree, "bind").mount("/mnt", "none", "none", "remount", "bind", "ro")
    assert "Read-only" in box.run(bundle.shell("touch /mnt/made; true")).ok().err
    (tree / "host").touch()


@not_for("runc", "crun", reason="what a remount does not name is lost")
def test_remount_of_a_bind_changes_only_what_it_names(box: Runtime, bundle: Bundle, tree: Path) -> None:
    restricted(tree)
    bundle.mount("/mnt", "bind", tree, "bind", "nosuid").mount("/mnt", "", "", "remount", "bind", "nodev", "rprivate")
    assert {"nosuid", "nodev"} <= box.probe(bundle).mounts()["/mnt"].options


@not_for("crun", reason="it changes the mount alone")
def test_remount_changes_a_filesystem(box: Runtime, bundle: Bundle) -> None:
    bundle.mount("/mnt", "tmpfs", "tmpfs", "size=64k").mount(
        "/mnt", "tmpfs", "tmpfs", "remount", "size=128k", "sync", "nodiratime"
    )
    seen = box.probe(bundle).mounts()["/mnt"]
    assert {"size=128k", "sync"} <= seen.super_options
    assert "nodiratime" in seen.options


@pytest.mark.parametrize("options, there, gone", OF_A_FILESYSTEM, ids=["-".join(case[0]) for case in OF_A_FILESYSTEM])
@not_for("runc", "crun", reason="some of these names are unknown to it")
class TestOfAFilesystem:
    def test_is_set(self, box: Runtime, bundle: Bundle, options: tuple[str, ...], there: str, gone: str) -> None:
        seen = box.probe(bundle.mount("/mnt", "tmpfs", "tmpfs", *options)).mounts()["/mnt"].super_options
        assert {there} - {""} <= seen
        assert gone not in seen

    def test_does_not_change_what_is_bound(
        self, box: Runtime, bundle: Bundle, tree: Path, options: tuple[str, ...], there: str, gone: str
    ) -> None:
        """It is the host's. Nor is the option passed over: there is a warning."""
        mount("tmpfs", str(tree), "tmpfs")
        result = box.run(bundle.mount("/mnt", "bind", tree, "bind", *options).args("/bin/probe"))
        assert not {"sync", "dirsync", "lazytime", "mand"} & result.report().mounts()["/mnt"].super_options
        assert "cannot change " + ", ".join(f"'{option}'" for option in options) in result.err


# `iversion` has had no effect that can be seen since Linux 6.1: filesystems that can, do. That these are not taken
# for options of the filesystem shows in that tmpfs accepts them.
@pytest.mark.parametrize("option", ["iversion", "noiversion", "silent", "loud", "mand", "nomand", "rmand", "rnomand"])
@not_for("crun", reason="it hands some of these on to the filesystem")
@not_for("runc", reason="it hands some of these on to the filesystem")
def test_flag_of_the_call_is_none_of_the_filesystems(box: Runtime, bundle: Bundle, option: str) -> None:
    seen = box.probe(bundle.mount("/mnt", "tmpfs", "tmpfs", "nosuid", "nosymfollow", "size=64k", option)).mounts()[
        "/mnt"
    ]
    assert {"nosuid", "nosymfollow"} <= seen.options
    assert "size=64k" in seen.super_options


def test_what_no_table_knows_is_the_filesystems(box: Runtime, bundle: Bundle) -> None:
    """What the one above is measured by."""
    box.run(bundle.mount("/mnt", "tmpfs", "tmpfs", "iversions")).refused()


@not_for("runc", reason="it hands this on to the filesystem")
def test_defaults_are_those_of_the_kernel(box: Runtime, bundle: Bundle) -> None:
    seen = box.probe(bundle.mount("/mnt", "tmpfs", "tmpfs", "defaults")).mounts()["/mnt"]
    assert seen.options == {"rw", "relatime"}


@requires("loop devices")
class TestOfABlockDevice:
    @pytest.fixture
    def device(self, bundle: Bundle) -> Iterator[str]:
        """A loop device of 4 MiB, with nothing on it."""
        image = bundle.path / "image"
        with open(image, "wb") as file:
            file.truncate(4 << 20)
        found = subprocess.run(["losetup", "-f", "--show", image], capture_output=True, text=True, check=True)
        yield found.stdout.strip()
        subprocess.run(["blockdev", "--setrw", found.stdout.strip()], check=True)
        subprocess.run(["losetup", "-d", found.stdout.strip()], check=True)

    @not_for("crun", reason="it hands this on to the filesystem")
    @pytest.mark.parametrize("option", ["silent", "loud"])
    def test_silent_keeps_the_kernel_from_saying_why(
        self, box: Runtime, bundle: Bundle, device: str, option: str
    ) -> None:
        log = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
        os.lseek(log, 0, os.SEEK_END)
        try:
            box.run(bundle.mount("/mnt", "ext4", device, option)).refused()
            told = ""
            while True:
                try:
                    told += os.read(log, 8192).decode()
                except BlockingIOError:
                    break
        finally:
            os.close(log)
        name = device.removeprefix("/dev/")
        assert (f"({name}): VFS: Can't find ext4 filesystem" in told) is (option == "loud")

    def test_its_filesystem_is_mounted_with_its_data(self, box: Runtime, bundle: Bundle, device: str) -> None:
        subprocess.run(["mkfs.ext4", "-q", device], check=True)
        bundle.mount("/mnt", "ext4", device, "data=journal", "noexec", "nodelalloc")
        seen = box.probe(bundle).mounts()["/mnt"]
        assert (seen.kind, seen.source) == ("ext4", device)
        assert "noexec" in seen.options
        assert {"data=journal", "nodelalloc"} <= seen.super_options

    @not_for("crun", reason="its mounts are under the rules already")
    def test_its_filesystem_is_mounted_though_the_container_may_not_have_it(
        self, box: Runtime, bundle: Bundle, device: str
    ) -> None:
        subprocess.run(["mkfs.ext4", "-q", device], check=True)
        bundle.linux["resources"] = {"devices": [{"allow": False, "access": "rwm"}]}
        script = f"ls /mnt; mknod /tmp/node b 7 {device.removeprefix('/dev/loop')}; cat /tmp/node"
        result = box.run(bundle.capabilities("CAP_MKNOD").mount("/mnt", "ext4", device, "ro").shell(script))
        assert result.out == "lost+found\n"
        assert "Operation not permitted" in result.err

    @not_for("crun", reason="it makes the mount alone read-only")
    def test_read_only_is_for_its_filesystem_too(self, box: Runtime, bundle: Bundle, device: str) -> None:
        subprocess.run(["mkfs.ext4", "-q", device], check=True)
        subprocess.run(["blockdev", "--setro", device], check=True)
        seen = box.probe(bundle.mount("/mnt", "ext4", device, "ro")).mounts()["/mnt"]
        assert "ro" in seen.options
        assert "ro" in seen.super_options


# ---- crun's options for links ----


@not_for("runc", "crun", reason="the distribution's version does not know it")
class TestLinks:
    @pytest.fixture
    def link(self, bundle: Bundle) -> Path:
        """A link of the host's to a file, by a relative path that leads nowhere in the container."""
        directory = bundle.host_directory(file="content")
        (directory / "link").symlink_to("file")
        return directory / "link"

    @pytest.mark.parametrize("user", [False, True], ids=["root", "user namespace"])
    def test_copied_link_is_made_in_the_container(self, box: Runtime, bundle: Bundle, link: Path, user: bool) -> None:
        if user:
            bundle.user_namespace()
        bundle.mount("/opt/deep/link", "bind", link, "bind", "copy-symlink")
        seen = box.run(bundle.shell("readlink /opt/deep/link; grep -c /opt/deep /proc/self/mountinfo; true")).ok()
        assert seen.out == "file\n0\n"
        assert os.readlink(bundle.rootfs / "opt/deep/link") == "file"

    def test_copied_link_that_is_there_already_is_fine(self, box: Runtime, bundle: Bundle, link: Path) -> None:
        (bundle.rootfs / "mnt/link").symlink_to("file")
        bundle.mount("/mnt/link", "bind", link, "bind", "copy-symlink")
        assert box.run(bundle.args("/bin/readlink", "/mnt/link")).ok().out == "file\n"

    @pytest.mark.parametrize("other", ["link", "file", "directory"])
    def test_copied_link_replaces_nothing_else(self, box: Runtime, bundle: Bundle, link: Path, other: str) -> None:
        place = bundle.rootfs / "mnt/link"
        if other == "link":
            place.symlink_to("/etc")
        elif other == "file":
            place.write_text("x")
        else:
            place.mkdir()
        number = len(bundle.config["mounts"])
        result = box.run(bundle.mount("/mnt/link", "bind", link, "bind", "copy-symlink"))
        result.refused(f"/mounts/{number}", "no link to 'file'")

    def test_copied_link_stays_below_the_root(self, box: Runtime, bundle: Bundle, link: Path) -> None:
        """The way to it leads through a link of the image's, which an image can point anywhere."""
        outside = bundle.host_directory("target")
        (bundle.rootfs / "mnt/way").symlink_to(f"../../../../../../../..{outside}")
        box.run(bundle.mount("/mnt/way/link", "bind", link, "bind", "copy-symlink"))
        assert list(outside.iterdir()) == []

    def test_source_that_is_no_link_is_bound(self, box: Runtime, bundle: Bundle, link: Path) -> None:
        bundle.mount("/mnt/file", "bind", link.parent / "file", "bind", "copy-symlink")
        assert box.run(bundle.args("/bin/cat", "/mnt/file")).ok().out == "content"

    @pytest.mark.parametrize("user", [False, True], ids=["root", "user namespace"])
    def test_source_that_is_not_followed_is_mounted_as_a_link(
        self, box: Runtime, bundle: Bundle, link: Path, user: bool
    ) -> None:
        if user:
            bundle.user_namespace()
        bundle.mount("/mnt/link", "bind", link, "bind", "src-nofollow")
        seen = box.run(bundle.shell("readlink /mnt/link; grep -c ' /mnt/link ' /proc/self/mountinfo")).ok()
        assert seen.out == "file\n1\n"

    def test_source_that_is_no_link_is_bound_without_following_too(
        self, box: Runtime, bundle: Bundle, link: Path
    ) -> None:
        bundle.mount("/mnt", "bind", link.parent, "bind", "src-nofollow")
        assert box.run(bundle.args("/bin/cat", "/mnt/file")).ok().out == "content"

    def test_destination_that_is_not_followed_is_covered(self, box: Runtime, bundle: Bundle, link: Path) -> None:
        (bundle.rootfs / "mnt/there").symlink_to("/etc/passwd")
        bundle.mount("/mnt/there", "bind", link.parent / "file", "bind", "dest-nofollow")
        seen = box.run(bundle.shell("cat /mnt/there; cat /etc/passwd | grep -c content; readlink /mnt/there"))
        assert seen.out == "content0\n"
        assert os.readlink(bundle.rootfs / "mnt/there") == "/etc/passwd"

    def test_link_on_a_link(self, box: Runtime, bundle: Bundle, link: Path) -> None:
        (bundle.rootfs / "mnt/there").symlink_to("/etc/passwd")
        bundle.mount("/mnt/there", "bind", link, "bind", "src-nofollow", "dest-nofollow")
        assert box.run(bundle.args("/bin/readlink", "/mnt/there")).ok().out == "file\n"

    def test_destination_that_dangles_is_covered(self, box: Runtime, bundle: Bundle, link: Path) -> None:
        (bundle.rootfs / "mnt/there").symlink_to("/nowhere")
        bundle.mount("/mnt/there", "bind", link, "bind", "dest-nofollow")
        assert box.run(bundle.args("/bin/cat", "/mnt/there")).ok().out == "content"

    def test_destination_that_is_missing_is_made(self, box: Runtime, bundle: Bundle, link: Path) -> None:
        bundle.mount("/mnt/new/dir", "bind", link.parent, "bind", "dest-nofollow")
        bundle.mount("/mnt/new/file", "bind", link, "bind", "dest-nofollow")
        assert box.run(bundle.args("/bin/cat", "/mnt/new/dir/file", "/mnt/new/file")).ok().out == "contentcontent"

    def test_directory_on_a_link_is_refused(self, box: Runtime, bundle: Bundle, link: Path) -> None:
        (bundle.rootfs / "mnt/there").symlink_to("/etc")
        number = len(bundle.config["mounts"])
        result = box.run(bundle.mount("/mnt/there", "bind", link.parent, "bind", "dest-nofollow"))
        result.refused(f"/mounts/{number}", "is no directory")

    def test_link_of_procfs_is_not_covered(self, box: Runtime, bundle: Bundle, link: Path) -> None:
        (bundle.rootfs / "mnt/way").symlink_to("/proc")
        result = box.run(bundle.mount("/mnt/way/self", "bind", link, "bind", "src-nofollow", "dest-nofollow"))
        result.refused("/proc")

    @pytest.mark.parametrize("option", ["copy-symlink", "src-nofollow", "dest-nofollow"])
    def test_is_for_binds_only(self, box: Runtime, bundle: Bundle, option: str) -> None:
        number = len(bundle.config["mounts"])
        box.run(bundle.mount("/v", "tmpfs", "tmpfs", "ro", option)).refused(f"/mounts/{number}/options/1", "bound")


def test_every_option_of_the_specification_has_its_test_here() -> None:
    """But `bind`, `rbind` and propagation, which are test_mounts.py's, and `tmpcopyup`, `idmap` and `ridmap`."""
    listed = (
        "async atime defaults dev diratime dirsync exec iversion lazytime loud mand noatime nodev nodiratime noexec "
        "noiversion nolazytime nomand norelatime nostrictatime nosuid nosymfollow ratime rdev rdiratime relatime "
        "remount rexec rnoatime rnodiratime rnoexec rnorelatime rnostrictatime rnosuid rnosymfollow ro rrelatime rro "
        "rrw rstrictatime rsuid rsymfollow rw silent strictatime suid symfollow sync"
    )
    mounts = {case[0] for case in OF_A_MOUNT}
    filesystems = {option for case in OF_A_FILESYSTEM for option in case[0]}
    calls = {"iversion", "noiversion", "silent", "loud", "mand", "nomand"}
    tested = mounts | {f"r{name}" for name in mounts} | filesystems | calls | {"remount", "defaults"}
    assert set(listed.split()) - tested == set()
