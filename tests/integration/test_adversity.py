"""What goes wrong around a runtime: hooks that hang, state that is damaged, descriptors and space that are lacking, kernels
and namespaces that offer less. Each ends in one line and leaves nothing, or works all the same.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import host
from tests.support.bundle import Bundle
from tests.support.marks import not_for, requires
from tests.support.probe import parse
from tests.support.runtime import ENVIRONMENT, Runtime, wait_until

OTHERS = not_for("runc", "crun", reason="they keep their state, and lock it, otherwise")


def creating(box: Runtime, bundle: Bundle) -> subprocess.Popen[bytes]:
    """A `create` which is held up."""
    command = box.popen("create", *box.bundle_args(bundle), stdin=-3, stdout=-3, stderr=subprocess.PIPE)
    wait_until(lambda: '"pid":' in read(box.root / bundle.id / "state.json"), "the journal")
    return command


def read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def message(command: subprocess.Popen[bytes]) -> str:
    assert command.stderr is not None
    text = command.stderr.read().decode()
    assert command.wait(20) == 1
    assert text.startswith("box: ") and text.count("\n") == 1, text
    return text


# ---- a hook that hangs ----


@OTHERS
@pytest.mark.parametrize("moment", ["createRuntime", "createContainer"])
@pytest.mark.parametrize("own_pids", [True, False])
def test_delete_by_force_does_not_wait_for_a_hook_of_create(
    box: Runtime, bundle: Bundle, moment: str, own_pids: bool
) -> None:
    if not own_pids:
        bundle.without_namespace("pid").without_mount("/proc", "/sys")
    command = creating(box, bundle.hook(moment, "/bin/sleep", "100"))
    begun = time.monotonic()
    box("delete", "--force", bundle.id).ok()
    assert time.monotonic() - begun < 5
    message(command)
    box("state", bundle.id).refused("does not exist")


@OTHERS
def test_delete_by_force_does_not_wait_for_a_hook_of_start(box: Runtime, bundle: Bundle) -> None:
    bundle.hook("startContainer", "/bin/sh", "-c", "echo begun > /tmp/hook; sleep 100")
    container = box.create(bundle)
    command = box.popen("start", container.id, stdin=-3, stdout=-3, stderr=subprocess.PIPE)
    wait_until(lambda: read(bundle.rootfs / "tmp/hook"), "the hook")
    begun = time.monotonic()
    container.delete("--force").ok()
    assert time.monotonic() - begun < 5
    message(command)


@OTHERS
@pytest.mark.parametrize("verb", ["start", "run"])
def test_delete_by_force_does_not_wait_for_a_poststart_hook(box: Runtime, bundle: Bundle, verb: str) -> None:
    marker = bundle.path / "hook"
    bundle.args("/bin/sleep", "100").hook("poststart", "/bin/sh", "-c", f"echo begun > {marker}; sleep 2")
    arguments = box.bundle_args(bundle)
    if verb == "start":
        box.create(bundle)
        arguments = (bundle.id,)
    command = box.popen(verb, *arguments, stdin=-3, stdout=-3, stderr=-3)
    wait_until(lambda: read(marker), "the hook")
    begun = time.monotonic()
    box("delete", "--force", bundle.id).ok()
    assert time.monotonic() - begun < 1.5
    assert command.wait(20) == (0 if verb == "start" else 137)


@not_for("crun", reason="it runs them only for a container that was created")
@pytest.mark.parametrize("moment", ["prestart", "createRuntime", "createContainer"])
def test_poststop_hooks_run_when_a_hook_of_create_failed(box: Runtime, bundle: Bundle, moment: str) -> None:
    marker = bundle.path / "stopped"
    bundle.hook(moment, "/bin/false").hook("poststop", "/bin/sh", "-c", f"cat > {marker}")
    box.run(bundle).refused("hook")
    assert '"stopped"' in marker.read_text()


# ---- a container that is being created ----


@OTHERS
@pytest.mark.parametrize("flags", [(), ("--all",)])
def test_signal_for_a_container_that_is_being_created_is_an_error_and_has_no_effect(
    box: Runtime, bundle: Bundle, flags: tuple[str, ...]
) -> None:
    marker = bundle.path / "go"
    bundle.hook("createRuntime", "/bin/sh", "-c", f"until [ -e {marker} ]; do sleep 0.01; done")
    command = creating(box, bundle)
    box("kill", *flags, bundle.id, "KILL").refused("container not running")
    marker.touch()
    assert command.wait(20) == 0
    assert box.state(bundle.id)["status"] == "created"


@OTHERS
def test_verbs_find_a_container_whose_process_is_not_there_yet(box: Runtime, bundle: Bundle) -> None:
    container = box.create(bundle)
    journal = box.root / bundle.id / "state.json"
    whole = journal.read_text()
    changed = json.loads(whole)
    del changed["pid"], changed["started"]
    journal.write_text(json.dumps(changed | {"status": "creating", "maker": host_init()}))
    assert container.status == "creating"
    container.kill("TERM").refused("container not running")
    box("ps", bundle.id).refused("container not running")
    container.exec("/bin/true").refused("creating", code=255)
    journal.write_text(whole)


def host_init() -> list[int]:
    """A process that lives: its pid and start time."""
    text = Path("/proc/1/stat").read_text()
    return [1, int(text.rpartition(") ")[2].split()[19])]


# ---- state that is damaged ----


@OTHERS
def test_container_whose_config_is_lost_can_be_deleted(box: Runtime, bundle: Bundle) -> None:
    container = box.create(bundle.hook("poststop", "/bin/true"))
    (box.root / bundle.id / "config.json").write_text("")
    result = container.delete("--force").ok()
    assert "poststop" in result.err
    box("state", bundle.id).refused("does not exist")


@OTHERS
@pytest.mark.parametrize("text", ["", "{", "[]", '{"version":1}', '{"version":99}', '{"version":1,"status":"created"}'])
def test_journal_that_is_not_whole_is_an_error_but_for_delete_by_force(box: Runtime, bundle: Bundle, text: str) -> None:
    container = box.start(bundle)
    container.wait()
    journal = box.root / bundle.id / "state.json"
    whole = journal.read_text()
    journal.write_text(text)
    for verb in ("state", "kill", "start", "delete", "ps"):
        box(verb, bundle.id).refused("the state of container")
    box("list").ok()
    journal.write_text(whole)


@OTHERS
def test_delete_by_force_spares_a_directory_that_is_no_container(box: Runtime) -> None:
    other = box.root / "home"
    other.mkdir(parents=True)
    (other / "letter").write_text("dear")
    box("delete", "--force", "home").refused("not a container's directory")
    assert (other / "letter").read_text() == "dear"
    (other / "letter").unlink()
    box("delete", "--force", "home").ok()
    assert not other.exists()


# ---- means that are lacking ----


@OTHERS
def test_few_descriptors_are_an_error_that_leaves_nothing(box: Runtime, bundle: Bundle) -> None:
    arguments = box.command("run", *box.bundle_args(bundle))
    for limit in range(6, 40, 3):
        command = ["sh", "-c", f'ulimit -n {limit}; exec "$@"', "sh", *arguments]
        result = subprocess.run(command, env=ENVIRONMENT, stdin=-3, capture_output=True, text=True, timeout=20)
        if result.returncode != 0:
            assert result.stderr.startswith("box: ") and result.stderr.count("\n") == 1, result.stderr
        assert not (box.root / bundle.id).exists(), f"with {limit} descriptors: {result.stderr}"
    assert result.returncode == 0


@pytest.fixture
def small(directory: Path, box: Runtime) -> Iterator[Path]:
    """--root on a filesystem with little room: its size is to be set."""
    box.root.mkdir()
    host.mount("tmpfs", str(box.root), "tmpfs", 0, "size=1m")
    yield box.root
    host.unmount(str(box.root))


@OTHERS
@pytest.mark.parametrize("room", [*(f"size={size}k" for size in (4, 8, 12)), *(f"nr_inodes={n}" for n in range(3, 8))])
def test_full_disk_is_an_error_that_leaves_nothing(box: Runtime, bundle: Bundle, small: Path, room: str) -> None:
    host.mount(None, str(small), None, 32, room)  # MS_REMOUNT
    result = box.run(bundle)
    if result.code != 0:
        result.refused("no space left on device")
        assert result.err.count("\n") == 1
    assert [path.name for path in small.iterdir() if path.name != ".cache"] == []


@OTHERS
def test_error_with_a_long_fact_is_told(box: Runtime, bundle: Bundle) -> None:
    bundle.mount("/mnt", "bind", "/" + "x" * 100_000, "bind")
    box.run(bundle).refused("/mounts/", "cannot bind on '/mnt'", "file name too long")


# ---- kernels and namespaces that offer less ----


@requires("strace")
@OTHERS
@pytest.mark.parametrize("error", ["EINVAL", "ENOSYS"])
def test_without_close_range_no_descriptor_reaches_the_program(box: Runtime, bundle: Bundle, error: str) -> None:
    """Linux 5.10 knows the call, but not its flag; filters made before it know neither."""
    inject = ["strace", "-f", "-qq", "--seccomp-bpf", "-o", "/dev/null", "-e", "trace=close_range"]
    inject += ["-e", f"inject=close_range:error={error}"]
    bundle.hook("startContainer", "/bin/probe", "--to", "/tmp/hook")
    ran = box.run(bundle.args("/bin/probe"), prefix=tuple(inject)).report()
    hook = parse(read(bundle.rootfs / "tmp/hook"))
    execed = box.running_shell(bundle).exec("/bin/probe", prefix=tuple(inject)).report()
    assert [set(report["fds"]) for report in (ran, hook, execed)] == [{"0", "1", "2"}] * 3


@pytest.mark.parametrize("flags", ["--net", "--net --mount"])
@pytest.mark.parametrize("own", [True, False])
@not_for("runc", "crun", reason="not theirs to answer for")
def test_root_of_a_user_namespace_runs_containers(box: Runtime, bundle: Bundle, flags: str, own: bool) -> None:
    if own:
        bundle.user_namespace(0, 1)
    prefix = ("unshare", "--user", "--map-root-user", *flags.split())
    assert box.run(bundle.args("/bin/echo", "ran"), prefix=prefix).ok().out == "ran\n"
