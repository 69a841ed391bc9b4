"""`checkpoint` and `restore` with the real CRIU. tests/integration/test_checkpoint.py has what can be told without."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import host
from tests.support.bundle import Bundle
from tests.support.criu import COUNT, cgroups_of, checkpoint, counting, last_number, restored, run_with
from tests.support.marks import not_for, requires
from tests.support.runtime import ENVIRONMENT, Runtime, read_line, wait_until
from tests.support.terminal import ConsoleSocket

pytestmark = [requires("criu"), not_for("crun", reason="the distribution's is made without CRIU")]


@pytest.fixture(autouse=True)
def _criu_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENVIRONMENT, "PATH", f"{Path(host.criu()).parent}:{ENVIRONMENT['PATH']}")


@pytest.fixture
def images(directory: Path) -> Path:
    return directory / "images"


def test_a_counter_goes_on_where_it_was(box: Runtime, bundle: Bundle, images: Path) -> None:
    container = counting(box, bundle)
    cgroups = cgroups_of(container)
    checkpoint(container, images)
    box("state", bundle.id).refused("does not exist")
    last = last_number(container)
    again = restored(box, bundle, images)
    assert int(again.readline()) == last + 1
    assert again.status == "running"
    assert cgroups_of(again) == cgroups


def test_a_restored_container_is_like_any_other(box: Runtime, bundle: Bundle, images: Path) -> None:
    checkpoint(counting(box, bundle), images)
    pid_file = images / "pid"
    container = restored(box, bundle, images, "--pid-file", str(pid_file))
    assert pid_file.read_text() == str(container.pid)
    assert container.exec("/bin/echo", "inside").ok().out == "inside\n"
    assert bundle.id in box("list", "--quiet").ok().out
    container.delete().refused("not stopped")
    container.kill("KILL").ok()
    assert container.wait() == 128 + signal.SIGKILL
    assert container.status == "stopped"
    container.delete().ok()


def test_it_may_have_another_id_and_cgroup(box: Runtime, make_bundle: Callable[[], Bundle], images: Path) -> None:
    bundle = make_bundle()
    checkpoint(counting(box, bundle), images)
    other = make_bundle()
    other.config = json.loads(json.dumps(bundle.config)) | {"root": {"path": str(bundle.rootfs)}}
    other.linux["cgroupsPath"] += "-other"
    container = restored(box, other, images)
    assert int(container.readline()) > 3
    assert {path.endswith("-other") for path in cgroups_of(container)} == {True}


def test_leave_running(box: Runtime, bundle: Bundle, images: Path) -> None:
    container = counting(box, bundle)
    checkpoint(container, images, "--leave-running", "--leave-running")
    assert container.status == "running"
    assert int(container.readline()) > 3
    container.delete("--force").ok()
    assert int(restored(box, bundle, images).readline()) > 3


@requires("dirty tracking")
def test_a_dump_upon_an_earlier_one(box: Runtime, bundle: Bundle, directory: Path) -> None:
    container = counting(box, bundle)
    checkpoint(container, directory / "first", "--pre-dump")
    assert container.status == "running"
    checkpoint(container, directory / "second", "--parent-path", "../first")
    last = last_number(container)
    assert int(restored(box, bundle, directory / "second").readline()) == last + 1


def test_attached(box: Runtime, bundle: Bundle, images: Path) -> None:
    checkpoint(counting(box, bundle, f"trap 'exit 7' USR1; {COUNT}"), images)
    args = box.bundle_args(bundle, "--image-path", str(images))
    process = box.popen("restore", *args, stdout=subprocess.PIPE)
    assert int(read_line(process.stdout)) > 3
    process.send_signal(signal.SIGUSR1)
    assert process.wait(20) == 7
    box("state", bundle.id).refused("does not exist")


def test_memory_mounts_and_binds(box: Runtime, bundle: Bundle, images: Path) -> None:
    """What a tmpfs held is there again; a bind shows the host's file, a mask hides, a read-only path stays so."""
    outside = bundle.host_directory(text="outside")
    bundle.mount("/data", "bind", outside, "rbind", "ro").mount("/etc/hosts", "bind", outside / "text", "bind")
    bundle.linux.update(maskedPaths=["/proc/keys", "/proc/scsi"], readonlyPaths=["/proc/sys"])
    container = counting(box, bundle, f"echo kept > /dev/shm/file; {COUNT}")
    checkpoint(container, images)
    (outside / "text").write_text("changed")
    again = restored(box, bundle, images)
    script = "cat /dev/shm/file /data/text /etc/hosts; wc -c < /proc/keys; echo 1 > /proc/sys/kernel/domainname"
    assert again.exec("/bin/sh", "-c", script).out.split() == ["kept", "changedchanged0"]
    assert again.exec("/bin/sh", "-c", "echo x > /data/new").code != 0


def test_a_fresh_root_gets_its_mount_points(box: Runtime, bundle: Bundle, images: Path) -> None:
    outside = bundle.host_directory(text="outside")
    bundle.mount("/volumes/data", "bind", outside, "bind").mount("/volumes/file", "bind", outside / "text", "bind")
    checkpoint(counting(box, bundle), images)
    subprocess.run(["rm", "-r", str(bundle.rootfs / "volumes")], check=True)
    container = restored(box, bundle, images)
    assert container.exec("/bin/cat", "/volumes/data/text", "/volumes/file").ok().out == "outsideoutside"


def test_namespaces_by_path(box: Runtime, bundle: Bundle, images: Path) -> None:
    """What was in a network namespace of the host's is in the one that the config names at the restore."""
    holders = [
        subprocess.Popen(["unshare", "--net", "sh", "-c", "echo; exec sleep 1000"], stdout=subprocess.PIPE)
        for _ in "12"
    ]
    try:
        for holder in holders:
            read_line(holder.stdout)
        bundle.namespace("network", f"/proc/{holders[0].pid}/ns/net")
        checkpoint(counting(box, bundle), images)
        container = restored(box, bundle.namespace("network", f"/proc/{holders[1].pid}/ns/net"), images)
        assert os.readlink(f"/proc/{container.pid}/ns/net") == os.readlink(f"/proc/{holders[1].pid}/ns/net")
        container.delete("--force").ok()
    finally:
        for holder in holders:
            holder.kill()
            holder.communicate()


def test_all_namespaces_of_its_own(box: Runtime, bundle: Bundle, images: Path) -> None:
    bundle.namespace("network").namespace("cgroup")
    bundle.mount("/sys/fs/cgroup", "cgroup", "cgroup", "ro")
    checkpoint(counting(box, bundle), images)
    container = restored(box, bundle, images)
    assert int(container.readline()) > 3
    lines = container.exec("/bin/cat", "/proc/1/cgroup").ok().out.splitlines()
    assert {line.split(":")[2] for line in lines} == {"/"}


def test_an_empty_network_namespace(box: Runtime, bundle: Bundle, images: Path) -> None:
    bundle.namespace("network")
    checkpoint(counting(box, bundle), images, "--empty-ns", "network")
    container = restored(box, bundle, images, "--empty-ns", "network")
    assert int(container.readline()) > 3
    assert len(container.exec("/bin/cat", "/proc/net/dev").ok().out.splitlines()) == 3  # of lo, and two of titles


def test_a_user_namespace(box: Runtime, bundle: Bundle, images: Path) -> None:
    bundle.user_namespace()
    checkpoint(counting(box, bundle), images)
    container = restored(box, bundle, images)
    assert int(container.readline()) > 3
    assert Path(f"/proc/{container.pid}/uid_map").read_text().split() == ["0", "100000", "65536"]


def test_a_terminal(box: Runtime, bundle: Bundle, images: Path, directory: Path) -> None:
    bundle.process["terminal"] = True
    server = ConsoleSocket(directory / "first")
    box.start(bundle.shell(COUNT), "--console-socket", str(server.path))
    master = server.receive()
    server.close()
    assert os.read(master, 100).startswith(b"1")
    box("checkpoint", "--image-path", str(images), bundle.id, timeout=50).ok()
    os.close(master)
    server = ConsoleSocket(directory / "second")
    restored(box, bundle, images, "--console-socket", str(server.path))
    master = server.receive()
    server.close()
    assert int(os.read(master, 100).split()[0]) > 1
    os.close(master)


def test_streams_that_are_files_of_the_host(box: Runtime, bundle: Bundle, images: Path, directory: Path) -> None:
    first, second = directory / "first.out", directory / "second.out"
    args = box.bundle_args(bundle.shell(COUNT))
    with open(first, "wb") as out:
        run_with(box, out.fileno(), "run", "--detach", *args)
    wait_until(lambda: len(first.read_text().split()) > 3, "output")
    box("checkpoint", "--image-path", str(images), bundle.id, timeout=50).ok()
    last = int(first.read_text().split()[-1])
    with open(second, "wb") as out:
        os.fchmod(out.fileno(), 0o600)
        run_with(box, out.fileno(), "restore", "--detach", "--image-path", str(images), *args)
    wait_until(lambda: str(last + 1) in second.read_text().split(), "output")
    assert int(first.read_text().split()[-1]) == last


def test_a_tcp_connection(box: Runtime, bundle: Bundle, images: Path) -> None:
    """The container's end of a connection within the machine goes on; without the flag it is refused."""
    server = socket.create_server(("127.0.0.1", 0))
    server.settimeout(20)
    port = server.getsockname()[1]
    script = f"echo up; exec 3<>/dev/null; busybox nc 127.0.0.1 {port} -e /bin/sh -c 'while :; do echo tick; sleep 0.1; done'"
    container = box.start(bundle.shell(script))
    peer, _ = server.accept()
    peer.settimeout(20)
    assert peer.recv(5).startswith(b"tick")
    box("checkpoint", "--image-path", str(images), bundle.id, timeout=50).refused("criu", "dump.log")
    assert container.status == "running"
    checkpoint(container, images, "--tcp-established")
    container = restored(box, bundle, images, "--tcp-established")
    peer.setblocking(False)
    try:
        while peer.recv(4096):
            pass
    except BlockingIOError:
        pass
    peer.settimeout(20)
    assert b"tick" in peer.recv(4096)
    peer.close()
    server.close()


def test_file_locks(box: Runtime, bundle: Bundle, images: Path) -> None:
    container = box.start(bundle.args("/bin/probe", "--lock", "/tmp/lock"))
    assert container.readline() == "locked"
    box("checkpoint", "--image-path", str(images), bundle.id, timeout=50).refused("lock")
    assert container.exec("/bin/probe", "--lock", "/tmp/lock").out == "busy\n"
    checkpoint(container, images, "--file-locks")
    again = restored(box, bundle, images, "--file-locks")
    assert again.exec("/bin/probe", "--lock", "/tmp/lock").out == "busy\n"


def test_hooks_and_failures(box: Runtime, bundle: Bundle, images: Path, directory: Path) -> None:
    """createRuntime runs at the restore too, when the namespaces are there; if it fails nothing is left."""
    checkpoint(counting(box, bundle), images)
    said = directory / "said"
    bundle.hook("createRuntime", "/bin/sh", "-c", f"cat > {said}").hook(
        "poststop", "/bin/sh", "-c", f"echo >> {said}.2"
    )
    container = restored(box, bundle, images)
    assert json.loads(said.read_text())["pid"] == container.pid
    container.delete("--force").ok()
    assert Path(f"{said}.2").exists()
    bundle.config["hooks"] = {}
    bundle.hook("createRuntime", "/bin/sh", "-c", "echo no >&2; exit 3")
    result, reader, _ = box.spawn("restore", bundle, "--detach", "--image-path", str(images))
    os.close(reader)
    assert result.code == 1 and "/hooks/createRuntime/0" in result.err and "no" in result.err
    box("state", bundle.id).refused("does not exist")


def test_limits_are_in_force(box: Runtime, bundle: Bundle, images: Path) -> None:
    bundle.linux["resources"] = {"pids": {"limit": 77}, "memory": {"limit": 64 << 20}}
    checkpoint(counting(box, bundle), images)
    container = restored(box, bundle, images)
    root = host.cgroup_roots().get("pids") or host.CGROUPS
    assert (root / host.cgroup_of(container.pid, "pids").lstrip("/") / "pids.max").read_text() == "77\n"
    assert container.runtime("pause", container.id).code == 0
    assert container.status == "paused"


def test_a_paused_container(box: Runtime, bundle: Bundle, images: Path) -> None:
    container = counting(box, bundle)
    box("pause", bundle.id).ok()
    checkpoint(container, images)
    assert int(restored(box, bundle, images).readline()) > 3


def port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def test_a_server_of_pages(box: Runtime, bundle: Bundle, images: Path) -> None:
    """Memory goes to the server, which here writes it to the same directory."""
    container = counting(box, bundle)
    images.mkdir()
    number = str(port())
    reader, writer = os.pipe()
    flags = ["page-server", "-D", str(images), "--port", number, "--status-fd", str(writer)]
    server = subprocess.Popen([host.criu(), *flags, "-o", "server.log"], pass_fds=[writer])
    os.read(reader, 1)
    checkpoint(container, images, "--page-server", f"127.0.0.1:{number}")
    assert server.wait(20) == 0
    assert int(restored(box, bundle, images).readline()) > 3
    for fd in (reader, writer):
        os.close(fd)


@requires("lazy pages")
def test_lazy_pages(box: Runtime, bundle: Bundle, images: Path, directory: Path) -> None:
    """The container is restored while its memory is still with the command that dumped it."""
    counting(box, bundle)
    work = directory / "work"
    work.mkdir()
    number = str(port())
    reader, writer = os.pipe()
    flags = ["--image-path", str(images), "--lazy-pages", "--page-server", f"127.0.0.1:{number}"]
    dump = box.popen("checkpoint", *flags, "--status-fd", str(writer), bundle.id, pass_fds=[writer])
    assert os.read(reader, 1) == b"\0"
    daemon = [host.criu(), "lazy-pages", "-D", str(images), "-W", str(work), "--page-server", "--address", "127.0.0.1"]
    pages = subprocess.Popen([*daemon, "--port", number, "-o", "pages.log"])
    try:
        wait_until((work / "lazy-pages.socket").exists, "the server of pages")
        bundle.id += "-lazy"
        bundle.linux["cgroupsPath"] += "-lazy"
        container = restored(box, bundle, images, "--lazy-pages", "--work-path", str(work))
        assert int(container.readline()) > 3
        assert pages.wait(20) == 0
        assert dump.wait(20) == 0
    finally:
        pages.kill()
        pages.wait()
        for fd in (reader, writer):
            os.close(fd)
