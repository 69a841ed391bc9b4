"""The cache of compiled filters."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from boxes.container import seccomp
from boxes.errors import ConfigError, UnsupportedError
from boxes.linux import syscalls

ALL = (1 << 64) - 1
PROFILE: dict[str, Any] = {
    "defaultAction": "SCMP_ACT_ERRNO",
    "syscalls": [{"names": ["write", "execve", "capset", "openat2"], "action": "SCMP_ACT_ALLOW"}],
}


def config(**more: Any) -> dict[str, Any]:
    return {"linux": {"seccomp": PROFILE | more}}


def prepared(runtime: Path, **more: Any) -> bytes:
    return seccomp.prepare(config(**more), {}, [], ALL, str(runtime)).program


def entries(runtime: Path) -> list[Path]:
    return sorted((runtime / ".cache/seccomp").iterdir())


@pytest.fixture
def compilations(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for each time that libseccomp compiles."""
    done: list[int] = []
    real = syscalls.seccomp_compile

    def counting(action: int, parts: bytes, fd: int) -> tuple[int, int]:
        done.append(action)
        return real(action, parts, fd)

    monkeypatch.setattr(syscalls, "seccomp_compile", counting)
    return done


def test_second_container_does_not_compile(tmp_path: Path, compilations: list[int]) -> None:
    assert prepared(tmp_path) == prepared(tmp_path)
    assert len(compilations) == 1


def test_kept_filter_remembers_what_it_holds(tmp_path: Path) -> None:
    first = seccomp.prepare(config(), {}, [], ALL, str(tmp_path)).held
    assert first == seccomp.prepare(config(), {}, [], ALL, str(tmp_path)).held
    assert first["wait4"] == ("denied", "SCMP_ACT_ERRNO, EPERM")


@pytest.mark.parametrize(
    "more, again",
    [
        ({"defaultErrnoRet": 5}, True),
        ({"architectures": ["SCMP_ARCH_X86"]}, True),
        ({"flags": []}, True),
        ({"listenerPath": "/other"}, False),
        ({"listenerPath": "/other", "listenerMetadata": "x"}, False),
    ],
)
def test_what_is_compiled_tells_entries_apart_and_nothing_else(
    tmp_path: Path, compilations: list[int], more: dict[str, Any], again: bool
) -> None:
    prepared(tmp_path)
    prepared(tmp_path, **more)
    assert len(compilations) == 1 + again


def test_only_the_owner_can_look_into_the_cache(tmp_path: Path) -> None:
    runtime = tmp_path / "run/boxes"
    prepared(runtime)
    for path in (runtime, runtime / ".cache", runtime / ".cache/seccomp"):
        assert path.stat().st_mode & 0o777 == 0o700, path
    (entry,) = entries(runtime)
    assert entry.stat().st_mode & 0o777 == 0o600


def damage_short(entry: Path) -> None:
    entry.write_bytes(entry.read_bytes()[:-8])


def damage_empty(entry: Path) -> None:
    entry.write_bytes(b"")


def damage_bit(entry: Path) -> None:
    content = bytearray(entry.read_bytes())
    content[-1] ^= 1
    entry.write_bytes(content)


def damage_mode(entry: Path) -> None:
    entry.chmod(0o666)


def damage_directory_mode(entry: Path) -> None:
    entry.parent.chmod(0o777)


def damage_link(entry: Path) -> None:
    target = entry.parent.parent / "elsewhere"
    entry.rename(target)
    entry.symlink_to(target)


def damage_fifo(entry: Path) -> None:
    entry.unlink()
    os.mkfifo(entry, 0o600)


@pytest.mark.parametrize(
    "damage",
    [damage_short, damage_empty, damage_bit, damage_mode, damage_directory_mode, damage_link, damage_fifo],
    ids=lambda function: function.__name__.removeprefix("damage_"),
)
def test_entry_that_cannot_be_trusted_is_not_used(tmp_path: Path, compilations: list[int], damage: Any) -> None:
    first = prepared(tmp_path)
    damage(entries(tmp_path)[0])
    assert prepared(tmp_path) == first
    assert len(compilations) == 2


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a file to another user")
def test_entry_of_another_user_is_not_used(tmp_path: Path, compilations: list[int]) -> None:
    prepared(tmp_path)
    os.chown(entries(tmp_path)[0], 1000, 1000)
    prepared(tmp_path)
    assert len(compilations) == 2


def test_another_libseccomp_compiles_anew(
    tmp_path: Path, compilations: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared(tmp_path)
    copy = tmp_path / "libseccomp.so.2"
    copy.write_bytes(Path(syscalls.seccomp_library()[0]).read_bytes())
    monkeypatch.setattr(syscalls, "seccomp_library", lambda: (str(copy), (2, 6, 0)))
    entries(tmp_path)[0].unlink()
    prepared(tmp_path)
    prepared(tmp_path)
    assert len(compilations) == 2
    copy.write_bytes(b"newer")
    prepared(tmp_path)
    assert len(compilations) == 3


def test_cache_stays_small(tmp_path: Path) -> None:
    for number in range(seccomp._MOST + 5):
        prepared(tmp_path, defaultErrnoRet=number + 1)
    assert seccomp._MOST // 2 <= len(entries(tmp_path)) <= seccomp._MOST
    newest = max(entries(tmp_path), key=lambda path: path.stat().st_mtime_ns)
    before = newest.stat().st_ino
    prepared(tmp_path, defaultErrnoRet=seccomp._MOST + 5)
    assert newest.stat().st_ino == before


def test_directory_that_cannot_be_made_costs_time_only(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert prepared(tmp_path / "file/below") == prepared(tmp_path)


def test_leftovers_of_a_killed_writer_do_not_pile_up(tmp_path: Path) -> None:
    prepared(tmp_path)
    for number in range(seccomp._MOST):
        (tmp_path / f".cache/seccomp/{number}.{number}").write_bytes(b"")
    prepared(tmp_path, defaultErrnoRet=9)
    assert len(entries(tmp_path)) <= seccomp._MOST


def test_profile_that_is_refused_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        prepared(tmp_path, flags=["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"])
    assert list(tmp_path.iterdir()) == []


def test_missing_library_is_named_with_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> tuple[str, tuple[int, int, int]]:
        raise ImportError("libseccomp.so.2: cannot open shared object file: No such file or directory")

    monkeypatch.setattr(syscalls, "seccomp_library", missing)
    with pytest.raises(UnsupportedError, match="needs libseccomp") as error:
        prepared(tmp_path)
    assert "libseccomp2" in str(error.value)


def test_flag_that_the_kernel_does_not_know_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(syscalls, "seccomp_flags", lambda flags: not flags & 2)
    with pytest.raises(UnsupportedError, match="SECCOMP_FILTER_FLAG_LOG") as error:
        prepared(tmp_path, flags=["SECCOMP_FILTER_FLAG_SPEC_ALLOW", "SECCOMP_FILTER_FLAG_LOG"])
    assert error.value.pointer == "/linux/seccomp/flags/1"


def test_kernel_without_filters_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(syscalls, "seccomp_flags", lambda flags: False)
    with pytest.raises(UnsupportedError, match="no filters"):
        prepared(tmp_path)
