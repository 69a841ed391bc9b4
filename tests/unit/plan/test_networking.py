"""What can be asked for about a network, as flags and as annotations."""

from __future__ import annotations

from typing import Any

import pytest

from boxes.errors import ConfigError, UsageError
from boxes.plan.networking import KEYS, Request, as_annotations, given, is_domain, is_name

BRIDGE = {"network": ["bridge"]}


def asked(**keys: list[str]) -> Request:
    wanted = {key.replace("_", "-"): texts for key, texts in keys.items()}
    return Request(wanted, frozenset(wanted))


@pytest.mark.parametrize(
    ("text", "driver", "argument"),
    [
        ("none", "none", ""),
        ("host", "host", ""),
        ("bridge", "bridge", "default"),
        ("bridge:web_1-a", "bridge", "web_1-a"),
        ("cni:my.net", "cni", "my.net"),
        ("pasta", "pasta", ""),
        ("ns:/run/netns/a:b", "ns", "/run/netns/a:b"),
    ],
)
def test_networks(text: str, driver: str, argument: str) -> None:
    request = asked(network=[text])
    assert (request.driver, request.argument) == (driver, argument)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nope",
        "none:",
        "none:x",
        "host:x",
        "bridge:",
        "bridge:a/b",
        "bridge:..",
        "bridge:-a",
        "bridge:" + "a" * 33,
        "bridge:a.b",
        "bridge:ä",
        "cni",
        "cni:",
        "pasta:x",
        "ns",
        "ns:",
        "ns:relative",
        "ns:/a\x00b",
        "Bridge",
        "bridge ",
    ],
)
def test_networks_that_mean_nothing(text: str) -> None:
    with pytest.raises(UsageError, match="flag --network: "):
        asked(network=[text])


@pytest.mark.parametrize(
    ("text", "port"),
    [
        ("80:8080", ["", 80, 8080, "tcp"]),
        ("1:65535/udp", ["", 1, 65535, "udp"]),
        ("80:80/tcp", ["", 80, 80, "tcp"]),
        ("127.0.0.1:80:81", ["127.0.0.1", 80, 81, "tcp"]),
        ("0.0.0.0:80:81", ["0.0.0.0", 80, 81, "tcp"]),
        ("[::]:80:81", ["::", 80, 81, "tcp"]),
        ("[2001:db8:0::1]:80:81/udp", ["2001:db8::1", 80, 81, "udp"]),
    ],
)
def test_ports(text: str, port: list[Any]) -> None:
    (found,) = asked(**BRIDGE, publish=[text]).ports
    assert found.record() == port


@pytest.mark.parametrize(
    "text",
    [
        "",
        "80",
        ":80",
        "80:",
        "0:80",
        "80:0",
        "65536:80",
        "80:65536",
        "80:80/sctp",
        "80:80/",
        "a:80",
        "80:b",
        "-1:80",
        "+1:80",
        "٣:80",
        "80:80:80",
        "1.2.3:80:80",
        "::1:80:80",
        "[::1:80:80",
        "[zz]:80:80",
        "80 :80",
        "1" * 5000 + ":80",
    ],
)
def test_ports_that_mean_nothing(text: str) -> None:
    with pytest.raises(UsageError, match="flag --publish: "):
        asked(**BRIDGE, publish=[text])


def test_a_port_is_published_once() -> None:
    asked(**BRIDGE, publish=["80:80", "80:80/udp", "127.0.0.1:80:80"])
    asked(**BRIDGE, publish=["0.0.0.0:80:80", "[::]:80:81", "127.0.0.1:80:80"])
    with pytest.raises(UsageError, match=r"port 0\.0\.0\.0:80/tcp is published twice"):
        asked(**BRIDGE, publish=["80:80", "0.0.0.0:80:80"])
    with pytest.raises(UsageError, match=r"port .*80/tcp is published twice"):
        asked(**BRIDGE, publish=["80:80", "0.0.0.0:80:81"])


def test_addresses_one_of_each_family() -> None:
    assert asked(**BRIDGE, ip=["10.0.0.7", "FD00:0::7"]).addresses == ["10.0.0.7", "fd00::7"]
    for wrong in (["10.0.0.7", "10.0.0.8"], ["fd00::1", "fd00::2"], ["10.0.0.0/8"], ["010.0.0.1"], ["x"], [""]):
        with pytest.raises(UsageError, match="flag --ip: "):
            asked(**BRIDGE, ip=wrong)


@pytest.mark.parametrize("text", ["10.0.0.0/8", "[fd00::/8]:443", "example.ORG.", "*.example.org:1-2/tcp", "none"])
def test_what_is_allowed(text: str) -> None:
    """What it means is in tests/unit/network/test_egress_policy.py."""
    assert asked(**BRIDGE, allow=[text]).allowed == [text]


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":443",
        "a:",
        "a:0",
        "a:65536",
        "a:b",
        "10.0.0.0/33",
        "10.1.2.3/8",
        "10.0.0/8",
        "[fd00::1",
        "[fd00::1]443",
        "[fd00::1]:",
        "-a.b",
        "a..b",
        "1.2.3.4.5",
        "a b",
        "fd00::/129",
        "a" * 64,
        "x/8",
    ],
)
def test_what_cannot_be_allowed(text: str) -> None:
    with pytest.raises(UsageError, match="flag --allow: "):
        asked(**BRIDGE, allow=[text])


def test_without_a_restriction_there_is_none() -> None:
    assert asked(**BRIDGE).allowed is None


@pytest.mark.parametrize("network", ["none", "host", "ns:/x"])
@pytest.mark.parametrize("key", KEYS[1:])
def test_what_means_nothing_to_a_network_is_an_error(network: str, key: str) -> None:
    with pytest.raises(UsageError, match=f"flag --{key}: this means nothing to the network"):
        Request({"network": [network], key: ["80:80"]}, frozenset(KEYS))


def test_nothing_is_published_without_a_network() -> None:
    with pytest.raises(UsageError, match="flag --publish: this needs a network"):
        asked(publish=["80:80"])


def test_annotations_are_flags_with_commas_and_flags_win() -> None:
    config = {
        "annotations": {"boxes.network": "bridge:a", "boxes.network.publish": "80:80, 53:53/udp", "boxes.other": "x"}
    }
    found = given(config, {})
    assert found == {"network": ["bridge:a"], "publish": ["80:80", "53:53/udp"]}
    assert given(config, {"network": ["bridge:b"]})["network"] == ["bridge:b"]
    assert given({"annotations": as_annotations(found)}, {}) == found


def test_an_error_names_the_annotation() -> None:
    with pytest.raises(ConfigError) as caught:
        Request({"network": ["bridge"], "publish": ["x"]}, frozenset(("network",)))
    assert caught.value.pointer == "/annotations/boxes.network.publish"


def test_names() -> None:
    assert all(map(is_name, ("a", "A-1_b", "0" * 32)))
    assert not any(map(is_name, ("", "_a", "-", "a.b", "a/b", "é", "0" * 33, "a\n")))


def test_domains() -> None:
    assert all(map(is_domain, ("a", "a.b.", "xn--p1ai", "a_b.c", "1a")))
    assert not any(map(is_domain, ("", ".", "a..b", "-a", "a-", "1.2.3.4", "é", "a b", "a" * 64, "a." * 127 + "bb")))
