"""Our validator against a JSON Schema validator with the specification's own schema, on generated configs.

The schema is Debian's copy, or that of BOXES_SPEC_SCHEMA (`scripts/oracle`). The two give the same verdict but for what
is listed here, each with its reason: the schema says less than the specification's text, and than what Linux can do.
"""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest

from boxes.errors import ConfigError
from boxes.spec.validate import validate
from tests.support import configs, schema

pytestmark = pytest.mark.requires("config schema")

COUNT = int(os.environ.get("BOXES_ORACLE") or 5000)
STEPS = 20

# What we refuse and the schema takes: what the error says, and why it is right.
STRICTER = {
    r"is required$": "the text says REQUIRED, or that there is no meaning without it, where the schema does not",
    r"is required (for|with) |is required, as": "fields that depend on one another: config.md and config-linux.md, each",
    r"needs a namespace of type": "config-linux.md: without the namespace it would be the host's, which is an error",
    r"expected at least one string, the program": "config.md, process: at least one entry is REQUIRED",
    r"expected an absolute path": "config.md: absolute on POSIX platforms; the schema knows strings",
    r"expected NAME=VALUE": "environ(7), to which the text refers",
    r"expected a string without NUL": "no path, name or value can be handed to the kernel with one",
    r"expected a string of one line|expected one line": "the kernel takes it line by line",
    r"expected a version of|expected version 1\.x": "config.md: SemVer; another major version has other rules",
    r"expected each only once": "config.md and config-linux.md: duplicates MUST generate an error",
    r"expected a (major|minor) device number": "what a dev_t holds; more would be another device",
    r"expected a user or group id": "4294967295 is the kernel's 'no id'",
    r"expected a number of ids|is too large: '\w+' and 'size'|lies within the range": "user_namespaces(7)",
    r"expected a umask|expected a nice value|expected a priority": "the kernel's range",
    r"expected an unsigned 16-bit integer": "struct winsize of ioctl_tty(2)",
    r"expected a number of (seconds|nanoseconds)": "the kernel's range",
    r"expected a whole number": "the range that the text gives: -1, 0 to 7, 0 to 100, -1000 to 1000",
    r"expected at most the (hard limit|quota)": "getrlimit(2); cgroup-v2.rst",
    r"expected the index of an argument": "a system call has six",
    r"expected the number of an error": "what a filter has room for, and what errno can be",
    r"has no meaning with": "config.md and config-linux.md: an error where the policy or action has no use for it",
    r"expected the name of a resource limit": "config.md: one that the platform does not know MUST generate an error",
    r"expected at most \d+ bytes": "what a host or domain name has room for: uname(2)",
    r"expected the name of a capability": "config.md: the values of capabilities(7)",
    r"expected a (list of CPUs|list of memory nodes)": "the schema allows any order of its characters",
    r"expected (the name of|a name for) a network interface": "15 bytes, and none that means something else: netdevice(7)",
    r"is the name of another interface": "config-linux.md, netDevices: names MUST be unique",
    r"expected the name of a (kernel parameter|file of the control group|device|class of service)": "it becomes a path",
    r"the sysctl '.*' is not namespaced": "config-linux.md: it would be set for the host",
    r"is the same parameter as|sets the same$": "two spellings of one name",
    r"expected a composition of|expected 'a', 'c', 'b'": "config-linux.md: the letters that there are",
    r"expected 'boottime' or 'monotonic'": "config-linux.md: the clocks that there are",
    r"expected '(hcaHandles|weight)', .* or both": "config-linux.md: at least one of them",
    r"expected either static or relative nodes": "set_mempolicy(2): not both",
    r"has no meaning without 'listenerPath'": "config-linux.md: MUST NOT be set then",
    r"expected a non-empty string": "a path or a name that is empty is none",
    r"cannot be set$": "time_namespaces(7): offsets are set before somebody is in it",
    r"a seccomp architecture|a seccomp action|expected 'SECCOMP_": "libseccomp knows these names only",
}
# What we take and the schema refuses: where, by which rule, and why.
LAXER = (
    (r".*", "Type", "null: a member without a value is an absent one for Go's decoder, and so for every engine"),
    (r"/linux/devices/\d+/fileMode", "Maximum", "engines that copy a host's device leave the bits of its type in"),
    (r"/linux/resources/pids", "Required", "config-linux.md has 'limit' OPTIONAL since 1.3; the schema was forgotten"),
)


def kind(error: Any) -> str:
    return str(error.kind).split("ValidationErrorKind.")[1].split(" ")[0].rstrip(">")


def place(error: Any) -> str:
    return "".join(f"/{part}" for part in error.instance_path)


@cache
def validator() -> Any:
    return schema.validator("config-schema.json")


def theirs(config: Any) -> list[list[Any]]:
    return [list(error.instance_path) for error in validator().iter_errors(config)]


def ours(config: Any) -> list[list[Any]]:
    error = refusal(config)
    parts = (error.pointer or "").split("/")[1:] if error else []
    return [[int(part) if part.isdigit() else part for part in parts]] if error else []


def refusal(config: Any) -> ConfigError | None:
    try:
        validate(copy.deepcopy(config))  # which drops what is null
    except ConfigError as error:
        return error
    return None


@pytest.fixture(scope="module")
def whole() -> dict[str, Any]:
    return configs.known_to(theirs, ours)


def may_differ(error: Any, config: Any) -> bool:
    """Whether an error of the schema's is one that we are known not to see."""
    for pattern, rule, _ in LAXER:
        if re.fullmatch(pattern, place(error)) and kind(error) == rule:
            value = config
            for part in error.instance_path:
                value = value[part]
            return rule != "Type" or value is None
    return False


def compare(whole: dict[str, Any], seed: int) -> tuple[bool, str]:
    """Our verdict, and in what it differs without a reason."""
    config, changes = configs.changed(whole, seed)
    refused, errors = refusal(config), list(validator().iter_errors(config))
    if refused is not None and not errors and not any(re.search(text, refused.message) for text in STRICTER):
        return False, f"seed {seed}, {changes}: the schema takes it, and we do not: {refused}"
    if refused is None:
        unseen = [error for error in errors if not may_differ(error, config)]
        if unseen:
            return (
                True,
                f"seed {seed}, {changes}: we take it, and the schema does not: {place(unseen[0])}: {unseen[0].message}",
            )
    return refused is None, ""


def test_both_take_the_whole_config(whole: dict[str, Any]) -> None:
    assert theirs(whole) == []
    assert refusal(whole) is None
    assert len(list(configs.places(whole))) > 200


@pytest.mark.parametrize("step", range(STEPS))
def test_verdicts_are_the_same_but_for_what_is_listed(whole: dict[str, Any], step: int) -> None:
    size = COUNT // STEPS
    results = [compare(whole, seed) for seed in range(step * size, (step + 1) * size)]
    assert [text for _, text in results if text] == []
    accepted = sum(verdict for verdict, _ in results)
    assert size // 20 < accepted < size - size // 20, "a test whose configs are all wrong, or all right, shows little"


@pytest.mark.parametrize(
    "change, expected",
    [
        (lambda config: config["root"].pop("path"), "/root"),
        (lambda config: config["process"].update(env="A=1"), "/process/env"),
        (lambda config: config["linux"]["resources"]["cpu"].update(shares=-1), "/linux/resources/cpu/shares"),
        (lambda config: config["mounts"][0].pop("destination"), "/mounts/0"),
    ],
)
def test_the_oracle_has_an_opinion(whole: dict[str, Any], change: Callable[[Any], Any], expected: str) -> None:
    """A schema whose references led nowhere would take anything."""
    config = copy.deepcopy(whole)
    change(config)
    assert [place(error) for error in validator().iter_errors(config)] == [expected]
    assert refusal(config) is not None


def test_differences_are_needed(whole: dict[str, Any]) -> None:
    """Each rule that is laxer is seen at work."""
    config = copy.deepcopy(whole)
    config["hostname"] = None
    config["linux"]["devices"][0]["fileMode"] = 0o20666
    config["linux"]["resources"]["pids"] = {}
    assert sorted((place(error), kind(error)) for error in validator().iter_errors(config)) == [
        ("/hostname", "Type"),
        ("/linux/devices/0/fileMode", "Maximum"),
        ("/linux/resources/pids", "Required"),
    ]
    assert refusal(config) is None
