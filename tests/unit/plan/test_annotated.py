"""Values of the annotations that mean something."""

from __future__ import annotations

import pytest

from boxes.container.delegation import _owner
from boxes.errors import ConfigError
from boxes.plan import annotated
from boxes.plan.namespaces import Namespaces


def config(name: str, value: str) -> dict[str, dict[str, str]]:
    return {"annotations": {name: value}}


@pytest.mark.parametrize("value, kept", [("1", True), ("true", True), ("0", False), ("false", False)])
def test_groups(value: str, kept: bool) -> None:
    assert annotated.keeps_groups(config(annotated.KEEP_GROUPS, value)) is kept


@pytest.mark.parametrize("given", [{}, {"annotations": None}, {"annotations": {}}, {"annotations": {"other": "x"}}])
def test_none_means_nothing(given: dict[str, object]) -> None:
    annotated.check(given)
    assert not annotated.keeps_groups(given)
    assert annotated.delegated(given) == []
    assert annotated.context_type(given) == "context"
    assert annotated.path(given, annotated.PIDFD_RECEIVER) is None


@pytest.mark.parametrize("value, names", [("a", ["a"]), ("a/b", ["a", "b"]), ("..a", ["..a"]), ("a..", ["a.."])])
def test_delegated(value: str, names: list[str]) -> None:
    assert annotated.delegated(config(annotated.DELEGATE, value)) == names


@pytest.mark.parametrize(
    "value", ["", "/", "/a", "a/", "a//b", ".", "..", "a/..", "../a", "a/../b", "./a", "a\n", "a\0b"]
)
def test_what_is_no_cgroup_below(value: str) -> None:
    with pytest.raises(ConfigError) as caught:
        annotated.check(config(annotated.DELEGATE, value))
    assert caught.value.pointer == "/annotations/run.oci.delegate-cgroup"


@pytest.mark.parametrize(
    "name", [annotated.HOOKS_STDOUT, annotated.HOOKS_STDERR, annotated.SECCOMP_RECEIVER, annotated.PIDFD_RECEIVER]
)
@pytest.mark.parametrize("value", ["", "a", "./a", "\0", "/a\0b"])
def test_what_is_no_absolute_path(name: str, value: str) -> None:
    with pytest.raises(ConfigError) as caught:
        annotated.check(config(name, value))
    assert caught.value.pointer == f"/annotations/{name}"


USER = {"containerID": 0, "hostID": 100000, "size": 10}, {"containerID": 1000, "hostID": 5000, "size": 1}


@pytest.mark.parametrize(
    "uid, namespace, owner",
    [
        (0, None, 0),
        (1000, None, 1000),
        (0, {"type": "user"}, 100000),
        (9, {"type": "user"}, 100009),
        (1000, {"type": "user"}, 5000),
        (10, {"type": "user"}, None),
        (0, {"type": "user", "path": "/proc/1/ns/user"}, None),
    ],
)
def test_owner_of_a_cgroup_is_the_user_as_the_host_knows_it(
    uid: int, namespace: dict[str, str] | None, owner: int | None
) -> None:
    linux = {"namespaces": [namespace] if namespace else [], "uidMappings": USER if namespace else []}
    given = {"process": {"user": {"uid": uid, "gid": 0}}, "linux": linux}
    assert _owner(given, Namespaces(given)) == owner
