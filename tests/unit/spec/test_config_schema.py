"""The whole document: version, root, mounts, hooks, annotations (runtime-spec config.md)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from boxes.errors import ConfigError
from boxes.spec.validate import validate

HOOKS = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"]
MAPPING = [{"containerID": 0, "hostID": 1000, "size": 1}]


@pytest.mark.parametrize("version", ["1.0.0", "1.0.2-dev", "1.3.0+dev", "1.0.0-rc.5-x", "1.10.0-0.a+001.b", "1.99.7"])
def test_every_version_1_is_accepted(warnings_of: Callable[[str, Any], list[str]], version: str) -> None:
    assert warnings_of("/ociVersion", version) == []


@pytest.mark.parametrize(
    "version",
    [
        "1",
        "1.0",
        "1.0.0.0",
        "v1.0.0",
        "1.0.x",
        "01.0.0",
        "1.00.0",
        "1.0.0-",
        "1.0.0-01",
        "1.0.0-a..b",
        "1.0.0+",
        "1.0.0+a_b",
        "1.-1.0",
        "invalid",
        "",
        "1.0.0 ",
        "1.0.\uff11",
    ],
)
def test_what_is_no_version_is_refused(refusal: Callable[[str, Any], str], version: str) -> None:
    assert refusal("/ociVersion", version) == (
        f"/ociVersion: expected a version of the specification, such as '1.3.0', not '{version}'"
    )


@pytest.mark.parametrize("version", ["0.5.0-dev", "2.0.0"])
def test_another_major_version_is_refused(refusal: Callable[[str, Any], str], version: str) -> None:
    assert refusal("/ociVersion", version) == (
        f"/ociVersion: expected version 1.x of the specification, not '{version}'"
    )


@pytest.mark.parametrize(
    ("config", "text"),
    [
        (None, "/: expected an object, not null"),
        (True, "/: expected an object, not true"),
        ([], "/: expected an object, not an empty list"),
        ("{}", "/: expected an object, not '{}'"),
        ({}, "/ociVersion: is required"),
        ({"ociVersion": "1.0.0"}, "/root: is required"),
        ({"ociVersion": "1.0.0", "root": None}, "/root: is required"),
        ({"ociVersion": "1.0.0", "root": {}}, "/root/path: is required"),
        ({"ociVersion": "1.0.0", "root": {"path": ""}}, "/root/path: expected a non-empty string, not ''"),
        ({1: 2}, "/: expected a string as each name, not 1"),
    ],
)
def test_what_a_config_needs_is_required(config: object, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        validate(config)
    assert str(caught.value) == text


@pytest.mark.parametrize(
    ("pointer", "value", "text"),
    [
        ("/root/readonly", "yes", "expected true or false, not 'yes'"),
        ("/root/path", "a\0", "expected a string without NUL characters"),
        ("/hostname", 5, "expected a string, not 5"),
        ("/hostname", "h" * 65, "expected at most 64 bytes, not a string of 65 characters"),
        ("/domainname", "é" * 33, "expected at most 64 bytes, not 'ééééééééééééééééééééééééééééééééé'"),
        ("/annotations", [], "expected an object, not an empty list"),
        ("/annotations/com.example~1a", 5, "expected a string, not 5"),
        ("/annotations/", "x", "expected a non-empty string, not ''"),
        ("/annotations/a", "\ud800", "expected Unicode text, not a lone surrogate"),
        ("/annotations/\ud800", "", None),
        ("/mounts", {}, "expected a list, not an object"),
        ("/hooks", [], "expected an object, not an empty list"),
        ("/linux", [], "expected an object, not an empty list"),
    ],
)
def test_a_wrong_value_is_refused_at_its_place(
    refusal: Callable[[str, Any], str], pointer: str, value: object, text: str | None
) -> None:
    if text is None:
        assert refusal(pointer, value) == "/annotations/\\ud800: expected Unicode text, not a lone surrogate"
    else:
        assert refusal(pointer, value) == f"{pointer}: {text}"


@pytest.mark.parametrize(
    ("mount", "text"),
    [
        ({}, "/mounts/0/destination: is required"),
        ({"destination": ""}, "/mounts/0/destination: expected a non-empty string, not ''"),
        ({"destination": "/a", "options": "ro"}, "/mounts/0/options: expected a list of strings, not 'ro'"),
        ({"destination": "/a", "options": ["ro", 1]}, "/mounts/0/options/1: expected a string, not 1"),
        ({"destination": "/a", "type": 1}, "/mounts/0/type: expected a string, not 1"),
        ({"destination": "/a", "source": ["/"]}, "/mounts/0/source: expected a string, not a list"),
        ({"destination": "/a", "options": ["bind"]}, "/mounts/0/source: is required for a bind mount"),
        ({"destination": "/a", "source": "", "options": ["rbind"]}, "/mounts/0/source: is required for a bind mount"),
        (
            {"destination": "/a", "uidMappings": MAPPING},
            "/mounts/0/gidMappings: is required, as uidMappings and gidMappings go together",
        ),
        (
            {"destination": "/a", "gidMappings": MAPPING},
            "/mounts/0/uidMappings: is required, as uidMappings and gidMappings go together",
        ),
        (
            {"destination": "/a", "uidMappings": [{"containerID": 0, "hostID": 0}], "gidMappings": MAPPING},
            "/mounts/0/uidMappings/0/size: is required",
        ),
        (
            {"destination": "/a", "uidMappings": MAPPING, "gidMappings": [{"containerID": "0"}]},
            (
                "/mounts/0/gidMappings/0/containerID: expected a user or group id, an unsigned 32-bit integer "
                "(0 to 4294967294), not '0'"
            ),
        ),
    ],
)
def test_a_wrong_mount_is_refused_at_its_place(
    refusal: Callable[[str, Any], str], mount: dict[str, Any], text: str
) -> None:
    assert refusal("/mounts", [mount]) == text


@pytest.mark.parametrize(
    "mount",
    [
        {"destination": "/proc"},
        {"destination": "/a", "type": "", "source": "", "options": []},
        {"destination": "/a", "options": ["bind", "remount", "ro"]},
        {"destination": "/a", "source": "b", "options": ["rbind", "x-anything", ""]},
        {"destination": "/a", "source": "/b", "options": ["bind"], "uidMappings": MAPPING, "gidMappings": MAPPING},
        {"destination": "/a", "uidMappings": [], "gidMappings": []},
    ],
)
def test_a_right_mount_is_accepted(warnings_of: Callable[[str, Any], list[str]], mount: dict[str, Any]) -> None:
    assert warnings_of("/mounts", [mount]) == []


def test_a_relative_destination_is_warned_of(warnings_of: Callable[[str, Any], list[str]]) -> None:
    assert warnings_of("/mounts", [{"destination": "/x"}, {"destination": "data"}]) == [
        "/mounts/1/destination: is taken as '/data': a relative destination is deprecated"
    ]


@pytest.mark.parametrize("kind", HOOKS)
def test_every_kind_of_hook_is_accepted(warnings_of: Callable[[str, Any], list[str]], kind: str) -> None:
    hook = {"path": "/bin/true", "args": ["true", ""], "env": ["A=1"], "timeout": 2147483647}
    assert warnings_of("/hooks", {kind: [hook, {"path": "/x"}]}) == []


@pytest.mark.parametrize("kind", HOOKS)
@pytest.mark.parametrize(
    ("hook", "text"),
    [
        ({}, "/0/path: is required"),
        ({"path": "bin/true"}, "/0/path: expected an absolute path, not 'bin/true'"),
        ({"path": "/x", "args": [1]}, "/0/args/0: expected a string, not 1"),
        ({"path": "/x", "env": ["A"]}, "/0/env/0: expected NAME=VALUE with a non-empty name"),
        ({"path": "/x", "timeout": 0}, "/0/timeout: expected a number of seconds (1 to 2147483647), not 0"),
        ({"path": "/x", "timeout": -1}, "/0/timeout: expected a number of seconds (1 to 2147483647), not -1"),
        ({"path": "/x", "timeout": 1.5}, "/0/timeout: expected a number of seconds (1 to 2147483647), not 1.5"),
        (None, "/0: expected an object, not null"),
    ],
)
def test_a_wrong_hook_is_refused_at_its_place(
    refusal: Callable[[str, Any], str], kind: str, hook: object, text: str
) -> None:
    assert refusal("/hooks", {kind: [hook]}) == f"/hooks/{kind}{text}"


@pytest.mark.parametrize("platform", ["freebsd", "solaris", "vm", "windows", "zos"])
def test_sections_of_other_platforms_are_ignored(warnings_of: Callable[[str, Any], list[str]], platform: str) -> None:
    assert warnings_of(f"/{platform}", {"anything": 5}) == []


def test_null_counts_as_absent_and_is_dropped() -> None:
    config: dict[str, Any] = {
        "ociVersion": "1.0.0",
        "root": {"path": "rootfs", "readonly": None},
        "process": None,
        "mounts": [{"destination": "/a", "options": None}],
        "hooks": {"poststop": None},
        "linux": {"maskedPaths": None, "personality": {"domain": "LINUX", "flags": None}},
    }
    assert validate(config) == []
    assert config == {
        "ociVersion": "1.0.0",
        "root": {"path": "rootfs"},
        "mounts": [{"destination": "/a"}],
        "hooks": {},
        "linux": {"personality": {"domain": "LINUX"}},
    }
