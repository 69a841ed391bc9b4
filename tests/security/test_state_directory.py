"""What a runtime leaves where others can see it: sockets, directories, files, logs. Nobody but its owner can use them.

CVE-2020-15257, CVE-2021-41103, CVE-2024-25621, CVE-2023-6597, and what hazards Python adds.
"""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
from pathlib import Path

import pytest

from tests.support.bundle import Bundle
from tests.support.canaries import Outside
from tests.support.marks import not_for
from tests.support.runtime import CHECKOUT, ENVIRONMENT, Runtime
from tests.support.tally import Row

pytestmark = not_for("runc", "crun", reason="theirs is laid out otherwise")


def modes(top: Path) -> dict[str, str]:
    """Type and permissions of all there is below."""
    found = {str(top.relative_to(top.parent)): stat.filemode(top.lstat().st_mode)}
    for directory, names, files in os.walk(top):
        for name in [*names, *files]:
            path = Path(directory, name)
            found[str(path.relative_to(top))] = stat.filemode(path.lstat().st_mode)
    return found


@pytest.mark.parametrize("umask", ["000", "022", "077", "0777"])
def test_state_belongs_to_its_owner_alone_whatever_the_umask(box: Runtime, bundle: Bundle, umask: str) -> None:
    """CVE-2021-41103: directories could be passed through by anybody, who executed what lay below."""
    pid_file = bundle.path / "pid"
    prefix = ("/bin/sh", "-c", f'umask {umask}; exec "$@"', "sh")
    box.create(bundle, "--pid-file", str(pid_file), prefix=prefix)
    found = modes(box.root)
    found.pop(".cache", None)
    assert {mode for mode in found.values() if mode[4:] not in ("------", "-----T")} == set(), found
    assert stat.S_IMODE(pid_file.stat().st_mode) & 0o022 == 0


def test_control_makes_a_directory_with_the_callers_umask(directory: Path, tally: Row) -> None:
    subprocess.run(
        ["/bin/sh", "-c", f"umask 000; exec python3 -c 'import os; os.makedirs(\"{directory}/a/b\", 0o700)'"],
        check=True,
    )
    tally.red("naive makedirs", stat.S_IMODE((directory / "a").stat().st_mode) & 0o077 != 0)


def test_container_that_shares_the_network_finds_no_socket_of_ours(box: Runtime, bundle: Bundle) -> None:
    """CVE-2020-15257: abstract sockets belong to a network namespace, not to a directory."""
    before = Path("/proc/net/unix").read_text()
    container = box.create(bundle)
    lines = [line.split()[-1] for line in Path("/proc/net/unix").read_text().splitlines() if line not in before]
    assert [name for name in lines if name.startswith("@")] == []
    container.start().ok()
    seen = box.run(bundle.shell("cat /proc/net/unix"))
    assert "@boxes" not in seen.out


def test_start_socket_is_the_owners(box: Runtime, bundle: Bundle) -> None:
    container = box.create(bundle)
    path = box.root / container.id / "start"
    assert stat.S_ISSOCK(path.lstat().st_mode)
    code = "import socket, sys; s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); s.connect(sys.argv[1]); s.send(b'start')"
    result = subprocess.run(
        ["/usr/bin/python3", "-c", code, str(path)], user=1000, capture_output=True, text=True, check=False
    )
    assert "PermissionError" in result.stderr
    assert container.status == "created"


@pytest.mark.parametrize("message", [b"", b"start!", b"STOP", b"\0" * 8, b"x" * 4096, b"star"])
def test_knock_that_is_no_start_starts_nothing(box: Runtime, bundle: Bundle, message: bytes) -> None:
    container = box.create(bundle)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
        client.connect(str(box.root / container.id / "start"))
        client.send(message)
        client.settimeout(5)
        assert client.recv(16) == b""
    assert container.status == "created"
    container.start().ok()


@pytest.mark.parametrize("option", ["--log", "--pid-file", "--root"])
@pytest.mark.parametrize("kind", ["dangling", "to a file"])
def test_link_planted_at_a_file_of_ours_is_replaced_or_refused(
    box: Runtime, bundle: Bundle, outside: Outside, option: str, kind: str
) -> None:
    place = bundle.path / "planted"
    place.symlink_to(outside.path / ("missing" if kind == "dangling" else "marker"))
    if option == "--log":
        box.globals = ("--log", str(place))
        bundle.config["process"]["cwd"] = 1  # something to tell
        box.run(bundle)
    elif option == "--pid-file":
        assert box.run(bundle, "--pid-file", str(place)).code in (0, 1)
    else:
        box.bare("--root", str(place), "run", "--bundle", str(bundle.save().path), bundle.id)
    outside.unchanged()


def test_file_that_is_written_beside_the_pid_file_is_not_planted(
    box: Runtime, bundle: Bundle, outside: Outside
) -> None:
    """The name of what is written first can be guessed: it must be made anew, and be a link to nothing."""
    place = bundle.path / "pid"
    base = int(Path("/proc/sys/kernel/ns_last_pid").read_text())
    for pid in range(base, base + 200):
        os.link(outside.path / "marker", f"{place}.{pid}.new")
    outside.before = []  # links count; what matters is the content
    box.run(bundle, "--pid-file", str(place))
    assert (outside.path / "marker").read_text() == "canary"
    assert place.stat().st_ino != (outside.path / "marker").stat().st_ino


@pytest.mark.parametrize("verb", ["run", "create", "exec", "state"])
def test_no_bytecode_is_written_but_below_our_own_package(box: Runtime, bundle: Bundle, verb: str) -> None:
    container = box.running_shell(bundle)
    (bundle.path / "home").mkdir()
    env = ENVIRONMENT | {"HOME": str(bundle.path / "home")}
    if verb == "exec":
        container.exec("/bin/true", env=env, cwd=bundle.path)
    else:
        box("state", bundle.id, env=env, cwd=bundle.path)
    assert [path for path in bundle.path.rglob("*") if path.suffix == ".pyc" or path.name == "__pycache__"] == []


def test_package_can_be_changed_by_its_owner_alone() -> None:
    for path in (CHECKOUT / "src/boxes").rglob("*"):
        assert path.lstat().st_mode & 0o002 == 0, path


def test_log_lines_are_one_object_each(box: Runtime, bundle: Bundle) -> None:
    log = bundle.path / "log"
    box.globals = ("--log", str(log), "--log-format", "json")
    for number in range(3):
        bundle.config["annotations"] = {f'a"\n{number}': "x\n\u2028"}
        bundle.config["hostname"] = f"evil\n{number}" * 20
        assert box.run(bundle).code == 1
    lines = log.read_text().split("\n")
    assert len(lines) == 4 and all(json.loads(line)["msg"] for line in lines[:3])
