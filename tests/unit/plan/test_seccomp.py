"""How a filter is loaded, and what comes after it."""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import Any

import pytest

from boxes.container import reports
from boxes.errors import BoxesError, ConfigError, UnsupportedError
from boxes.linux import syscalls
from boxes.plan import inner, seccomp
from boxes.plan.capabilities import Sets
from boxes.plan.seccomp import Filter
from boxes.plan.seccomp_rules import NATIVE
from tests.support.source import CHECKOUT

ALL = (1 << 64) - 1
NOTIFY = {"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}
TSYNC, LOG, SPEC_ALLOW, NEW_LISTENER, TSYNC_ESRCH, WAIT_KILLABLE_RECV = (1 << bit for bit in range(6))


def profile(*rules: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": list(rules), **more}


def named(*flags: str) -> list[str]:
    return [f"SECCOMP_FILTER_FLAG_{flag}" for flag in flags]


# ---- flags ----


@pytest.mark.parametrize(
    "config, expected",
    [
        (profile(), SPEC_ALLOW),
        (profile(flags=[]), 0),
        (profile(flags=named("LOG")), LOG),
        (profile(flags=named("TSYNC", "LOG", "SPEC_ALLOW")), TSYNC | LOG | SPEC_ALLOW),
        (profile(NOTIFY), SPEC_ALLOW | NEW_LISTENER),
        (profile(NOTIFY, flags=named("TSYNC")), TSYNC | TSYNC_ESRCH | NEW_LISTENER),
        (profile(NOTIFY, flags=named("WAIT_KILLABLE_RECV")), WAIT_KILLABLE_RECV | NEW_LISTENER),
    ],
)
def test_flags_are_those_of_the_profile_and_what_they_need(config: dict[str, Any], expected: int) -> None:
    assert seccomp.flags(config) == expected


def test_waiting_for_a_listener_needs_one() -> None:
    with pytest.raises(ConfigError, match="without a rule") as error:
        seccomp.flags(profile(flags=named("LOG", "WAIT_KILLABLE_RECV")))
    assert error.value.pointer == "/linux/seccomp/flags/1"


# ---- listeners ----


def test_notify_is_no_default_action() -> None:
    with pytest.raises(ConfigError, match="cannot be the default action"):
        seccomp.refuse_notify({"defaultAction": "SCMP_ACT_NOTIFY"})


def test_notify_is_not_for_the_call_that_hands_the_listener_over() -> None:
    with pytest.raises(ConfigError, match="cannot be used for 'write'") as error:
        seccomp.refuse_notify(profile(NOTIFY, {"names": ["read", "write"], "action": "SCMP_ACT_NOTIFY"}))
    assert error.value.pointer == "/linux/seccomp/syscalls/1/action"


def test_notify_is_for_any_other_call() -> None:
    seccomp.refuse_notify(profile({"names": ["execve", "read", "close", "sendmsg"], "action": "SCMP_ACT_NOTIFY"}))


@pytest.mark.parametrize("path", [None, "", "agent.sock", "@agent"])
def test_listener_needs_an_absolute_path(path: str | None) -> None:
    with pytest.raises(ConfigError) as error:
        seccomp.listener({"linux": {"seccomp": profile(NOTIFY, listenerPath=path)}})
    assert error.value.pointer == "/linux/seccomp/listenerPath"


def test_listener_may_be_named_by_an_annotation() -> None:
    config: dict[str, Any] = {
        "linux": {"seccomp": profile(NOTIFY)},
        "annotations": {"run.oci.seccomp.receiver": "/old"},
    }
    assert seccomp.listener(config) == "/old"
    config["linux"]["seccomp"]["listenerPath"] = "/new"
    assert seccomp.listener(config) == "/new"


# ---- what inner calls afterwards ----

HOOK = {"path": "/bin/true"}


def denied(*names: str) -> Filter:
    return Filter(b"", 0, dict.fromkeys(names, ("denied", "SCMP_ACT_KILL")))


@pytest.mark.parametrize(
    "name, process, hooks, flags",
    [
        ("write", {"noNewPrivileges": True}, [], 0),
        ("execve", {"noNewPrivileges": True}, [], 0),
        ("capset", {}, [], 0),
        ("close", {"noNewPrivileges": True}, [], NEW_LISTENER),
        ("wait4", {"noNewPrivileges": True}, [HOOK], 0),
        ("pidfd_open", {"noNewPrivileges": True}, [{**HOOK, "timeout": 3}], 0),
    ],
)
def test_profile_that_locks_inner_out_is_refused(
    name: str, process: dict[str, Any], hooks: list[dict[str, Any]], flags: int
) -> None:
    tried = denied(name)
    tried.flags = flags
    with pytest.raises(ConfigError, match=f"denies '{name}' \\(SCMP_ACT_KILL\\)") as error:
        tried.check(process, hooks, ALL)
    assert error.value.pointer == "/linux/seccomp"


@pytest.mark.parametrize(
    "name, process, hooks",
    [
        ("capset", {"noNewPrivileges": True}, []),
        ("wait4", {}, []),
        ("pidfd_open", {}, [HOOK]),
        ("open", {}, []),
        ("sendmsg", {}, []),
        ("close", {}, []),
    ],
)
def test_profile_that_denies_what_is_not_needed_is_taken(
    name: str, process: dict[str, Any], hooks: list[dict[str, Any]]
) -> None:
    denied(name).check(process, hooks, ALL)


@pytest.mark.parametrize("verdict", ["maybe", "notify"])
def test_what_may_pass_is_taken(verdict: str) -> None:
    Filter(b"", 0, {"execve": (verdict, "")}).check({}, [], ALL)


def test_without_new_privileges_or_the_capability_nothing_can_be_loaded() -> None:
    with pytest.raises(UnsupportedError, match="CAP_SYS_ADMIN"):
        denied().check({}, [], ALL & ~(1 << 21))
    denied().check({"noNewPrivileges": True}, [], 0)


def steps_of(filter: Filter, process: dict[str, Any], kept: int = -1) -> inner.Steps:
    steps = inner.Steps()
    filter.load(steps, process, Sets({}, ALL), kept)
    return steps


def payload(filter: Filter, kept: int = -1) -> tuple[int, ...]:
    encoded = steps_of(filter, {"noNewPrivileges": True}, kept).encode()
    assert struct.unpack_from("=I", encoded, 16)[0] == inner.SECCOMP
    found: tuple[int, ...] = struct.unpack_from("=IIII", encoded, 24)
    return found


def test_privileges_are_dropped_after_the_load_only_where_they_were_kept() -> None:
    assert len(steps_of(denied(), {"noNewPrivileges": True}).text) == 1
    assert [line.split("(")[0] for line in steps_of(denied(), {}).text] == ["seccomp", "capset"]


def test_step_tells_what_the_filter_is_in_the_way_of() -> None:
    attached, silent = 1, 2
    assert payload(Filter(b"", 4, {}), kept=7) == (4, 7, attached, 0)
    assert payload(denied("sendmsg")) == (0, 0xFFFFFFFF, 0, 0)
    assert payload(denied("access")) == (0, 0xFFFFFFFF, attached | silent, 0)


@pytest.mark.parametrize(
    "errno, hint", [(13, "noNewPrivileges"), (16, "another filter"), (22, "flags"), (12, "too long")]
)
def test_failed_load_says_why(errno: int, hint: str) -> None:
    error = steps_of(denied(), {}).failed(0, errno, b"")
    assert isinstance(error, BoxesError)
    assert hint in str(error.hint)


@pytest.mark.parametrize("machine", seccomp.CALLS)
def test_numbers_are_the_machines(machine: str) -> None:
    for purpose in seccomp.CALLS[machine]:
        for name, number in seccomp.calls(purpose, machine).items():
            assert syscalls.seccomp_number(NATIVE[machine], name) == number, (machine, name)


def test_table_in_the_documentation_is_the_one_in_use() -> None:
    text = (CHECKOUT / "docs/seccomp.md").read_text()
    rows = [line.split("|")[3] for line in text.splitlines() if line.startswith("| ")][1:]
    assert len(rows) == len(seccomp.CALLS["x86_64"])
    for row, purpose in zip(rows, seccomp.CALLS["x86_64"], strict=True):
        plain = re.sub(r"\(.*?\)", "", row)
        other = re.sub(r"`\w+` \(`(\w+)`\)", r"`\1`", row)
        assert set(re.findall(r"`(\w+)`", plain)) == set(seccomp.calls(purpose, "x86_64")), purpose
        assert set(re.findall(r"`(\w+)`", other)) == set(seccomp.calls(purpose, "aarch64")), purpose


def test_codes_are_those_of_inner() -> None:
    source = Path(CHECKOUT / "native/inner.c").read_text()
    found = {
        match[1]: [word.split("=")[0].strip() for word in match[2].split(",")]
        for match in re.finditer(r"enum (step|kind) \{([^}]*)\}", source)
    }
    assert [getattr(inner, name) for name in found["step"]] == list(range(1, len(found["step"]) + 1))
    assert [getattr(reports, name) for name in found["kind"]] == list(range(1, len(found["kind"]) + 1))
    assert found["step"].index("SECCOMP") + 1 == inner.SECCOMP
