"""Files are read with care, and what they say is checked."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

import pytest

from boxes.errors import ConfigError
from boxes.spec.config import from_bytes, load, process

SMALL = b'{"ociVersion": "1.0.0", "root": {"path": "rootfs"}, "hostnam": "x"}\n'


def test_a_config_is_read_with_its_bytes_and_warnings(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(SMALL)
    loaded = load(str(path))
    assert loaded.raw == SMALL
    assert loaded.config == {"ociVersion": "1.0.0", "root": {"path": "rootfs"}, "hostnam": "x"}
    assert [notice.pointer for notice in loaded.warnings] == ["/hostnam"]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    path = f"{tmp_path}/config.json"
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert str(caught.value) == f"cannot read '{path}': no such file or directory"
    assert caught.value.facts() == {
        "code": "config",
        "msg": f"cannot read '{path}': no such file or directory",
        "path": path,
        "errno": errno.ENOENT,
    }


def test_neither_fifo_nor_directory_nor_device_is_read(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for path in (str(fifo), str(tmp_path), "/dev/zero"):
        with pytest.raises(ConfigError) as caught:
            load(path)
        assert str(caught.value) == f"cannot read '{path}': not a regular file"


def test_a_huge_file_is_not_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(ConfigError) as caught:
        load(str(path))
    assert str(caught.value) == f"'{path}' is too large: more than 16777216 bytes"


def test_a_path_that_no_file_can_have_is_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        load("a\0b")
    assert str(caught.value) == "the path of the config holds a NUL character"


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    (tmp_path / "good").write_bytes(SMALL)
    (tmp_path / "bad").write_bytes(b"{")
    before = os.listdir("/proc/self/fd")
    for name in ("good", "bad", "missing", "."):
        with contextlib.suppress(ConfigError):
            load(str(tmp_path / name))
    assert os.listdir("/proc/self/fd") == before


def test_a_process_file_is_read_and_checked(tmp_path: Path) -> None:
    path = tmp_path / "process.json"
    path.write_text('{"cwd": "/", "args": ["id"], "terminal": null}')
    assert process(str(path)) == ({"cwd": "/", "args": ["id"]}, [])
    path.write_text('{"cwd": "/", "args": [], "terminal": null}')
    with pytest.raises(ConfigError) as caught:
        process(str(path))
    assert caught.value.pointer == "/args"


def test_bytes_that_were_read_already_are_named_as_asked() -> None:
    with pytest.raises(ConfigError) as caught:
        from_bytes(b"{", source="standard input")
    assert str(caught.value).startswith("'standard input' is not valid JSON: ")
