"""The hosts file that containers share."""

from __future__ import annotations

from pathlib import Path

import pytest

from boxes.network import names
from boxes.network.names import Hosts


def entries(path: Path) -> dict[str, list[str]]:
    lines = [line.split() for line in path.read_text().splitlines() if line and not line.startswith("#")]
    return {words[0]: words[1:] for words in lines}


LOOPBACK = {"127.0.0.1": ["localhost"], "::1": ["localhost", "ip6-localhost", "ip6-loopback"]}


def test_names_come_and_go(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    hosts = Hosts(str(path))
    assert entries(path) == LOOPBACK
    hosts.add(["10.0.0.2", "fd00::2"], ["one", "web"])
    hosts.add(["10.0.0.3"], ["two"])
    assert entries(path) == LOOPBACK | {"10.0.0.2": ["one", "web"], "fd00::2": ["one", "web"], "10.0.0.3": ["two"]}
    hosts.remove(["10.0.0.2", "fd00::2"])
    assert entries(path) == LOOPBACK | {"10.0.0.3": ["two"]}
    size = path.stat().st_size
    hosts.add(["10.0.0.4", "fd00::4"], ["three"])
    assert path.stat().st_size == size, "free lines are used again"
    hosts.remove(["10.0.0.99"])
    hosts.close()
    again = Hosts(str(path))
    again.add(["10.0.0.4"], ["four"])
    assert entries(path)["10.0.0.4"] == ["four"], "an address means one thing"
    again.close()


def test_an_address_that_begins_like_another_is_another(tmp_path: Path) -> None:
    hosts = Hosts(str(tmp_path / "hosts"))
    hosts.add(["10.0.0.20"], ["twenty"])
    hosts.remove(["10.0.0.2"])
    assert "10.0.0.20" in entries(tmp_path / "hosts")
    hosts.close()


def test_names_that_do_not_fit_are_left_out() -> None:
    made = names.line("10.0.0.2", ["a" * 100, "b" * 100, "c"])
    assert made.split() == [b"10.0.0.2", b"a" * 100, b"c"]
    assert len(made) == len(names.line("10.0.0.2", []))


def test_servers_on_loopback_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "resolv.conf"
    path.write_text("# mine\nnameserver 127.0.0.53\nnameserver ::1\nnameserver 192.0.2.53\nsearch example.org\n")
    assert names._without_loopback(str(path)) == [b"# mine\n", b"nameserver 192.0.2.53\n", b"search example.org\n"]
    assert names.resolver(["192.0.2.1"]) == b"nameserver 192.0.2.1\n"
    assert names._without_loopback(str(tmp_path / "none")) == []
