"""Hooks: when each runs, where, with what, and what its failure does (runtime-spec 1.3, config.md#posix-platform-hooks).

The probe is the hook. It appends a report, with the state it read from stdin, to a file: the host's, or for
startContainer hooks, which run in the container, one below /tmp there.
"""

from __future__ import annotations

import json
import os
import time
from typing import Any

import pytest

from tests.support.bundle import Bundle
from tests.support.marks import not_for
from tests.support.probe import Report, parse_lines
from tests.support.rootfs import probe_program
from tests.support.runtime import Runtime, wait_for_exit

MOMENTS = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"]
EARLY_POSTSTART = "1.1 runs it at create"


class Hooks:
    """Adds hooks that report, and reads the reports of one container in order."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self.log = bundle.path / "hooks.log"
        self.inside = bundle.rootfs / "tmp/hooks.log"
        self.log.touch()

    def add(self, moment: str, label: str | None = None, *flags: str, **more: Any) -> None:
        inside = moment == "startContainer"
        program = "/bin/probe" if inside else str(probe_program())
        file = "/tmp/hooks.log" if inside else str(self.log)
        self.bundle.hook(moment, program, "--to", file, "--label", label or moment, "--stdin", *flags, **more)

    def reports(self) -> list[Report]:
        text = self.log.read_text() + (self.inside.read_text() if self.inside.exists() else "")
        return parse_lines(text)

    def labels(self) -> list[str]:
        return [report["label"] for report in self.reports()]

    def report(self, label: str) -> Report:
        return next(report for report in self.reports() if report["label"] == label)


@pytest.fixture
def hooks(bundle: Bundle) -> Hooks:
    (bundle.rootfs / "tmp").chmod(0o1777)
    return Hooks(bundle)


class TestMoment:
    def test_create_runs_prestart_createruntime_createcontainer(
        self, box: Runtime, bundle: Bundle, hooks: Hooks
    ) -> None:
        for moment in MOMENTS if box.name == "box" else [m for m in MOMENTS if m != "poststart"]:
            hooks.add(moment)
        box.create(bundle)
        assert hooks.labels() == ["prestart", "createRuntime", "createContainer"]

    def test_start_runs_startcontainer(self, box: Runtime, bundle: Bundle, hooks: Hooks) -> None:
        for moment in MOMENTS if box.name == "box" else [m for m in MOMENTS if m != "poststart"]:
            hooks.add(moment)
        container = box.create(bundle)
        hooks.log.write_text("")
        container.start().ok()
        container.wait()
        assert "startContainer" in hooks.labels()
        assert set(hooks.labels()) <= {"startContainer", "poststart"}

    @not_for("runc", reason=EARLY_POSTSTART)
    def test_start_runs_poststart_before_it_returns(self, box: Runtime, bundle: Bundle, hooks: Hooks) -> None:
        hooks.add("poststart")
        container = box.create(bundle.args("/bin/probe", "--catch"))
        assert hooks.labels() == []
        container.start().ok()
        assert hooks.labels() == ["poststart"]

    def test_delete_runs_poststop(self, box: Runtime, bundle: Bundle, hooks: Hooks) -> None:
        for moment in MOMENTS:
            hooks.add(moment)
        container = box.start(bundle)
        container.wait()
        hooks.log.write_text("")
        hooks.inside.unlink()
        container.delete().ok()
        assert hooks.labels() == ["poststop"]

    def test_kill_runs_none(self, box: Runtime, bundle: Bundle, hooks: Hooks) -> None:
        hooks.add("poststop")
        container = box.running_shell(bundle)
        container.kill("KILL").ok()
        container.wait()
        assert hooks.labels() == []

    @pytest.mark.parametrize("moment", MOMENTS)
    def test_hooks_of_one_moment_run_in_their_order(
        self, box: Runtime, bundle: Bundle, hooks: Hooks, moment: str
    ) -> None:
        for label in ("first", "second", "third"):
            hooks.add(moment, label)
        box.run(bundle).ok()
        assert hooks.labels() == ["first", "second", "third"]

    def test_startcontainer_runs_before_the_program(self, box: Runtime, bundle: Bundle) -> None:
        bundle.hook("startContainer", "/bin/touch", "/tmp/by-hook")
        assert box.run(bundle.args("/bin/ls", "/tmp")).ok().out == "by-hook\n"

    def test_delete_force_runs_poststop(self, box: Runtime, bundle: Bundle, hooks: Hooks) -> None:
        hooks.add("poststop")
        box.running_shell(bundle).delete("--force").ok()
        assert hooks.labels() == ["poststop"]

    def test_run_runs_all_six(self, box: Runtime, bundle: Bundle, hooks: Hooks) -> None:
        for moment in MOMENTS:
            hooks.add(moment)
        box.run(bundle).ok()
        assert sorted(hooks.labels()) == sorted(MOMENTS)


class TestState:
    """The state document on stdin."""

    @pytest.mark.parametrize(
        "moment, statuses",
        [
            # the specification is of two minds here: the validation suite wants `created`
            ("prestart", {"creating", "created"}),
            ("createRuntime", {"creating"}),
            ("createContainer", {"creating"}),
            ("startContainer", {"created"}),
            pytest.param("poststart", {"running"}, marks=not_for("runc", reason=EARLY_POSTSTART)),
            ("poststop", {"stopped"}),
        ],
    )
    def test_says_the_status_of_the_moment(
        self, box: Runtime, bundle: Bundle, hooks: Hooks, moment: str, statuses: set[str]
    ) -> None:
        hooks.add(moment)
        container = box.start(bundle.shell("sleep 0.2"))
        container.wait()
        container.delete().ok()
        if box.name != "box":
            # runc 1.1 says so to hooks of `create`
            statuses = statuses | {"creating"}
        assert json.loads(hooks.report(moment)["stdin"])["status"] in statuses

    @pytest.mark.parametrize("moment", MOMENTS)
    def test_has_the_specified_keys(self, box: Runtime, bundle: Bundle, hooks: Hooks, moment: str) -> None:
        bundle.config["annotations"] = {"a.b/c": "ä\n"}
        hooks.add(moment)
        container = box.start(bundle.shell("sleep 0.2"))
        container.wait()
        container.delete().ok()
        state = json.loads(hooks.report(moment)["stdin"].encode("latin-1"))
        assert state["id"] == bundle.id
        assert state["bundle"] == str(bundle.path)
        assert state["annotations"] == {"a.b/c": "ä\n"}
        assert state["ociVersion"].startswith("1.")

    @pytest.mark.parametrize("moment", ["createContainer", "startContainer"])
    def test_has_the_pid_in_the_container(self, box: Runtime, bundle: Bundle, hooks: Hooks, moment: str) -> None:
        hooks.add(moment)
        box.start(bundle.args("/bin/probe", "--catch"))
        assert json.loads(hooks.report(moment)["stdin"])["pid"] == 1

    @pytest.mark.parametrize("moment", ["prestart", "createRuntime", "poststart"])
    def test_has_the_pid_on_the_host(self, box: Runtime, bundle: Bundle, hooks: Hooks, moment: str) -> None:
        hooks.add(moment)
        container = box.start(bundle.args("/bin/probe", "--catch"))
        assert json.loads(hooks.report(moment)["stdin"])["pid"] == container.pid


class TestPlace:
    """The namespaces and the root that a hook runs in."""

    @pytest.mark.parametrize("moment", ["prestart", "createRuntime", "poststart", "poststop"])
    def test_is_the_runtimes(self, box: Runtime, bundle: Bundle, hooks: Hooks, moment: str) -> None:
        hooks.add(moment)
        box.run(bundle).ok()
        seen = hooks.report(moment)
        own = {name: os.readlink(f"/proc/self/ns/{name}") for name in seen["namespaces"]}
        assert seen["namespaces"] == own
        assert seen["root"] == "/"

    def test_of_createcontainer_is_the_containers_namespaces_with_the_hosts_root(
        self, box: Runtime, bundle: Bundle, hooks: Hooks
    ) -> None:
        hooks.add("createContainer")
        container = box.create(bundle.namespace("network").namespace("cgroup"))
        seen = hooks.report("createContainer")["namespaces"]
        for name in ("mnt", "net", "uts", "ipc"):
            assert seen[name] == os.readlink(f"/proc/{container.pid}/ns/{name}")
        assert seen["user"] == os.readlink("/proc/self/ns/user")

    def test_of_createcontainer_sees_the_mounts_below_rootfs(self, box: Runtime, bundle: Bundle, hooks: Hooks) -> None:
        hooks.add("createContainer")
        box.run(bundle).ok()
        points = set(hooks.report("createContainer").mounts())
        assert str(bundle.rootfs / "proc") in points or "/proc" in points

    def test_of_startcontainer_is_the_container(self, box: Runtime, bundle: Bundle, hooks: Hooks) -> None:
        hooks.add("startContainer")
        container = box.start(bundle.args("/bin/probe", "--catch"))
        seen = hooks.report("startContainer")
        for name, link in seen["namespaces"].items():
            assert link == os.readlink(f"/proc/{container.pid}/ns/{name}")
        assert "/dev/pts" in seen.mounts()

    @pytest.mark.parametrize("moment", ["prestart", "createRuntime"])
    def test_of_createruntime_is_after_the_namespaces_were_made(
        self, box: Runtime, bundle: Bundle, hooks: Hooks, moment: str
    ) -> None:
        bundle.namespace("network")
        script = 'read -r state; pid=${state##*\\"pid\\":}; readlink /proc/${pid%%[,\\}]*}/ns/net > ' + str(hooks.log)
        bundle.hook(moment, "/bin/sh", "-c", script)
        container = box.create(bundle)
        assert hooks.log.read_text().strip() == os.readlink(f"/proc/{container.pid}/ns/net")

    @not_for("runc", "crun", reason="they run it before the mounts")
    def test_of_createruntime_is_after_the_mounts_were_made(self, box: Runtime, bundle: Bundle, hooks: Hooks) -> None:
        script = (
            'read -r state; pid=${state##*\\"pid\\":}; grep -c mode=620,ptmxmode=666 /proc/${pid%%[,\\}]*}/mountinfo > '
            + str(hooks.log)
        )
        bundle.hook("createRuntime", "/bin/sh", "-c", script)
        box.create(bundle)
        assert hooks.log.read_text() == "1\n"


class TestProcess:
    """What a hook is given."""

    @pytest.mark.parametrize("moment", MOMENTS)
    def test_environment_is_exactly_the_configured_one(
        self, box: Runtime, bundle: Bundle, hooks: Hooks, moment: str
    ) -> None:
        hooks.add(moment, env=["A=1", "B=x y"])
        box.run(bundle).ok()
        assert hooks.report(moment)["env"] == ["A=1", "B=x y"]

    @pytest.mark.parametrize("moment", MOMENTS)
    @not_for("runc", "crun", reason="1.1 hands its own environment to it")
    def test_no_environment_is_an_empty_one(self, box: Runtime, bundle: Bundle, hooks: Hooks, moment: str) -> None:
        hooks.add(moment)
        box.run(bundle).ok()
        assert hooks.report(moment)["env"] == []

    @pytest.mark.parametrize("moment", ["createRuntime", "startContainer"])
    def test_args_are_exactly_the_configured_ones(
        self, box: Runtime, bundle: Bundle, hooks: Hooks, moment: str
    ) -> None:
        hooks.add(moment, None, "a b", "", "ü")
        bundle.config["hooks"][moment][0]["args"][0] = "argv zero"
        box.run(bundle).ok()
        args = [arg.encode("latin-1").decode() for arg in hooks.report(moment)["args"]]
        assert (args[0], args[-3:]) == ("argv zero", ["a b", "", "ü"])

    @pytest.mark.parametrize("moment", MOMENTS)
    @not_for("runc", reason="1.1 leaves descriptors open to createContainer hooks")
    def test_only_the_standard_streams_are_open(self, box: Runtime, bundle: Bundle, hooks: Hooks, moment: str) -> None:
        hooks.add(moment)
        box.run(bundle).ok()
        fds = {int(fd) for fd in hooks.report(moment)["fds"]}
        # the probe's own log may be the first free one, and is not listed
        assert fds == {0, 1, 2}

    @pytest.mark.parametrize("moment", MOMENTS)
    def test_signals_are_as_at_the_start_of_a_program(
        self, box: Runtime, bundle: Bundle, hooks: Hooks, moment: str
    ) -> None:
        hooks.add(moment)
        box.run(bundle).ok()
        seen = hooks.report(moment)
        assert seen["signals_blocked"] == []
        # posix_spawn of the GNU C library leaves its two internal signals ignored
        assert set(seen["signals_ignored"]) <= {32, 33}

    @not_for("runc", "crun", reason="they run it before the process is confined")
    def test_startcontainer_hook_is_confined_like_the_process(self, box: Runtime, bundle: Bundle, hooks: Hooks) -> None:
        bundle.capabilities("CAP_KILL").process.update(user={"uid": 1000, "gid": 1000}, noNewPrivileges=True)
        hooks.add("startContainer")
        box.run(bundle).ok()
        seen = hooks.report("startContainer")
        assert seen["uids"] == [1000, 1000, 1000]
        assert seen["no_new_privs"] == 1
        assert seen.capabilities()["bounding"] == {"CAP_KILL"}

    def test_streams_of_the_container_are_not_read_by_hooks(self, box: Runtime, bundle: Bundle, hooks: Hooks) -> None:
        for moment in MOMENTS:
            hooks.add(moment)
        assert box.run(bundle.args("/bin/cat"), input="for the container\n").ok().out == "for the container\n"


class TestFailure:
    @pytest.mark.parametrize("moment", ["prestart", "createRuntime", "createContainer"])
    def test_of_a_create_hook_fails_create_and_leaves_nothing(
        self, box: Runtime, bundle: Bundle, hooks: Hooks, moment: str
    ) -> None:
        hooks.add(moment, None, "--exit", "3")
        hooks.add(moment, "next")
        result, reader, _ = box.spawn("create", bundle)
        os.close(reader)
        result.refused("hook")
        assert hooks.labels() == [moment]
        box("state", bundle.id).refused("does not exist")

    @not_for("runc", "crun", reason="their start does not wait for it")
    def test_of_startcontainer_stops_the_container(self, box: Runtime, bundle: Bundle, hooks: Hooks) -> None:
        hooks.add("startContainer", None, "--exit", "3")
        container = box.create(bundle.args("/bin/touch", "/tmp/ran"))
        container.start().refused("hook", "3")
        wait_for_exit(container.pid)
        assert container.status == "stopped"
        assert not (bundle.rootfs / "tmp/ran").exists()

    def test_of_startcontainer_keeps_the_program_from_running(self, box: Runtime, bundle: Bundle, hooks: Hooks) -> None:
        hooks.add("startContainer", None, "--exit", "3")
        container = box.create(bundle.args("/bin/touch", "/tmp/ran"))
        container.start()
        wait_for_exit(container.pid)
        assert not (bundle.rootfs / "tmp/ran").exists()

    @not_for("runc", reason="1.1 stops the container, as the specification wanted before 1.3 made it a warning")
    def test_of_poststart_is_a_warning(self, box: Runtime, bundle: Bundle, hooks: Hooks) -> None:
        hooks.add("poststart", None, "--exit", "3")
        hooks.add("poststart", "next")
        container = box.create(bundle.args("/bin/probe", "--catch"))
        container.start()
        assert hooks.labels() == ["poststart", "next"]
        assert container.status == "running"

    @not_for("runc", reason="1.1 skips the hooks after it")
    def test_of_poststop_is_a_warning(self, box: Runtime, bundle: Bundle, hooks: Hooks) -> None:
        hooks.add("poststop", None, "--exit", "3")
        hooks.add("poststop", "next")
        container = box.start(bundle)
        container.wait()
        container.delete().ok()
        assert hooks.labels() == ["poststop", "next"]
        box("state", bundle.id).refused("does not exist")

    @pytest.mark.parametrize("moment", ["prestart", "createRuntime", "createContainer"])
    def test_missing_program_fails_create(self, box: Runtime, bundle: Bundle, moment: str) -> None:
        box.run(bundle.hook(moment, "/no/such/hook")).refused("/no/such/hook")

    @not_for("runc", "crun", reason="their message does not have it")
    def test_message_has_what_the_hook_said(self, box: Runtime, bundle: Bundle) -> None:
        bundle.hook("createRuntime", "/bin/sh", "-c", "echo reason why >&2; exit 5")
        box.run(bundle).refused("/hooks/createRuntime/0", "reason why")

    def test_run_after_a_failed_prestart_leaves_nothing(self, box: Runtime, bundle: Bundle, hooks: Hooks) -> None:
        hooks.add("prestart", None, "--exit", "1")
        hooks.add("poststop")
        box.run(bundle).refused("hook")
        assert list(box.root.iterdir()) == []


class TestTimeout:
    @pytest.mark.parametrize("moment", ["prestart", "createRuntime", "createContainer"])
    def test_ends_a_hook_and_fails_create(self, box: Runtime, bundle: Bundle, moment: str) -> None:
        bundle.hook(moment, "/bin/sleep", "30", timeout=1)
        before = time.monotonic()
        box.run(bundle).refused("hook")
        assert 0.9 < time.monotonic() - before < 5

    @not_for("runc", "crun", reason="their start does not wait for it")
    def test_ends_a_startcontainer_hook(self, box: Runtime, bundle: Bundle) -> None:
        container = box.create(bundle.hook("startContainer", "/bin/sleep", "30", timeout=1))
        container.start().refused("hook")
        wait_for_exit(container.pid)
        assert container.status == "stopped"

    def test_that_is_not_reached_changes_nothing(self, box: Runtime, bundle: Bundle, hooks: Hooks) -> None:
        hooks.add("createRuntime", timeout=30)
        before = time.monotonic()
        box.run(bundle).ok()
        assert hooks.labels() == ["createRuntime"]
        assert time.monotonic() - before < 10


def test_hook_that_leaves_a_process_behind_does_not_block(box: Runtime, bundle: Bundle) -> None:
    bundle.hook("createRuntime", "/bin/sh", "-c", "sleep 2 </dev/null >/dev/null 2>&1 &")
    before = time.monotonic()
    box.run(bundle).ok()
    assert time.monotonic() - before < 2
    time.sleep(max(0.0, before + 2.2 - time.monotonic()))


def test_hook_that_does_not_read_its_stdin_is_fine(box: Runtime, bundle: Bundle) -> None:
    bundle.config["annotations"] = {"long": "x" * 200_000}
    box.run(bundle.hook("createRuntime", "/bin/true")).ok()


def test_relative_hook_path_is_refused(box: Runtime, bundle: Bundle) -> None:
    box.run(bundle.hook("createRuntime", "bin/true")).refused()
