"""What is asked of systemd for a container."""

from __future__ import annotations

from pathlib import Path

import pytest

from boxes.cgroups import systemd
from boxes.cgroups.layout import Hierarchy, Layout
from boxes.cgroups.scope import Scope
from boxes.container import scopes
from boxes.errors import ConfigError, UnsupportedError

UNIFIED = Layout("unified", [Hierarchy("/sys/fs/cgroup", (), unified=True)])
LEGACY = Layout("legacy", [Hierarchy("/sys/fs/cgroup/pids", ("pids",))])


def booted(monkeypatch: pytest.MonkeyPatch, place: Path) -> None:
    monkeypatch.setattr(systemd, "_BOOTED", str(place))


def test_without_systemd_it_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    booted(monkeypatch, tmp_path / "system")
    with pytest.raises(UnsupportedError, match="systemd does not run here") as caught:
        scopes.plan({}, "web", UNIFIED, rootless=False)
    assert caught.value.hint == "use --cgroup-manager cgroupfs"


def test_nobody_is_asked_yet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    booted(monkeypatch, tmp_path)
    found = scopes.plan({"linux": {"cgroupsPath": "a-b.slice:p:n"}}, "web", UNIFIED, rootless=False)
    assert isinstance(found, Scope)
    assert found.kind == "unified" and found.needs_process and not found.needs_owner
    assert found.record()["scope"] == {"unit": "p-n.scope", "slice": "a-b.slice", "instance": "", "pid": 0}
    assert found.directories[0].path == "/sys/fs/cgroup/a.slice/a-b.slice/p-n.scope"
    assert found.bus is None
    found.remove()  # it was never begun


@pytest.mark.parametrize(
    ("config", "pointer"),
    [
        ({"linux": {"cgroupsPath": "/a"}}, "/linux/cgroupsPath"),
        ({"annotations": {"org.systemd.property.PIDs": "[1]"}}, "/annotations/org.systemd.property.PIDs"),
    ],
)
def test_what_is_wrong_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, config: dict[str, object], pointer: str
) -> None:
    booted(monkeypatch, tmp_path)
    with pytest.raises(ConfigError) as caught:
        scopes.plan(config, "web", UNIFIED, rootless=False)
    assert caught.value.pointer == pointer


def test_a_users_systemd_is_no_use_on_v1(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    booted(monkeypatch, tmp_path)
    monkeypatch.setattr(systemd, "_owner", lambda path: 65534)
    with pytest.raises(UnsupportedError, match="on cgroup v1"):
        scopes.plan({}, "web", LEGACY, rootless=True)


@pytest.mark.parametrize("layout", [UNIFIED, LEGACY])
def test_the_kind_is_that_of_the_hierarchies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, layout: Layout) -> None:
    booted(monkeypatch, tmp_path)
    assert scopes.plan({}, "web", layout, rootless=False).kind == layout.kind


def test_without_hierarchies_it_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    booted(monkeypatch, tmp_path)
    with pytest.raises(UnsupportedError, match="no cgroup hierarchy is mounted"):
        scopes.plan({}, "web", Layout("none", []), rootless=False)
