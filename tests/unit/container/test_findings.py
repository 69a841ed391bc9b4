"""How `check` goes on after an error: what is wrong is left out, and what is said keeps its place."""

from __future__ import annotations

from typing import Any

import pytest

from boxes.container.findings import Findings
from boxes.errors import ConfigError
from boxes.spec.validate import validate


def config(**more: Any) -> dict[str, Any]:
    mounts = [{"destination": f"/{letter}", "type": "tmpfs"} for letter in "abcd"]
    return {
        "ociVersion": "1.3.0",
        "root": {"path": "rootfs"},
        "process": {"cwd": "/", "args": ["sh"]},
        "mounts": mounts,
        **more,
    }


def pointers(findings: Findings) -> list[str | None]:
    return [finding.error.pointer for finding in findings.found]


def refuse(findings: Findings, *destinations: str) -> bool:
    """A stage that minds some mounts, and tells of the first by its present position."""
    for number, mount in enumerate(findings.config.get("mounts") or ()):
        if mount["destination"] in destinations:
            raise ConfigError("is minded", pointer=f"/mounts/{number}/destination")
    return True


def test_a_right_config_has_no_finding() -> None:
    findings = Findings(config(), validate)
    assert findings.validated()
    assert findings.tried(lambda: refuse(findings)) is True
    assert findings.found == []


def test_all_errors_of_a_document_are_found_with_its_own_positions() -> None:
    given = config(hostname=5, domainname=[])
    given["mounts"][0]["destination"] = 1
    given["mounts"][2]["options"] = [1, "ro", 2]
    findings = Findings(given, validate)
    assert findings.validated()
    assert set(pointers(findings)) == {
        "/hostname",
        "/domainname",
        "/mounts/0/destination",
        "/mounts/2/options/0",
        "/mounts/2/options/2",
    }
    assert [mount["destination"] for mount in findings.config["mounts"]] == ["/b", "/c", "/d"]


def test_what_is_left_out_later_leaves_a_valid_config() -> None:
    findings = Findings(config(), validate)
    assert findings.validated()
    assert findings.tried(lambda: refuse(findings, "/a", "/c")) is True
    assert pointers(findings) == ["/mounts/0/destination", "/mounts/2/destination"]
    assert [mount["destination"] for mount in findings.config["mounts"]] == ["/b", "/d"]


@pytest.mark.parametrize("change", [{"ociVersion": 5}, {"root": {}}, {"root": []}])
def test_without_what_is_required_there_is_nothing_to_look_at(change: dict[str, Any]) -> None:
    findings = Findings(config(**change), validate)
    assert not findings.validated()
    assert len(findings.found) == 1


def test_an_error_without_a_place_ends_a_stage() -> None:
    findings = Findings(config(), validate)

    def fail() -> None:
        raise ConfigError("no place")

    assert findings.tried(fail) is None
    assert [str(finding) for finding in findings.found] == ["error: no place"]


def test_a_stage_that_minds_everything_ends() -> None:
    findings = Findings(config(), validate)
    assert findings.validated()

    def fail() -> None:
        raise ConfigError("never right", pointer="/process/args/0")

    assert findings.tried(fail) is None
    assert "process" not in findings.config


def test_notices_become_warnings() -> None:
    findings = Findings(config(hostnam="x"), validate)
    assert findings.validated()
    [finding] = findings.found
    assert (finding.level, finding.error.pointer) == ("warning", "/hostnam")
    assert finding.facts()["level"] == "warning"


def test_pointers_of_names_with_slashes_are_found() -> None:
    findings = Findings(config(annotations={"a/b~c": 5}), validate)
    assert findings.validated()
    assert pointers(findings) == ["/annotations/a~1b~0c"]
    assert findings.config["annotations"] == {}


def test_a_text_with_a_pointer_in_front_is_taken_apart() -> None:
    findings = Findings(config(), validate)
    findings.warning("/mounts: left out")
    findings.warning("left out")
    assert [(finding.error.pointer, finding.error.message) for finding in findings.found] == [
        ("/mounts", "left out"),
        (None, "left out"),
    ]


def test_the_same_is_told_once() -> None:
    findings = Findings(config(), validate)
    for _ in range(2):
        findings.error(ConfigError("twice", pointer="/a"))
    assert len(findings.found) == 1
    assert findings.is_known("/a")
    assert not findings.is_known("/b")
