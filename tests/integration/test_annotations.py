"""Annotations that engines set, as crun understands them: docs/annotations.md."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.support.bundle import Bundle
from tests.support.marks import not_for, requires
from tests.support.runtime import Runtime
from tests.support.seccomp import CONTINUE, Agent, denying

pytestmark = not_for("runc", reason="it does not know these")
OURS = not_for("runc", "crun", reason="it lets them pass")
GROUPS = [5, 6, 777]


def with_groups(*groups: int) -> tuple[str, ...]:
    return ("setpriv", "--groups", ",".join(map(str, groups)))


def annotate(bundle: Bundle, **values: str) -> Bundle:
    """``hooks_stdout="x"`` is ``run.oci.hooks.stdout``."""
    names = {
        "groups": "keep_original_groups",
        "stdout": "hooks.stdout",
        "stderr": "hooks.stderr",
        "receiver": "pidfd_receiver",
        "agent": "seccomp.receiver",
        "delegate": "delegate-cgroup",
        "context": "mount_context_type",
    }
    bundle.config.setdefault("annotations", {}).update({f"run.oci.{names[key]}": text for key, text in values.items()})
    return bundle


class TestGroups:
    def test_of_the_caller_are_kept(self, box: Runtime, bundle: Bundle) -> None:
        annotate(bundle.args("/bin/probe"), groups="1")
        assert set(box.run(bundle, prefix=with_groups(*GROUPS)).report()["groups"]) == set(GROUPS)

    def test_of_the_caller_are_not_kept_else(self, box: Runtime, bundle: Bundle) -> None:
        """What the one above is measured by."""
        assert set(box.run(bundle.args("/bin/probe"), prefix=with_groups(*GROUPS)).report()["groups"]) <= {0}

    @OURS
    @pytest.mark.parametrize("value", ["0", "false"])
    def test_can_be_given_up_by_value(self, box: Runtime, bundle: Bundle, value: str) -> None:
        annotate(bundle.args("/bin/probe"), groups=value)
        assert set(box.run(bundle, prefix=with_groups(*GROUPS)).report()["groups"]) <= {0}

    def test_take_the_place_of_additional_groups(self, box: Runtime, bundle: Bundle) -> None:
        annotate(bundle.args("/bin/probe"), groups="1").process["user"]["additionalGids"] = [9]
        result = box.run(bundle, prefix=with_groups(*GROUPS))
        assert set(result.report()["groups"]) == set(GROUPS)
        if box.name == "box":
            assert "additionalGids" in result.err

    def test_are_kept_in_a_user_namespace_where_they_have_no_name(self, box: Runtime, bundle: Bundle) -> None:
        annotate(bundle.user_namespace().args("/bin/probe", "--hang"), groups="1")
        container = box.start(bundle, prefix=with_groups(*GROUPS))
        assert '"groups":[65534,65534,65534]' in container.readline()
        status = Path(f"/proc/{container.pid}/status").read_text()
        assert status.split("Groups:")[1].splitlines()[0].split() == [str(group) for group in GROUPS]

    def test_let_a_process_read_what_only_they_may(self, box: Runtime, bundle: Bundle) -> None:
        """What engines use it for: a device, or a directory, of one of the caller's groups."""
        outside = bundle.host_directory(secret="told")
        os.chown(outside / "secret", 0, 777)
        (outside / "secret").chmod(0o040)
        annotate(bundle.user_namespace(), groups="1").mount("/mnt", "bind", outside, "bind")
        assert box.run(bundle.args("/bin/cat", "/mnt/secret"), prefix=with_groups(777)).ok().out == "told"

    def test_of_exec_are_its_callers(self, box: Runtime, bundle: Bundle) -> None:
        container = box.running_shell(annotate(bundle, groups="1"))
        seen = container.exec("/bin/probe", prefix=with_groups(8, 9)).report()
        assert set(seen["groups"]) == {8, 9}


class TestHooksOutput:
    def files(self, bundle: Bundle) -> tuple[Path, Path]:
        return bundle.path / "hooks.out", bundle.path / "hooks.err"

    def say(self, bundle: Bundle, moment: str, text: str) -> None:
        script = f"echo {text}; echo {text} bad >&2"
        bundle.hook(moment, "/bin/sh").config["hooks"][moment][-1]["args"] = ["sh", "-c", script]

    @pytest.mark.parametrize("user", [False, True], ids=["root", "user namespace"])
    def test_is_appended_to_the_files(self, box: Runtime, bundle: Bundle, user: bool) -> None:
        out, err = self.files(bundle)
        out.write_text("before\n")
        moments = ["prestart", "createRuntime", "createContainer", "poststart", "poststop"]
        for moment in moments:
            self.say(bundle, moment, moment)
        if user:
            bundle.user_namespace()
        box.run(annotate(bundle, stdout=str(out), stderr=str(err))).ok()
        assert out.read_text().split() == ["before", *moments]
        assert err.read_text().splitlines() == [f"{moment} bad" for moment in moments]

    def test_of_one_stream_leaves_the_other_for_the_error(self, box: Runtime, bundle: Bundle) -> None:
        out, _ = self.files(bundle)
        bundle.hook("createRuntime", "/bin/sh").config["hooks"]["createRuntime"][0]["args"] = [
            "sh", "-c", "echo one; echo two >&2; exit 3",
        ]  # fmt: skip
        result = box.run(annotate(bundle, stdout=str(out))).refused()
        assert out.read_text() == "one\n"
        if box.name == "box":
            assert "two" in result.err
            assert "one" not in result.err

    @OURS
    def test_file_is_for_its_owner_alone(self, box: Runtime, bundle: Bundle) -> None:
        out, _ = self.files(bundle)
        self.say(bundle, "prestart", "x")
        box.run(annotate(bundle, stdout=str(out))).ok()
        assert out.stat().st_mode & 0o777 == 0o600

    @OURS
    @pytest.mark.parametrize("kind", ["link", "missing directory", "FIFO"])
    def test_file_that_cannot_be_opened_is_an_error(self, box: Runtime, bundle: Bundle, kind: str) -> None:
        out, _ = self.files(bundle)
        if kind == "link":
            out.symlink_to("/nowhere")
        elif kind == "FIFO":
            os.mkfifo(out)
        else:
            out = bundle.path / "no/such"
        self.say(bundle, "prestart", "x")
        box.run(annotate(bundle, stdout=str(out))).refused("/annotations/run.oci.hooks.stdout")

    def test_without_hooks_no_file_is_made(self, box: Runtime, bundle: Bundle) -> None:
        out, _ = self.files(bundle)
        result = box.run(annotate(bundle, stdout=str(out)))
        if box.name == "box":
            result.ok()
            assert not out.exists()

    @OURS
    def test_of_poststop_is_no_reason_to_fail(self, box: Runtime, bundle: Bundle) -> None:
        out = bundle.host_directory("logs") / "out"
        self.say(bundle, "poststop", "x")
        container = box.start(annotate(bundle, stdout=str(out)).args("/bin/true"))
        container.wait()
        out.unlink()
        out.symlink_to("/nowhere")
        result = container.delete().ok()
        assert "run.oci.hooks.stdout" in result.err


class Receiver:
    """Takes one connection, and the descriptor that comes by it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fds: list[int] = []
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.bind(str(path))
        self.socket.listen(1)
        self.thread = threading.Thread(target=self._take)
        self.thread.start()

    def _take(self) -> None:
        connection, _ = self.socket.accept()
        with connection:
            self.fds = socket.recv_fds(connection, 64, 4)[1]

    def pid(self) -> int:
        self.thread.join(10)
        self.socket.close()
        [fd] = self.fds
        lines = Path(f"/proc/self/fdinfo/{fd}").read_text().splitlines()
        os.close(fd)
        return int(next(line.split()[1] for line in lines if line.startswith("Pid:")))


class TestPidfd:
    def test_is_sent_to_the_receiver(self, box: Runtime, bundle: Bundle, directory: Path) -> None:
        receiver = Receiver(directory / "r.sock")
        container = box.create(annotate(bundle, receiver=str(receiver.path)))
        assert receiver.pid() == container.pid

    @OURS
    def test_is_sent_to_both_who_ask(self, box: Runtime, bundle: Bundle, directory: Path) -> None:
        receivers = [Receiver(directory / f"{name}.sock") for name in "ab"]
        annotate(bundle, receiver=str(receivers[0].path))
        container = box.create(bundle, "--pidfd-socket", str(receivers[1].path))
        assert [receiver.pid() for receiver in receivers] == [container.pid] * 2

    @OURS
    def test_nobody_there_is_an_error(self, box: Runtime, bundle: Bundle, directory: Path) -> None:
        result = box.run(annotate(bundle, receiver=str(directory / "none.sock")))
        result.refused("/annotations/run.oci.pidfd_receiver", "none.sock")


class TestSeccompReceiver:
    def test_gets_the_listener(self, box: Runtime, bundle: Bundle, directory: Path) -> None:
        agent = Agent(directory / "agent.sock", lambda number, arguments: (0, 0, CONTINUE))
        try:
            bundle.linux["seccomp"] = denying("mkdir", action="SCMP_ACT_NOTIFY")
            annotate(bundle, agent=str(agent.path)).shell("mkdir /tmp/made && ls /tmp")
            assert "made" in box.run(bundle).ok().out
        finally:
            agent.close()
        assert agent.messages[0]["state"]["id"] == bundle.id

    @OURS
    def test_of_the_environment_is_passed_over(self, box: Runtime, bundle: Bundle, directory: Path) -> None:
        bundle.linux["seccomp"] = denying("mkdir", action="SCMP_ACT_NOTIFY")
        env = {"PATH": "/bin", "RUN_OCI_SECCOMP_RECEIVER": str(directory / "agent.sock")}
        box.run(bundle, env=env).refused("/linux/seccomp/listenerPath")


@OURS
@pytest.mark.parametrize(
    "name, value",
    [
        ("keep_original_groups", "yes"),
        ("keep_original_groups", ""),
        ("mount_context_type", "label"),
        ("mount_context_type", ""),
        ("hooks.stdout", "relative/path"),
        ("hooks.stderr", ""),
        ("pidfd_receiver", "relative"),
        ("seccomp.receiver", "relative"),
        ("delegate-cgroup", ".."),
        ("delegate-cgroup", "a/../b"),
        ("delegate-cgroup", "/a"),
        ("delegate-cgroup", ""),
        ("delegate-cgroup", "a\nb"),
    ],
)
def test_value_that_means_nothing_is_refused_with_its_place(
    box: Runtime, bundle: Bundle, name: str, value: str
) -> None:
    bundle.config["annotations"] = {f"run.oci.{name}": value}
    box.run(bundle).refused(f"/annotations/run.oci.{name}: ")
    assert not (box.root / bundle.id).exists()


@OURS
@pytest.mark.parametrize("value", [1, True, None, ["1"]])
def test_value_that_is_no_text_is_refused_with_its_place(box: Runtime, bundle: Bundle, value: Any) -> None:
    bundle.config["annotations"] = {"run.oci.keep_original_groups": value}
    box.run(bundle).refused("/annotations/run.oci.keep_original_groups: ")


def test_unknown_ones_change_nothing(box: Runtime, bundle: Bundle) -> None:
    bundle.config["annotations"] = {
        "run.oci.no.such": "..",
        "run.oci.keep_original_groups.not": "x",
        "run.oci.hooks.stdoutx": "relative",
        "run.oci.delegate-cgroups": "..",
        "com.example": "\n",
    }
    result = box.run(bundle.args("/bin/probe"), prefix=with_groups(*GROUPS))
    assert set(result.report()["groups"]) <= {0}
    assert result.err == ""


class TestDelegatedCgroup:
    @OURS
    @requires("cgroup1")
    def test_is_refused_on_v1(self, box: Runtime, bundle: Bundle) -> None:
        result = box.run(annotate(bundle, delegate="mine"))
        result.refused("/annotations/run.oci.delegate-cgroup", "v2")
        assert not (box.root / bundle.id).exists()

    @requires("cgroup2")
    @OURS
    def test_is_refused_without_a_cgroup(self, box: Runtime, bundle: Bundle) -> None:
        del bundle.linux["cgroupsPath"]
        self_manager = ("--cgroup-manager", "disabled")
        arguments = box.bundle_args(annotate(bundle, delegate="mine"))
        box(*self_manager, "run", *arguments).refused("/annotations/run.oci.delegate-cgroup")

    @requires("cgroup2")
    @OURS
    @pytest.mark.parametrize("name", ["mine", "deep/mine"])
    @pytest.mark.parametrize("user", [False, True], ids=["root", "user namespace"])
    def test_has_the_process_and_belongs_to_its_user(self, box: Runtime, bundle: Bundle, name: str, user: bool) -> None:
        if user:
            bundle.user_namespace()
        bundle.namespace("cgroup").mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid", "noexec", "nodev", "rw")
        bundle.linux["resources"] = {"pids": {"limit": 50}}
        container = box.running_shell(annotate(bundle, delegate=name))
        place = Path("/sys/fs/cgroup") / bundle.linux["cgroupsPath"].lstrip("/") / name
        assert (place / "cgroup.procs").read_text().split() == [str(container.pid)]
        assert place.stat().st_uid == (100000 if user else 0)
        assert "pids" in (place / "cgroup.controllers").read_text().split()
        assert (place / "pids.max").read_text() == "max\n"
        assert container.exec("/bin/cat", "/proc/self/cgroup").ok().out == f"0::/{name}\n"
        script = (
            f"mkdir /sys/fs/cgroup/{name}/x && echo $$ > /sys/fs/cgroup/{name}/x/cgroup.procs && cat /proc/self/cgroup"
        )
        assert container.exec("/bin/sh", "-c", script).ok().out == f"0::/{name}/x\n"
        limit = container.exec("/bin/sh", "-c", "echo 99 > /sys/fs/cgroup/pids.max")
        assert limit.code != 0 or not user  # the container's limit is the runtime's; nsdelegate keeps root from it too
        container.kill("KILL").ok()
        container.wait()
        container.delete().ok()
        assert not place.parent.exists()

    @requires("cgroup2", "systemd")
    @OURS
    def test_is_below_the_scope_that_systemd_makes(self, box: Runtime, bundle: Bundle) -> None:
        bundle.linux["cgroupsPath"] = f"system.slice:boxtest:{bundle.id}"
        annotate(bundle.namespace("cgroup"), delegate="mine").args("/bin/cat", "/proc/self/cgroup")
        assert box("--systemd-cgroup", "run", *box.bundle_args(bundle)).ok().out == "0::/mine\n"
