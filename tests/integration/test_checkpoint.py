"""`checkpoint` and `restore`: what CRIU is asked for, errors, and undo, with a stand-in for CRIU. With the real one:
tests/vm/test_checkpoint.py."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.bundle import Bundle
from tests.support.fake_criu import FakeCriu
from tests.support.marks import not_for
from tests.support.runtime import ENVIRONMENT, Container, Result, Runtime, wait_until

pytestmark = not_for("runc", "crun", reason="they speak to CRIU in their own ways")
DUMP, RESTORE, PRE_DUMP = 1, 2, 4


@pytest.fixture
def criu(directory: Path) -> FakeCriu:
    return FakeCriu(directory / "criu")


@pytest.fixture
def images(directory: Path) -> Path:
    path = directory / "images"
    path.mkdir()
    return path


def environment(criu: FakeCriu) -> dict[str, str]:
    return {**ENVIRONMENT, "PATH": criu.path}


def sleeping(box: Runtime, bundle: Bundle) -> Container:
    return box.running_shell(bundle)


def dump(box: Runtime, bundle: Bundle, criu: FakeCriu, *flags: str, **more: Any) -> Result:
    return box("checkpoint", *flags, bundle.id, env=environment(criu), **more)


def restore(box: Runtime, bundle: Bundle, criu: FakeCriu, images: Path, *flags: str, **more: Any) -> Result:
    (images / "descriptors.json").exists() or (images / "descriptors.json").write_text('["", "pipe:[11]", "pipe:[12]"]')
    args = ("--detach", "--image-path", str(images), *flags)
    result, reader, _ = box.spawn("restore", bundle, *args, env=environment(criu), **more)
    os.close(reader)
    return result


def test_a_dump_is_asked_for_with_what_the_container_has(
    box: Runtime, bundle: Bundle, criu: FakeCriu, images: Path
) -> None:
    bundle.mount("/data", "bind", bundle.host_directory(), "rbind")
    bundle.linux["maskedPaths"] = ["/proc/keys", "/proc/not-there", "/proc/fs"]
    container = sleeping(box, bundle)
    dump(box, bundle, criu, "--image-path", str(images)).ok()
    options = criu.requests(DUMP)[0]["options"]
    assert options["pid"] == container.pid
    assert options["root"] == str(bundle.rootfs)
    assert options["log_file"] == "dump.log"
    assert options["leave_running"] is False
    assert options["manage_cgroups_mode"] == 3
    assert {"mnt[/data]:/data", "mnt[/proc/keys]:/dev/null"} <= set(options["external"])
    assert not any("not-there" in each or "/proc/fs" in each for each in options["external"])
    assert options["freeze_cgroup"].endswith(bundle.linux["cgroupsPath"])
    names = json.loads((images / "descriptors.json").read_text())
    assert names[1].startswith("pipe:[")


def test_the_container_is_gone_after_it(box: Runtime, bundle: Bundle, criu: FakeCriu, images: Path) -> None:
    sleeping(box, bundle)
    dump(box, bundle, criu, "--image-path", str(images)).ok()
    box("state", bundle.id).refused("does not exist")


@pytest.mark.parametrize("flag", ["--leave-running", "--pre-dump"])
def test_the_container_goes_on(box: Runtime, bundle: Bundle, criu: FakeCriu, images: Path, flag: str) -> None:
    criu.rules(features={"track_memory": True})
    container = sleeping(box, bundle)
    dump(box, bundle, criu, "--image-path", str(images), flag).ok()
    assert container.status == "running"
    assert len(criu.requests(PRE_DUMP if flag == "--pre-dump" else DUMP)) == 1


FLAGS: list[tuple[str, dict[str, Any]]] = [
    ("--tcp-established", {"tcp_established": True}),
    ("--tcp-skip-in-flight", {"tcp_skip_in_flight": True}),
    ("--link-remap", {"link_remap": True}),
    ("--ext-unix-sk", {"ext_unix_sk": True}),
    ("--shell-job", {"shell_job": True}),
    ("--file-locks", {"file_locks": True}),
    ("--auto-dedup", {"auto_dedup": True}),
    ("--manage-cgroups-mode=ignore", {"manage_cgroups_mode": 0}),
    ("--manage-cgroups-mode=full", {"manage_cgroups_mode": 4}),
    ("--manage-cgroups-mode=strict", {"manage_cgroups_mode": 5}),
    ("--network-lock=skip", {"network_lock": 3}),
    ("--empty-ns=network", {"empty_namespaces": 0x40000000}),
    ("--page-server=[::1]:99", {"page_server": {"address": "::1", "port": 99}}),
    ("--status-fd=1", {"status_fd": 1}),
    ("--lazy-pages --page-server=h:1", {"lazy_pages": True}),
    ("--parent-path=../images", {"parent_image": "../images", "track_memory": True}),
]


def test_flags_of_checkpoint(box: Runtime, bundle: Bundle, criu: FakeCriu, images: Path) -> None:
    criu.rules(features={"track_memory": True, "lazy_pages": True})
    sleeping(box, bundle)
    for flags, expected in FLAGS:
        dump(box, bundle, criu, "--image-path", str(images), "--leave-running", *flags.split()).ok()
        options = criu.requests(DUMP)[-1]["options"]
        assert {name: options.get(name) for name in expected} == expected


def test_work_path_has_the_log(box: Runtime, bundle: Bundle, criu: FakeCriu, images: Path, directory: Path) -> None:
    log = [
        "(00.1) Error (criu/sk-inet.c:191): inet: Connected TCP socket",
        "(00.2) Error (criu/x.c:1): Dumping FAILED.",
    ]
    criu.rules(fail=log)
    container = sleeping(box, bundle)
    result = dump(box, bundle, criu, "--image-path", str(images), "--work-path", str(directory / "work"))
    result.refused("criu cannot checkpoint the container: inet: Connected TCP socket (its log is", "work/dump.log")
    assert "FAILED" not in result.err
    assert container.status == "running"


def test_the_images_may_be_new_beside_their_parent(box: Runtime, bundle: Bundle, criu: FakeCriu, images: Path) -> None:
    criu.rules(features={"track_memory": True})
    sleeping(box, bundle)
    new = images.parent / "new"
    dump(box, bundle, criu, "--image-path", str(new), "--parent-path", "../missing").refused("there is no directory")
    assert not new.exists()
    dump(box, bundle, criu, "--image-path", str(new), "--parent-path", "../images").ok()
    assert criu.requests(DUMP)[-1]["options"]["parent_image"] == "../images"


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--parent-path /absolute", "not relative"),
        ("--parent-path missing", "there is no directory"),
        ("--page-server 99", "ADDRESS:PORT"),
        ("--page-server h:0", "ADDRESS:PORT"),
        ("--lazy-pages", "--page-server"),
        ("--status-fd 77", "not open"),
        ("--status-fd -1", "no descriptor"),
        ("--empty-ns pid", "network"),
        ("--manage-cgroups-mode some", "'soft' or"),
        ("--network-lock none", "'skip'"),
        ("--pre-dump", "cannot dump what has changed"),
    ],
)
def test_what_is_wrong_with_a_dump(
    box: Runtime, bundle: Bundle, criu: FakeCriu, images: Path, flags: str, words: str
) -> None:
    container = sleeping(box, bundle)
    dump(box, bundle, criu, "--image-path", str(images), *flags.split()).refused(words)
    assert container.status == "running"


def test_a_status_fd_is_written_to(box: Runtime, bundle: Bundle, criu: FakeCriu, images: Path) -> None:
    sleeping(box, bundle)
    prefix = ("bash", "-c", 'exec 5</dev/null; exec "$@"', "bash")
    dump(box, bundle, criu, "--status-fd", "5", prefix=prefix, cwd=images).refused("not open for writing")


def test_only_a_running_container(box: Runtime, bundle: Bundle, criu: FakeCriu) -> None:
    box.create(bundle)
    dump(box, bundle, criu).refused("container not running: it is created")
    dump(box, Bundle(bundle.path, "nobody", "/x"), criu).refused("does not exist")


def test_without_criu_and_with_an_old_one(box: Runtime, bundle: Bundle, criu: FakeCriu, images: Path) -> None:
    container = sleeping(box, bundle)
    box("checkpoint", bundle.id, env={"PATH": "/nowhere"}, cwd=images).refused("package 'criu'")
    criu.rules(version=[3, 16])
    dump(box, bundle, criu, cwd=images).refused("3.16", "3.17")
    criu.rules(die="request")
    dump(box, bundle, criu, cwd=images).refused("criu ended before", "shared object")
    assert container.status == "running"


def test_not_for_ordinary_users(box: Runtime, bundle: Bundle, criu: FakeCriu, images: Path) -> None:
    sleeping(box, bundle)
    in_a_user_namespace = ("unshare", "--user", "--map-root-user")
    dump(box, bundle, criu, prefix=in_a_user_namespace, cwd=images).refused("only root of the host can checkpoint")
    dump(box, bundle, criu, prefix=("setpriv", "--reuid", "1000", "--clear-groups")).refused("only root of the host")


def test_restore_gives_what_was_external(box: Runtime, bundle: Bundle, criu: FakeCriu, images: Path) -> None:
    outside = bundle.host_directory()
    bundle.mount("/some/data", "bind", outside, "bind")
    bundle.linux["maskedPaths"] = ["/proc/keys"]
    restore(box, bundle, criu, images, "--pid-file", str(images / "pid")).ok()
    state = box.state(bundle.id)
    assert state["status"] == "running"
    assert (images / "pid").read_text() == str(state["pid"])
    request = criu.requests(RESTORE)[0]
    options = request["options"]
    assert f"mnt[/some/data]:{outside}" in options["external"]
    assert "mnt[/dev/null]:/dev/null" in options["external"]
    assert options["inherit_fds"] == [{"key": "pipe:[11]", "fd": 4}, {"key": "pipe:[12]", "fd": 5}]
    assert request["fds"]["4"].startswith("pipe:[") and request["fds"]["5"].endswith(".restore.err")
    assert options["restore_sibling"] is True and options["root"] == str(bundle.rootfs)
    assert (bundle.rootfs / "some/data").is_dir()
    cgroup = Path(f"/proc/{state['pid']}/cgroup").read_text()
    assert bundle.linux["cgroupsPath"] in cgroup
    roots = [
        root["path"] for root in options["cgroup_roots"] if root["path"] != "/"
    ]  # of hierarchies that are not used
    assert {path.rsplit("/", 1)[-1] for path in roots} == {bundle.linux["cgroupsPath"].rsplit("/", 1)[-1]}
    box("kill", bundle.id, "KILL").ok()
    box("delete", bundle.id).ok()


def test_flags_of_restore(box: Runtime, bundle: Bundle, criu: FakeCriu, images: Path) -> None:
    cases: list[tuple[str, dict[str, Any]]] = [
        ("--tcp-established --tcp-close", {"tcp_established": True, "tcp_close": True}),
        ("--ext-unix-sk --shell-job --file-locks", {"ext_unix_sk": True, "shell_job": True, "file_locks": True}),
        ("--auto-dedup --lazy-pages", {"auto_dedup": True, "lazy_pages": True}),
        ("--manage-cgroups-mode=ignore --no-pivot", {"manage_cgroups_mode": 0, "cgroup_roots": None}),
        ("--lsm-profile=selinux:L", {"lsm_profile": "selinux:L"}),
        ("--lsm-mount-context=system_u:object_r:x", {"lsm_mount_context": "system_u:object_r:x"}),
        ("--empty-ns network -no-subreaper", {"empty_namespaces": 0x40000000}),
        ("--status-fd 1", {"status_fd": 1}),
    ]
    for flags, expected in cases:
        restore(box, bundle, criu, images, *flags.split()).ok()
        options = criu.requests(RESTORE)[-1]["options"]
        assert {name: options.get(name) for name in expected} == expected
        box("delete", "--force", bundle.id).ok()


def test_preserved_descriptors_take_the_place_of_the_dumps(
    box: Runtime, bundle: Bundle, criu: FakeCriu, images: Path
) -> None:
    (images / "descriptors.json").write_text('["", "", "", "pipe:[33]", "pipe:[44]"]')
    reader, writer = os.pipe()
    # Here it is number 3, whatever its number is in this process.
    prefix = ("bash", "-c", f'exec 3>&{writer}; exec "$@"', "sh")
    restore(box, bundle, criu, images, "--preserve-fds", "1", prefix=prefix, pass_fds=(writer,)).ok()
    request = criu.requests(RESTORE)[0]
    assert request["options"]["inherit_fds"] == [{"key": "pipe:[33]", "fd": 4}]
    assert request["fds"]["4"] == os.readlink(f"/proc/self/fd/{writer}")
    for fd in (reader, writer):
        os.close(fd)


def test_attached_restore_ends_with_the_process(box: Runtime, bundle: Bundle, criu: FakeCriu, images: Path) -> None:
    (images / "descriptors.json").write_text("[]")
    args = box.bundle_args(bundle, "--image-path", str(images))
    process = box.popen("restore", *args, env=environment(criu))
    wait_until(lambda: box("state", bundle.id).code == 0 and box.state(bundle.id)["status"] == "running", "restored")
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 128 + signal.SIGTERM
    box("state", bundle.id).refused("does not exist")


def test_keep(box: Runtime, bundle: Bundle, criu: FakeCriu, images: Path) -> None:
    (images / "descriptors.json").write_text("[]")
    args = box.bundle_args(bundle, "--image-path", str(images), "--keep")
    process = box.popen("restore", *args, env=environment(criu))
    wait_until(lambda: box("state", bundle.id).code == 0 and box.state(bundle.id)["status"] == "running", "restored")
    box("kill", bundle.id, "KILL").ok()
    assert process.wait(10) == 128 + signal.SIGKILL
    assert box.state(bundle.id)["status"] == "stopped"
    box("delete", bundle.id).ok()


def test_a_terminal_is_handed_over(box: Runtime, bundle: Bundle, criu: FakeCriu, images: Path) -> None:
    bundle.process["terminal"] = True
    assert "console socket" in restore(box, bundle, criu, images).err


class TestNothingIsLeft:
    """After a failure there is no container, no process and no cgroup: `leaves_nothing` looks."""

    def test_if_criu_fails(self, box: Runtime, bundle: Bundle, criu: FakeCriu, images: Path) -> None:
        criu.rules(fail=["(00.1) Error (criu/mount.c:3): mnt: No mapping for /x"])
        result = restore(box, bundle, criu, images)
        assert "criu cannot restore the container: mnt: No mapping for /x" in result.err
        assert "restore.log" in result.err and result.code == 1
        box("state", bundle.id).refused("does not exist")

    @pytest.mark.parametrize("moment", ["setup-namespaces", "post-restore", "request"])
    def test_if_criu_ends(self, box: Runtime, bundle: Bundle, criu: FakeCriu, images: Path, moment: str) -> None:
        criu.rules(die=moment)
        result = restore(box, bundle, criu, images)
        assert "criu ended before" in result.err
        box("state", bundle.id).refused("does not exist")

    def test_if_a_hook_fails(self, box: Runtime, bundle: Bundle, criu: FakeCriu, images: Path, directory: Path) -> None:
        bundle.hook("createRuntime", "/bin/false").hook("poststop", "/bin/touch", directory / "stopped")
        assert "/hooks/createRuntime/0" in restore(box, bundle, criu, images).err
        box("state", bundle.id).refused("does not exist")
        assert (directory / "stopped").exists()

    def test_if_the_pid_file_cannot_be_written(
        self, box: Runtime, bundle: Bundle, criu: FakeCriu, images: Path
    ) -> None:
        assert "cannot record" in restore(box, bundle, criu, images, "--pid-file", "/nowhere/pid").err
        box("state", bundle.id).refused("does not exist")

    @pytest.mark.parametrize("moment", ["pre-restore", "setup-namespaces", "post-restore"])
    def test_if_it_is_killed_delete_force_finishes(
        self, box: Runtime, bundle: Bundle, criu: FakeCriu, images: Path, moment: str, directory: Path
    ) -> None:
        (images / "descriptors.json").write_text("[]")
        criu.rules(moments=["pre-restore", "setup-namespaces", "post-restore"], hang=moment)
        process = box.popen("restore", *box.bundle_args(bundle, "--image-path", str(images)), env=environment(criu))
        wait_until((criu.directory / "hanging").exists, "the moment")
        process.kill()
        process.wait()
        (criu.directory / "hanging").unlink()
        box("delete", "--force", bundle.id).ok()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda bundle: bundle.linux.update(netDevices={"eth9": {}}), "/linux/netDevices"),
        (lambda bundle: bundle.config.update(annotations={"org.criu.config": "rel"}), "org.criu.config"),
        (lambda bundle: bundle.config.update(annotations={"org.criu.config": "/no/file"}), "there is no file"),
    ],
)
def test_what_cannot_be_restored(
    box: Runtime, bundle: Bundle, criu: FakeCriu, images: Path, change: Callable[[Bundle], Any], words: str
) -> None:
    change(bundle)
    result = restore(box, bundle, criu, images)
    assert result.code == 1 and words in result.err, result.err
    assert criu.requests(RESTORE) == []


def test_not_into_a_mount_namespace_that_exists(box: Runtime, bundle: Bundle, criu: FakeCriu, images: Path) -> None:
    with subprocess.Popen(["unshare", "-m", "sh", "-c", "echo; exec sleep 100"], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None and other.stdout.read(1)
        bundle.namespace("mount", f"/proc/{other.pid}/ns/mnt")
        assert "mount namespace that exists" in restore(box, bundle, criu, images).err
        other.kill()


def test_a_user_namespace_needs_to_search_the_directory(
    box: Runtime, bundle: Bundle, criu: FakeCriu, images: Path
) -> None:
    images.chmod(0o700)
    assert "chmod o+x" in restore(box, bundle.user_namespace(), criu, images).err


def test_no_checkpoint_there(box: Runtime, bundle: Bundle, criu: FakeCriu, images: Path, directory: Path) -> None:
    result, reader, _ = box.spawn(
        "restore", bundle, "--detach", "--image-path", str(directory / "none"), env=environment(criu)
    )
    os.close(reader)
    assert "there is no checkpoint" in result.err
    (images / "descriptors.json").write_text('{"no": "list"}')
    assert "expected a list" in restore(box, bundle, criu, images).err
    (images / "descriptors.json").unlink()
    result, reader, _ = box.spawn("restore", bundle, "-d", "--image-path", str(images), env=environment(criu))
    os.close(reader)
    assert "no whole checkpoint" in result.err


def test_annotation_names_crius_config(box: Runtime, bundle: Bundle, criu: FakeCriu, images: Path) -> None:
    (images / "own.conf").write_text("tcp-close\n")
    bundle.config["annotations"] = {"org.criu.config": str(images / "own.conf")}
    restore(box, bundle, criu, images).ok()
    assert criu.requests(RESTORE)[0]["options"]["config_file"] == str(images / "own.conf")


def test_engines_probes(box: Runtime) -> None:
    box("checkpoint", "--help").ok()
    box("restore", "--lsm-mount-context").refused("flag needs an argument")
    assert box.bare("features").json()["annotations"]["org.opencontainers.runc.checkpoint.enabled"] == "true"
