"""Unknown fields are ignored, but a near-miss of a known name is warned of."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from boxes.spec.nearmiss import meant, slips_between
from boxes.spec.validate import validate, validate_process


@pytest.mark.parametrize(
    ("pointer", "name"),
    [
        ("/linux/maskedpaths", "maskedPaths"),
        ("/linux/MaskedPaths", "maskedPaths"),
        ("/linux/maskedPath", "maskedPaths"),
        ("/linux/readOnlyPath", "readonlyPaths"),
        ("/linux/secomp", "seccomp"),
        ("/linux/rootPropagation", "rootfsPropagation"),
        ("/linux/rootFolderPropagation", None),
        ("/linux/rotfsPropagaton", "rootfsPropagation"),
        ("/linux/resources/memory/limitt", "limit"),
        ("/process/noNewPrivilege", "noNewPrivileges"),
        ("/process/nonewprivileges", "noNewPrivileges"),
        ("/process/user/UID", "uid"),
        ("/process/user/addtionalGids", "additionalGids"),
        ("/root/readOnly", "readonly"),
        ("/moutns", "mounts"),
        ("/hooks/prestarts", "prestart"),
        ("/hooks/poststops", "poststop"),
        ("/com.example.extension", None),
        ("/process/argv", None),
        ("/x", None),
        ("/", None),
        ("/" + "m" * 5000, None),
    ],
)
def test_a_near_miss_is_warned_of(warnings_of: Callable[[str, Any], list[str]], pointer: str, name: str | None) -> None:
    expected = (
        []
        if name is None
        else [f"{pointer}: is ignored, as the specification has no such field; '{name}' may be meant"]
    )
    assert warnings_of(pointer, {"anything": [1]}) == expected


def test_the_wrong_value_of_an_unknown_field_does_not_matter(warnings_of: Callable[[str, Any], list[str]]) -> None:
    assert warnings_of("/linux/unknown", "\0\ud800") == []


def test_a_warning_is_one_line_whatever_the_name() -> None:
    process = {"cwd": "/", "args": ["sh"], "terminal\n": 1}
    assert [str(notice) for notice in validate_process(process)] == [
        "/terminal\\n: is ignored, as the specification has no such field; 'terminal' may be meant"
    ]


def test_a_million_unknown_names_cost_little() -> None:
    config = {"ociVersion": "1.0.0", "root": {"path": "r"}, **{f"hooks{number}": 1 for number in range(1_000_000)}}
    start = time.process_time()
    notices = validate(config)
    assert len(notices) <= 64
    assert time.process_time() - start < 5


@pytest.mark.parametrize(
    ("one", "other", "slips"),
    [
        ("", "", 0),
        ("a", "", 1),
        ("abc", "abc", 0),
        ("abc", "acb", 1),
        ("abc", "abd", 1),
        ("abc", "bc", 1),
        ("kitten", "sitting", 3),
        ("mounts", "moutns", 1),
        ("ca", "abc", 3),
    ],
)
def test_slips_are_counted(one: str, other: str, slips: int) -> None:
    assert slips_between(one, other) == slips
    assert slips_between(other, one) == slips


def test_short_names_are_compared_by_case_only() -> None:
    assert meant("UIDS", ["uid", "gid"]) is None
    assert meant("Gid", ["uid", "gid"]) == "gid"
    assert meant("hoosk", ["hooks", "hostname"]) == "hooks"
    assert meant("hosts", ["hooks", "hostname"]) is None
