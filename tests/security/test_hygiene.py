"""A container's process has what its config gives it and nothing of what the runtime, or its caller, happened to have:
environment, dispositions and masks of signals, limits, niceness, umask, keyrings, labels.

CVE-2026-57231, CVE-2023-25173 (what is inherited unasked), CVE-2017-5226, CVE-2016-10124.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from typing import Any, ClassVar

import pytest

from tests.support.bundle import Bundle
from tests.support.marks import not_for
from tests.support.peers import version
from tests.support.probe import Report
from tests.support.rootfs import probe_program
from tests.support.runtime import ENVIRONMENT, Runtime
from tests.support.tally import Row, some
from tests.support.terminal import ConsoleSocket

# A parent that ignores or blocks signals; these survive execve(2).
PARENT = "import os, signal, sys; {}; os.execv(sys.argv[1], sys.argv[1:])"
BLOCKING = pytest.param(
    "blocks everything", marks=not_for("runc", reason="programs in Go keep the mask of who started them")
)
ODD_PARENTS = {
    "ignores SIGCHLD": "signal.signal(signal.SIGCHLD, signal.SIG_IGN)",
    "ignores SIGPIPE and SIGHUP": "[signal.signal(n, signal.SIG_IGN) for n in (signal.SIGPIPE, signal.SIGHUP)]",
    "ignores SIGTERM and SIGINT": "[signal.signal(n, signal.SIG_IGN) for n in (signal.SIGTERM, signal.SIGINT)]",
    "blocks SIGTERM": "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])",
    "blocks everything": "signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())",
}


def parent(statement: str) -> tuple[str, ...]:
    return ("/usr/bin/python3", "-c", PARENT.format(statement))


class TestEnvironment:
    HOSTILE: ClassVar = {f"LEAK_{number}": "x" for number in range(50)} | {
        "LANG": "tr_TR.UTF-8",
        "LD_PRELOAD": "/evil.so",
        "LD_LIBRARY_PATH": "/evil",
        "PYTHONPATH": "/evil",
        "PYTHONHOME": "/evil",
        "PYTHONSTARTUP": "/evil",
        "PYTHONINSPECT": "1",
        "PYTHONWARNINGS": "always::evil.Category",
        "PYTHONIOENCODING": "evil",
        "PYTHONMALLOC": "debug",
        "GLIBC_TUNABLES": "glibc.malloc.check=3",
        "HOME": "/evil",
        "TMPDIR": "/evil",
    }

    @pytest.mark.parametrize("verb", ["run", "create", "exec"])
    def test_of_the_caller_does_not_reach_the_process(self, box: Runtime, bundle: Bundle, verb: str) -> None:
        env = ENVIRONMENT | {
            key: value for key, value in self.HOSTILE.items() if box.name == "box" or key != "LD_PRELOAD"
        }
        bundle.process["env"] = ["PATH=/bin", "HOME=/home"]
        bundle.args("/bin/probe")
        if verb == "run":
            seen = box.run(bundle, env=env).report()
        elif verb == "create":
            seen = box.start(bundle, env=env).report()
        else:
            seen = box.running_shell(bundle).exec("/bin/probe", env=env).report()
        assert seen["env"] == ["PATH=/bin", "HOME=/home"]


class TestSignals:
    @pytest.mark.parametrize("odd", [*list(ODD_PARENTS)[:-1], BLOCKING])
    def test_dispositions_of_the_caller_do_not_reach_the_process(self, box: Runtime, bundle: Bundle, odd: str) -> None:
        seen = box.run(bundle.args("/bin/probe"), prefix=parent(ODD_PARENTS[odd])).report()
        assert (seen["signals_ignored"], seen["signals_caught"], seen["signals_blocked"]) == ([], [], [])

    @pytest.mark.parametrize("odd", ["ignores SIGCHLD", BLOCKING])
    def test_dispositions_of_the_caller_do_not_reach_a_created_process(
        self, box: Runtime, bundle: Bundle, odd: str
    ) -> None:
        container = box.create(bundle.args("/bin/probe"), prefix=parent(ODD_PARENTS[odd]))
        container.start().ok()
        seen = container.report()
        assert (seen["signals_ignored"], seen["signals_caught"], seen["signals_blocked"]) == ([], [], [])

    @pytest.mark.parametrize("odd", ["ignores SIGCHLD", "ignores SIGPIPE and SIGHUP", BLOCKING])
    def test_dispositions_of_the_caller_do_not_reach_an_exec(self, box: Runtime, bundle: Bundle, odd: str) -> None:
        seen = box.running_shell(bundle).exec("/bin/probe", prefix=parent(ODD_PARENTS[odd])).report()
        assert (seen["signals_ignored"], seen["signals_caught"], seen["signals_blocked"]) == ([], [], [])

    @pytest.mark.parametrize("odd", ["ignores SIGCHLD", "blocks everything"])
    def test_exit_status_is_right_under_an_odd_caller(self, box: Runtime, bundle: Bundle, odd: str) -> None:
        assert box.run(bundle.shell("exit 42"), prefix=parent(ODD_PARENTS[odd])).code == 42


class TestAttributes:
    """Of the caller or the default, never of the runtime's own making."""

    def test_parent_death_signal_is_none(self, box: Runtime, bundle: Bundle) -> None:
        assert box.probe(bundle)["parent_death_signal"] == 0

    def test_process_is_dumpable(self, box: Runtime, bundle: Bundle) -> None:
        assert box.probe(bundle)["dumpable"] == 1

    def test_secure_bits_are_none(self, box: Runtime, bundle: Bundle) -> None:
        assert box.probe(bundle)["securebits"] == 0

    def test_seccomp_is_off_without_a_filter(self, box: Runtime, bundle: Bundle) -> None:
        assert box.probe(bundle)["seccomp"] == 0

    def test_niceness_is_the_callers(self, box: Runtime, bundle: Bundle) -> None:
        assert box.run(bundle.args("/bin/probe"), prefix=("nice", "-n", "5")).report()["nice"] == min(
            os.nice(0) + 5, 19
        )

    def test_timer_slack_and_personality_are_the_default(self, box: Runtime, bundle: Bundle) -> None:
        seen = box.probe(bundle)
        assert (seen["timerslack"], seen["personality"]) == (50000, 0)

    def test_create_and_run_give_the_same_process(self, box: Runtime, bundle: Bundle) -> None:
        differing = {"fds", "namespaces", "mountinfo", "keyring", "monotonic", "boottime", "cgroup"}
        bundle.args("/bin/probe")
        ran = box.run(bundle).report()
        created = box.start(bundle).report()
        assert {key for key in ran if ran[key] != created[key]} <= differing


def test_inherited_standard_streams_may_be_closed(box: Runtime, bundle: Bundle) -> None:
    script = 'exec 0<&- ; exec "$@"'
    result = box.run(bundle.shell("echo ran > /tmp/ran"), prefix=("/bin/sh", "-c", script, "sh"))
    assert result.code == 0 or result.err
    assert result.code != 0 or (bundle.rootfs / "tmp/ran").read_text() == "ran\n"


# Parents whose attributes reach what they start. Those that Go's own start-up changes are tried above.
CALLERS: dict[str, str] = {
    "plain": "pass",
    "umask": "os.umask(0o027)",
    "nice": "os.nice(3)",
    "limits": "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (100, 4096))",
    "core": "import resource; resource.setrlimit(resource.RLIMIT_CORE, (0, 0))",
    "one CPU": "os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])",
    "session": "os.setsid() if os.getpid() != os.getsid(0) else None",
    "unlikely to be killed": "open('/proc/self/oom_score_adj', 'w').write('-7')",
}
VERBS = ["run", "create", "exec"]
# What differs, and why that is right.
DIFFERING = {
    "fds": "numbers of inodes",
    "namespaces": "they are made for each",
    "mountinfo": "ids, and the order of masks",
    "keyring": "its name and number",
    "monotonic": "time passes",
    "boottime": "time passes",
    "cgroup": "named after each container",
    "pid": "runc has more processes in between, which had numbers too",
    "pgid": "the same",
    "sid": "the same",
}
# What differs for one caller and verb.
ALLOWED = {
    ("umask", "exec"): {"umask"},  # runc 1.1 let the caller's through, later versions do as we do
    **{
        ("limits", verb): {"rlimits"} for verb in ("run", "create", "exec")
    },  # programs in Go raise theirs to the hard limit
}


def seen_by(runtime: Runtime, bundle: Bundle, caller: str, verb: str) -> Report:
    prefix = parent(CALLERS[caller])
    if verb == "run":
        return runtime.run(bundle.args("/bin/probe"), prefix=prefix).report()
    if verb == "create":
        container = runtime.create(bundle.args("/bin/probe"), prefix=prefix)
        container.start().ok()
        return container.report()
    return runtime.running_shell(bundle).exec("/bin/probe", prefix=prefix).report()


@pytest.mark.parametrize("caller, verb", some([(caller, verb) for caller in CALLERS for verb in VERBS], 9))
def test_what_is_inherited_is_what_runc_lets_through(
    box: Runtime, peer: Callable[[str], Runtime], make_bundle: Callable[[], Bundle], caller: str, verb: str
) -> None:
    if version("runc") is None:
        pytest.skip("no runc to compare with")
    ours = seen_by(box, make_bundle(), caller, verb)
    theirs = seen_by(peer("runc"), make_bundle(), caller, verb)
    differing = {key: (ours[key], theirs[key]) for key in ours if ours[key] != theirs[key] and key not in DIFFERING}
    if not ours["signals_ignored"]:  # whatever a C library keeps for itself, and Go programs let through
        differing.pop("signals_ignored", None)
    assert set(differing) <= ALLOWED.get((caller, verb), set()), differing


def test_control_is_started_by_an_interpreter(tally: Row) -> None:
    """CPython ignores two signals, and what it executes goes on to."""
    code = "import os, sys; os.execv(sys.argv[1], sys.argv[1:])"
    command = ["/usr/bin/python3", "-c", code, str(probe_program())]
    seen = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    tally.red("naive exec from python3", set(seen["signals_ignored"]) >= {13, 25})


def test_terminal_of_the_caller_is_not_the_containers(box: Runtime, bundle: Bundle) -> None:
    """CVE-2017-5226: what is pushed into a terminal is typed in the caller's shell. A container has no controlling
    terminal, or one of its own devpts."""
    master, slave = os.openpty()
    try:
        seen: Any = None
        command = box.command("run", *box.bundle_args(bundle.args("/bin/probe")))
        result = subprocess.run(
            ["setsid", "--ctty", "--wait", *command], env=ENVIRONMENT, stdin=slave, capture_output=True, check=True
        )
        seen = json.loads(result.stdout)
    finally:
        os.close(master)
        os.close(slave)
    assert seen["controlling_tty"] is False
    bundle.process["terminal"] = True
    socket = ConsoleSocket(bundle.path / "console-socket")
    container = box.create(bundle.args("/bin/probe", "--to", "/tmp/report"), "--console-socket", str(socket.path))
    master = socket.receive()
    container.start().ok()
    container.wait()
    seen = json.loads((bundle.rootfs / "tmp/report").read_text())
    os.close(master)
    socket.close()
    assert seen["controlling_tty"] is True
    assert seen["ttyname"].startswith("/dev/pts/") or seen["ttyname"] == "/dev/console"
