"""Scopes of an ordinary user's own systemd: the machine has such a user, `dev`, with delegated controllers.

The user's commands run in a login session, outside of what the user's systemd may write to: so it is the system's that
has to move each process.
"""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.bundle import Bundle
from tests.support.host import CGROUPS
from tests.support.marks import not_for
from tests.support.runtime import Result, Runtime, wait_until

UID = 1000
MANAGER = f"/user.slice/user-{UID}.slice/user@{UID}.service"
BELOW = f"{MANAGER}/user.slice"
STAY = ("/bin/sleep", "1000")

pytestmark = not_for("runc", "crun", reason="their exec does not enter the scope from a login session")


class User:
    """Runs commands in a login session of `dev`."""

    def __init__(self, box: Runtime, bundle: Bundle) -> None:
        self.box, self.bundle = box, bundle

    def __call__(self, *args: str, manager: str = "--systemd-cgroup", **environment: str) -> Result:
        command = [str(self.box.path), "--root", str(self.box.root), *([manager] if manager else []), *args]
        return self.do("env", *(f"{name}={value}" for name, value in environment.items()), *command)

    def do(self, *args: str) -> Result:
        # In the machine's mount namespace: the user's runtime directory is mounted when it is needed.
        command = ["nsenter", "-t", "1", "-m", "runuser", "-l", "dev", "-c", shlex.join(args)]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
        return Result(command, done.returncode, done.stdout, done.stderr)

    def save(self) -> tuple[str, ...]:
        self.bundle.save()
        os.chown(self.bundle.path / "config.json", UID, UID)
        return ("--bundle", str(self.bundle.path), self.bundle.id)

    def start(self) -> str:
        """A container that stays, and the path of its cgroup."""
        out = self.box.directory / "out"
        create = shlex.join(
            [str(self.box.path), "--root", str(self.box.root), "--systemd-cgroup", "create", *self.save()]
        )
        self.do("sh", "-c", f"{create} >{out} 2>&1 </dev/null").ok()
        self("start", self.bundle.id, manager="").ok()
        pid = self("state", self.bundle.id, manager="").json()["pid"]
        return Path(f"/proc/{pid}/cgroup").read_text().strip().removeprefix("0::")

    def shown(self, name: str) -> str:
        unit = f"bt-{self.bundle.id}.scope"
        return self.do("systemctl", "--user", "show", "--value", "-p", name, unit).ok().out.strip()

    def left(self) -> list[str]:
        listed = self.do("systemctl", "--user", "list-units", "--all", "--plain", "--no-legend", "bt-*", "box-*").ok()
        return [*listed.out.splitlines(), *(str(path) for path in Path(f"{CGROUPS}{MANAGER}").rglob("bt-*"))]


@pytest.fixture(scope="module")
def lingering() -> Iterator[None]:
    """The user's systemd stays when the user is not logged in, as for servers."""
    subprocess.run(["loginctl", "enable-linger", "dev"], check=True)
    yield
    subprocess.run(["loginctl", "disable-linger", "dev"], check=True)


@pytest.fixture
def user(lingering: None, box: Runtime, bundle: Bundle) -> Iterator[User]:
    box.root.mkdir()
    for directory, names, files in os.walk(box.directory):
        for name in (".", *names, *files):
            os.chown(Path(directory, name), UID, UID, follow_symlinks=False)
    bundle.linux["cgroupsPath"] = f"user.slice:bt:{bundle.id}"
    bundle.without_mount("/sys").namespace("user").args(*STAY)
    own = [{"containerID": 0, "hostID": UID, "size": 1}]
    bundle.linux.update(uidMappings=own, gidMappings=own)
    found = User(box, bundle)
    yield found
    found("delete", "--force", bundle.id, manager="").ok()
    wait_until(lambda: not found.left(), f"left behind: {found.left()}", 5)


def test_it_is_a_scope_of_the_users_systemd(user: User) -> None:
    assert user.start() == f"{BELOW}/bt-{user.bundle.id}.scope"
    assert user.shown("ActiveState") == "active"
    assert user.shown("Delegate") == "yes"


def test_limits_survive_a_reload(user: User) -> None:
    user.bundle.linux["resources"] = {
        "memory": {"limit": 64 << 20},
        "pids": {"limit": 17},
        "cpu": {"quota": 20000, "period": 50000, "cpus": "0"},
        "devices": [{"allow": False, "access": "rwm"}],  # every engine says so; an ordinary user can make none
    }
    place = Path(f"{CGROUPS}{user.start()}")
    for _ in range(2):
        assert (place / "memory.max").read_text().strip() == str(64 << 20)
        assert (place / "pids.max").read_text().strip() == "17"
        assert (place / "cpu.max").read_text().strip() == "20000 50000"
        assert (place / "cpuset.cpus").read_text().strip() == "0"
        assert user.shown("MemoryMax") == str(64 << 20)
        user.do("systemctl", "--user", "daemon-reload").ok()


def test_memory_kills(user: User) -> None:
    user.bundle.linux["resources"] = {"memory": {"limit": 32 << 20, "swap": 32 << 20}}
    user.bundle.shell("head -c 64m /dev/zero > /dev/shm/x")
    assert user("run", *user.save()).code in (137, 1)


def test_a_limit_without_its_controller_is_refused(user: User) -> None:
    user.bundle.linux["resources"] = {"hugepageLimits": [{"pageSize": "2MB", "limit": 2 << 20}]}
    result = user("run", *user.save()).refused("/linux/resources/hugepageLimits/0/limit")
    assert "delegated" in result.err


@pytest.mark.parametrize("flags", [(), ("--cgroup", "inner")])
def test_exec_enters_it(user: User, flags: tuple[str, ...]) -> None:
    place = user.start()
    if flags:
        user.do("mkdir", f"{CGROUPS}{place}/inner").ok()
    out = user("exec", *flags, user.bundle.id, "/bin/cat", "/proc/self/cgroup", manager="").ok().out
    assert out.strip().endswith("/".join([f"bt-{user.bundle.id}.scope", *flags[1:]]))


def test_exec_gives_the_status_and_the_output_of_its_program(user: User) -> None:
    user.start()
    result = user("exec", user.bundle.id, "/bin/sh", "-c", "echo out; echo err >&2; exit 7", manager="")
    assert (result.code, result.out, result.err) == (7, "out\n", "err\n")


def test_the_default_slice_is_user_slice(user: User) -> None:
    del user.bundle.linux["cgroupsPath"]
    assert user.start() == f"{BELOW}/box-{user.bundle.id}.scope"


def test_the_runtime_directory_need_not_be_told(user: User) -> None:
    user.bundle.args("/bin/cat", "/proc/self/cgroup")
    command = [str(user.box.path), "--root", str(user.box.root), "--systemd-cgroup", "run", *user.save()]
    assert user.do("env", "-u", "XDG_RUNTIME_DIR", *command).ok().out.endswith(f"/bt-{user.bundle.id}.scope\n")


def test_subordinate_ids(user: User) -> None:
    rows = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    user.bundle.linux.update(uidMappings=rows, gidMappings=rows)
    os.chown(user.bundle.rootfs, 100000, 100000)
    for directory, _, _ in os.walk(user.bundle.rootfs):
        os.chown(directory, 100000, 100000)
    assert user.start() == f"{BELOW}/bt-{user.bundle.id}.scope"


def test_no_systemd_there_is_an_error(user: User) -> None:
    result = user("run", *user.save(), XDG_RUNTIME_DIR=str(user.box.directory))
    result.refused("there is no systemd of this user", "enable-linger")


def test_a_systemd_that_does_not_answer_is_an_error_in_time(user: User) -> None:
    place = user.box.directory / "systemd"
    place.mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place / "private"))
        listener.listen()
        os.chmod(place / "private", 0o777)
        before = time.monotonic()
        result = user("run", *user.save(), XDG_RUNTIME_DIR=str(user.box.directory))
    result.refused("systemd did not answer within 10 s")
    assert 9 < time.monotonic() - before < 30
    assert list(user.box.root.iterdir()) == []


LIMITS = {"memory": {"limit": 64 << 20}, "pids": {"limit": 17}, "cpu": {"quota": 20000, "period": 50000}}


def test_without_systemd_a_delegated_cgroup_has_the_limits(user: User) -> None:
    """In a scope of the user's systemd: there the cgroup above is the user's own."""
    del user.bundle.linux["cgroupsPath"]
    user.bundle.linux["resources"] = LIMITS
    user.bundle.shell("cat /mnt/memory.max /mnt/pids.max /mnt/cpu.max /proc/self/cgroup")
    user.bundle.mount("/mnt", "cgroup", "cgroup", "ro").namespace("cgroup")
    command = [str(user.box.path), "--root", str(user.box.root), "run", *user.save()]
    out = user.do("systemd-run", "--user", "--scope", "--quiet", *command).ok().out
    assert out.splitlines() == [str(64 << 20), "17", "20000 50000", "0::/"]


def test_without_systemd_a_login_session_has_none(user: User) -> None:
    del user.bundle.linux["cgroupsPath"]
    user.bundle.args("/bin/cat", "/proc/self/cgroup")
    assert "/session-" in user("run", *user.save(), manager="").ok().out
    user.bundle.linux["resources"] = LIMITS
    user("run", *user.save(), manager="").refused("/linux/resources/memory/limit", "no cgroup may be made here")
