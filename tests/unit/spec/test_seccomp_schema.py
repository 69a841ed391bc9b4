"""`linux.seccomp` (runtime-spec config-linux.md, "Seccomp")."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

FULL: dict[str, Any] = {
    "defaultAction": "SCMP_ACT_ERRNO",
    "defaultErrnoRet": 38,
    "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_LOONGARCH64", "SCMP_ARCH_SHEB"],
    "flags": ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"],
    "listenerPath": "/run/agent.sock",
    "listenerMetadata": "MKNOD=/dev/null",
    "syscalls": [
        {"names": ["getcwd", "no_such_call"], "action": "SCMP_ACT_TRACE", "errnoRet": 65535, "args": []},
        {
            "names": ["clone"],
            "action": "SCMP_ACT_NOTIFY",
            "args": [
                {"index": 0, "value": 18446744073709551615, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"},
                {"index": 5, "value": 0, "op": "SCMP_CMP_NE"},
            ],
        },
    ],
}

RULE = {"names": ["x"], "action": "SCMP_ACT_ALLOW"}
ACTION = "expected a seccomp action, such as 'SCMP_ACT_ALLOW' or 'SCMP_ACT_ERRNO', not"


def test_every_field_is_accepted(warnings_of: Callable[[str, Any], list[str]]) -> None:
    assert warnings_of("/linux/seccomp", FULL) == []


@pytest.mark.parametrize(
    ("seccomp", "text"),
    [
        ([], ": expected an object, not an empty list"),
        ({}, "/defaultAction: is required"),
        ({"defaultAction": "ALLOW"}, f"/defaultAction: {ACTION} 'ALLOW'"),
        ({"defaultAction": 5}, f"/defaultAction: {ACTION} 5"),
        ({"defaultErrnoRet": 1}, "/defaultErrnoRet: has no meaning with the action 'SCMP_ACT_ALLOW'"),
        (
            {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 4096},
            "/defaultErrnoRet: expected the number of an error (0 to 4095), not 4096",
        ),
        (
            {"defaultAction": "SCMP_ACT_TRACE", "defaultErrnoRet": 65536},
            "/defaultErrnoRet: expected the number of an error (0 to 65535), not 65536",
        ),
        (
            {"architectures": ["amd64"]},
            "/architectures/0: expected a seccomp architecture, such as 'SCMP_ARCH_X86_64', not 'amd64'",
        ),
        (
            {"flags": ["SECCOMP_FILTER_FLAG_NEW_LISTENER"]},
            (
                "/flags/0: expected 'SECCOMP_FILTER_FLAG_TSYNC', 'SECCOMP_FILTER_FLAG_LOG', "
                "'SECCOMP_FILTER_FLAG_SPEC_ALLOW' or 'SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV', "
                "not 'SECCOMP_FILTER_FLAG_NEW_LISTENER'"
            ),
        ),
        ({"listenerPath": 1}, "/listenerPath: expected a string, not 1"),
        ({"listenerMetadata": "x"}, "/listenerMetadata: has no meaning without 'listenerPath'"),
        ({"syscalls": {}}, "/syscalls: expected a list, not an object"),
        ({"syscalls": [{}]}, "/syscalls/0/names: is required"),
        ({"syscalls": [{"names": ["x"]}]}, "/syscalls/0/action: is required"),
        (
            {"syscalls": [RULE, {"names": [], "action": "SCMP_ACT_ALLOW"}]},
            "/syscalls/1/names: expected at least one name of a system call, not an empty list",
        ),
        ({"syscalls": [{**RULE, "names": [1]}]}, "/syscalls/0/names/0: expected a string, not 1"),
        ({"syscalls": [{**RULE, "action": "SCMP_ACT_X"}]}, f"/syscalls/0/action: {ACTION} 'SCMP_ACT_X'"),
        (
            {"syscalls": [{**RULE, "errnoRet": 1}]},
            "/syscalls/0/errnoRet: has no meaning with the action 'SCMP_ACT_ALLOW'",
        ),
        (
            {"syscalls": [{**RULE, "args": [{"index": 6, "value": 0, "op": "SCMP_CMP_EQ"}]}]},
            "/syscalls/0/args/0/index: expected the index of an argument (0 to 5), not 6",
        ),
        (
            {"syscalls": [{**RULE, "args": [{"index": 0, "value": -1, "op": "SCMP_CMP_EQ"}]}]},
            "/syscalls/0/args/0/value: expected an unsigned 64-bit integer (0 to 18446744073709551615), not -1",
        ),
        (
            {"syscalls": [{**RULE, "args": [{"index": 0, "value": 0}]}]},
            "/syscalls/0/args/0/op: is required",
        ),
        (
            {"syscalls": [{**RULE, "args": [{"index": 0, "value": 0, "op": "=="}]}]},
            (
                "/syscalls/0/args/0/op: expected 'SCMP_CMP_NE', 'SCMP_CMP_LT', 'SCMP_CMP_LE', 'SCMP_CMP_EQ', "
                "'SCMP_CMP_GE', 'SCMP_CMP_GT' or 'SCMP_CMP_MASKED_EQ', not '=='"
            ),
        ),
    ],
)
def test_a_wrong_value_is_refused_at_its_place(refusal: Callable[[str, Any], str], seccomp: Any, text: str) -> None:
    whole = {"defaultAction": "SCMP_ACT_ALLOW", **seccomp} if seccomp else seccomp
    assert refusal("/linux/seccomp", whole) == f"/linux/seccomp{text}"
