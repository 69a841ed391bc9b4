"""Where the hierarchies are: read from /proc/self/mountinfo and /proc/self/cgroup."""

from __future__ import annotations

from boxes.cgroups.layout import Layout, below, parse

UNIFIED = b"29 23 0:26 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
HYBRID = b"""\
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:5 - cgroup cgroup rw,cpu,cpuacct
34 31 0:31 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,release_agent=/lib/agent,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
"""
HYBRID_OWN = b"4:memory:/jobs/7\n2:cpu,cpuacct:/\n1:name=systemd:/user.slice\n0::/user.slice/a.scope\n"


def places(layout: Layout) -> dict[str, tuple[str, list[str]]]:
    return {found.label: (found.mount_point, found.own) for found in layout.hierarchies}


def test_v2_alone_is_unified() -> None:
    layout = parse(UNIFIED, b"0::/system.slice/a.service\n")

    assert layout.kind == "unified"
    assert places(layout) == {"": ("/sys/fs/cgroup", ["system.slice", "a.service"])}


def test_v1_with_v2_beside_it_is_legacy_and_v2_comes_last() -> None:
    layout = parse(HYBRID, HYBRID_OWN)

    assert layout.kind == "legacy"
    assert places(layout) == {
        "cpu,cpuacct": ("/sys/fs/cgroup/cpu,cpuacct", []),
        "memory": ("/sys/fs/cgroup/memory", ["jobs", "7"]),
        "name=systemd": ("/sys/fs/cgroup/systemd", ["user.slice"]),
        "": ("/sys/fs/cgroup/unified", ["user.slice", "a.scope"]),
    }
    assert layout.hierarchies[0].controllers == ("cpu", "cpuacct")
    assert layout.hierarchies[2].name == "systemd" and layout.hierarchies[2].controllers == ()
    assert layout.hierarchies[-1].unified


def test_a_lone_v1_hierarchy_does_not_hide_a_whole_v2() -> None:
    stray = b"90 29 0:50 / /opt/vpn/net_cls rw - cgroup net_cls rw,net_cls\n"

    layout = parse(stray + UNIFIED, b"5:net_cls:/\n0::/\n")

    assert layout.kind == "unified"
    assert places(layout) == {"": ("/sys/fs/cgroup", [])}


def test_the_mount_below_sys_is_preferred_to_a_copy_elsewhere() -> None:
    copy = b"21 1 0:31 / /srv/guest/sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"

    layout = parse(copy + HYBRID, HYBRID_OWN)

    assert places(layout)["memory"][0] == "/sys/fs/cgroup/memory"


def test_the_own_cgroup_counts_from_what_the_mount_shows() -> None:
    # In a container without a cgroup namespace the mount shows the container's cgroup, /proc tells the host's path.
    nested = b"34 31 0:31 /docker/abc /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"

    layout = parse(nested, b"4:memory:/docker/abc/inner\n")

    assert places(layout) == {"memory": ("/sys/fs/cgroup/memory", ["inner"])}


def test_a_cgroup_that_cannot_be_seen_counts_as_the_mount_point() -> None:
    assert below("/docker/abc", "/docker/abcd") == []
    assert below("/docker/abc", "/docker/abc") == []
    assert below("/", "/../outside") == []
    assert below("/", "/a/b") == ["a", "b"]


def test_blanks_in_a_mount_point_are_decoded() -> None:
    layout = parse(b"34 31 0:31 / /mnt/my\\040cgroups\\134x rw - cgroup2 none rw\n", b"0::/\n")

    assert places(layout) == {"": ("/mnt/my cgroups\\x", [])}


def test_no_hierarchy_is_none() -> None:
    assert parse(b"22 1 254:0 / / rw - ext4 /dev/vda rw\n", b"0::/\n").kind == "none"
    assert parse(b"", b"").kind == "none"


def test_a_named_hierarchy_alone_is_none() -> None:
    text = b"40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n"

    assert parse(text, b"1:name=systemd:/\n").kind == "none"


def test_a_last_line_without_its_end_is_read() -> None:
    assert parse(UNIFIED.rstrip(b"\n"), b"0::/").kind == "unified"
