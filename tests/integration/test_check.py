"""`check`: it says what `run` would, all of it, and changes nothing."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.bundle import Bundle
from tests.support.marks import not_for, requires
from tests.support.runtime import Result, Runtime
from tests.support.seccomp import denying

pytestmark = not_for("runc", "crun", reason="they have no such command")

MAPPING = [{"containerID": 0, "hostID": 100000, "size": 65536}]
ABSENT = {"path": "/absent"}


def put(pointer: str, value: Any) -> Callable[[Bundle], None]:
    """A change of a bundle's config: the value at a pointer; ``-`` adds to a list."""

    def change(bundle: Bundle) -> None:
        *way, last = pointer.split("/")[1:]
        holder: Any = bundle.config
        for name in way:
            holder = holder[int(name)] if isinstance(holder, list) else holder.setdefault(name, {})
        if isinstance(holder, list):
            holder.append(value) if last == "-" else holder.__setitem__(int(last), value)
        else:
            holder[last] = value

    return change


def script(text: str, mode: int = 0o755) -> Callable[[Bundle], None]:
    """The program becomes a file with this content."""

    def change(bundle: Bundle) -> None:
        path = bundle.rootfs / "bin" / "program"
        path.write_bytes(text.encode("latin-1"))
        path.chmod(mode)
        bundle.args("/bin/program")

    return change


def mount(kind: str, source: str, *options: str, destination: str = "/mnt/x") -> Callable[[Bundle], None]:
    return lambda bundle: (bundle.mount(destination, kind, source, *options), None)[1]


def all_of(*changes: Callable[[Bundle], None]) -> Callable[[Bundle], None]:
    def change(bundle: Bundle) -> None:
        for each in changes:
            each(bundle)

    return change


def masked_root(bundle: Bundle) -> None:
    bundle.rootfs.chmod(0o700)
    bundle.process["user"] = {"uid": 1000, "gid": 1000}


def interpreter_by_bind(bundle: Bundle) -> None:
    """What is needed is not in the root, but bound there: through a link that leads into the mount."""
    outside = bundle.host_directory("tools")
    shutil.copy(bundle.rootfs / "bin/busybox", outside / "shell")
    os.symlink("/mnt/shell", bundle.rootfs / "bin/ash")
    mount("bind", str(outside), "bind", destination="/mnt")(bundle)
    script("#!/bin/ash\nexit 0\n")(bundle)


def user_namespace(bundle: Bundle) -> None:
    bundle.user_namespace()


def without_loader(bundle: Bundle) -> None:
    """A program that the host's C library runs; here it is not."""
    shutil.copy("/bin/ls", bundle.rootfs / "bin/program")
    bundle.args("/bin/program")


# name → change. `run` says of each whether it is right; the list has to have many of both.
GOOD: dict[str, Callable[[Bundle], None]] = {
    "as it is": lambda bundle: None,
    "by path": put("/process/args", ["true"]),
    "script": script("#!/bin/sh\nexit 0\n"),
    "interpreter from a bind": interpreter_by_bind,
    "user": put("/process/user", {"uid": 1000, "gid": 1000}),
    "new working directory": put("/process/cwd", "/made/here"),
    "user namespace": user_namespace,
    "time namespace": lambda bundle: (bundle.namespace("time"), put("/linux/timeOffsets", {"boottime": {"secs": 5}})(bundle))[1],
    "new place to mount": mount("tmpfs", "tmpfs", "size=1m", destination="/a/new/place"),
    "bound file": mount("bind", "/etc/hostname", "bind", "ro", destination="/etc/new"),
    "bound device": put("/linux/devices", [{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229}]),
    "filter": put("/linux/seccomp", denying("mkdir")),
    "limits": put("/linux/resources", {"memory": {"limit": 1 << 26}, "pids": {"limit": 50}, "cpu": {"shares": 512}}),
    "parameter": lambda bundle: put("/linux/sysctl", {"kernel.msgmax": "8192"})(bundle),
    "host name": put("/hostname", "inside"),
    "hooks": lambda bundle: (bundle.hook("createRuntime", "/bin/true"), bundle.hook("startContainer", "/bin/true"), None)[2],
    "masks": put("/linux/maskedPaths", ["/proc/kcore", "/absent"]),
    "copy up": lambda bundle: mount("tmpfs", "tmpfs", "tmpcopyup", destination="/etc")(bundle),
    "cgroups": mount("cgroup", "cgroup", "ro", destination="/sys/fs/cgroup"),
    "annotation": put("/annotations", {"com.example": "1"}),
    "network": put("/annotations", {"boxes.network": "none"}),
    "lower limits": put("/process/rlimits", [{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}]),
    "read-only": put("/root/readonly", True),
    "joined namespace": lambda bundle: (bundle.namespace("network", "/proc/self/ns/net"), None)[1],
    "personality": put("/linux/personality", {"domain": "LINUX", "flags": ["ADDR_NO_RANDOMIZE"]}),
    "higher score": put("/process/oomScoreAdj", 500),
}  # fmt: skip
BAD: dict[str, tuple[str, Callable[[Bundle], None]]] = {
    "no json": ("", lambda bundle: None),
    "wrong type": ("/hostname", put("/hostname", 5)),
    "no process": ("/process", lambda bundle: bundle.config.pop("process")),
    "misspelt": ("/process/oomScoreAdJ", put("/process/oomScoreAdJ", 5)),
    "no root": ("/root/path", put("/root/path", "absent")),
    "program": ("/process/args/0", put("/process/args", ["absent"])),
    "program by its path": ("/process/args/0", put("/process/args", ["/bin/absent", "x"])),
    "directory": ("/process/args/0", put("/process/args", ["/bin"])),
    "no permission": ("/process/args/0", script("#!/bin/sh\n", 0o644)),
    "no format": ("/process/args/0", script("hello")),
    "other machine": ("/process/args/0", script("\x7fELF\x02\x01\x01" + "\0" * 9 + "\x02\0\x2a\0" + "\0" * 200)),
    "interpreter": ("/process/args/0", script("#!/bin/absent -e\n")),
    "interpreter of an interpreter": ("/process/args/0", script("#!/bin/program2\n")),
    "loader": ("/process/args/0", without_loader),
    "program hidden by a mount": ("/process/args/0", mount("tmpfs", "tmpfs", destination="/bin")),
    "no execution": ("/process/args/0", mount("bind", "rootfs/bin", "bind", "noexec", destination="/bin")),
    "closed root": ("/process/args/0", masked_root),
    "working directory is a file": ("/process/cwd", put("/process/cwd", "/bin/busybox")),
    "unmapped user": ("/process/user/uid", all_of(user_namespace, put("/process/user", {"uid": 70000, "gid": 0}))),
    "source": ("/mounts/5", mount("bind", "/absent", "bind")),
    "source in a user namespace": ("/mounts/5/source", all_of(user_namespace, mount("bind", "/absent", "bind"))),
    "filesystem": ("/mounts/5/type", mount("nosuchfs", "x")),
    "option of a filesystem": ("/mounts/5", mount("tmpfs", "tmpfs", "size=much")),
    "over /proc": ("/mounts/5/destination", mount("tmpfs", "tmpfs", destination="/proc/sys")),
    "copied where nothing can be": ("/mounts/5/options/0", mount("proc", "proc", "tmpcopyup")),
    "namespace by a path": ("/linux/namespaces/0/path", put("/linux/namespaces/0", {"type": "pid", **ABSENT})),
    "namespace of another kind": ("/linux/namespaces/0/path", put("/linux/namespaces/0", {"type": "pid", "path": "/proc/self/ns/net"})),
    "capability": ("/process/capabilities/bounding/0", put("/process/capabilities", {"bounding": ["CAP_NONE"]})),
    "unpermitted capability": ("/process/capabilities/effective", put("/process/capabilities", {"effective": ["CAP_KILL"]})),
    "profile": ("/process/apparmorProfile", put("/process/apparmorProfile", "absent")),
    "label": ("/process/selinuxLabel", put("/process/selinuxLabel", "a:b:c")),
    "limit": ("/process/rlimits/0", put("/process/rlimits", [{"type": "RLIMIT_NOFILE", "soft": 1, "hard": 1 << 40}])),
    "hook": ("/hooks/createRuntime/0/path", lambda b: (b.hook("createRuntime", "/absent"), None)[1]),
    "hook that is no program": ("/hooks/prestart/0/path", lambda b: (b.hook("prestart", "/etc/passwd"), None)[1]),
    "hook that is only logged": ("/hooks/poststart/0/path", lambda b: (b.hook("poststart", "/absent"), None)[1]),
    "hook inside": ("/hooks/startContainer/0/path", lambda b: (b.hook("startContainer", "/absent"), None)[1]),
    "parameter": ("/linux/sysctl/kernel.shmnothing", put("/linux/sysctl", {"kernel.shmnothing": "1"})),
    "parameter of the host": ("/linux/sysctl/vm.swappiness", put("/linux/sysctl", {"vm.swappiness": "1"})),
    "value of a parameter": ("/linux/sysctl/kernel.msgmax", put("/linux/sysctl", {"kernel.msgmax": "many"})),
    "architecture": ("/linux/seccomp/architectures/0", put("/linux/seccomp", {"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_S390X"]})),
    "profile that denies execve": ("/linux/seccomp", put("/linux/seccomp", denying("execve"))),
    "agent": ("/linux/seccomp/listenerPath", put("/linux/seccomp", {**denying("mkdir", action="SCMP_ACT_NOTIFY"), "listenerPath": "/absent"})),
    "root of the cgroups": ("/linux/cgroupsPath", put("/linux/cgroupsPath", "/")),
    "huge pages": ("/linux/resources/hugepageLimits/0/limit", put("/linux/resources", {"hugepageLimits": [{"pageSize": "3MB", "limit": 1}]})),
    "file of a cgroup": ("/linux/resources/unified/memory.nothing", put("/linux/resources", {"unified": {"memory.nothing": "1"}})),
    "access to devices": ("/linux/resources/devices/0/access", put("/linux/resources", {"devices": [{"allow": True, "type": "c"}]})),
    "flag of a personality": ("/linux/personality/flags/0", put("/linux/personality", {"domain": "LINUX", "flags": ["NONE"]})),
    "memory node": ("/linux/memoryPolicy/nodes", put("/linux/memoryPolicy", {"mode": "MPOL_BIND", "nodes": "900"})),
    "network device": ("/linux/netDevices/absent0", lambda b: (b.namespace("network"), put("/linux/netDevices", {"absent0": {}})(b))[1]),
    "kind of network": ("/annotations/boxes.network", put("/annotations", {"boxes.network": "bridges"})),
    "published port": ("/annotations/boxes.network.publish", put("/annotations", {"boxes.network": "pasta", "boxes.network.publish": "80"})),
    "network and namespace": ("/annotations/boxes.network", lambda b: (b.namespace("network"), put("/annotations", {"boxes.network": "host"})(b))[1]),
    "class of service": ("/linux/intelRdt", put("/linux/intelRdt", {"closID": "a"})),
}  # fmt: skip


def check(box: Runtime, bundle: Bundle, *flags: str) -> Result:
    return box.bare("check", *flags, str(bundle.path))


def found(box: Runtime, bundle: Bundle, *flags: str) -> list[dict[str, Any]]:
    """The findings as data."""
    listed: list[dict[str, Any]] = json.loads(check(box, bundle, "--format", "json", *flags).out)
    return listed


@pytest.mark.parametrize("name", GOOD)
def test_nothing_is_found_in_what_runs(box: Runtime, bundle: Bundle, name: str) -> None:
    GOOD[name](bundle)
    bundle.save()
    result = check(box, bundle)
    ran = box.run(bundle, input="")
    assert (result.code, result.out, result.err) == (0, "", "")
    assert (ran.code, ran.err) == (0, "")


@pytest.mark.parametrize("name", BAD)
def test_what_does_not_run_as_written_is_found(box: Runtime, bundle: Bundle, name: str) -> None:
    """Each with its place; the first error, if there is one, is about what `run` stops at."""
    pointer, change = BAD[name]
    change(bundle)
    bundle.save()
    if name == "no json":
        (bundle.path / "config.json").write_text("{")
        assert check(box, bundle).refused("config.json").out == ""
        return
    result = check(box, bundle)
    listed = found(box, bundle)
    assert result.code == 1
    assert pointer in [finding.get("pointer") for finding in listed], listed
    assert len(result.out.splitlines()) == len(listed)
    ran = box.run(bundle, input="")
    assert (ran.code != 0) is any(finding["level"] == "error" for finding in listed), ran.err
    assert "warning" in ran.err or "ignoring" in ran.err or ran.code != 0


def test_all_is_told_and_not_the_first_alone(box: Runtime, bundle: Bundle) -> None:
    """With the positions that the config has, whatever was left out before."""
    bundle.mount("/a", "tmpfs", "tmpfs", "size=much").mount("/b", "tmpfs", "tmpfs")
    bundle.config["mounts"][5]["options"].append(5)
    bundle.mount("/c", "bind", "/absent1", "bind").mount("/d", "bind", "/absent2", "bind")
    bundle.process.update(cwd="relative", apparmorProfile="absent", rlimits=[{"type": "RLIMIT_NONE"}])
    bundle.config["hostname"] = 5
    bundle.save()
    assert sorted(finding["pointer"] for finding in found(box, bundle)) == sorted(
        [
            "/hostname",
            "/process/cwd",
            "/process/rlimits/0/type",
            "/mounts/5/options/1",
            "/mounts/5",
            "/mounts/7",
            "/mounts/8",
        ]
    )


def test_a_finding_is_one_line_with_its_place_and_what_helps(box: Runtime, bundle: Bundle) -> None:
    put("/process/apparmorProfile", "absent\x1b")(bundle)
    bundle.save()
    assert check(box, bundle).out == (
        "error: /process/apparmorProfile: profile 'absent\\x1b' is asked for and the host has no AppArmor"
        " (leave it away, or boot with AppArmor)\n"
    )


def test_json_has_the_facts(box: Runtime, bundle: Bundle) -> None:
    bundle.mount("/mnt", "bind", "/absent", "bind").save()
    [finding] = found(box, bundle)
    assert finding["level"] == "error"
    assert (finding["code"], finding["pointer"], finding["errno"]) == ("kernel", "/mounts/5", 2)
    assert 'open_tree("/absent"' in finding["call"]
    put("/mounts/5/source", "/etc")(bundle)
    bundle.save()
    assert found(box, bundle) == []


def test_another_config_is_checked(box: Runtime, bundle: Bundle, directory: Path) -> None:
    bundle.save()
    other = directory / "other.json"
    other.write_text(json.dumps({**bundle.config, "hostname": 5}))
    assert [finding["pointer"] for finding in found(box, bundle, "--config", str(other))] == ["/hostname"]
    assert check(box, bundle).code == 0


def test_the_working_directory_is_the_bundle_by_default(box: Runtime, bundle: Bundle) -> None:
    bundle.save()
    assert box.bare("check", cwd=bundle.path).ok().out == ""


def test_missing_bundle_is_an_error_of_its_own(box: Runtime, directory: Path) -> None:
    box.bare("check", str(directory / "absent")).refused("config.json", "no such file")


# ---- nothing is changed ----


def tree(*directories: Path) -> list[tuple[str, int, int, int, int]]:
    """Every entry below: name, inode, mode, and when content and attributes changed."""
    listed = []
    for directory in directories:
        for place, _, files in os.walk(directory):
            for name in (".", *files):
                facts = os.lstat(os.path.join(place, name))
                listed.append(
                    (os.path.join(place, name), facts.st_ino, facts.st_mode, facts.st_mtime_ns, facts.st_ctime_ns)
                )
    return sorted(listed)


@pytest.fixture
def watched(bundle: Bundle, directory: Path) -> Iterator[Bundle]:
    """A bundle of which, and of what it binds, nothing may change."""
    outside = bundle.host_directory("outside", file="kept")
    bundle.mount("/mnt", "bind", outside, "rbind", "rw").mount("/mnt/below/new", "tmpfs", "tmpfs")
    bundle.mount("/new/place", "tmpfs", "tmpfs").mount("/other", "bind", "/etc", "rbind", "rshared")
    bundle.process["cwd"] = "/made/here"
    bundle.linux["devices"] = [{"path": "/dev/made", "type": "p"}]
    bundle.linux["sysctl"] = {"kernel.msgmax": "4096"}
    bundle.linux["seccomp"] = denying("mkdir")
    bundle.linux["resources"] = {"pids": {"limit": 10}}
    bundle.config["hostname"] = "changed"
    bundle.hook("createRuntime", "/bin/touch", directory / "hook-ran")
    bundle.save()
    before, host = tree(directory), os.uname().nodename
    parameter = Path("/proc/sys/kernel/msgmax").read_text()
    yield bundle
    assert tree(directory) == before
    assert os.uname().nodename == host
    assert Path("/proc/sys/kernel/msgmax").read_text() == parameter


def test_nothing_is_changed(box: Runtime, watched: Bundle) -> None:
    """No mount, cgroup or process either: every test here is watched for these."""
    assert check(box, watched).ok().out == ""
    assert not box.root.exists()


def test_nothing_is_changed_in_a_user_namespace(box: Runtime, bundle: Bundle, directory: Path) -> None:
    bundle.user_namespace().mount("/new/place", "tmpfs", "tmpfs").save()
    before = tree(directory)
    assert check(box, bundle).ok().out == ""
    assert tree(directory) == before


def test_namespaces_that_are_joined_are_left_alone(box: Runtime, bundle: Bundle) -> None:
    """Those here are the test's own, that is, the host's: what would change them is refused, and not tried."""
    bundle.namespace("uts", "/proc/self/ns/uts").namespace("ipc", "/proc/self/ns/ipc")
    bundle.config["hostname"] = "changed"
    bundle.linux["sysctl"] = {"kernel.msgmax": "4096"}
    bundle.save()
    before = os.uname().nodename, Path("/proc/sys/kernel/msgmax").read_text()
    result = check(box, bundle)
    assert result.code == 1
    assert [line.split(": ")[1] for line in result.out.splitlines()] == ["/hostname", "/linux/sysctl/kernel.msgmax"]
    assert (os.uname().nodename, Path("/proc/sys/kernel/msgmax").read_text()) == before


@requires("strace")
def test_nothing_is_made_outside_of_the_rehearsal(box: Runtime, bundle: Bundle, directory: Path) -> None:
    """By the calls: the first process, which alone is in the host's namespaces, makes and removes nothing."""
    bundle.save()
    log = directory / "trace"
    calls = "mkdir,mkdirat,mknod,mknodat,symlink,symlinkat,rename,renameat,renameat2,unlink,unlinkat,rmdir,mount,umount2,link,linkat"
    prefix = ("strace", "-o", str(log), "-e", f"trace={calls}")
    box.bare("check", str(bundle.path), prefix=prefix).ok()
    lines = [line for line in log.read_text().splitlines() if not line.startswith(("+++", "---"))]
    log.unlink()
    assert lines == []


# ---- ordinary users ----

USER = ("setpriv", "--reuid=54321", "--regid=54321", "--clear-groups", "--inh-caps=-all")


def as_user(box: Runtime, bundle: Bundle) -> list[dict[str, Any]]:
    bundle.save()
    (bundle.path / "config.json").chmod(0o644)
    result = box.bare("check", "--format", "json", str(bundle.path), prefix=USER)
    assert result.err == ""
    listed: list[dict[str, Any]] = json.loads(result.out)
    return listed


@pytest.fixture
def rootless(bundle: Bundle) -> Bundle:
    del bundle.linux["cgroupsPath"]
    own = [{"containerID": 0, "hostID": 54321, "size": 1}]
    bundle.linux.update(uidMappings=own, gidMappings=own)
    bundle.rootfs.chmod(0o777)
    return bundle.without_mount("/sys").namespace("user")


def test_nothing_is_found_in_what_an_ordinary_user_can_run(box: Runtime, rootless: Bundle) -> None:
    for place, _, files in os.walk(rootless.path):
        for name in (".", *files):
            os.chown(os.path.join(place, name), 54321, 54321, follow_symlinks=False)
    assert as_user(box, rootless) == []


def test_without_a_user_namespace_an_ordinary_user_is_told(box: Runtime, bundle: Bundle) -> None:
    pointers = {finding.get("pointer") for finding in as_user(box, bundle)}
    assert {"/linux/namespaces", "/linux/cgroupsPath"} <= pointers


def test_limits_without_a_delegated_cgroup_are_told(box: Runtime, rootless: Bundle) -> None:
    rootless.linux["resources"] = {"pids": {"limit": 10}}
    [finding] = [entry for entry in as_user(box, rootless) if entry["pointer"].startswith("/linux/resources")]
    assert finding["pointer"] == "/linux/resources/pids/limit"
    assert "delegated" in finding["hint"]


def test_ids_that_are_nobodys_are_told(box: Runtime, rootless: Bundle) -> None:
    """newuidmap knows no range of this user."""
    rootless.linux["uidMappings"] = [*rootless.linux["uidMappings"], {"containerID": 1, "hostID": 100000, "size": 10}]
    assert "/linux/uidMappings" in {finding.get("pointer") for finding in as_user(box, rootless)}


def test_groups_that_cannot_be_set_are_told(box: Runtime, rootless: Bundle) -> None:
    rootless.process["user"]["additionalGids"] = [0]
    assert "/process/user/additionalGids" in {finding.get("pointer") for finding in as_user(box, rootless)}


def test_a_host_without_user_namespaces_is_told_of(box: Runtime, rootless: Bundle) -> None:
    own = [{"containerID": 0, "hostID": 0, "size": 1}]
    rootless.linux.update(uidMappings=own, gidMappings=own)
    rootless.save()
    forbid = 'echo 0 >/proc/sys/user/max_user_namespaces; exec "$0" "$@"'
    result = box.bare("check", str(rootless.path), prefix=("unshare", "--user", "--map-root-user", "sh", "-c", forbid))
    assert result.code == 1
    assert "error: /linux/namespaces: " in result.out
    assert "see the limits in /proc/sys/user" in result.out
