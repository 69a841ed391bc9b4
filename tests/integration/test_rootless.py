"""Containers of an ordinary user: with subordinate ids by newuidmap, and with the user's own id alone.

The user is made for these tests, with entries in private copies of the system's files, bound over them in the tests'
mount namespace: the host's own are never touched.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.bundle import Bundle
from tests.support.host import mount, unmount
from tests.support.marks import not_for, requires
from tests.support.runtime import Runtime, read_line, wait_for_exit

pytestmark = requires("subordinate ids")

UID, SUBORDINATE, COUNT = 54321, 5432100, 65536
FILES = {
    "/etc/passwd": f"boxtest:x:{UID}:{UID}::/nonexistent:/bin/sh\n",
    "/etc/group": f"boxtest:x:{UID}:\n",
    "/etc/subuid": f"boxtest:{SUBORDINATE}:{COUNT}\n",
    "/etc/subgid": f"boxtest:{SUBORDINATE}:{COUNT}\n",
}
AS_USER = ("setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups", "--inh-caps=-all")


@pytest.fixture
def user(directory: Path) -> Iterator[None]:
    """An ordinary user with subordinate ids, who owns the test's directory."""
    place = directory / "etc"
    place.mkdir()
    bound = []
    try:
        for path, line in FILES.items():
            copy = place / Path(path).name
            copy.write_text((Path(path).read_text() if Path(path).exists() else "") + line)
            if Path(path).exists():
                mount(str(copy), path, None, 4096)
                bound.append(path)
        yield
    finally:
        for path in bound:
            unmount(path)


@pytest.fixture
def rootless(box: Runtime, bundle: Bundle, user: None) -> Bundle:
    """A bundle of that user: root inside is the user, the network is the host's, no cgroup is asked for."""
    for directory, names, files in os.walk(box.directory):
        for name in (".", *names, *files):
            os.chown(Path(directory, name), UID, UID, follow_symlinks=False)
    del bundle.linux["cgroupsPath"]
    bundle.without_mount("/sys").namespace("user")
    own = [{"containerID": 0, "hostID": UID, "size": 1}]
    bundle.linux.update(uidMappings=own, gidMappings=own)
    return bundle


def with_subordinates(bundle: Bundle) -> Bundle:
    rows = [{"containerID": 0, "hostID": UID, "size": 1}, {"containerID": 1, "hostID": SUBORDINATE, "size": COUNT}]
    bundle.linux.update(uidMappings=rows, gidMappings=rows)
    return bundle


def environment(box: Runtime) -> dict[str, str]:
    return {"PATH": os.environ["PATH"] + ":/usr/bin:/usr/sbin:/sbin:/bin", "XDG_RUNTIME_DIR": str(box.directory)}


def save(box: Runtime, bundle: Bundle) -> None:
    bundle.save()
    os.chown(bundle.path / "config.json", UID, UID)
    box.identifiers.append(bundle.id)


def run(box: Runtime, bundle: Bundle, *flags: str, **more: Any) -> Any:
    save(box, bundle)
    return box("run", "--bundle", str(bundle.path), *flags, bundle.id, prefix=AS_USER, env=environment(box), **more)


def test_own_id_alone_is_enough(box: Runtime, rootless: Bundle) -> None:
    seen = run(box, rootless.args("/bin/probe")).report()
    assert seen["uids"] == [0, 0, 0]
    assert seen["uid_map"].split() == ["0", str(UID), "1"]
    assert seen["setgroups"] == "deny\n"


def test_subordinate_ids_are_mapped(box: Runtime, rootless: Bundle) -> None:
    with_subordinates(rootless).process["user"] = {"uid": 1000, "gid": 1000}
    seen = run(box, rootless.args("/bin/probe")).report()
    assert seen["uids"] == [1000, 1000, 1000]
    assert seen["setgroups"] == "allow\n"
    assert seen["uid_map"].split() == ["0", str(UID), "1", "1", str(SUBORDINATE), str(COUNT)]


@not_for("runc", reason="it sets no additional groups without root")
def test_additional_groups_are_set_where_ids_are_mapped_by_helpers(box: Runtime, rootless: Bundle) -> None:
    with_subordinates(rootless).process["user"] = {"uid": 1000, "gid": 1000, "additionalGids": [5, 6]}
    assert set(run(box, rootless.args("/bin/probe")).report()["groups"]) - {1000} == {5, 6}


def test_files_made_inside_are_the_users(box: Runtime, rootless: Bundle) -> None:
    run(box, rootless.args("/bin/touch", "/home/made")).ok()
    assert (rootless.rootfs / "home/made").stat().st_uid == UID


def test_files_made_by_another_user_inside_have_a_subordinate_id(box: Runtime, rootless: Bundle) -> None:
    with_subordinates(rootless).process["user"] = {"uid": 1000, "gid": 1000}
    (rootless.rootfs / "home").chmod(0o777)
    run(box, rootless.args("/bin/touch", "/home/made")).ok()
    assert (rootless.rootfs / "home/made").stat().st_uid == SUBORDINATE + 999


@pytest.mark.parametrize("name", ["null", "zero", "urandom", "tty"])
def test_default_devices_are_there(box: Runtime, rootless: Bundle, name: str) -> None:
    assert run(box, rootless.args("/bin/stat", "-c", "%F", f"/dev/{name}")).ok().out == "character special file\n"


def test_exit_status_and_streams_come_through(box: Runtime, rootless: Bundle) -> None:
    result = run(box, rootless.shell("cat; exit 7"), input="text\n")
    assert (result.code, result.out) == (7, "text\n")


def test_whole_life_by_hand(box: Runtime, rootless: Bundle) -> None:
    save(box, rootless.args("/bin/sleep", "1000"))

    def call(*args: str) -> Any:
        return subprocess.run(
            [*AS_USER, *box.command(*args)],
            env=environment(box),
            stdin=-3,
            capture_output=args[0] in ("state", "exec"),
            timeout=20,
        )

    with open(box.directory / "out", "wb") as out:
        create = [*AS_USER, *box.command("create", "--bundle", str(rootless.path), rootless.id)]
        assert (
            subprocess.run(create, env=environment(box), stdin=-3, stdout=out, stderr=out, timeout=20).returncode == 0
        )
    assert b'"created"' in call("state", rootless.id).stdout
    assert call("start", rootless.id).returncode == 0
    executed = call("exec", rootless.id, "/bin/echo", "inside")
    assert executed.stdout == b"inside\n"
    pid = box.state(rootless.id)["pid"]
    assert call("kill", rootless.id, "KILL").returncode == 0
    wait_for_exit(pid)
    assert call("delete", rootless.id).returncode == 0


def test_additional_groups_where_setgroups_is_denied_are_refused(box: Runtime, rootless: Bundle) -> None:
    rootless.process["user"]["additionalGids"] = [0]
    result = run(box, rootless)
    result.refused(*(["/process/user/additionalGids"] if box.name == "box" else []))


def test_mapping_of_ids_that_are_not_the_users_is_refused(box: Runtime, rootless: Bundle) -> None:
    rootless.linux["uidMappings"] = [{"containerID": 0, "hostID": 0, "size": 1}]
    run(box, rootless).refused()


@not_for("runc", "crun", reason="they have words of their own for it")
def test_limits_that_cannot_be_set_are_refused_with_their_place(box: Runtime, rootless: Bundle) -> None:
    rootless.linux["resources"] = {"memory": {"limit": 64 << 20}}
    run(box, rootless).refused("/linux/resources/memory")


def test_without_a_user_namespace_is_refused(box: Runtime, rootless: Bundle) -> None:
    rootless.without_namespace("user")
    for key in ("uidMappings", "gidMappings"):
        del rootless.linux[key]
    run(box, rootless).refused()


def test_masks_and_read_only_paths_hold(box: Runtime, rootless: Bundle) -> None:
    rootless.linux.update(maskedPaths=["/proc/kcore", "/etc"], readonlyPaths=["/var"])
    result = run(box, rootless.shell("ls -A /etc; touch /var/made || echo refused"))
    assert result.ok().out == "refused\n"
    assert "Read-only file system" in result.err


def test_state_is_kept_below_the_runtime_directory_by_default(box: Runtime, rootless: Bundle) -> None:
    save(box, rootless.args("/bin/echo", "ran"))
    box.identifiers.clear()
    result = box.bare("run", "--bundle", str(rootless.path), rootless.id, prefix=AS_USER, env=environment(box))
    assert result.ok().out == "ran\n"


# ---- what an ordinary user may not mount, and what comes instead ----


@not_for("runc", reason="1.1 refuses it")
class TestSys:
    """sysfs belongs to who owns the network, which is the host's here: the host's own is shown, read-only."""

    def with_sys(self, bundle: Bundle, *options: str) -> Bundle:
        return bundle.mount("/sys", "sysfs", "sysfs", "nosuid", "noexec", "nodev", *options)

    @not_for("crun", reason="what is mounted below it stays writable")
    @pytest.mark.parametrize("options", [["ro"], ["rw"], [], ["rshared"], ["rslave", "ro"]])
    def test_of_the_host_is_bound_read_only_throughout(
        self, box: Runtime, rootless: Bundle, options: list[str]
    ) -> None:
        mounts = run(box, self.with_sys(rootless, *options).args("/bin/probe")).report().mounts()
        below = {point: mount for point, mount in mounts.items() if f"{point}/".startswith("/sys/")}
        assert below["/sys"].kind == "sysfs"
        assert any(seen.kind.startswith("cgroup") for seen in below.values())
        for seen in below.values():
            assert {"ro", "nosuid", "nodev", "noexec"} <= seen.options
            assert not [tag for tag in seen.tags if tag.startswith("master:")]

    @not_for("crun", reason="what is mounted below it stays writable")
    def test_cgroups_of_the_host_cannot_be_written_to(self, box: Runtime, rootless: Bundle) -> None:
        """CVE-2023-25809."""
        find = "find /sys/fs/cgroup -maxdepth 2 -type d | while read -r d; do mkdir $d/x && echo $d; done"
        result = run(box, self.with_sys(rootless, "rw").shell(f"{find}; true")).ok()
        assert result.out == ""
        assert "Read-only file system" in result.err

    def test_is_new_with_a_network_of_its_own(self, box: Runtime, rootless: Bundle) -> None:
        self.with_sys(rootless.namespace("network"), "ro").shell("ls /sys/class/net")
        assert run(box, rootless).ok().out == "lo\n"

    @not_for("crun", reason="it has other words for it")
    def test_is_bound_for_nobody_who_mounts_nothing_there(self, box: Runtime, rootless: Bundle) -> None:
        """Only what the config asks for."""
        assert "/sys" not in run(box, rootless.args("/bin/probe")).report().mounts()

    @not_for("crun", reason="it has other words for it")
    def test_masks_hold_on_it(self, box: Runtime, rootless: Bundle) -> None:
        rootless.linux["maskedPaths"] = ["/sys/kernel", "/sys/fs/cgroup"]
        assert run(box, self.with_sys(rootless, "ro").shell("ls -A /sys/kernel /sys/fs/cgroup")).ok().out == (
            "/sys/fs/cgroup:\n\n/sys/kernel:\n"
        )


@not_for("runc", "crun", reason="they show the host's")
@pytest.mark.parametrize("namespaced", [False, True], ids=["shared", "own"])
@pytest.mark.parametrize("option", ["ro", "rw"])
def test_cgroups_of_a_container_without_are_an_empty_read_only_directory(
    box: Runtime, rootless: Bundle, namespaced: bool, option: str
) -> None:
    rootless.mount("/sys", "sysfs", "sysfs", "ro").mount("/sys/fs/cgroup", "cgroup", "cgroup", option)
    if namespaced:
        rootless.namespace("cgroup")
    result = run(box, rootless.shell("ls -A /sys/fs/cgroup; touch /sys/fs/cgroup/x; true")).ok()
    assert result.out == ""
    assert "Read-only file system" in result.err


@not_for("runc", "crun", reason="they have other words for it, or bind the host's")
@pytest.mark.parametrize("kind, namespace", [("proc", "pid"), ("mqueue", "ipc")])
def test_filesystem_of_a_namespace_of_the_host_is_refused_with_the_reason(
    box: Runtime, rootless: Bundle, kind: str, namespace: str
) -> None:
    rootless.without_namespace(namespace).without_mount("/proc").mount("/mnt", kind, kind)
    number = len(rootless.config["mounts"]) - 1
    run(box, rootless).refused(f"/mounts/{number}: ", f"the {namespace} namespace belongs to another user namespace")


class TestJoined:
    """A user namespace that the user made before."""

    @pytest.fixture
    def holder(self, box: Runtime, rootless: Bundle) -> Iterator[subprocess.Popen[bytes]]:
        command = [*AS_USER, "unshare", "-U", "-n", "--map-root-user", "--kill-child", "--fork"]
        command += ["sh", "-c", "echo up; exec sleep 1000"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, bufsize=0) as process:
            assert read_line(process.stdout) == "up"
            for key in ("uidMappings", "gidMappings"):
                del rootless.linux[key]
            rootless.namespace("user", f"/proc/{process.pid}/ns/user")
            yield process
            process.kill()

    @not_for("runc", reason="1.1 wants mappings, which the namespace has already")
    def test_is_entered(self, box: Runtime, rootless: Bundle, holder: subprocess.Popen[bytes]) -> None:
        link = os.readlink(f"/proc/{holder.pid}/ns/user")
        seen = run(box, rootless.args("/bin/probe")).report()
        assert seen["namespaces"]["user"] == link
        assert seen["uids"] == [0, 0, 0]
        assert seen["uid_map"].split() == ["0", str(UID), "1"]

    @not_for("runc", reason="1.1 wants mappings, which the namespace has already")
    def test_is_entered_with_the_network_that_belongs_to_it(
        self, box: Runtime, rootless: Bundle, holder: subprocess.Popen[bytes]
    ) -> None:
        rootless.namespace("network", f"/proc/{holder.pid}/ns/net").mount("/sys", "sysfs", "sysfs", "ro")
        assert run(box, rootless.shell("ls /sys/class/net")).ok().out == "lo\n"

    @not_for("runc", "crun", reason="they cannot join such a network, or show the host's cgroups writable")
    def test_shows_the_hosts_sys_read_only(
        self, box: Runtime, rootless: Bundle, holder: subprocess.Popen[bytes]
    ) -> None:
        mounts = run(box, rootless.mount("/sys", "sysfs", "sysfs", "rw").args("/bin/probe")).report().mounts()
        assert all("ro" in mount.options for point, mount in mounts.items() if f"{point}/".startswith("/sys/"))


@not_for("runc", reason="it does not know the annotation")
def test_groups_of_the_caller_are_kept_if_the_config_says_so(box: Runtime, rootless: Bundle) -> None:
    outside = rootless.host_directory(secret="told")
    os.chown(outside / "secret", 0, 777)
    (outside / "secret").chmod(0o040)
    rootless.config["annotations"] = {"run.oci.keep_original_groups": "1"}
    save(box, rootless.mount("/mnt", "bind", outside, "bind").args("/bin/cat", "/mnt/secret"))
    prefix = ("setpriv", f"--reuid={UID}", f"--regid={UID}", "--groups=777", "--inh-caps=-all")
    arguments = ("run", "--bundle", str(rootless.path), rootless.id)
    assert box(*arguments, prefix=prefix, env=environment(box)).ok().out == "told"


@not_for("runc", "crun", reason="they do not say why")
@pytest.mark.parametrize("option", ["suid", "rw", "rexec"])
def test_restriction_of_a_mount_of_the_host_cannot_be_taken_away(box: Runtime, rootless: Bundle, option: str) -> None:
    place = rootless.host_directory("restricted")
    mount("tmpfs", str(place), "tmpfs", 1 | 2 | 8)  # MS_RDONLY | MS_NOSUID | MS_NOEXEC
    try:
        number = len(rootless.config["mounts"])
        run(box, rootless.mount("/mnt", "bind", place, "bind", option)).refused(f"/mounts/{number}: ", "user namespace")
    finally:
        unmount(str(place))


@not_for("runc", "crun", reason="they ask the file, or let it pass")
def test_other_owners_of_a_mount_are_refused_with_the_reason(box: Runtime, rootless: Bundle) -> None:
    number = len(rootless.config["mounts"])
    rootless.mount("/mnt", "bind", rootless.host_directory(), "bind", "idmap")
    run(box, rootless).refused(f"/mounts/{number}", "only root")


def test_mapping_of_more_ids_than_are_the_users_is_refused(box: Runtime, rootless: Bundle) -> None:
    with_subordinates(rootless).linux["gidMappings"][1]["size"] = COUNT + 1
    result = run(box, rootless)
    result.refused(*(["/linux/gidMappings", "/etc/subgid"] if box.name == "box" else []))
