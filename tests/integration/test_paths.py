"""`linux.maskedPaths`, `linux.readonlyPaths` and the read-only root (runtime-spec, config-linux.md)."""

from __future__ import annotations

import os

import pytest

from tests.support.bundle import Bundle
from tests.support.runtime import Runtime


class TestMasked:
    def test_file_is_empty_and_stays_so(self, box: Runtime, bundle: Bundle) -> None:
        bundle.linux["maskedPaths"] = ["/etc/passwd"]
        result = box.run(bundle.shell("wc -c < /etc/passwd; echo x >> /etc/passwd; wc -c < /etc/passwd"))
        assert result.out.split() == ["0", "0"]
        assert (bundle.rootfs / "etc/passwd").read_text().startswith("root:")

    def test_directory_is_empty_and_read_only(self, box: Runtime, bundle: Bundle) -> None:
        bundle.linux["maskedPaths"] = ["/etc"]
        result = box.run(bundle.shell("ls -A /etc; mkdir /etc/made"))
        assert result.out == ""
        assert "Read-only file system" in result.err

    @pytest.mark.parametrize("path", ["/proc/kcore", "/proc/keys", "/proc/timer_list"])
    def test_file_of_proc_is_empty(self, box: Runtime, bundle: Bundle, path: str) -> None:
        if not os.path.exists(path):
            pytest.skip(f"this kernel has no {path}")
        bundle.linux["maskedPaths"] = [path]
        assert box.run(bundle.args("/bin/head", "-c", "1", path)).ok().out == ""

    def test_directory_of_sys_is_empty(self, box: Runtime, bundle: Bundle) -> None:
        bundle.linux["maskedPaths"] = ["/sys/kernel"]
        assert box.run(bundle.args("/bin/ls", "-A", "/sys/kernel")).ok().out == ""

    def test_missing_path_is_fine(self, box: Runtime, bundle: Bundle) -> None:
        bundle.linux["maskedPaths"] = ["/no/such/path", "/etc/missing", "/etc/group"]
        assert box.run(bundle.args("/bin/cat", "/etc/group")).ok().out == ""
        assert not (bundle.rootfs / "no").exists()

    def test_path_below_a_mount_is_masked(self, box: Runtime, bundle: Bundle) -> None:
        outside = bundle.host_directory(secret="content")
        bundle.mount("/mnt", "bind", outside, "bind").linux["maskedPaths"] = ["/mnt/secret"]
        assert box.run(bundle.args("/bin/cat", "/mnt/secret")).ok().out == ""
        assert (outside / "secret").read_text() == "content"

    def test_one_path_twice_is_fine(self, box: Runtime, bundle: Bundle) -> None:
        bundle.linux["maskedPaths"] = ["/etc/passwd", "/etc/passwd", "/etc", "/etc"]
        assert box.run(bundle.args("/bin/ls", "-A", "/etc")).ok().out == ""

    def test_process_with_many_capabilities_cannot_uncover_it_in_a_user_namespace(
        self, box: Runtime, bundle: Bundle
    ) -> None:
        bundle.user_namespace().capabilities("CAP_SYS_ADMIN", "CAP_SYS_CHROOT").linux["maskedPaths"] = ["/proc/kcore"]
        result = box.run(bundle.shell("unshare -m umount /proc/kcore || head -c 1 /proc/kcore | wc -c"))
        assert "0" in result.out or result.code != 0


class TestReadonly:
    def test_file_cannot_be_written(self, box: Runtime, bundle: Bundle) -> None:
        bundle.linux["readonlyPaths"] = ["/etc/passwd"]
        result = box.run(bundle.shell("/bin/probe --open /etc/passwd; head -n 1 /etc/passwd; echo x > /etc/new"))
        assert result.ok().out.splitlines() == ["Read-only file system", "root:x:0:0:root:/root:/bin/sh"]

    def test_directory_and_what_is_below_cannot_be_written(self, box: Runtime, bundle: Bundle) -> None:
        bundle.linux["readonlyPaths"] = ["/etc"]
        result = box.run(bundle.shell("/bin/probe --open /etc/passwd; touch /etc/made; ls /etc"))
        assert result.out.split("\n") == ["Read-only file system", "group", "passwd", ""]
        assert "Read-only file system" in result.err

    def test_proc_sys_cannot_be_written(self, box: Runtime, bundle: Bundle) -> None:
        bundle.linux["readonlyPaths"] = ["/proc/sys"]
        assert (
            box.run(bundle.args("/bin/probe", "--open", "/proc/sys/kernel/hostname")).ok().out
            == "Read-only file system\n"
        )

    def test_missing_path_is_fine(self, box: Runtime, bundle: Bundle) -> None:
        bundle.linux["readonlyPaths"] = ["/no/such/path"]
        box.run(bundle).ok()

    def test_mounts_below_are_read_only_too(self, box: Runtime, bundle: Bundle) -> None:
        bundle.mount("/mnt/sub", "tmpfs", "tmpfs").linux["readonlyPaths"] = ["/mnt"]
        mounts = box.probe(bundle).mounts()
        assert "ro" in mounts["/mnt"].options

    def test_other_attributes_are_kept(self, box: Runtime, bundle: Bundle) -> None:
        bundle.mount("/mnt", "tmpfs", "tmpfs", "nosuid", "nodev", "noexec").linux["readonlyPaths"] = ["/mnt"]
        assert {"ro", "nosuid", "nodev", "noexec"} <= box.probe(bundle).mounts()["/mnt"].options


def test_masks_and_read_only_paths_hold_for_exec(box: Runtime, bundle: Bundle) -> None:
    bundle.linux.update(maskedPaths=["/etc/passwd"], readonlyPaths=["/etc/group"])
    container = box.running_shell(bundle)
    assert container.exec("/bin/cat", "/etc/passwd").ok().out == ""
    assert container.exec("/bin/probe", "--open", "/etc/group").ok().out == "Read-only file system\n"


def test_masks_are_on_top_of_the_read_only_root(box: Runtime, bundle: Bundle) -> None:
    bundle.config["root"]["readonly"] = True
    bundle.linux["maskedPaths"] = ["/etc", "/proc/keys"]
    assert box.run(bundle.args("/bin/ls", "-A", "/etc")).ok().out == ""
