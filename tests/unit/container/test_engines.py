"""Settings for engines are merged into files of which all else stays."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from boxes.container import engines
from boxes.errors import ConfigError, NotFoundError, UsageError

BOX = "/usr/local/bin/box"
CRI = "io.containerd.grpc.v1.cri"


def merged(engine: str, path: Path, *, default: bool = True) -> str:
    """After a first writing, a second changes nothing."""
    assert engines.write(engine, str(path), BOX, default=default)
    text = path.read_text()
    assert not engines.write(engine, str(path), BOX, default=default)
    assert path.read_text() == text
    assert [other.name for other in path.parent.iterdir()] == [path.name]
    return text


def without_added(text: str, before: str) -> bool:
    """Whether what was there is there still, in order, line by line."""
    rest = iter(text.splitlines())
    return all(line in rest for line in before.splitlines())


@pytest.mark.parametrize("engine", engines.FILES)
def test_the_snippet_is_what_a_new_file_holds(engine: str, tmp_path: Path) -> None:
    path = tmp_path / Path(engines.FILES[engine]).name
    assert merged(engine, path) == engines.snippet(engine, BOX, default=True)


def test_podman_keeps_comments_and_lists(tmp_path: Path) -> None:
    before = '# mine\n[engine]\n  # a comment\n  runtime_supports_nocgroup = ["crun"] # why\n\n[network]\nnetwork_backend = "cni"'
    path = tmp_path / "containers.conf"
    path.write_text(before)
    text = merged("podman", path)
    engine = tomllib.loads(text)["engine"]
    assert engine["runtime"] == "box"
    assert engine["runtimes"] == {"box": [BOX]}
    assert engine["runtime_supports_nocgroup"] == ["crun", "box"]
    assert {"crun", "runc", "box"} <= set(engine["runtime_supports_json"])
    assert '  runtime_supports_nocgroup = ["crun", "box"] # why\n' in text
    assert without_added(text, before.replace('["crun"]', '["crun", "box"]'))


@pytest.mark.parametrize(("version", "plugin"), [(2, CRI), (3, "io.containerd.cri.v1.runtime")])
def test_containerd(tmp_path: Path, version: int, plugin: str) -> None:
    before = f'version = {version}\n\n[plugins]\n  [plugins."{plugin}"]\n    sandbox_image = "x" # here\n'
    path = tmp_path / "config.toml"
    path.write_text(before)
    text = merged("containerd", path)
    containerd = tomllib.loads(text)["plugins"][plugin]["containerd"]
    assert containerd["default_runtime_name"] == "box"
    assert containerd["runtimes"]["box"] == {"runtime_type": "io.containerd.runc.v2", "options": {"BinaryName": BOX}}
    assert text.startswith(before)


@pytest.mark.parametrize(
    "before",
    [
        "",
        "{}",
        '{\n\t"debug": true\n}\n',
        '{"runtimes": {}, "a": [1, {"runtimes": 2}]}',
        '{"runtimes":{"x":{"path":"/x"}}}',
    ],
)
def test_docker(tmp_path: Path, before: str) -> None:
    path = tmp_path / "daemon.json"
    path.write_text(before)
    value = json.loads(merged("docker", path))
    assert value["default-runtime"] == "box"
    assert value["runtimes"]["box"] == {"path": BOX}
    for key, old in json.loads(before or "{}").items():
        assert value[key] == (old if key != "runtimes" else old | {"box": {"path": BOX}})


def test_without_default_the_default_stays(tmp_path: Path) -> None:
    path = tmp_path / "daemon.json"
    path.write_text('{"default-runtime": "runc"}')
    assert json.loads(merged("docker", path, default=False))["default-runtime"] == "runc"


@pytest.mark.parametrize(
    ("engine", "name", "before", "place"),
    [
        ("docker", "daemon.json", '{"a": 1,\n "b" 2}', "line 2"),
        ("docker", "daemon.json", "[]", "not an object"),
        ("docker", "daemon.json", '{"runtimes": 1}', "'runtimes' is not a table"),
        ("podman", "containers.conf", "[engine\n", "line 1"),
        ("podman", "containers.conf", "engine = {}\n", "engine.runtime"),
        ("podman", "containers.conf", '[engine]\nruntime_supports_json = [\n"runc"]\n', "containers.conf:2"),
        ("containerd", "config.toml", 'root = "/x"\n', "version 1"),
        ("containerd", "config.toml", "version = 9\n", "version 9"),
    ],
)
def test_what_is_not_understood_is_refused_and_kept(
    tmp_path: Path, engine: str, name: str, before: str, place: str
) -> None:
    path = tmp_path / name
    path.write_text(before)
    with pytest.raises(ConfigError) as caught:
        engines.write(engine, str(path), BOX, default=True)
    assert place in str(caught.value)
    assert path.read_text() == before


def test_mode_stays_and_a_link_is_followed(tmp_path: Path) -> None:
    path, link = tmp_path / "real.json", tmp_path / "daemon.json"
    path.write_text("{}")
    path.chmod(0o600)
    link.symlink_to(path)
    assert engines.write("docker", str(link), BOX)
    assert link.is_symlink()
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("engine", engines.FILES)
def test_a_directory_is_made_only_if_it_is_the_usual(
    tmp_path: Path, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = tmp_path / "etcc" / Path(engines.FILES[engine]).name
    with pytest.raises(NotFoundError, match="there is no directory"):
        engines.write(engine, str(wrong), BOX)
    assert not wrong.parent.exists()
    usual = tmp_path / "etc" / "engine" / Path(engines.FILES[engine]).name
    monkeypatch.setitem(engines.FILES, engine, str(usual))
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert engines.write(engine, engines.usual_file(engine), BOX)
    assert BOX in usual.read_text()


def test_an_ordinary_user_has_files_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_CONFIG_HOME", "/h/.config")
    assert engines.usual_file("podman") == "/h/.config/containers/containers.conf"
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setenv("HOME", "/home/me")
    assert engines.usual_file("docker") == "/home/me/.config/docker/daemon.json"


@pytest.mark.parametrize("bad", ["box", '/a"b', "/a\nb", ""])
def test_a_path_that_cannot_be_written_as_it_is_is_refused(tmp_path: Path, bad: str) -> None:
    with pytest.raises(UsageError):
        engines.write("docker", str(tmp_path / "daemon.json"), bad)
