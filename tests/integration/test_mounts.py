"""`mounts`: types, options, destinations and propagation (runtime-spec, config.md#mounts, config-linux.md)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.bundle import Bundle
from tests.support.host import mount, unmount
from tests.support.marks import not_for, requires
from tests.support.runtime import Runtime

MS_SHARED = 1 << 20
ACCESS_TIME = {"relatime", "noatime", "strictatime", "nodiratime"}


@pytest.mark.parametrize(
    "option, expected",
    [
        ("ro", {"ro"}),
        ("rw", {"rw"}),
        ("nosuid", {"nosuid"}),
        ("nodev", {"nodev"}),
        ("noexec", {"noexec"}),
        ("noatime", {"noatime"}),
        ("nodiratime", {"nodiratime"}),
        ("relatime", {"relatime"}),
        pytest.param(
            "defaults", {"rw"}, marks=not_for("runc", reason="it hands this on to the filesystem, which refuses it")
        ),
    ],
)
def test_option_is_an_attribute_of_the_mount(box: Runtime, bundle: Bundle, option: str, expected: set[str]) -> None:
    seen = box.probe(bundle.mount("/mnt", "tmpfs", "tmpfs", option)).mounts()["/mnt"]
    assert expected <= seen.options
    assert seen.options <= expected | {"rw", "relatime"}


@pytest.mark.parametrize(
    "options, absent",
    [
        (("nosuid", "suid"), "nosuid"),
        (("nodev", "dev"), "nodev"),
        (("noexec", "exec"), "noexec"),
        (("ro", "rw"), "ro"),
        (("noatime", "atime"), "noatime"),
        (("nodiratime", "diratime"), "nodiratime"),
        (("relatime", "strictatime"), "relatime"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, tuple) else value,
)
def test_later_option_clears_an_earlier_one(
    box: Runtime, bundle: Bundle, options: tuple[str, ...], absent: str
) -> None:
    seen = box.probe(bundle.mount("/mnt", "tmpfs", "tmpfs", *options)).mounts()["/mnt"]
    assert absent not in seen.options


@pytest.mark.parametrize("option", ["sync", "dirsync"])
def test_option_of_the_filesystem_is_set_there(box: Runtime, bundle: Bundle, option: str) -> None:
    assert option in box.probe(bundle.mount("/mnt", "tmpfs", "tmpfs", option)).mounts()["/mnt"].super_options


@pytest.mark.parametrize("option", ["async", "nomand", "norelatime", "nostrictatime", "suid", "dev", "exec", "atime"])
def test_option_that_is_the_default_changes_nothing(box: Runtime, bundle: Bundle, option: str) -> None:
    seen = box.probe(bundle.mount("/mnt", "tmpfs", "tmpfs", option)).mounts()["/mnt"]
    assert seen.options - ACCESS_TIME == {"rw"}
    assert not {"sync", "mand"} & seen.super_options


def test_other_options_go_to_the_filesystem(box: Runtime, bundle: Bundle) -> None:
    bundle.mount("/opt", "tmpfs", "tmpfs", "size=64k", "mode=1710", "uid=5", "gid=6").args(
        "/bin/stat", "-c", "%a %u %g", "/opt"
    )
    assert box.run(bundle).ok().out == "1710 5 6\n"
    assert "size=64k" in box.probe(bundle).mounts()["/opt"].super_options


def test_unknown_option_of_a_filesystem_is_refused(box: Runtime, bundle: Bundle) -> None:
    bundle.mount("/mnt", "tmpfs", "tmpfs", "nosuchoption=1")
    box.run(bundle).refused()


def test_unknown_type_is_refused(box: Runtime, bundle: Bundle) -> None:
    box.run(bundle.mount("/mnt", "nosuchfs", "none")).refused("no such device")


@pytest.mark.parametrize(
    "destination, kind",
    [("/proc", "proc"), ("/sys", "sysfs"), ("/dev", "tmpfs"), ("/dev/pts", "devpts"), ("/dev/shm", "tmpfs")],
)
def test_usual_mounts_have_their_type(box: Runtime, bundle: Bundle, destination: str, kind: str) -> None:
    assert box.probe(bundle).mounts()[destination].kind == kind


def test_mqueue_is_of_the_containers_ipc_namespace(box: Runtime, bundle: Bundle) -> None:
    bundle.mount("/dev/mqueue", "mqueue", "mqueue", "nosuid", "noexec", "nodev").shell(
        "touch /dev/mqueue/q; ls /dev/mqueue"
    )
    assert box.run(bundle).ok().out == "q\n"


def test_source_is_shown_in_mountinfo(box: Runtime, bundle: Bundle) -> None:
    assert box.probe(bundle.mount("/mnt", "tmpfs", "my-source")).mounts()["/mnt"].source == "my-source"


def test_proc_is_of_the_containers_pid_namespace(box: Runtime, bundle: Bundle) -> None:
    assert box.run(bundle.args("/bin/ls", "-d", "/proc/1", "/proc/self")).ok().out == "/proc/1\n/proc/self\n"
    assert box.run(bundle.shell("echo /proc/[0-9]*")).ok().out == "/proc/1\n"


def test_mounts_are_made_in_order(box: Runtime, bundle: Bundle) -> None:
    outside = bundle.host_directory(file="seen")
    bundle.mount("/mnt", "tmpfs", "first").mount("/mnt/inner", "bind", outside, "bind").mount("/mnt", "tmpfs", "cover")
    assert box.run(bundle.args("/bin/ls", "-A", "/mnt")).ok().out == ""


def test_mount_on_the_same_place_covers_the_earlier(box: Runtime, bundle: Bundle) -> None:
    bundle.mount("/mnt", "tmpfs", "lower").mount("/mnt", "tmpfs", "upper")
    assert box.probe(bundle).mounts()["/mnt"].source == "upper"


class TestBind:
    def test_directory_is_the_hosts(self, box: Runtime, bundle: Bundle) -> None:
        outside = bundle.host_directory(file="content")
        bundle.mount("/mnt", "bind", outside, "bind").shell("cat /mnt/file; echo new > /mnt/made")
        assert box.run(bundle).ok().out == "content"
        assert (outside / "made").read_text() == "new\n"

    @pytest.mark.parametrize("kind", ["bind", "none", ""])
    @pytest.mark.parametrize("option", ["bind", "rbind"])
    def test_is_recognised_by_its_option(self, box: Runtime, bundle: Bundle, kind: str, option: str) -> None:
        bundle.mount("/mnt", kind, bundle.host_directory(file="content"), option)
        assert box.run(bundle.args("/bin/cat", "/mnt/file")).ok().out == "content"

    def test_without_a_type_is_recognised(self, box: Runtime, bundle: Bundle) -> None:
        bundle.config["mounts"].append(
            {"destination": "/mnt", "source": str(bundle.host_directory(file="content")), "options": ["bind"]}
        )
        assert box.run(bundle.args("/bin/cat", "/mnt/file")).ok().out == "content"

    def test_read_only(self, box: Runtime, bundle: Bundle) -> None:
        outside = bundle.host_directory(file="content")
        bundle.mount("/mnt", "bind", outside, "bind", "ro").args("/bin/probe", "--open", "/mnt/file")
        assert box.run(bundle).ok().out == "Read-only file system\n"

    @pytest.mark.parametrize("option", ["nosuid", "nodev", "noexec", "noatime"])
    def test_attribute_is_set(self, box: Runtime, bundle: Bundle, option: str) -> None:
        bundle.mount("/mnt", "bind", bundle.host_directory(), "bind", option)
        assert option in box.probe(bundle).mounts()["/mnt"].options

    def test_noexec_holds(self, box: Runtime, bundle: Bundle) -> None:
        outside = bundle.host_directory(tool="#!/bin/sh\n")
        (outside / "tool").chmod(0o755)
        result = box.run(bundle.mount("/mnt", "bind", outside, "bind", "noexec").shell("/mnt/tool"))
        assert result.code == 126
        assert "Permission denied" in result.err

    def test_file(self, box: Runtime, bundle: Bundle) -> None:
        file = bundle.host_directory(file="content") / "file"
        assert (
            box.run(bundle.mount("/etc/passwd", "bind", file, "bind", "ro").args("/bin/cat", "/etc/passwd")).ok().out
            == "content"
        )

    def test_file_on_a_missing_destination_makes_an_empty_file(self, box: Runtime, bundle: Bundle) -> None:
        file = bundle.host_directory(file="content") / "file"
        assert (
            box.run(bundle.mount("/opt/deep/file", "bind", file, "bind").args("/bin/cat", "/opt/deep/file")).ok().out
            == "content"
        )
        assert (bundle.rootfs / "opt/deep/file").read_bytes() == b""

    def test_relative_source_is_taken_from_the_bundle(self, box: Runtime, bundle: Bundle) -> None:
        bundle.host_directory(file="content")
        assert (
            box.run(bundle.mount("/mnt", "bind", "outside", "bind").args("/bin/cat", "/mnt/file")).ok().out == "content"
        )

    def test_missing_source_is_refused_and_named(self, box: Runtime, bundle: Bundle) -> None:
        box.run(bundle.mount("/mnt", "bind", "/no/such/source", "bind")).refused(
            "/no/such/source", "no such file or directory"
        )

    def test_socket_device_and_fifo(self, box: Runtime, bundle: Bundle) -> None:
        os.mkfifo(bundle.host_directory() / "fifo")
        bundle.mount("/tmp/fifo", "bind", bundle.path / "outside/fifo", "bind").mount(
            "/tmp/null", "bind", "/dev/null", "bind"
        )
        assert (
            box.run(bundle.args("/bin/stat", "-c", "%F", "/tmp/fifo", "/tmp/null")).ok().out
            == "fifo\ncharacter special file\n"
        )

    def test_symlink_source_is_followed(self, box: Runtime, bundle: Bundle) -> None:
        bundle.host_directory(file="content")
        (bundle.path / "link").symlink_to("outside")
        assert (
            box.run(bundle.mount("/mnt", "bind", bundle.path / "link", "bind").args("/bin/cat", "/mnt/file")).ok().out
            == "content"
        )

    def test_without_recursion_shows_no_mounts_below(self, box: Runtime, bundle: Bundle, tree: Path) -> None:
        assert box.run(bundle.mount("/mnt", "bind", tree, "bind").args("/bin/ls", "/mnt/sub")).ok().out == ""

    def test_with_recursion_shows_mounts_below(self, box: Runtime, bundle: Bundle, tree: Path) -> None:
        assert box.run(bundle.mount("/mnt", "bind", tree, "rbind").args("/bin/ls", "/mnt/sub")).ok().out == "inner\n"

    def test_read_only_with_recursion_leaves_mounts_below_writable(
        self, box: Runtime, bundle: Bundle, tree: Path
    ) -> None:
        mounts = box.probe(bundle.mount("/mnt", "bind", tree, "rbind", "ro")).mounts()
        assert "ro" in mounts["/mnt"].options
        assert "rw" in mounts["/mnt/sub"].options

    def test_recursive_read_only_reaches_mounts_below(self, box: Runtime, bundle: Bundle, tree: Path) -> None:
        mounts = box.probe(bundle.mount("/mnt", "bind", tree, "rbind", "rro")).mounts()
        assert "ro" in mounts["/mnt"].options
        assert "ro" in mounts["/mnt/sub"].options

    def test_of_a_restricted_mount_keeps_its_restrictions(self, box: Runtime, bundle: Bundle) -> None:
        place = bundle.host_directory("restricted")
        mount("tmpfs", str(place), "tmpfs", 2 | 4)  # MS_NOSUID | MS_NODEV
        try:
            assert {"nosuid", "nodev"} <= box.probe(bundle.mount("/mnt", "bind", place, "bind")).mounts()[
                "/mnt"
            ].options
        finally:
            unmount(str(place))


@pytest.fixture
def tree(bundle: Bundle) -> Iterator[Path]:
    """A host directory with a mount at `sub`, which holds `inner`."""
    outside = bundle.host_directory("tree")
    (outside / "sub").mkdir()
    mount("tmpfs", str(outside / "sub"), "tmpfs")
    (outside / "sub/inner").touch()
    yield outside
    unmount(str(outside / "sub"))


class TestDestination:
    def test_that_is_missing_is_made(self, box: Runtime, bundle: Bundle) -> None:
        box.run(bundle.mount("/opt/a/b/c", "tmpfs", "tmpfs")).ok()
        assert (bundle.rootfs / "opt/a/b/c").is_dir()
        assert (bundle.rootfs / "opt/a").stat().st_mode & 0o777 == 0o755

    def test_through_a_relative_symlink_is_followed(self, box: Runtime, bundle: Bundle) -> None:
        (bundle.rootfs / "var/run").symlink_to("../run")
        assert "/run/x" in box.probe(bundle.mount("/var/run/x", "tmpfs", "tmpfs")).mounts()

    def test_through_an_absolute_symlink_stays_inside(self, box: Runtime, bundle: Bundle) -> None:
        (bundle.rootfs / "var/run").symlink_to("/run")
        assert "/run/x" in box.probe(bundle.mount("/var/run/x", "tmpfs", "tmpfs")).mounts()
        assert not Path("/run/x").exists()

    def test_through_a_symlink_to_a_host_directory_stays_inside(self, box: Runtime, bundle: Bundle) -> None:
        outside = bundle.host_directory()
        (bundle.rootfs / "mnt/link").symlink_to(outside)
        result = box.run(bundle.mount("/mnt/link/made", "tmpfs", "tmpfs"))
        assert result.code in (0, 1)
        assert list(outside.iterdir()) == []

    def test_through_a_climbing_symlink_stays_inside(self, box: Runtime, bundle: Bundle) -> None:
        (bundle.rootfs / "mnt/link").symlink_to("../../../../../../tmp")
        assert "/tmp/made" in box.probe(bundle.mount("/mnt/link/made", "tmpfs", "tmpfs")).mounts()

    def test_with_dots_stays_inside(self, box: Runtime, bundle: Bundle) -> None:
        assert "/tmp" in box.probe(bundle.mount("/../../mnt/../tmp", "tmpfs", "tmpfs")).mounts()

    def test_that_is_a_file_for_a_directory_is_refused(self, box: Runtime, bundle: Bundle) -> None:
        box.run(bundle.mount("/etc/passwd", "tmpfs", "tmpfs")).refused("not a directory")

    def test_that_is_a_directory_for_a_file_is_refused(self, box: Runtime, bundle: Bundle) -> None:
        file = bundle.host_directory(file="x") / "file"
        result = box.run(bundle.mount("/etc", "bind", file, "bind"))
        assert result.code == 1
        assert "not a directory" in result.err.lower() or "is a directory" in result.err.lower()

    def test_with_a_trailing_slash_works(self, box: Runtime, bundle: Bundle) -> None:
        assert "/mnt" in box.probe(bundle.mount("/mnt/", "tmpfs", "tmpfs")).mounts()

    def test_with_blanks_works(self, box: Runtime, bundle: Bundle) -> None:
        assert "/mnt/a\\040b" in box.probe(bundle.mount("/mnt/a b", "tmpfs", "tmpfs")).mounts()


@requires("overlay")
class TestOverlay:
    def layers(self, bundle: Bundle) -> list[str]:
        for name in ("lower1", "lower2", "upper", "work"):
            bundle.host_directory(name, **({name: name} if name.startswith("lower") else {}))
        path = bundle.path
        return [f"lowerdir={path}/lower1:{path}/lower2", f"upperdir={path}/upper", f"workdir={path}/work"]

    def test_shows_all_layers_and_writes_to_the_upper(self, box: Runtime, bundle: Bundle) -> None:
        bundle.mount("/mnt", "overlay", "overlay", *self.layers(bundle)).shell("ls /mnt; echo x > /mnt/made")
        assert box.run(bundle).ok().out == "lower1\nlower2\n"
        assert (bundle.path / "upper/made").read_text() == "x\n"

    def test_options_longer_than_fsconfig_takes_work(self, box: Runtime, bundle: Bundle) -> None:
        layers = [bundle.host_directory("l" + "x" * 100 + str(number), **{f"f{number}": ""}) for number in range(6)]
        bundle.mount("/mnt", "overlay", "overlay", "lowerdir=" + ":".join(map(str, layers))).args("/bin/ls", "/mnt")
        assert box.run(bundle).ok().out.split() == ["f0", "f1", "f2", "f3", "f4", "f5"]


class TestCgroupMount:
    def mounts(self, box: Runtime, bundle: Bundle, *options: str) -> dict[str, set[str]]:
        bundle.mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid", "noexec", "nodev", "relatime", *options)
        found = box.probe(bundle).mounts()
        return {point: mount.options for point, mount in found.items() if point.startswith("/sys/fs/cgroup/")}

    @requires("cgroup1")
    @pytest.mark.parametrize("namespaces", [(), ("cgroup",)], ids=["shared", "own"])
    def test_shows_each_hierarchy_read_only(self, box: Runtime, bundle: Bundle, namespaces: tuple[str, ...]) -> None:
        for kind in namespaces:
            bundle.namespace(kind)
        mounts = self.mounts(box, bundle, "ro")
        assert {"/sys/fs/cgroup/memory", "/sys/fs/cgroup/pids", "/sys/fs/cgroup/devices"} <= set(mounts)
        assert all("ro" in options for options in mounts.values())

    @requires("cgroup1")
    def test_is_rooted_at_the_containers_cgroup(self, box: Runtime, bundle: Bundle) -> None:
        self.mounts(box, bundle, "ro")
        assert box.run(bundle.args("/bin/cat", "/sys/fs/cgroup/memory/cgroup.procs")).ok().out == "1\n"

    @requires("cgroup1")
    def test_in_an_own_cgroup_namespace_is_its_root(self, box: Runtime, bundle: Bundle) -> None:
        self.mounts(box, bundle.namespace("cgroup"), "ro")
        assert box.run(bundle.args("/bin/cat", "/sys/fs/cgroup/pids/cgroup.procs")).ok().out == "1\n"
        assert "memory:/\n" in box.probe(bundle)["cgroup"]


class TestPropagation:
    @pytest.mark.parametrize(
        "option, tagged",
        [
            ("private", []),
            ("rprivate", []),
            ("shared", ["shared"]),
            ("rshared", ["shared"]),
            ("unbindable", ["unbindable"]),
            ("runbindable", ["unbindable"]),
        ],
    )
    def test_of_a_mount_is_the_configured_one(
        self, box: Runtime, bundle: Bundle, option: str, tagged: list[str]
    ) -> None:
        seen = box.probe(bundle.mount("/mnt", "bind", bundle.host_directory(), "bind", option)).mounts()["/mnt"]
        assert [tag.split(":")[0] for tag in seen.tags if not tag.startswith("propagate_from")] == tagged

    @pytest.mark.parametrize("option", ["slave", "rslave"])
    def test_slave_mount_receives_from_the_host(self, box: Runtime, bundle: Bundle, option: str) -> None:
        place = self.shared(bundle)
        try:
            bundle.linux["rootfsPropagation"] = "rslave"
            container = box.running_shell(bundle.mount("/mnt", "bind", place, "rbind", option))
            (place / "late").mkdir()
            mount("tmpfs", str(place / "late"), "tmpfs")
            (place / "late/inner").touch()
            assert container.exec("/bin/ls", "/mnt/late").ok().out == "inner\n"
            unmount(str(place / "late"))
            container.delete("--force").ok()
        finally:
            unmount(str(place))

    def test_private_mount_receives_nothing(self, box: Runtime, bundle: Bundle) -> None:
        place = self.shared(bundle)
        try:
            container = box.running_shell(bundle.mount("/mnt", "bind", place, "rbind", "rprivate"))
            (place / "late").mkdir()
            mount("tmpfs", str(place / "late"), "tmpfs")
            (place / "late/inner").touch()
            assert container.exec("/bin/ls", "/mnt/late").ok().out == ""
            unmount(str(place / "late"))
            container.delete("--force").ok()
        finally:
            unmount(str(place))

    def shared(self, bundle: Bundle) -> Path:
        place = bundle.host_directory("shared")
        mount("tmpfs", str(place), "tmpfs")
        mount(None, str(place), None, MS_SHARED)
        return place

    @pytest.mark.parametrize(
        "value, tagged",
        [
            ("private", []),
            ("rprivate", []),
            ("shared", ["shared"]),
            ("rshared", ["shared"]),
            ("unbindable", ["unbindable"]),
        ],
    )
    @not_for("runc", "crun", reason="they set that of the runtime's root, before they bind the container's")
    def test_of_the_root_is_the_configured_one(
        self, box: Runtime, bundle: Bundle, value: str, tagged: list[str]
    ) -> None:
        bundle.linux["rootfsPropagation"] = value
        tags = box.probe(bundle).mounts()["/"].tags
        assert [tag.split(":")[0] for tag in tags if tag.split(":")[0] in ("shared", "unbindable")] == tagged

    @pytest.mark.parametrize("value", [None, "slave", "rslave", "private"])
    def test_of_the_root_never_sends_mounts_to_the_host(self, box: Runtime, bundle: Bundle, value: str | None) -> None:
        if value is not None:
            bundle.linux["rootfsPropagation"] = value
        mount(str(bundle.path), str(bundle.path), None, 4096)
        mount(None, str(bundle.path), None, MS_SHARED)
        try:
            bundle.capabilities("CAP_SYS_ADMIN").shell("mount -t tmpfs tmpfs /mnt && touch /mnt/inner && ls /mnt")
            assert box.run(bundle).ok().out == "inner\n"
            assert list((bundle.rootfs / "mnt").iterdir()) == []
        finally:
            unmount(str(bundle.path))


class TestRoot:
    def test_readonly_root(self, box: Runtime, bundle: Bundle) -> None:
        bundle.config["root"]["readonly"] = True
        bundle.shell("/bin/probe --open /etc/passwd; mkdir /made; echo x > /dev/shm/y && echo shm")
        result = box.run(bundle).ok()
        assert result.out == "Read-only file system\nshm\n"
        assert "Read-only file system" in result.err

    def test_readonly_root_still_has_its_mounts_and_devices(self, box: Runtime, bundle: Bundle) -> None:
        bundle.config["root"]["readonly"] = True
        seen = box.probe(bundle.mount("/opt/new", "tmpfs", "tmpfs"))
        assert {"/", "/proc", "/dev", "/opt/new"} <= set(seen.mounts())
        assert "ro" in seen.mounts()["/"].options

    def test_root_is_writable_by_default(self, box: Runtime, bundle: Bundle) -> None:
        box.run(bundle.shell("echo x > /tmp/made")).ok()
        assert (bundle.rootfs / "tmp/made").read_text() == "x\n"

    def test_path_may_be_absolute(self, box: Runtime, bundle: Bundle) -> None:
        bundle.rootfs.rename(bundle.path / "elsewhere")
        bundle.config["root"]["path"] = str(bundle.path / "elsewhere")
        assert box.run(bundle.args("/bin/echo", "ran")).ok().out == "ran\n"

    def test_host_is_not_reachable(self, box: Runtime, bundle: Bundle) -> None:
        points = set(box.probe(bundle).mounts())
        assert points == {"/", "/proc", "/dev", "/dev/pts", "/dev/shm", "/sys"}

    def test_dot_dot_of_the_root_is_the_root(self, box: Runtime, bundle: Bundle) -> None:
        root, above = box.run(bundle.args("/bin/stat", "-c", "%d:%i", "/", "/../..")).ok().out.split()
        assert root == above

    def test_without_pivot_root_the_container_works(self, box: Runtime, bundle: Bundle) -> None:
        assert box.run(bundle.args("/bin/ls", "/"), "--no-pivot").ok().out.split() == sorted(
            path.name for path in bundle.rootfs.iterdir()
        )

    def test_that_is_missing_is_refused_and_named(self, box: Runtime, bundle: Bundle) -> None:
        bundle.config["root"]["path"] = "missing"
        box.run(bundle).refused("missing")

    def test_that_is_a_file_is_refused(self, box: Runtime, bundle: Bundle) -> None:
        bundle.config["root"]["path"] = "config.json"
        box.run(bundle).refused("not a directory")


@not_for("runc", "crun", reason="they take it as it is, from their own working directory")
def test_relative_destination_is_taken_from_the_root(box: Runtime, bundle: Bundle) -> None:
    assert "/mnt" in box.probe(bundle.mount("mnt", "tmpfs", "tmpfs")).mounts()


def test_shared_subtree_flags_do_not_leak_into_the_hosts_namespace(box: Runtime, bundle: Bundle) -> None:
    before = Path("/proc/self/mountinfo").read_text()
    bundle.linux["rootfsPropagation"] = "rshared"
    box.run(bundle).ok()
    assert Path("/proc/self/mountinfo").read_text() == before


@pytest.mark.parametrize(
    "target", ["../run/systemd/resolve/stub-resolv.conf", "/run/systemd/stub", "../" * 20 + "run/x"]
)
def test_file_on_a_link_that_dangles_is_bound_where_the_link_leads(box: Runtime, bundle: Bundle, target: str) -> None:
    """Images of Debian and Ubuntu have such an /etc/resolv.conf."""
    source = bundle.host_directory(file="content") / "file"
    (bundle.rootfs / "etc/resolv.conf").symlink_to(target)
    bundle.mount("/etc/resolv.conf", "bind", source, "bind")
    assert box.run(bundle.shell("cat /etc/resolv.conf; readlink /etc/resolv.conf")).ok().out == f"content{target}\n"


def test_destination_that_is_a_loop_of_links_is_refused(box: Runtime, bundle: Bundle) -> None:
    (bundle.rootfs / "etc/resolv.conf").symlink_to("resolv.conf")
    number = len(bundle.config["mounts"])
    bundle.mount("/etc/resolv.conf", "bind", bundle.host_directory(file="content") / "file", "bind")
    box.run(bundle).refused(f"/mounts/{number}", "symbolic links")
