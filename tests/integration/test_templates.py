"""Templates, as their callers see them: what is filled in, what is shared, and what is left of what is killed."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import boxes
from boxes.api import client, scripted
from tests.support import probe
from tests.support import zygote as zygotes
from tests.support.bundle import Bundle
from tests.support.marks import requires
from tests.support.runtime import Runtime, wait_until

pytestmark = requires("root")
Way = Callable[..., Any]


class Scripts:
    """Which requests went to scripts, and whether any may."""

    def __init__(self) -> None:
        self.allowed = True
        self.used: list[bool] = []

    def watched(self, way: Way) -> Way:
        def asked(*arguments: Any) -> Any:
            if not self.allowed:
                return None
            found = yield from way(*arguments)
            self.used.append(found is not None)
            return found

        return asked


@pytest.fixture(autouse=True)
def zygote() -> Iterator[None]:
    yield
    client.shut_down()


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> Scripts:
    made = Scripts()
    for name in ("run", "execute"):
        monkeypatch.setattr(scripted, name, made.watched(getattr(scripted, name)))
    return made


class Host:
    """A root filesystem, and where containers are kept."""

    def __init__(self, box: Runtime, bundle: Bundle) -> None:
        self.root = box.root
        self.rootfs = bundle.path / "rootfs"
        (self.rootfs / "etc").mkdir(exist_ok=True)
        (self.rootfs / "etc" / "passwd").write_text("root:x:0:0::/root:/bin/sh\nme:x:1000:1000::/home/me:/bin/sh\n")

    def config(self, **fields: Any) -> dict[str, Any]:
        made: dict[str, Any] = dict(boxes.Config(args=["/bin/probe"], rootfs=self.rootfs, **fields).document())
        return made

    def run(self, config: dict[str, Any], *args: str) -> boxes.Result:
        if args:
            config = {**config, "process": {**config["process"], "args": list(args)}}
        return boxes.run(args or ["probe"], config=config, root=self.root)


@pytest.fixture
def host(box: Runtime, bundle: Bundle) -> Host:
    return Host(box, bundle)


def look(host: Host, config: dict[str, Any]) -> dict[str, Any]:
    """What the probe sees, without what is another each time: numbers of namespaces, devices and inodes, clocks."""
    return settled(json.loads(host.run(config).check().stdout))


def settled(found: dict[str, Any]) -> dict[str, Any]:
    for name in ("boottime", "monotonic"):
        del found[name]
    found["keyring"] = found["keyring"] and found["keyring"]["description"].partition("_ses.")[0]
    for fd in found["fds"].values():
        fd["ino"] = fd["dev"] = None
        fd["target"] = fd["target"].partition("[")[0]
    found["mountinfo"] = [
        (mount.root, mount.point, sorted(mount.options), bool(mount.tags), mount.kind, sorted(mount.super_options))
        for mount in probe.parse_mountinfo(found["mountinfo"])
    ]
    found["namespaces"] = {
        kind: name == os.readlink(f"/proc/self/ns/{kind}") for kind, name in found["namespaces"].items()
    }
    return found


@requires("scripts")
def test_limits_are_those_of_the_cgroups(host: Host, scripts: Scripts, box: Runtime) -> None:
    limits = boxes.Limits(memory=64 << 20, cpus=0.5, pids=20)
    seen = []
    for allowed in (True, False):
        scripts.allowed = allowed
        with boxes.popen(["sleep", "1000"], rootfs=host.rootfs, root=host.root, limits=limits) as program:
            (state,) = host.root.glob("run-*/state.json")
            journal = json.loads(state.read_text())
            names = ("memory.limit_in_bytes", "cpu.cfs_quota_us", "pids.max", "memory.max", "cpu.max", "devices.list")
            found = {}
            for mount_point, path, *_ in journal["cgroups"]["directories"]:
                for file in names:
                    if os.path.exists(f"{mount_point}/{path}/{file}"):
                        found[file] = Path(f"{mount_point}/{path}/{file}").read_text()
                assert str(program.pid) in Path(f"{mount_point}/{path}/cgroup.procs").read_text().split()
            seen.append((found, {**journal, **dict.fromkeys(("id", "pid", "started", "created", "maker", "cgroups", "frozen_sign"))}))  # fmt: skip
            assert box("state", journal["id"]).json()["status"] == "running"
            assert box("exec", journal["id"], "id", "-u").ok().out == "65534\n"
            config = json.loads((state.parent / "config.json").read_text())
            assert config["process"]["args"] == ["sleep", "1000"]
            program.kill()
    assert scripts.used == [True]
    assert seen[0] == seen[1]
    assert len(seen[0][0]) >= 3
    wait_until(lambda: not [*host.root.glob("run-*")], "their removal", 5.0)


@requires("scripts")
def test_arguments_stay_as_they_are(host: Host, scripts: Scripts) -> None:
    """Even those that are like what a template has filled in."""
    host.run(host.config(), "true")
    (template,) = [each for each in client.zygote().templates.values() if not isinstance(each, float)]
    text = f"{template._facts['created']} {template._facts['id']}"
    assert host.run(host.config(), "echo", text).stdout == f"{text}\n".encode()
    assert scripts.used == [True, True]


def test_home_follows_the_roots_users(host: Host, scripts: Scripts) -> None:
    config = host.config(user=(1000, 1000))
    assert "HOME=/home/me" in look(host, config)["env"]
    (host.rootfs / "etc" / "passwd").write_text("me:x:1000:1000::/elsewhere:/bin/sh\n")
    assert "HOME=/elsewhere" in look(host, config)["env"]


@requires("scripts")
def test_error_is_that_of_a_worker_and_nothing_is_left(host: Host, scripts: Scripts) -> None:
    config = host.config()
    look(host, config)
    for args in (["nope"], ["/etc"], ["/etc/passwd"]):
        with pytest.raises(boxes.KernelError, match="/process/args/0"):
            host.run(config, *args)
    look(host, config)
    assert scripts.used == [True, False, False, False, True]
    assert not [*host.root.glob("run-*")]


@requires("scripts")
def test_arguments_are_not_read_as_marks(host: Host, scripts: Scripts) -> None:
    config = host.config(env={"X": '["\ue000="]', "Y": "\ue000="})
    text = '["\ue000argument"]["\ue000="]\ue000number 1 0'
    found = json.loads(host.run(config, "/bin/probe", text, text).check().stdout)
    assert [os.fsencode(each).decode("latin-1") for each in ("/bin/probe", text, text)] == found["args"]
    assert scripts.used == [True]


def test_what_no_process_has_is_refused_as_ever(host: Host, scripts: Scripts) -> None:
    config = host.config()
    look(host, config)
    wrong: list[dict[str, list[str]]]
    wrong = [{"args": ["a\0b"]}, {"args": [""]}, {"env": ["novalue"]}, {"args": []}, {"env": ["=x"]}]
    for members in wrong:
        bad = {**config, "process": {**config["process"], **members}}
        scripts.allowed = False
        try:
            expected: object = host.run(bad).exit_code
        except boxes.BoxesError as error:
            expected = str(error)
        scripts.allowed = True
        try:
            found: object = host.run(bad).exit_code
        except boxes.BoxesError as error:
            found = str(error)
        assert found == expected


def test_process_in_a_sandbox_is_that_of_a_worker(host: Host, scripts: Scripts) -> None:
    def seen(sandbox: boxes.Sandbox, **options: Any) -> dict[str, Any]:
        found = settled(json.loads(sandbox.exec(["/bin/probe", "x"], **options).check().stdout))
        return {name: found[name] for name in found if name not in ("pid", "pgid", "sid")}

    with boxes.Sandbox(host.rootfs, root=host.root, env={"A": "b"}) as sandbox:
        for options in ({}, {"env": {"B": "c"}, "cwd": "/tmp", "user": (1000, 1000)}, {"env": {"HOME": "/x"}}):
            scripts.allowed = True
            by_script = seen(sandbox, **options)
            scripts.allowed = False
            assert seen(sandbox, **options) == by_script
    assert scripts.used == [True, True, True]


def test_sandboxes_have_their_own_environment(host: Host, scripts: Scripts) -> None:
    for value in ("one", "other"):
        with boxes.Sandbox(host.rootfs, root=host.root, env={"A": value}) as sandbox:
            assert sandbox.exec(["sh", "-c", "echo $A"]).stdout == f"{value}\n".encode()
    assert scripts.used == [True, True]


def test_sandboxes_of_one_config_share_a_template(host: Host, scripts: Scripts) -> None:
    for _ in range(3):
        with boxes.Sandbox(host.rootfs, root=host.root) as sandbox:
            assert sandbox.exec(["echo", sandbox.id]).stdout == f"{sandbox.id}\n".encode()
    assert scripts.used == [True] * 3
    assert len([key for key in client.zygote().templates if key.startswith("exec")]) == 1


# ---- what is killed ----


@requires("scripts")
def test_keeper_that_a_script_has_made_and_is_killed_is_told_of(host: Host, scripts: Scripts) -> None:
    with boxes.popen(["sleep", "1000"], rootfs=host.rootfs, root=host.root) as program:
        pid = program.pid
        zygotes.kill(zygotes.keeper_of(pid))
        with pytest.raises(boxes.InternalError, match="was missed"):
            program.wait(10)
    assert scripts.used == [True]
    zygotes.wait_gone(pid)
    wait_until(lambda: not [*host.root.glob("run-*")], "the removal of what it held", 5.0)


@requires("scripts")
@pytest.mark.takes(240)
@pytest.mark.parametrize("moment", range(3))
def test_forks_of_the_maker_that_are_killed_leave_nothing_and_nothing_begins_twice(
    host: Host, scripts: Scripts, directory: Path, moment: int
) -> None:
    """At random moments of many containers at once, each of which leaves a line."""
    directory.chmod(0o777)
    (host.rootfs / "mnt" / "x").mkdir()
    config = host.config(binds=[boxes.Bind(directory, "/mnt/x", writable=True)], tmp=None)
    look(host, config)
    chance = random.Random(moment)
    over = threading.Event()
    ends: dict[str, str] = {}

    def kill() -> None:
        while not over.wait(chance.uniform(0, 0.01)):
            with suppress(OSError, IndexError):
                os.kill(chance.choice(zygotes.children(zygotes.maker())), signal.SIGKILL)

    def call(thread: int) -> None:
        for number in range(8):
            name = f"{thread}-{number}"
            try:
                ends[name] = str(host.run(config, "sh", "-c", f"echo {name} >>/mnt/x/lines").exit_code)
            except boxes.InternalError as error:
                ends[name] = f"lost: {error}"

    killer = threading.Thread(target=kill)
    threads = [threading.Thread(target=call, args=(thread,)) for thread in range(4)]
    for thread in (killer, *threads):
        thread.start()
    for thread in threads:
        thread.join(120)
    over.set()
    killer.join()
    lines = (directory / "lines").read_text().split() if (directory / "lines").exists() else []
    assert len(ends) == 32
    assert len(lines) == len(set(lines))
    assert {name for name, end in ends.items() if end == "0"} <= set(lines)
    wait_until(lambda: not [*host.root.glob("run-*")], "the removal of what they held", 10.0)
