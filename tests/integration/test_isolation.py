"""What the config does not give, the container does not get: nothing of the runtime or its caller leaks in."""

from __future__ import annotations

import fcntl
import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.bundle import Bundle
from tests.support.marks import not_for
from tests.support.runtime import ENVIRONMENT, Runtime

F_GET_SEALS = 1034
ALL_SEALS = 0xF  # seal, shrink, grow, write
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


@pytest.fixture
def leaked(bundle: Bundle) -> Iterator[list[int]]:
    """Descriptors of the caller which it leaves open to the runtime: directories and files of the host."""
    outside = bundle.host_directory(secret="x")
    fds = [os.open(place, os.O_RDONLY) for place in ("/", "/etc", outside, outside / "secret")]
    yield fds
    for fd in fds:
        os.close(fd)


class TestDescriptors:
    @pytest.mark.parametrize("verb", ["run", "create"])
    def test_only_the_standard_streams_reach_the_process(self, box: Runtime, bundle: Bundle, verb: str) -> None:
        bundle.args("/bin/probe")
        seen = box.run(bundle).report() if verb == "run" else box.start(bundle).report()
        assert sorted(seen["fds"], key=int) == ["0", "1", "2"]

    def test_the_callers_others_do_not_reach_it(self, box: Runtime, bundle: Bundle, leaked: list[int]) -> None:
        seen = box.run(bundle.args("/bin/probe"), pass_fds=leaked).report()
        assert sorted(seen["fds"], key=int) == ["0", "1", "2"]

    def test_the_callers_others_do_not_reach_an_exec(self, box: Runtime, bundle: Bundle, leaked: list[int]) -> None:
        container = box.running_shell(bundle)
        seen = container.exec("/bin/probe", pass_fds=leaked).report()
        assert sorted(seen["fds"], key=int) == ["0", "1", "2"]

    def test_preserved_ones_reach_it(self, box: Runtime, bundle: Bundle) -> None:
        outside = bundle.host_directory(three="3", four="4")
        script = 'exec 3< "$1/three" 4< "$1/four" 5< /dev/null; shift; exec "$@"'
        prefix = ("/bin/sh", "-c", script, "sh", str(outside))
        seen = box.run(bundle.args("/bin/probe"), "--preserve-fds", "2", prefix=prefix).report()
        assert sorted(seen["fds"], key=int) == ["0", "1", "2", "3", "4"]
        assert seen["fds"]["3"]["ino"] == (outside / "three").stat().st_ino
        assert seen["fds"]["4"]["ino"] == (outside / "four").stat().st_ino

    def test_preserved_ones_reach_an_exec(self, box: Runtime, bundle: Bundle) -> None:
        outside = bundle.host_directory(three="3")
        container = box.running_shell(bundle)
        prefix = ("/bin/sh", "-c", 'exec 3< "$1/three"; shift; exec "$@"', "sh", str(outside))
        seen = container.exec("/bin/probe", flags=("--preserve-fds", "1"), prefix=prefix).report()
        assert seen["fds"]["3"]["ino"] == (outside / "three").stat().st_ino

    def test_listen_fds_are_preserved(self, box: Runtime, bundle: Bundle) -> None:
        outside = bundle.host_directory(three="3")
        prefix = (
            "/bin/sh",
            "-c",
            'exec 3< "$1/three"; shift; LISTEN_PID=$$ LISTEN_FDS=1 exec "$@"',
            "sh",
            str(outside),
        )
        seen = box.run(bundle.args("/bin/probe"), prefix=prefix).report()
        assert seen["fds"]["3"]["ino"] == (outside / "three").stat().st_ino
        assert seen.environment()["LISTEN_FDS"] == "1"
        assert seen.environment()["LISTEN_PID"] == "1"

    @not_for("runc", "crun", reason="they find a descriptor of their own there, or do not look")
    def test_preserving_one_that_is_not_open_is_refused(self, box: Runtime, bundle: Bundle) -> None:
        box.run(bundle, "--preserve-fds", "3").refused()

    @pytest.mark.parametrize("number", [3, 4, 5, 6, 7, 8, 9, 10, 15, 20])
    def test_working_directory_cannot_be_a_descriptor_of_the_runtime(
        self, box: Runtime, bundle: Bundle, number: int
    ) -> None:
        bundle.process["cwd"] = f"/proc/self/fd/{number}"
        result = box.run(bundle.args("/bin/ls", "/proc/self/cwd/"))
        assert result.code != 0 or set(result.out.split()) <= {path.name for path in bundle.rootfs.iterdir()}

    @pytest.mark.parametrize("number", [3, 4, 5, 6, 7, 8, 9, 10])
    def test_working_directory_of_exec_cannot_be_a_descriptor_of_the_runtime(
        self, box: Runtime, bundle: Bundle, number: int
    ) -> None:
        container = box.running_shell(bundle)
        result = container.exec("/bin/ls", "/proc/self/cwd/", flags=("--cwd", f"/proc/self/fd/{number}"))
        assert result.code != 0 or set(result.out.split()) <= {path.name for path in bundle.rootfs.iterdir()}

    @pytest.mark.parametrize("number", [3, 4, 5, 6, 7, 8, 9, 10])
    def test_program_cannot_be_reached_through_a_descriptor_of_the_runtime(
        self, box: Runtime, bundle: Bundle, number: int
    ) -> None:
        outside = bundle.host_directory(tool="#!/bin/sh\necho escaped\n")
        (outside / "tool").chmod(0o755)
        up = "../" * 12 + str(outside).lstrip("/")
        result = box.run(bundle.args(f"/proc/self/fd/{number}/{up}/tool"))
        assert result.code == 1
        assert "escaped" not in result.out


class TestEnvironment:
    HOSTILE = {f"LEAK_{number}": "x" for number in range(50)} | {
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

    @pytest.mark.parametrize(
        "variable", ["PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "PYTHONUSERBASE", "HOME", "PYTHONPLATLIBDIR"]
    )
    def test_of_the_caller_does_not_change_the_runtime(self, box: Runtime, bundle: Bundle, variable: str) -> None:
        evil = bundle.host_directory("evil")
        planted = f"open('{bundle.path}/pwned', 'w')\n"
        for module in ("os", "errno", "json", "boxes", "sitecustomize", "usercustomize", "stat", "encodings"):
            (evil / f"{module}.py").write_text(planted)
        assert (
            box.run(bundle.args("/bin/echo", "ran"), env={"PATH": "/usr/bin:/bin", variable: str(evil)}).ok().out
            == "ran\n"
        )
        assert not (bundle.path / "pwned").exists()

    def test_empty_one_is_enough_for_the_runtime(self, box: Runtime, bundle: Bundle) -> None:
        assert box.run(bundle.args("/bin/echo", "ran"), env={}).ok().out == "ran\n"


def test_modules_in_the_working_directory_are_not_imported(box: Runtime, bundle: Bundle) -> None:
    planted = f"open('{bundle.path}/pwned', 'w')\n"
    for module in (
        "os",
        "json",
        "re",
        "boxes",
        "sitecustomize",
        "usercustomize",
        "stat",
        "errno",
        "posix",
        "encodings",
    ):
        (bundle.path / f"{module}.py").write_text(planted)
    (bundle.path / "pyvenv.cfg").write_text("home = /evil\n")
    (bundle.path / "python311._pth").write_text("/evil\n")
    bundle.args("/bin/echo", "ran").save()
    assert box("run", bundle.id, cwd=bundle.path).ok().out == "ran\n"
    assert not (bundle.path / "pwned").exists()
    assert not list(bundle.path.rglob("__pycache__"))


class TestImage:
    """What runs as the container's process before its program does: /proc/self/exe must give nothing of the host away."""

    @not_for("runc", "crun", reason="1.1 has a read-only bind of itself, crun a memfd of another kind")
    def test_of_the_waiting_init_is_a_sealed_memfd(self, box: Runtime, bundle: Bundle) -> None:
        container = box.create(bundle)
        link = os.readlink(f"/proc/{container.pid}/exe")
        assert link.startswith("/memfd:")
        fd = os.open(f"/proc/{container.pid}/exe", os.O_RDONLY)
        seals = fcntl.fcntl(fd, F_GET_SEALS)
        os.close(fd)
        assert seals & ALL_SEALS == ALL_SEALS

    def test_script_by_proc_self_exe_runs_nothing_of_the_host(self, box: Runtime, bundle: Bundle) -> None:
        script = bundle.rootfs / "home/script"
        script.write_text("#!/proc/self/exe -c\nimport os\nopen('/tmp/python-ran', 'w')\n")
        script.chmod(0o755)
        box.run(bundle.args("/home/script"), timeout=10)
        assert not (bundle.rootfs / "tmp/python-ran").exists()

    def test_exec_by_proc_self_exe_runs_nothing_of_the_host(self, box: Runtime, bundle: Bundle) -> None:
        container = box.running_shell(bundle)
        link = bundle.rootfs / "home/link"
        link.symlink_to("/proc/self/exe")
        result = container.exec("/home/link", "-c", "open('/tmp/python-ran', 'w')", timeout=10)
        assert result.code != 0
        assert not (bundle.rootfs / "tmp/python-ran").exists()

    @not_for("runc", "crun", reason="theirs is larger")
    def test_of_the_waiting_init_has_at_most_64_kib_of_private_memory(self, box: Runtime, bundle: Bundle) -> None:
        container = box.create(bundle)
        rollup = Path(f"/proc/{container.pid}/smaps_rollup").read_text().splitlines()
        private = sum(int(line.split()[1]) for line in rollup if line.startswith(("Private_Clean", "Private_Dirty")))
        assert private <= 64

    @not_for("runc", "crun", reason="theirs keep descriptors of their own")
    def test_of_the_waiting_init_has_no_descriptor_of_a_host_directory(self, box: Runtime, bundle: Bundle) -> None:
        container = box.create(bundle, stdin=subprocess.DEVNULL)
        directories = []
        for fd in Path(f"/proc/{container.pid}/fd").iterdir():
            if stat.S_ISDIR(fd.stat().st_mode):
                directories.append(os.readlink(fd))
        assert directories == []

    @not_for("runc", "crun", reason="theirs is dumpable until the user is set")
    def test_of_the_waiting_init_cannot_be_traced_from_inside(self, box: Runtime, bundle: Bundle) -> None:
        container = box.create(bundle)
        # a process that is not dumpable belongs to root, whoever it runs as, and its /proc/PID/fd is closed to others
        assert Path(f"/proc/{container.pid}/environ").read_bytes() == b""


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
        assert box.run(bundle.args("/bin/probe"), prefix=("nice", "-n", "5")).report()["nice"] == 5

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
