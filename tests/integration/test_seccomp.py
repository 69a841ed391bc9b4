"""`linux.seccomp`: runtime-spec, config-linux.md, "Seccomp"."""

from __future__ import annotations

import errno
import json
import os
import platform
import re
import shutil
import signal
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from boxes.plan import seccomp as planned
from tests.support.bundle import Bundle
from tests.support.marks import not_for, requires
from tests.support.rootfs import probe_program
from tests.support.runtime import Container, Runtime, wait_until
from tests.support.seccomp import CONTINUE, Agent, Answer, arg, denying, like_an_engines, profile, rule

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="the numbers are those of x86-64")

READ, WRITE, LSEEK, EXECVE, UNAME, MKDIR, GETPPID, CLONE3, OPENAT2 = 0, 1, 8, 59, 63, 83, 110, 435, 437
FREE = 1023  # a number that no kernel has
BOTH = pytest.mark.parametrize("confined", [True, False], ids=["noNewPrivileges", "privileged"])

# What /bin/calls, static and of musl, calls by itself.
OF_CALLS = "arch_prctl set_tid_address ioctl writev fork wait4 exit_group rt_sigaction rt_sigprocmask gettid"


@pytest.fixture
def calls(bundle: Bundle) -> Bundle:
    """The bundle with the program that makes system calls as it is told."""
    shutil.copyfile(probe_program("calls"), bundle.rootfs / "bin/calls")
    (bundle.rootfs / "bin/calls").chmod(0o755)
    return bundle


def made(box: Runtime, bundle: Bundle, *told: str) -> list[str]:
    """What the calls gave, a line each."""
    return box.run(bundle.args("/bin/calls", *told)).ok().out.splitlines()


def with_profile(bundle: Bundle, seccomp: dict[str, Any], confined: bool = True) -> Bundle:
    bundle.linux["seccomp"] = seccomp
    bundle.process["noNewPrivileges"] = confined
    return bundle


# ---- actions ----


@BOTH
@pytest.mark.parametrize("more, expected", [({}, errno.EPERM), ({"errnoRet": 100}, 100), ({"errnoRet": 38}, 38)])
def test_denied_call_gives_the_configured_errno(
    box: Runtime, calls: Bundle, confined: bool, more: dict[str, Any], expected: int
) -> None:
    with_profile(calls, denying("mkdir", **more), confined)
    assert made(box, calls, f"{MKDIR},/tmp/x,0755", f"{GETPPID}") == [f"errno {expected}", "ok 0"]


@BOTH
@pytest.mark.parametrize("more, expected", [({}, errno.EPERM), ({"defaultErrnoRet": errno.ENXIO}, errno.ENXIO)])
def test_what_is_not_named_gives_the_default_errno(
    box: Runtime, calls: Bundle, confined: bool, more: dict[str, Any], expected: int
) -> None:
    with_profile(calls, like_an_engines("mkdir") | more, confined)
    assert made(box, calls, f"{MKDIR},/tmp/x,0755", f"{GETPPID}") == [f"errno {expected}", "ok 0"]


@BOTH
@pytest.mark.parametrize("action", ["SCMP_ACT_KILL", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_KILL_PROCESS"])
def test_killing_action_ends_the_process(box: Runtime, calls: Bundle, confined: bool, action: str) -> None:
    with_profile(calls, denying("mkdir", action=action), confined)
    assert made(box, calls, f"@{MKDIR},/tmp/x,0755", f"{GETPPID}") == [f"signal {signal.SIGSYS}", "ok 0"]
    result = box.run(calls.args("/bin/calls", f"{MKDIR},/tmp/x,0755"))
    assert (result.code, result.out) == (128 + signal.SIGSYS, "")


def test_trap_sends_sigsys(box: Runtime, calls: Bundle) -> None:
    with_profile(calls, denying("mkdir", action="SCMP_ACT_TRAP"))
    assert made(box, calls, f"@!{MKDIR},/tmp/x,0755", f"@{MKDIR},/tmp/x,0755") == ["trap 0", "signal 31"]


def test_trace_without_a_tracer_is_enosys(box: Runtime, calls: Bundle) -> None:
    with_profile(calls, denying("mkdir", action="SCMP_ACT_TRACE", errnoRet=7))
    assert made(box, calls, f"{MKDIR},/tmp/x,0755") == ["errno 38"]


@BOTH
def test_log_lets_a_call_through(box: Runtime, calls: Bundle, confined: bool) -> None:
    with_profile(calls, denying("mkdir", action="SCMP_ACT_LOG"), confined)
    assert made(box, calls, f"{MKDIR},/tmp/x,0755") == ["ok 0"]
    assert (calls.rootfs / "tmp/x").is_dir()


def test_log_as_default_action_lets_all_through(box: Runtime, calls: Bundle) -> None:
    with_profile(calls, profile(rule("mkdir", action="SCMP_ACT_ERRNO"), default="SCMP_ACT_LOG"), confined=False)
    assert made(box, calls, f"{MKDIR},/tmp/x,0755", f"{GETPPID}", f"{FREE}") == ["errno 1", "ok 0", "errno 38"]


# ---- arguments ----


@pytest.mark.parametrize(
    "op, value, second, denied",
    [
        ("EQ", 5, 0, [5]),
        ("NE", 5, 0, [0, 4, 6, 2**32 + 5, 2**63]),
        ("LT", 5, 0, [0, 4]),
        ("LE", 5, 0, [0, 4, 5]),
        ("GT", 5, 0, [6, 2**32 + 5, 2**63]),
        ("GE", 5, 0, [5, 6, 2**32 + 5, 2**63]),
        ("MASKED_EQ", 4, 4, [4, 5, 6, 2**32 + 5]),
        ("EQ", 2**32 + 5, 0, [2**32 + 5]),
        ("GE", 2**63, 0, [2**63]),
    ],
)
def test_condition_on_an_argument_compares_all_of_it(
    box: Runtime, calls: Bundle, op: str, value: int, second: int, denied: list[int]
) -> None:
    """lseek(2) on a descriptor that is not open: EBADF if it comes to that."""
    with_profile(calls, denying("lseek", errnoRet=100, args=[arg(1, op, value, second)]))
    tried = [0, 4, 5, 6, 2**32 + 5, 2**63]
    expected = ["errno 100" if number in denied else "errno 9" for number in tried]
    assert made(box, calls, *(f"{LSEEK},99,{number}" for number in tried)) == expected


def test_conditions_on_different_arguments_hold_together(box: Runtime, calls: Bundle) -> None:
    with_profile(calls, denying("lseek", errnoRet=100, args=[arg(1, "EQ", 5), arg(2, "EQ", 1)]))
    assert made(box, calls, "8,99,5,1", "8,99,5,2", "8,99,4,1") == ["errno 100", "errno 9", "errno 9"]


def test_conditions_on_one_argument_are_alternatives(box: Runtime, calls: Bundle) -> None:
    with_profile(calls, denying("lseek", errnoRet=100, args=[arg(1, "EQ", 5), arg(1, "EQ", 6), arg(2, "EQ", 1)]))
    tried = made(box, calls, "8,99,5,0", "8,99,6,0", "8,99,4,0", "8,99,4,1")
    assert tried == ["errno 100", "errno 100", "errno 9", "errno 100"]


# ---- calls that the profile does not know ----


@BOTH
@not_for("runc", "crun", reason="they need more calls than these; and crun has no such rule")
def test_call_newer_than_the_profile_is_enosys(box: Runtime, calls: Bundle, confined: bool) -> None:
    """What is older than its newest, and not named, is denied as the profile has it."""
    names = f"{OF_CALLS} execve write read close capset openat2"
    with_profile(calls, profile(rule(*names.split())), confined)
    assert made(box, calls, f"{CLONE3}", f"{OPENAT2},99,/x,0,0", f"{OPENAT2 + 1}", f"{FREE}") == [
        "errno 1",
        "errno 22",
        "errno 38",
        "errno 38",
    ]


def test_names_that_nobody_knows_are_passed_over(box: Runtime, calls: Bundle) -> None:
    with_profile(calls, denying("mkdir", "surely_no_call", "another one"))
    assert made(box, calls, f"{MKDIR},/tmp/x,0755") == ["errno 1"]


# ---- who is confined, and how ----


@BOTH
@pytest.mark.parametrize("uid", [0, 1000])
def test_filter_changes_nothing_else_of_the_process(box: Runtime, bundle: Bundle, uid: int, confined: bool) -> None:
    """Without noNewPrivileges a capability is kept for the load, and must be gone after it."""
    few = ["CAP_CHOWN", "CAP_NET_RAW", "CAP_SETPCAP"]
    sets = dict.fromkeys(("bounding", "effective", "permitted", "inheritable"), few)
    bundle.process["capabilities"] = sets | {"ambient": ["CAP_NET_RAW"]}
    bundle.process["user"] = {"uid": uid, "gid": uid, "additionalGids": [5]}
    bundle.process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}]
    bundle.process["noNewPrivileges"] = confined
    plain = box.probe(bundle)
    bundle.linux["seccomp"] = like_an_engines()
    filtered = box.probe(bundle)
    for key in ("capabilities", "uids", "gids", "groups", "rlimits", "cwd", "umask"):
        if key in plain:
            assert filtered[key] == plain[key], key
    assert filtered.capabilities()["bounding"] == set(few)


def status_line(text: str, key: str) -> str:
    match = re.search(rf"^{key}:\s*(.*)$", text, re.MULTILINE)
    assert match
    return match[1]


@requires("unfiltered")
@BOTH
def test_process_has_one_filter(box: Runtime, bundle: Bundle, confined: bool) -> None:
    with_profile(bundle, like_an_engines(), confined)
    out = box.run(bundle.args("/bin/cat", "/proc/self/status")).ok().out
    assert (status_line(out, "Seccomp"), status_line(out, "Seccomp_filters")) == ("2", "1")
    assert status_line(out, "NoNewPrivs") == str(int(confined))


@requires("unfiltered")
def test_exec_is_under_the_same_filter(box: Runtime, calls: Bundle) -> None:
    with_profile(calls, denying("mkdir", errnoRet=100))
    container = box.running_shell(calls)
    for flags in ((), ("--no-new-privs",), ("--user", "1000:1000")):
        assert container.exec("/bin/calls", f"{MKDIR},/tmp/x,0755", flags=flags).ok().out == "errno 100\n"
    out = container.exec("/bin/cat", "/proc/self/status").ok().out
    assert (status_line(out, "Seccomp"), status_line(out, "Seccomp_filters")) == ("2", "1")


def test_exec_without_new_privileges_loads_it_too(box: Runtime, calls: Bundle) -> None:
    with_profile(calls, denying("mkdir", errnoRet=100), confined=False)
    container = box.running_shell(calls)
    assert container.exec("/bin/calls", f"{MKDIR},/tmp/x,0755").ok().out == "errno 100\n"
    assert container.exec("/bin/calls", f"{MKDIR},/tmp/x,0755", flags=("--no-new-privs",)).ok().out == "errno 100\n"


@BOTH
def test_filter_is_loaded_in_a_user_namespace(box: Runtime, calls: Bundle, confined: bool) -> None:
    with_profile(calls.user_namespace(), denying("mkdir", errnoRet=100), confined)
    assert made(box, calls, f"{MKDIR},/tmp/x,0755") == ["errno 100"]
    container = box.running_shell(calls)
    assert container.exec("/bin/calls", f"{MKDIR},/tmp/x,0755").ok().out == "errno 100\n"


@not_for("runc", "crun", reason="they run it before the process is confined")
@BOTH
def test_startcontainer_hook_is_under_the_filter(box: Runtime, calls: Bundle, confined: bool) -> None:
    with_profile(calls, denying("mkdir", errnoRet=100), confined)
    calls.hook("startContainer", "/bin/sh", "-c", "/bin/calls 83,/tmp/x,0755 >/tmp/said; ls /proc/self/fd >>/tmp/said")
    box.run(calls.args("/bin/true")).ok()
    said = (calls.rootfs / "tmp/said").read_text().split("\n")
    assert said == ["errno 100", "0", "1", "2", "3", ""]  # 3: the directory that `ls` reads


@not_for("runc", "crun", reason="they run it before the process is confined")
def test_startcontainer_hook_with_a_timeout_runs_under_the_filter(box: Runtime, calls: Bundle) -> None:
    with_profile(calls, like_an_engines() | {"defaultAction": "SCMP_ACT_KILL"})
    calls.linux["seccomp"]["syscalls"].append(rule("pidfd_open"))
    calls.hook("startContainer", "/bin/sleep", "10", timeout=1)
    box.run(calls.args("/bin/true")).refused("took longer than 1 s")


@pytest.mark.parametrize("flags", [[], ["LOG"], ["SPEC_ALLOW"], ["LOG", "SPEC_ALLOW"], ["TSYNC", "LOG"]])
@not_for("runc", reason="1.1 knows few of them")
def test_flags_are_taken(box: Runtime, calls: Bundle, flags: list[str]) -> None:
    with_profile(calls, denying("mkdir") | {"flags": [f"SECCOMP_FILTER_FLAG_{flag}" for flag in flags]})
    assert made(box, calls, f"{MKDIR},/tmp/x,0755") == ["errno 1"]


def test_several_architectures_are_taken(box: Runtime, calls: Bundle) -> None:
    names = ["SCMP_ARCH_X86", "SCMP_ARCH_X86_64", "SCMP_ARCH_X32", "SCMP_ARCH_ARM", "SCMP_ARCH_AARCH64"]
    with_profile(calls, denying("mkdir") | {"architectures": names})
    assert made(box, calls, f"{MKDIR},/tmp/x,0755") == ["errno 1"]


# ---- what the runtime needs itself ----


@not_for("runc", "crun", reason="they need more calls than these")
@BOTH
@pytest.mark.parametrize("default", ["SCMP_ACT_KILL_PROCESS", "SCMP_ACT_ERRNO", "SCMP_ACT_TRAP"])
def test_documented_calls_are_enough(box: Runtime, calls: Bundle, confined: bool, default: str) -> None:
    names = f"{OF_CALLS} write execve" + ("" if confined else " capset")
    with_profile(calls, profile(rule(*names.split()), default=default), confined)
    calls.process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}]
    calls.process["user"] = {"uid": 1000, "gid": 1000, "additionalGids": [5]}
    calls.capabilities("CAP_CHOWN")
    assert made(box, calls, f"{WRITE},1,/x,2") == ["/xok 2"]


@not_for("runc", "crun", reason="they need more calls than these")
@pytest.mark.parametrize("default", ["SCMP_ACT_KILL_PROCESS", "SCMP_ACT_ERRNO"])
def test_program_is_found_in_path_where_looking_at_files_is_deadly(box: Runtime, calls: Bundle, default: str) -> None:
    with_profile(calls, profile(rule(*f"{OF_CALLS} write execve".split()), default=default))
    calls.process["env"] = ["PATH=/nowhere:/tmp:/bin"]
    assert box.run(calls.args("calls", f"{WRITE},1,/y,2")).ok().out == "/yok 2\n"


@not_for("runc", "crun", reason="they need more calls than these")
@pytest.mark.parametrize(
    "program, code", [("nothing", "not found"), ("/bin/nothing", "no such file"), ("/etc", "denied")]
)
def test_failed_start_is_told_where_looking_at_files_is_deadly(
    box: Runtime, calls: Bundle, program: str, code: str
) -> None:
    with_profile(calls, profile(rule("write", "execve", "exit_group"), default="SCMP_ACT_KILL_PROCESS"))
    box.run(calls.args(program)).refused(code, program)


@not_for("runc", "crun", reason="they fail in the middle of it")
@pytest.mark.parametrize(
    "name, confined, hint",
    [
        ("execve", True, "to begin the program"),
        ("write", True, "to begin the program"),
        ("execve", False, "to begin the program"),
        ("capset", False, "set /process/noNewPrivileges"),
    ],
)
def test_profile_that_locks_the_runtime_out_is_refused_by_create(
    box: Runtime, bundle: Bundle, name: str, confined: bool, hint: str
) -> None:
    with_profile(bundle, denying(name, action="SCMP_ACT_KILL"), confined)
    result, reader, _ = box.spawn("create", bundle)
    os.close(reader)
    result.refused("/linux/seccomp", f"denies '{name}' (SCMP_ACT_KILL)", hint)
    assert not (box.root / bundle.id).exists()


@not_for("runc", "crun", reason="they need it")
def test_capset_may_be_denied_with_no_new_privileges(box: Runtime, bundle: Bundle) -> None:
    with_profile(bundle, denying("capset", action="SCMP_ACT_KILL"))
    box.run(bundle.args("/bin/true")).ok()


@not_for("runc", "crun", reason="they fail in the middle of it")
def test_exec_whose_process_would_be_locked_out_is_refused(box: Runtime, bundle: Bundle) -> None:
    with_profile(bundle, denying("capset"))
    container = box.running_shell(bundle)
    process = {"args": ["/bin/true"], "cwd": "/", "user": {"uid": 0, "gid": 0}}
    (bundle.path / "process.json").write_text(json.dumps(process))
    result = box("exec", "--process", str(bundle.path / "process.json"), container.id)
    assert result.code != 0
    assert "denies 'capset' (SCMP_ACT_ERRNO, EPERM)" in result.err


CALLED = re.compile(r"^(?:\d+ +)?(\w+)\((.*)$")


def traced(box: Runtime, bundle: Bundle, directory: Path) -> list[tuple[str, str]]:
    """The calls of a container's init from `start` on: names and the rest of their lines. The first is execve's."""
    container = box.create(bundle)
    log = directory / "trace"
    command = ["strace", "-f", "-p", str(container.pid), "-o", str(log)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as tracer:
        status = Path(f"/proc/{container.pid}/status")
        wait_until(lambda: "TracerPid:\t0" not in status.read_text(), "strace", 10)
        container.start().ok()
        tracer.wait(10)
    found = [CALLED.match(line) for line in log.read_text().splitlines()]
    return [(match[1], match[2]) for match in found if match]


@not_for("runc", "crun", reason="it is about the calls of box")
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.parametrize("variant", ["plain", "privileged", "hooks", "listener"])
def test_no_call_but_the_documented_ones_comes_after_the_load(
    box: Runtime, bundle: Bundle, directory: Path, variant: str, make_agent: Callable[[Answer], Agent]
) -> None:
    with_profile(bundle, denying("mkdir"), confined=variant != "privileged")
    purposes = ["program", *{"privileged": ["privileges"], "hooks": ["hooks", "timeouts"]}.get(variant, [])]
    if variant == "hooks":
        bundle.hook("startContainer", "/bin/true", timeout=10)
    if variant == "listener":
        purposes += ["listener", "message"]
        agent = make_agent(lambda number, arguments: (0, 0, CONTINUE))
        bundle.linux["seccomp"] = denying("mkdir", action="SCMP_ACT_NOTIFY") | {"listenerPath": str(agent.path)}
    seen = traced(box, bundle.args("/bin/true"), directory)
    names = [name for name, _ in seen]
    begin = names.index("seccomp") + 1
    end = next(
        at for at, (name, rest) in enumerate(seen) if name == "execve" and '["/bin/true"]' in rest and at > begin
    )
    if variant == "hooks":  # the hook's own calls lie between two of inner
        end = next(at for at in range(end + 1, len(seen)) if names[at] == "execve")
    allowed = {name for purpose in purposes for name in planned.calls(purpose, "x86_64")}
    own = set(names[begin : end + 1])
    if variant == "hooks":
        own -= set(names[names.index("execve") + 1 : names.index("wait4")]) - {"wait4"}
    assert own <= allowed | {"exit"}, own - allowed


# ---- SCMP_ACT_NOTIFY ----


@pytest.fixture
def make_agent(directory: Path) -> Iterator[Callable[[Answer], Agent]]:
    agents: list[Agent] = []

    def make(answer: Answer) -> Agent:
        agents.append(Agent(directory / f"agent{len(agents)}.sock", answer))
        return agents[-1]

    yield make
    for agent in agents:
        agent.close()


def go_on(number: int, arguments: tuple[int, ...]) -> tuple[int, int, int]:
    return 0, 0, CONTINUE


def answer_mkdir(number: int, arguments: tuple[int, ...]) -> tuple[int, int, int]:
    """Success by a value that is the agent's alone, or an error for mode 0."""
    return (0, errno.ENOMEDIUM, 0) if arguments[1] == 0 else (4711, 0, 0)


def notifying(bundle: Bundle, agent: Agent | str, *names: str, confined: bool = True, **more: Any) -> Bundle:
    path = agent if isinstance(agent, str) else str(agent.path)
    return with_profile(bundle, denying(*names, action="SCMP_ACT_NOTIFY") | {"listenerPath": path} | more, confined)


@BOTH
def test_agent_answers_for_the_kernel(
    box: Runtime, calls: Bundle, make_agent: Callable[[Answer], Agent], confined: bool
) -> None:
    agent = make_agent(answer_mkdir)
    notifying(calls, agent, "mkdir", confined=confined)
    assert made(box, calls, f"{MKDIR},/tmp/x,0755", f"{MKDIR},/tmp/x,0", f"{GETPPID}") == [
        "ok 4711",
        "errno 123",
        "ok 0",
    ]
    assert agent.asked == [MKDIR, MKDIR]


def test_agent_is_told_whose_calls_it_decides(
    box: Runtime, calls: Bundle, make_agent: Callable[[Answer], Agent]
) -> None:
    agent = make_agent(go_on)
    calls.config["annotations"] = {"a.b": "c"}
    notifying(calls, agent, "mkdir", listenerMetadata="what it is for")
    container = box.running_shell(calls)
    wait_until(lambda: agent.messages, "the agent has not read it")
    (message,) = agent.messages
    state = message.pop("state")
    assert re.fullmatch(r"1\.\d+\.\d+.*|0\.2\.0", message.pop("ociVersion"))
    assert message == {"fds": ["seccompFd"], "pid": container.pid, "metadata": "what it is for"}
    assert (state["id"], state["pid"], state["bundle"]) == (container.id, container.pid, str(calls.path))
    assert state["status"] in {"creating", "created"}
    assert state["annotations"] == {"a.b": "c"}


def test_message_without_metadata_has_none(box: Runtime, calls: Bundle, make_agent: Callable[[Answer], Agent]) -> None:
    agent = make_agent(go_on)
    box.run(notifying(calls, agent, "mkdir").args("/bin/true")).ok()
    wait_until(lambda: agent.messages, "the agent has not read it")
    assert "metadata" not in agent.messages[0]


@not_for("crun", reason="1.8 tells pid 0")
@BOTH
def test_exec_has_a_listener_of_its_own(
    box: Runtime, calls: Bundle, make_agent: Callable[[Answer], Agent], confined: bool
) -> None:
    agent = make_agent(answer_mkdir)
    container = box.running_shell(notifying(calls, agent, "mkdir", confined=confined))
    assert container.exec("/bin/calls", f"{MKDIR},/tmp/x,0755").ok().out == "ok 4711\n"
    first, second = agent.messages
    assert first["pid"] == container.pid
    assert second["pid"] not in (0, container.pid)
    assert second["state"]["pid"] == container.pid
    assert second["state"]["status"] == "running"


@BOTH
@pytest.mark.parametrize("verb", ["run", "exec"])
def test_calls_of_the_runtime_itself_may_be_the_agents(
    box: Runtime, calls: Bundle, make_agent: Callable[[Answer], Agent], confined: bool, verb: str
) -> None:
    agent = make_agent(go_on)
    names = ("execve", "read", "close", "sendmsg", "capset", "openat", "open", "fcntl", "recvfrom", "prctl")
    notifying(calls, agent, *names, confined=confined)
    if verb == "run":
        assert made(box, calls, f"{GETPPID}") == ["ok 0"]
    else:
        assert box.running_shell(calls).exec("/bin/calls", f"{GETPPID}").ok().out.startswith("ok ")
    assert EXECVE in agent.asked


@not_for("runc", reason="1.1 writes it to a socket with sendmsg")
@not_for("crun", reason="its helper process sends it")
@pytest.mark.parametrize("verb", ["run", "exec"])
def test_listener_is_fetched_where_it_cannot_be_sent(
    box: Runtime, calls: Bundle, make_agent: Callable[[Answer], Agent], verb: str
) -> None:
    agent = make_agent(answer_mkdir)
    notifying(calls, agent, "mkdir")
    calls.linux["seccomp"]["syscalls"].append(rule("sendmsg", "recvmsg", "sendto", "recvfrom", action="SCMP_ACT_KILL"))
    if verb == "run":
        assert made(box, calls, f"{MKDIR},/tmp/x,0755") == ["ok 4711"]
    else:
        assert box.running_shell(calls).exec("/bin/calls", f"{MKDIR},/tmp/x,0755").ok().out == "ok 4711\n"


@BOTH
def test_program_has_no_descriptor_of_it(
    box: Runtime, calls: Bundle, make_agent: Callable[[Answer], Agent], confined: bool
) -> None:
    agent = make_agent(go_on)
    notifying(calls, agent, "mkdir", confined=confined)
    assert box.run(calls.args("/bin/ls", "/proc/self/fd")).ok().out.split() == ["0", "1", "2", "3"]


@not_for("runc", "crun", reason="they run it before the process is confined")
def test_startcontainer_hook_may_ask_the_agent(
    box: Runtime, calls: Bundle, make_agent: Callable[[Answer], Agent]
) -> None:
    agent = make_agent(answer_mkdir)
    notifying(calls, agent, "mkdir")
    calls.hook("startContainer", "/bin/sh", "-c", "/bin/calls 83,/tmp/x,0755 >/tmp/said; ls /proc/self/fd >>/tmp/said")
    box.run(calls.args("/bin/true")).ok()
    assert (calls.rootfs / "tmp/said").read_text().split() == ["ok", "4711", "0", "1", "2", "3"]


def test_calls_are_enosys_once_the_agent_is_gone(
    box: Runtime, calls: Bundle, make_agent: Callable[[Answer], Agent]
) -> None:
    agent = make_agent(answer_mkdir)
    container = box.running_shell(notifying(calls, agent, "mkdir"))
    agent.close()
    assert container.kill("TERM").code == 0  # the program goes on; it does not hang in a call that nobody answers
    assert container.wait() == 40


@pytest.mark.parametrize("flag", ["TSYNC", "WAIT_KILLABLE_RECV"])
@not_for("runc", "crun", reason="those of Debian 12 do not know it")
def test_flags_go_with_a_listener(
    box: Runtime, calls: Bundle, make_agent: Callable[[Answer], Agent], flag: str
) -> None:
    agent = make_agent(answer_mkdir)
    notifying(calls, agent, "mkdir", flags=[f"SECCOMP_FILTER_FLAG_{flag}"])
    assert made(box, calls, f"{MKDIR},/tmp/x,0755") == ["ok 4711"]


@not_for("runc", "crun", reason="they connect at create")
def test_missing_agent_fails_the_start_and_stops_the_container(box: Runtime, calls: Bundle) -> None:
    container = box.create(notifying(calls, "/nonexistent/agent.sock", "mkdir").args("/bin/true"))
    container.start().refused("/linux/seccomp/listenerPath", "/nonexistent/agent.sock", "no such file")
    assert container.status == "stopped"


@not_for("runc", "crun", reason="they connect at create")
def test_missing_agent_fails_exec_alone(box: Runtime, calls: Bundle, make_agent: Callable[[Answer], Agent]) -> None:
    agent = make_agent(go_on)
    container = box.running_shell(notifying(calls, agent, "mkdir"))
    agent.close()
    result = container.exec("/bin/true")
    assert result.code != 0
    assert "listenerPath" in result.err
    assert container.status == "running"


@not_for("crun", reason="it connects all the same")
def test_listener_path_without_a_rule_that_notifies_is_not_used(box: Runtime, calls: Bundle) -> None:
    with_profile(calls, denying("mkdir") | {"listenerPath": "/nonexistent/agent.sock"})
    assert made(box, calls, f"{MKDIR},/tmp/x,0755") == ["errno 1"]


@pytest.mark.parametrize(
    "change, text",
    [
        ({"listenerPath": ""}, "listenerPath"),
        ({"defaultAction": "SCMP_ACT_NOTIFY"}, "default action"),
        ({"syscalls": [rule("read", "write", action="SCMP_ACT_NOTIFY")]}, "write"),
    ],
)
@not_for("crun", reason="it allows them")
@not_for("runc", reason="it is told by the child")
def test_listener_that_could_not_work_is_refused_by_create(
    box: Runtime, calls: Bundle, change: dict[str, Any], text: str
) -> None:
    notifying(calls, "/agent.sock", "mkdir")
    calls.linux["seccomp"] |= change
    result, reader, _ = box.spawn("create", calls)
    os.close(reader)
    result.refused("/linux/seccomp", text)


# ---- the cache ----


@not_for("runc", "crun", reason="it is about box's")
def test_cache_is_no_container(box: Runtime, bundle: Bundle) -> None:
    with_profile(bundle, like_an_engines())
    box.run(bundle.args("/bin/true")).ok()
    assert len(list((box.root / ".cache/seccomp").iterdir())) == 1
    assert box("list", "--quiet").ok().out == ""


@not_for("runc", "crun", reason="it is about box's")
def test_exec_finds_the_filter_without_the_cache(box: Runtime, calls: Bundle) -> None:
    with_profile(calls, denying("mkdir", errnoRet=100))
    container: Container = box.running_shell(calls)
    shutil.rmtree(box.root / ".cache")
    assert container.exec("/bin/calls", f"{MKDIR},/tmp/x,0755").ok().out == "errno 100\n"


def test_probe_of_the_kernels_structures_is_right() -> None:
    """<linux/seccomp.h>: the agent of these tests packs by hand."""
    assert (struct.calcsize("=QII" + "iIQ6Q"), struct.calcsize("=QqiI")) == (80, 24)
