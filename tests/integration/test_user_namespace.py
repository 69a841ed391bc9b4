"""User namespaces and id mappings made by root (runtime-spec, config-linux.md#user-namespace-mappings)."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.bundle import Bundle
from tests.support.marks import not_for
from tests.support.runtime import Runtime, read_line


def mapping(*rows: tuple[int, int, int]) -> list[dict[str, Any]]:
    return [{"containerID": inside, "hostID": outside, "size": size} for inside, outside, size in rows]


def table(text: str) -> list[tuple[int, ...]]:
    return [tuple(map(int, line.split())) for line in text.splitlines()]


def test_mappings_are_the_configured_ones(box: Runtime, bundle: Bundle) -> None:
    bundle.user_namespace()
    bundle.linux.update(
        uidMappings=mapping((0, 100000, 1000), (1000, 200000, 5)), gidMappings=mapping((0, 100000, 10), (10, 300000, 1))
    )
    seen = box.probe(bundle)
    assert table(seen["uid_map"]) == [(0, 100000, 1000), (1000, 200000, 5)]
    assert table(seen["gid_map"]) == [(0, 100000, 10), (10, 300000, 1)]


def test_root_inside_is_the_mapped_user_outside(box: Runtime, bundle: Bundle) -> None:
    container = box.start(bundle.user_namespace().args("/bin/probe", "--hang"))
    assert '"uids":[0,0,0]' in container.readline()
    assert os.stat(f"/proc/{container.pid}").st_uid == 100000


def test_user_inside_is_the_mapped_user_outside(box: Runtime, bundle: Bundle) -> None:
    bundle.user_namespace().process["user"] = {"uid": 1000, "gid": 2000, "additionalGids": [3000]}
    container = box.start(bundle.args("/bin/probe", "--hang"))
    line = container.readline()
    assert '"uids":[1000,1000,1000],"gids":[2000,2000,2000]' in line
    status = Path(f"/proc/{container.pid}/status").read_text()
    assert "Uid:\t101000\t101000\t101000\t101000\n" in status
    assert "Gid:\t102000\t102000\t102000\t102000\n" in status
    assert "103000" in status.split("Groups:\t")[1].splitlines()[0].split()


def test_files_made_inside_belong_to_mapped_ids_outside(box: Runtime, bundle: Bundle) -> None:
    bundle.user_namespace().process["user"] = {"uid": 7, "gid": 8}
    (bundle.rootfs / "tmp").chmod(0o1777)
    box.run(bundle.args("/bin/touch", "/tmp/made")).ok()
    info = (bundle.rootfs / "tmp/made").stat()
    assert (info.st_uid, info.st_gid) == (100007, 100008)


def test_files_of_unmapped_owners_belong_to_nobody_inside(box: Runtime, bundle: Bundle) -> None:
    bundle.user_namespace()
    (bundle.rootfs / "etc/foreign").touch()
    os.chown(bundle.rootfs / "etc/foreign", 5, 5)
    assert box.run(bundle.args("/bin/stat", "-c", "%u:%g", "/etc/foreign")).ok().out == "65534:65534\n"


def test_root_inside_may_not_read_the_hosts_private_files(box: Runtime, bundle: Bundle) -> None:
    bundle.user_namespace().capabilities("CAP_DAC_OVERRIDE", "CAP_CHOWN")
    outside = bundle.host_directory(secret="x")
    (outside / "secret").chmod(0o600)
    bundle.mount("/mnt", "bind", outside, "bind").args("/bin/cat", "/mnt/secret")
    result = box.run(bundle)
    assert (result.code, result.out) == (1, "")
    assert "Permission denied" in result.err


def test_capabilities_are_those_of_the_user_namespace_only(box: Runtime, bundle: Bundle) -> None:
    bundle.user_namespace().capabilities("CAP_SYS_ADMIN", "CAP_CHOWN", "CAP_SYS_CHROOT")
    seen = box.probe(bundle)
    assert seen.capabilities()["effective"] == {"CAP_SYS_ADMIN", "CAP_CHOWN", "CAP_SYS_CHROOT"}
    result = box.run(bundle.shell("mknod /tmp/sda b 8 0"))
    assert "Operation not permitted" in result.err


@pytest.mark.parametrize("devices", ["null", "zero", "full", "random", "urandom", "tty"])
def test_default_devices_are_there(box: Runtime, bundle: Bundle, devices: str) -> None:
    result = box.run(bundle.user_namespace().args("/bin/stat", "-c", "%F %a", f"/dev/{devices}"))
    assert result.ok().out == "character special file 666\n"


def test_proc_and_sys_are_mounted(box: Runtime, bundle: Bundle) -> None:
    mounts = box.probe(bundle.user_namespace().namespace("network")).mounts()
    assert [mounts[point].kind for point in ("/proc", "/sys", "/dev", "/dev/pts")] == [
        "proc",
        "sysfs",
        "tmpfs",
        "devpts",
    ]


def test_mqueue_is_mounted(box: Runtime, bundle: Bundle) -> None:
    bundle.user_namespace().mount("/dev/mqueue", "mqueue", "mqueue", "nosuid", "noexec", "nodev")
    assert box.probe(bundle).mounts()["/dev/mqueue"].kind == "mqueue"


def test_terminal_group_option_that_is_not_mapped_is_dropped(box: Runtime, bundle: Bundle) -> None:
    bundle.user_namespace(size=1)
    for mount in bundle.config["mounts"]:
        if mount["destination"] == "/dev/pts":
            mount["options"].append("gid=5")
    result = box.run(bundle.args("/bin/probe"))
    # runc refuses; either is fine as long as nothing else happens
    assert result.code == 0 or "devpts" in result.err


def test_masked_and_readonly_paths_work(box: Runtime, bundle: Bundle) -> None:
    bundle.user_namespace().linux.update(maskedPaths=["/proc/kcore", "/etc"], readonlyPaths=["/proc/sys", "/var"])
    mounts = box.probe(bundle).mounts()
    assert {"ro"} <= mounts["/proc/sys"].options
    assert {"ro"} <= mounts["/var"].options
    assert mounts["/etc"].kind == "tmpfs"


def test_sysctl_of_the_namespaces_own_network_is_written(box: Runtime, bundle: Bundle) -> None:
    bundle.user_namespace().namespace("network").linux["sysctl"] = {"net.ipv4.ip_forward": "1"}
    assert box.run(bundle.args("/bin/cat", "/proc/sys/net/ipv4/ip_forward")).ok().out == "1\n"


@pytest.mark.parametrize("ids", [{"uid": 70000}, {"gid": 70000}, {"additionalGids": [70000]}])
def test_id_that_is_not_mapped_is_refused(box: Runtime, bundle: Bundle, ids: dict[str, Any]) -> None:
    bundle.user_namespace().process["user"].update(ids)
    box.run(bundle).refused()


@not_for("runc", "crun", reason="they set the container up as its root")
def test_root_need_not_be_mapped(box: Runtime, bundle: Bundle) -> None:
    bundle.user_namespace()
    rows = mapping((1000, 101000, 10))
    bundle.linux.update(uidMappings=rows, gidMappings=rows)
    bundle.process["user"] = {"uid": 1000, "gid": 1000}
    result = box.run(bundle.args("/bin/probe"))
    if result.code == 0:
        assert result.report()["uids"] == [1000, 1000, 1000]
    else:
        result.refused("map")


def test_exec_enters_the_user_namespace(box: Runtime, bundle: Bundle) -> None:
    container = box.running_shell(bundle.user_namespace())
    seen = container.exec("/bin/probe").report()
    assert seen["uids"] == [0, 0, 0]
    assert seen["namespaces"]["user"] == os.readlink(f"/proc/{container.pid}/ns/user")


@not_for("runc", reason="1.1 wants mappings, which the namespace has already")
class TestJoined:
    """A user namespace that is there already; in this one setgroups is denied, as unshare(1) leaves it."""

    def holder(self) -> subprocess.Popen[bytes]:
        command = ["unshare", "-U", "--map-root-user", "--kill-child", "--fork", "sh", "-c", "echo up; exec sleep 1000"]
        return subprocess.Popen(command, stdout=subprocess.PIPE, bufsize=0)

    def join(self, bundle: Bundle, holder: subprocess.Popen[bytes]) -> None:
        assert read_line(holder.stdout) == "up"
        bundle.namespace("user", f"/proc/{holder.pid}/ns/user").without_mount("/sys")

    def test_is_entered(self, box: Runtime, bundle: Bundle) -> None:
        with self.holder() as holder:
            self.join(bundle, holder)
            seen = box.run(bundle.args("/bin/probe"))
            link = os.readlink(f"/proc/{holder.pid}/ns/user")
            holder.kill()
        assert seen.report()["namespaces"]["user"] == link

    def test_denied_setgroups_is_fine_without_additional_groups(self, box: Runtime, bundle: Bundle) -> None:
        with self.holder() as holder:
            self.join(bundle, holder)
            result = box.run(bundle.args("/bin/probe"))
            holder.kill()
        assert result.report()["setgroups"] == "deny\n"

    def test_denied_setgroups_refuses_additional_groups(self, box: Runtime, bundle: Bundle) -> None:
        bundle.process["user"]["additionalGids"] = [0]
        with self.holder() as holder:
            self.join(bundle, holder)
            result = box.run(bundle.args("/bin/probe"))
            holder.kill()
        result.refused(*(["/process/user/additionalGids"] if box.name == "box" else []))


@not_for("runc", "crun", reason="they refuse it or not, with messages of their own")
def test_mappings_without_a_user_namespace_are_refused(box: Runtime, bundle: Bundle) -> None:
    bundle.linux["uidMappings"] = mapping((0, 100000, 10))
    box.run(bundle).refused("/linux/uidMappings")


def test_overlapping_mappings_are_refused(box: Runtime, bundle: Bundle) -> None:
    bundle.user_namespace().linux["uidMappings"] = mapping((0, 100000, 10), (5, 200000, 10))
    box.run(bundle).refused()


def test_user_namespace_within_a_container_works(box: Runtime, bundle: Bundle) -> None:
    bundle.user_namespace().capabilities("CAP_SETUID", "CAP_SETGID", "CAP_SYS_ADMIN", "CAP_SETFCAP")
    script = "unshare -U -r cat /proc/self/uid_map"
    assert table(box.run(bundle.shell(script)).ok().out) == [(0, 0, 1)]
