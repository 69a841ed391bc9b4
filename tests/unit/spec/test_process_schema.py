"""The `process` object (runtime-spec config.md, "Process")."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from boxes.errors import ConfigError
from boxes.spec.config import process_from
from boxes.spec.validate import validate

FULL = {
    "terminal": True,
    "consoleSize": {"height": 25, "width": 65535},
    "user": {"uid": 1, "gid": 4294967294, "umask": 63, "additionalGids": [5, 6], "username": "x"},
    "env": ["PATH=/bin", "EMPTY=", "TWICE=1", "TWICE=2", "E=a=b", "NEWLINE=a\nb", "ÜMLAUT=é"],
    "cwd": "/root",
    "args": ["sh", "", "-c"],
    "commandLine": "",
    "apparmorProfile": "acme_secure_profile",
    "selinuxLabel": "system_u:system_r:svirt_lxc_net_t:s0:c124,c675",
    "ioPriority": {"class": "IOPRIO_CLASS_IDLE", "priority": 4},
    "noNewPrivileges": True,
    "oomScoreAdj": -1000,
    "capabilities": {
        "bounding": ["CAP_KILL", "CAP_NEVER_HEARD_OF"],
        "effective": [],
        "inheritable": ["CAP_KILL"],
        "permitted": ["CAP_KILL", "CAP_KILL"],
        "ambient": ["CAP_KILL"],
    },
    "rlimits": [
        {"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024},
        {"type": "RLIMIT_CORE", "hard": 18446744073709551615, "soft": 0},
    ],
    "scheduler": {
        "policy": "SCHED_DEADLINE",
        "nice": -20,
        "priority": 0,
        "flags": ["SCHED_FLAG_RESET_ON_FORK"],
        "runtime": 1,
        "deadline": 2,
        "period": 18446744073709551615,
    },
    "execCPUAffinity": {"initial": "7", "final": "0-3, 7"},
}


def test_every_field_is_accepted(warnings_of: Callable[[str, Any], list[str]]) -> None:
    assert warnings_of("/process", FULL) == []


def test_a_config_may_have_no_process() -> None:
    assert validate({"ociVersion": "1.0.0", "root": {"path": "rootfs"}}) == []


def test_a_process_may_have_no_user() -> None:
    process, notices = process_from({"cwd": "/", "args": ["sh"]})
    assert process == {"cwd": "/", "args": ["sh"]}
    assert notices == []


def test_pointers_of_a_lone_process_begin_at_it() -> None:
    with pytest.raises(ConfigError) as caught:
        process_from({"cwd": "/", "args": ["sh"], "user": {"uid": True, "gid": 0}})
    assert caught.value.pointer == "/user/uid"
    with pytest.raises(ConfigError) as caught:
        process_from([])
    assert str(caught.value) == "/: expected an object, not an empty list"


ID = "expected a user or group id, an unsigned 32-bit integer (0 to 4294967294), not"
CAPABILITY = "expected the name of a capability, such as 'CAP_KILL', not"


@pytest.mark.parametrize(
    ("pointer", "value", "text"),
    [
        ("/process", [], "expected an object, not an empty list"),
        ("/process/terminal", 1, "expected true or false, not 1"),
        ("/process/terminal", "true", "expected true or false, not 'true'"),
        ("/process/consoleSize/height", 1, None),
        ("/process/consoleSize", [1], "expected an object, not a list"),
        ("/process/cwd", "root", "expected an absolute path, not 'root'"),
        ("/process/cwd", "", "expected an absolute path, not ''"),
        ("/process/cwd", 7, "expected an absolute path, not 7"),
        ("/process/cwd", "/a\0b", "expected a string without NUL characters"),
        ("/process/args", [], "expected at least one string, the program to run, not an empty list"),
        ("/process/args", "sh", "expected a list of strings, not 'sh'"),
        ("/process/args", {}, "expected a list of strings, not an object"),
        ("/process/user/uid", True, f"{ID} true"),
        ("/process/user/uid", 1.0, f"{ID} 1.0"),
        ("/process/user/uid", "1", f"{ID} '1'"),
        ("/process/user/uid", -1, f"{ID} -1"),
        ("/process/user/uid", 4294967295, f"{ID} 4294967295"),
        ("/process/user/uid", 4294967296, f"{ID} 4294967296"),
        ("/process/user/uid", 10**60, f"{ID} a number of that size"),
        ("/process/user/gid", 4294967295, f"{ID} 4294967295"),
        ("/process/user/gid", [], f"{ID} an empty list"),
        ("/process/user/umask", 512, "expected a umask in decimal (0 to 511), not 512"),
        ("/process/user/username", 1, "expected a string, not 1"),
        ("/process/oomScoreAdj", -1001, "expected a whole number (-1000 to 1000), not -1001"),
        ("/process/oomScoreAdj", 1001, "expected a whole number (-1000 to 1000), not 1001"),
        ("/process/noNewPrivileges", 0, "expected true or false, not 0"),
        ("/process/apparmorProfile", "a\nb", "expected a string of one line, not 'a\\nb'"),
        ("/process/selinuxLabel", 1, "expected a string of one line, not 1"),
        ("/process/commandLine", [], "expected a string, not an empty list"),
        ("/process/execCPUAffinity/initial", "3-1", "expected a list of CPUs, such as '0-3,7', not '3-1'"),
        ("/process/execCPUAffinity/initial", "1,,2", "expected a list of CPUs, such as '0-3,7', not '1,,2'"),
        ("/process/execCPUAffinity/final", "a", "expected a list of CPUs, such as '0-3,7', not 'a'"),
        ("/process/execCPUAffinity/final", "1-2-3", "expected a list of CPUs, such as '0-3,7', not '1-2-3'"),
        ("/process/execCPUAffinity/final", "\uff11", "expected a list of CPUs, such as '0-3,7', not '\uff11'"),
    ],
)
def test_a_wrong_value_is_refused_at_its_place(
    refusal: Callable[[str, Any], str], pointer: str, value: object, text: str | None
) -> None:
    if text is None:
        assert refusal(pointer, value) == "/process/consoleSize/width: is required"
    else:
        assert refusal(pointer, value) == f"{pointer}: {text}"


@pytest.mark.parametrize(
    ("pointer", "value", "text"),
    [
        ("/process/args", [""], "/process/args/0: expected the name of the program to run, not ''"),
        ("/process/args", ["sh", None], "/process/args/1: expected a string, not null"),
        ("/process/args", ["sh", "a\0"], "/process/args/1: expected a string without NUL characters"),
        ("/process/args", ["sh", "\ud800"], "/process/args/1: expected Unicode text, not a lone surrogate"),
        ("/process/args", ["\ud83d", "\ude00"], "/process/args/0: expected Unicode text, not a lone surrogate"),
        ("/process/env", ["A=1", ""], "/process/env/1: expected NAME=VALUE with a non-empty name"),
        ("/process/env", ["PASSWORD"], "/process/env/0: expected NAME=VALUE with a non-empty name"),
        ("/process/env", ["=secret"], "/process/env/0: expected NAME=VALUE with a non-empty name"),
        ("/process/env", ["A=secret\0"], "/process/env/0: expected a string without NUL characters"),
        ("/process/env", [1], "/process/env/0: expected a string, not 1"),
        ("/process/user", {"gid": 0}, "/process/user/uid: is required"),
        ("/process/user", {"uid": 0}, "/process/user/gid: is required"),
        ("/process/user/additionalGids", [5, 4294967295], f"/process/user/additionalGids/1: {ID} 4294967295"),
        ("/process/user/additionalGids", [True], f"/process/user/additionalGids/0: {ID} true"),
        ("/process/consoleSize", {"height": 1}, "/process/consoleSize/width: is required"),
        (
            "/process/consoleSize",
            {"height": 65536, "width": 1},
            "/process/consoleSize/height: expected an unsigned 16-bit integer (0 to 65535), not 65536",
        ),
        ("/process/capabilities/bounding", ["KILL"], f"/process/capabilities/bounding/0: {CAPABILITY} 'KILL'"),
        ("/process/capabilities/ambient", ["cap_kill"], f"/process/capabilities/ambient/0: {CAPABILITY} 'cap_kill'"),
        ("/process/capabilities/effective", ["CAP_"], f"/process/capabilities/effective/0: {CAPABILITY} 'CAP_'"),
        ("/process/capabilities/permitted", ["CAP_K "], f"/process/capabilities/permitted/0: {CAPABILITY} 'CAP_K '"),
        ("/process/capabilities/inheritable", [1], f"/process/capabilities/inheritable/0: {CAPABILITY} 1"),
        (
            "/process/rlimits",
            [{"type": "RLIMIT_TEST", "soft": 1, "hard": 1}],
            (
                "/process/rlimits/0/type: expected the name of a resource limit, such as 'RLIMIT_NOFILE', "
                "not 'RLIMIT_TEST'"
            ),
        ),
        (
            "/process/rlimits",
            [{"type": "RLIMIT_CPU", "soft": 2, "hard": 1}],
            "/process/rlimits/0/soft: expected at most the hard limit, 1, not 2",
        ),
        ("/process/rlimits", [{"type": "RLIMIT_CPU", "soft": 2}], "/process/rlimits/0/hard: is required"),
        (
            "/process/rlimits",
            [{"type": "RLIMIT_CPU", "soft": -1, "hard": 1}],
            "/process/rlimits/0/soft: expected an unsigned 64-bit integer (0 to 18446744073709551615), not -1",
        ),
        (
            "/process/rlimits",
            [{"type": "RLIMIT_CPU", "soft": 1, "hard": 1}, {"type": "RLIMIT_CPU", "soft": 2, "hard": 2}],
            "/process/rlimits/1/type: expected each only once, but 'RLIMIT_CPU' is repeated",
        ),
        ("/process/scheduler", {"nice": 1}, "/process/scheduler/policy: is required"),
        (
            "/process/scheduler",
            {"policy": "SCHED_NORMAL"},
            (
                "/process/scheduler/policy: expected 'SCHED_OTHER', 'SCHED_FIFO', 'SCHED_RR', 'SCHED_BATCH', 'SCHED_ISO', "
                "'SCHED_IDLE' or 'SCHED_DEADLINE', not 'SCHED_NORMAL'"
            ),
        ),
        (
            "/process/scheduler",
            {"policy": "SCHED_OTHER", "nice": 20},
            "/process/scheduler/nice: expected a nice value (-20 to 19), not 20",
        ),
        (
            "/process/scheduler",
            {"policy": "SCHED_OTHER", "priority": 1},
            "/process/scheduler/priority: has no meaning with the policy 'SCHED_OTHER'",
        ),
        (
            "/process/scheduler",
            {"policy": "SCHED_RR", "period": 1},
            "/process/scheduler/period: has no meaning with the policy 'SCHED_RR'",
        ),
        (
            "/process/scheduler",
            {"policy": "SCHED_FIFO"},
            "/process/scheduler/priority: expected a priority (1 to 99) with 'SCHED_FIFO', not 0",
        ),
        ("/process/ioPriority", {"class": "IOPRIO_CLASS_RT"}, "/process/ioPriority/priority: is required"),
        (
            "/process/ioPriority",
            {"class": "IOPRIO_CLASS_RT", "priority": 8},
            "/process/ioPriority/priority: expected a whole number (0 to 7), not 8",
        ),
        (
            "/process/ioPriority",
            {"class": "RT", "priority": 0},
            "/process/ioPriority/class: expected 'IOPRIO_CLASS_RT', 'IOPRIO_CLASS_BE' or 'IOPRIO_CLASS_IDLE', not 'RT'",
        ),
    ],
)
def test_a_wrong_part_is_refused_at_its_place(
    refusal: Callable[[str, Any], str], pointer: str, value: object, text: str
) -> None:
    assert refusal(pointer, value) == text


@pytest.mark.parametrize("key", ["cwd", "args"])
def test_what_a_process_needs_is_required(key: str) -> None:
    process: dict[str, Any] = {"cwd": "/", "args": ["sh"]}
    del process[key]
    with pytest.raises(ConfigError) as caught:
        process_from(process)
    assert str(caught.value) == f"/{key}: is required"


def test_no_error_about_the_environment_shows_a_value(refusal: Callable[[str, Any], str]) -> None:
    for entry in ("hunter2", "=hunter2", "A=hunter2\0", "A=hunter2\ud800"):
        assert "hunter2" not in refusal("/process/env", [entry])
