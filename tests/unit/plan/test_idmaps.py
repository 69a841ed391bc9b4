"""Whose files an id-mapped mount shows: mappings of its own, of its option, or of the user namespace."""

from __future__ import annotations

from typing import Any

import pytest

from boxes.errors import ConfigError, UnsupportedError
from boxes.plan.idmaps import idmap
from boxes.plan.namespaces import Namespaces

HOST = [{"containerID": 0, "hostID": 100000, "size": 1000}, {"containerID": 1000, "hostID": 5000, "size": 10}]
NAMESPACE = [(0, 100000, 1000), (1000, 5000, 10)]
USER: dict[str, Any] = {"linux": {"namespaces": [{"type": "user"}], "uidMappings": HOST, "gidMappings": HOST[:1]}}
JOINED = {"linux": {"namespaces": [{"type": "user", "path": "/x"}]}}


def found(*options: str, config: dict[str, Any] | None = None, **more: Any) -> Any:
    mount = {"destination": "/a", "options": ["bind", *options], **more}
    return idmap(mount, "/mounts/3", Namespaces(config or {}))


def test_mappings_of_its_own_come_first() -> None:
    own = [{"containerID": 5, "hostID": 6, "size": 7}]
    for option, recursive in (("idmap", False), ("ridmap", True), ("ro", False)):
        assert found(option, config=USER, uidMappings=own, gidMappings=own) == ([(5, 6, 7)], [(5, 6, 7)], recursive)


def test_else_those_of_the_user_namespace() -> None:
    assert found("idmap", config=USER) == (NAMESPACE, NAMESPACE[:1], False)
    assert found("ridmap", config=USER) == (NAMESPACE, NAMESPACE[:1], True)


def test_of_a_joined_user_namespace_they_are_not_known() -> None:
    with pytest.raises(UnsupportedError) as error:
        found("idmap", config=JOINED)
    assert error.value.pointer == "/mounts/3/options/1"


def test_an_option_may_say_them() -> None:
    expected = ([(0, 1, 10), (10, 11, 10)], [(0, 100, 10)], False)
    assert found("idmap=uids=0-1-10#10-11-10;gids=0-100-10") == expected
    assert found("ridmap=gids=0-100-10;uids=0-1-10#10-11-10")[2] is True


def test_relative_ones_are_the_containers() -> None:
    assert found("idmap=uids=@7-5-2#8-1001-3;gids=@0-0-1000", config=USER) == (
        [(7, 100005, 2), (8, 5001, 3)],
        [(0, 100000, 1000)],
        False,
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "uids=0-1-1",
        "gids=0-1-1",
        "uids=0-1-1;gids=0-1",
        "uids=0-1-0;gids=0-1-1",
        "uids=0-1-1;gids=0-1-x",
        "uids=0-1-1;gids=0-4294967294-2",
        "uids=0-1-1;uids=0-1-1",
        "users=0-1-1;gids=0-1-1",
        "uids=@0-999-2;gids=0-1-1",
        "uids=@0-5000-1;gids=0-1-1",
    ],
)
def test_an_option_that_says_nothing_right_is_refused(text: str) -> None:
    if not text:
        assert found("idmap=", config=USER)[0] == NAMESPACE
        return
    with pytest.raises(ConfigError) as error:
        found("ro", f"idmap={text}", config=USER)
    assert error.value.pointer == "/mounts/3/options/2"


def test_saying_it_twice_is_refused() -> None:
    own = [{"containerID": 5, "hostID": 6, "size": 7}]
    with pytest.raises(ConfigError, match="the same"):
        found("idmap=uids=0-1-1;gids=0-1-1", uidMappings=own, gidMappings=own)
