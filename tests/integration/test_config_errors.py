"""Configurations that are wrong: refused before anything is done, on one line that says where, and nothing is left."""

from __future__ import annotations

import copy
import json
import os
from typing import Any

import pytest

from tests.support.bundle import Bundle
from tests.support.marks import not_for
from tests.support.runtime import Runtime

pytestmark = not_for("runc", "crun", reason="they check less, and say less")

ROWS: list[tuple[str, Any]] = [
    ("/ociVersion", None),
    ("/ociVersion", ...),
    ("/ociVersion", "2.0.0"),
    ("/ociVersion", "one"),
    ("/ociVersion", 1.0),
    ("/root", ...),
    ("/root/path", ...),
    ("/root/path", ""),
    ("/root/path", 5),
    ("/root/path", "a\x00b"),
    ("/root/readonly", "yes"),
    ("/process/args", []),
    ("/process/args", "sh"),
    ("/process/args/0", 5),
    ("/process/args/0", "a\x00b"),
    ("/process/env", {"A": "1"}),
    ("/process/env/0", None),
    ("/process/cwd", "relative"),
    ("/process/cwd", ...),
    ("/process/cwd", ""),
    ("/process/user", "root"),
    ("/process/user/uid", True),
    ("/process/user/uid", 1.0),
    ("/process/user/uid", "0"),
    ("/process/user/uid", -1),
    ("/process/user/uid", 4294967295),
    ("/process/user/uid", 4294967296),
    ("/process/user/gid", None),
    ("/process/user/gid", 4294967295),
    ("/process/user/umask", -1),
    ("/process/user/additionalGids", [0, 4294967295]),
    ("/process/user/additionalGids", 5),
    ("/process/noNewPrivileges", 1),
    ("/process/oomScoreAdj", 1001),
    ("/process/oomScoreAdj", "5"),
    ("/process/terminal", "true"),
    ("/process/rlimits", [{"type": "RLIMIT_NO_SUCH", "soft": 1, "hard": 1}]),
    ("/process/rlimits", [{"type": "RLIMIT_CORE", "soft": 2, "hard": 1}]),
    ("/process/rlimits", [{"type": "RLIMIT_CORE", "soft": -1, "hard": 1}]),
    (
        "/process/rlimits",
        [{"type": "RLIMIT_CORE", "soft": 1, "hard": 1}, {"type": "RLIMIT_CORE", "soft": 1, "hard": 1}],
    ),
    ("/process/capabilities", ["CAP_KILL"]),
    ("/process/capabilities", {"effective": "CAP_KILL"}),
    ("/process/consoleSize", {"height": 5, "width": -1}),
    ("/hostname", 5),
    ("/hostname", "a\x00b"),
    ("/mounts", {}),
    ("/mounts/0", "x"),
    ("/mounts/0/destination", ...),
    ("/mounts/0/destination", "/a\x00b"),
    ("/mounts/0/options", "ro"),
    ("/mounts/0/options", [5]),
    ("/hooks", {"prestart": {}}),
    ("/hooks", {"createRuntime": [{"args": ["x"]}]}),
    ("/hooks", {"createRuntime": [{"path": "relative"}]}),
    ("/hooks", {"poststop": [{"path": "/bin/true", "timeout": 0}]}),
    ("/hooks", {"poststop": [{"path": "/bin/true", "timeout": -1}]}),
    ("/hooks", {"poststop": [{"path": "/bin/true", "env": "A=1"}]}),
    ("/annotations", ["x"]),
    ("/annotations", {"a": 5}),
    ("/linux/namespaces", [{"type": "nosuch"}]),
    ("/linux/namespaces", [{"type": "pid"}, {"type": "pid"}]),
    ("/linux/namespaces", [{}]),
    ("/linux/namespaces", [{"type": "pid", "path": 5}]),
    ("/linux/uidMappings", [{"containerID": 0, "hostID": 0, "size": 0}]),
    ("/linux/uidMappings", [{"containerID": 0, "hostID": -1, "size": 1}]),
    ("/linux/devices", [{"path": "/dev/x", "type": "z", "major": 1, "minor": 1}]),
    ("/linux/devices", [{"path": "relative", "type": "c", "major": 1, "minor": 1}]),
    ("/linux/devices", [{"path": "/dev/x", "type": "c", "major": "1", "minor": 1}]),
    ("/linux/cgroupsPath", 5),
    ("/linux/rootfsPropagation", "public"),
    ("/linux/maskedPaths", "/proc"),
    ("/linux/maskedPaths", ["relative"]),
    ("/linux/readonlyPaths", [5]),
    ("/linux/sysctl", {"net.core.somaxconn": 5}),
    ("/linux/resources", {"memory": {"limit": "1g"}}),
    ("/linux/resources", {"pids": {"limit": 1.5}}),
    ("/linux/resources", {"cpu": {"shares": -1}}),
    ("/linux/resources", {"devices": [{"allow": "yes", "access": "rwm"}]}),
    ("/linux/resources", {"devices": [{"allow": True, "access": "xyz"}]}),
    ("/linux/seccomp", {"defaultAction": "SCMP_ACT_NO_SUCH"}),
    ("/linux/seccomp", {}),
]


def changed(config: dict[str, Any], pointer: str, value: Any) -> dict[str, Any]:
    """A copy with the value at a pointer set; an ellipsis takes it away."""
    config = copy.deepcopy(config)
    *way, last = pointer.strip("/").split("/")
    place: Any = config
    for step in way:
        place = place[int(step)] if isinstance(place, list) else place.setdefault(step, {})
    key: Any = int(last) if isinstance(place, list) else last
    if value is ...:
        del place[key]
    else:
        place[key] = value
    return config


@pytest.mark.parametrize("pointer, value", ROWS, ids=[f"{pointer}={value!r}"[:70] for pointer, value in ROWS])
def test_wrong_value_is_refused_with_its_place(box: Runtime, bundle: Bundle, pointer: str, value: Any) -> None:
    bundle.config = changed(bundle.config, pointer, value)
    err = box.run(bundle).refused().err
    assert err.startswith("box: ")
    assert err.count("\n") == 1
    place = err.removeprefix("box: ").split(":")[0]
    parent = pointer.rsplit("/", 1)[0] or "/"
    # a field that is missing is its object's error; one in a list or an object is told exactly
    assert place.startswith(pointer) or (value is ... and place in (parent, pointer))
    assert not box.root.exists() or list(box.root.iterdir()) == []


@pytest.mark.parametrize(
    "text, word",
    [
        (b"", "line 1"),
        (b"{", "line 1"),
        (b"[]", "object"),
        (b"null", "object"),
        (b'{"ociVersion": "1.0.2"} trailing', "line 1"),
        (b'{\n "a": 1,\n "b" 2}', "line 3"),
        (b'{"a": NaN}', "nan"),
        (b'{"a": 1e999}', ""),
        (b'{"a": "\xff"}', "utf-8"),
        (b"\xef\xbb\xbf{}", ""),
        (b"[" * 100_000, "deep"),
        (b'{"a":' * 5_000 + b"1" + b"}" * 5_000, "deep"),
        (b'{"a": ' + b"9" * 10_000 + b"}", ""),
        (b'{"a": "\\ud800"}', ""),
        (b" " * (17 << 20), ""),
    ],
    ids=lambda value: repr(value)[:40] if isinstance(value, bytes) else "",
)
def test_text_that_is_no_good_json_is_refused(box: Runtime, bundle: Bundle, text: bytes, word: str) -> None:
    (bundle.path / "config.json").write_bytes(text)
    result = box("create", "--bundle", str(bundle.path), bundle.id)
    assert result.refused(word).err.count("\n") == 1


@pytest.mark.parametrize("kind", ["directory", "fifo", "device", "dangling link", "missing"])
def test_config_that_is_no_regular_file_is_refused(box: Runtime, bundle: Bundle, kind: str) -> None:
    path = bundle.path / "config.json"
    if kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "dangling link":
        path.symlink_to("/no/such")
    box("create", "--bundle", str(bundle.path), bundle.id, timeout=5).refused("config.json")


def test_unknown_fields_are_ignored(box: Runtime, bundle: Bundle) -> None:
    bundle.config["x-extension"] = {"a": [1]}
    bundle.process["futureField"] = True
    assert box.run(bundle.args("/bin/echo", "ran")).ok().out == "ran\n"


@pytest.mark.parametrize(
    "place, wrong, meant",
    [
        ("linux", "maskedpaths", "maskedPaths"),
        ("linux", "readonlyPath", "readonlyPaths"),
        ("process", "nonewprivileges", "noNewPrivileges"),
    ],
)
def test_near_miss_of_a_known_field_is_warned_of(
    box: Runtime, bundle: Bundle, place: str, wrong: str, meant: str
) -> None:
    bundle.config[place][wrong] = []
    result = box.run(bundle.args("/bin/echo", "ran"))
    assert result.ok().out == "ran\n"
    assert f"/{place}/{wrong}" in result.err
    assert meant in result.err


def test_unknown_capability_is_warned_of(box: Runtime, bundle: Bundle) -> None:
    """runtime-spec: what cannot be granted is logged as a warning."""
    bundle.process["capabilities"] = {"bounding": ["CAP_KILL", "CAP_NO_SUCH"]}
    result = box.run(bundle.args("/bin/probe"))
    assert "/process/capabilities/bounding/1" in result.err
    assert result.report().capabilities()["bounding"] == {"CAP_KILL"}


def test_warning_does_not_disturb_the_log_of_a_failure(box: Runtime, bundle: Bundle) -> None:
    log = bundle.path / "log.json"
    bundle.args("/no/such").linux["maskedpaths"] = []
    bundle.save()
    box.bare(
        "--root",
        str(box.root),
        "--log",
        str(log),
        "--log-format",
        "json",
        "run",
        "--bundle",
        str(bundle.path),
        bundle.id,
    )
    assert json.loads(log.read_text())["level"] == "error"


def test_last_of_two_equal_keys_wins(box: Runtime, bundle: Bundle) -> None:
    text = json.dumps(bundle.config).replace(
        '"args": ["/bin/true"]', '"args": ["/bin/false"], "args": ["/bin/echo", "last"]'
    )
    (bundle.path / "config.json").write_text(text)
    assert box("run", "--bundle", str(bundle.path), bundle.id).ok().out == "last\n"


@pytest.mark.parametrize("section", ["windows", "solaris", "vm", "zos"])
def test_sections_of_other_systems_are_ignored(box: Runtime, bundle: Bundle, section: str) -> None:
    bundle.config[section] = {"anything": True}
    assert box.run(bundle.args("/bin/echo", "ran")).ok().out == "ran\n"
