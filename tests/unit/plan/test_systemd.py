"""The name of a container's scope, and what annotations may ask of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boxes.cgroups.dbus import Variant
from boxes.errors import ConfigError
from boxes.plan import gvariant
from boxes.plan.systemd import properties, scope


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (None, ("system.slice", "box-web.scope")),
        ("", ("system.slice", "box-web.scope")),
        ("machine.slice:libpod:abc", ("machine.slice", "libpod-abc.scope")),
        (":cri:abc", ("system.slice", "cri-abc.scope")),
        ("a-b.slice::abc", ("a-b.slice", "abc.scope")),
        ("-.slice:p:n", ("-.slice", "p-n.scope")),
        ("s.slice:p:a b/c", ("s.slice", r"p-a\x20b\x2fc.scope")),
        ("s.slice:p:é", ("s.slice", r"p-\xc3\xa9.scope")),
        (r"s.slice:p:a\x2db", ("s.slice", r"p-a\x2db.scope")),
        ("s.slice:..:..", ("s.slice", "..-...scope")),
    ],
)
def test_names(path: str | None, expected: tuple[str, str]) -> None:
    assert scope(path, "web", user=False) == expected


def test_a_users_are_in_their_own_slice() -> None:
    assert scope(None, "web", user=True) == ("user.slice", "box-web.scope")
    assert scope("::web", "x", user=True) == ("user.slice", "web.scope")


def test_an_id_with_a_plus_is_escaped() -> None:
    assert scope(None, "a+b", user=False)[1] == r"box-a\x2bb.scope"


@pytest.mark.parametrize(
    "path",
    [
        "/a/b",
        "a",
        "a:b",
        "a.slice:b:c:d",
        "a:b:c",
        ".slice:b:c",
        "a--b.slice:b:c",
        "-a.slice:b:c",
        "a-.slice:b:c",
        "a/b.slice:b:c",
        "../x.slice:b:c",
        "a@.slice:b:c",
        "a b.slice:b:c",
        "a.slice:b:",
        "a.slice:b:c.slice",
        "a.slice:b:" + "c" * 250,
        "a" * 250 + ".slice:b:c",
    ],
)
def test_what_names_no_scope_is_refused(path: str) -> None:
    with pytest.raises(ConfigError):
        scope(path, "web", user=False)


def test_an_id_that_is_too_long_is_refused_with_a_hint() -> None:
    with pytest.raises(ConfigError, match="cgroupsPath can name it otherwise"):
        scope(None, "a" * 255, user=False)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        # what podman and cri-o set
        ("KillSignal", "15", ("KillSignal", Variant("i", 15))),
        ("TimeoutStopUSec", "uint64 10000000", ("TimeoutStopUSec", Variant("t", 10000000))),
        ("CollectMode", "'inactive-or-failed'", ("CollectMode", Variant("s", "inactive-or-failed"))),
        ("After", "['crio.service']", ("After", Variant("as", ["crio.service"]))),
        ("DefaultDependencies", "true", ("DefaultDependencies", Variant("b", True))),
        # seconds, as unit files have them
        ("TimeoutStopSec", "10", ("TimeoutStopUSec", Variant("t", 10000000))),
        ("TimeoutStopSec", "uint64 3", ("TimeoutStopUSec", Variant("t", 3000000))),
        ("TimeoutStopSec", "1.5", ("TimeoutStopUSec", Variant("t", 1500000))),
        ("MemoryHigh", "@t 0x10", ("MemoryHigh", Variant("t", 16))),
        ("TasksMax", "18446744073709551615", ("TasksMax", Variant("t", 2**64 - 1))),
        ("Before", "@as []", ("Before", Variant("as", []))),
        ("Before", "[\"a\", 'b\\'c']", ("Before", Variant("as", ["a", "b'c"]))),
        ("AllowedCPUs", "[byte 0x03, 1]", ("AllowedCPUs", Variant("ay", b"\x03\x01"))),
        ("Description", "'a\\nb'", ("Description", Variant("s", "a\nb"))),
        ("SendSIGKILL", "boolean false", ("SendSIGKILL", Variant("b", False))),
    ],
)
def test_properties(name: str, text: str, expected: tuple[str, Variant]) -> None:
    assert properties({f"org.systemd.property.{name}": text}) == [expected]


def test_other_annotations_are_not_looked_at() -> None:
    assert properties({"org.systemd.propertyKillSignal": "x", "a": "b"}) == []
    assert properties(None) == []


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("KillSignal", "'TERM'"),
        ("KillSignal", "uint32 15"),
        ("KillSignal", "15 16"),
        ("KillSignal", "2147483648"),
        ("KillSignal", "1_5"),
        ("KillSignal", "+-5"),
        ("KillSignal", ""),
        ("TimeoutStopUSec", "-1"),
        ("TimeoutStopUSec", "18446744073709551616"),
        ("TimeoutStopUSec", "int64 5"),
        ("TimeoutStopSec", "ten"),
        ("TimeoutStopSec", "-1"),
        ("TimeoutStopSec", "1.5.2"),
        ("TimeoutStopSec", "string 5"),
        ("TimeoutStopSec", "99999999999999999"),
        ("CollectMode", "inactive"),
        ("CollectMode", "'inactive"),
        ("CollectMode", "'a' 'b'"),
        ("CollectMode", "'a\0'"),
        ("CollectMode", "'a\\"),
        ("After", "['a'"),
        ("After", "['a' 'b']"),
        ("After", "'a'"),
        ("After", "[1]"),
        ("DefaultDependencies", "yes"),
        ("AllowedCPUs", "[256]"),
        ("Description", "'" + "a" * 5000 + "'"),
    ],
)
def test_values_of_another_type_are_refused(name: str, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        properties({f"org.systemd.property.{name}": text})
    assert caught.value.pointer == f"/annotations/org.systemd.property.{name}"


@pytest.mark.parametrize(
    "name",
    [
        "PIDs",
        "Slice",
        "Delegate",
        "DeviceAllow",
        "DevicePolicy",
        "FailureAction",
        "SuccessAction",
        "JobTimeoutAction",
        "OnFailure",
        "Wants",
        "Conflicts",
        "BPFProgram",
        "IPIngressFilterPath",
        "ExecStart",
        "User",
        "",
        "Sec",
        "USec",
        "Kill Signal",
        "killsignal",
        "KillSignal\nX",
    ],
)
def test_properties_that_reach_beyond_the_unit_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="is not a property of its unit that a config may set"):
        properties({f"org.systemd.property.{name}": "'x'"})


@given(st.text(max_size=40), st.sampled_from(["s", "b", "i", "t", "u", "as", "ay"]))
def test_no_text_does_harm(text: str, signature: str) -> None:
    for read in (lambda: gvariant.parse(text, signature), lambda: gvariant.microseconds(text)):
        try:
            read()
        except ValueError:
            continue
