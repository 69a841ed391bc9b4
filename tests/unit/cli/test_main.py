"""Exit codes, where errors go, and the program as a process."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from boxes import log
from boxes.errors import KernelError, NotFoundError, StateError
from tests.unit.cli.conftest import Box

Program = Callable[..., subprocess.CompletedProcess[bytes]]

NO_SUCH = NotFoundError("container 'c1' does not exist")
REFUSED = KernelError(
    "mount '/x': no such file or directory", pointer="/mounts/3", call="mount(…)", errno=2, path="/x", hint="make it"
)
RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


@pytest.mark.parametrize("argv", [[], ["--help"], ["-h"], ["help"]])
def test_help_without_a_verb(box: Box, argv: list[str]) -> None:
    assert box(*argv) == 0
    assert box.out.startswith("box - ")
    for word in ("create", "try", "--log-format", "--root"):
        assert word in box.out


@pytest.mark.parametrize("flag", ["--version", "-v", "-V"])
def test_version_as_dockerd_parses_it(box: Box, flag: str) -> None:
    assert box(flag) == 0
    first, commit, spec = box.out.splitlines()
    assert re.fullmatch(r"box version \d+\.\d+\.\d+", first)
    assert commit.startswith("commit: ")
    assert spec == "spec: 1.3.0"


def test_error_in_text_is_one_line_on_stderr(box: Box) -> None:
    box.answers["start"] = StateError("container is not created\nbut running")
    assert box("start", "c1") == 1
    assert (box.out, box.err) == ("", "box: container is not created\\nbut running\n")


def test_error_in_the_json_log_is_exactly_one_object(box: Box, tmp_path: Path) -> None:
    path = tmp_path / "log.json"
    box.answers["create"] = REFUSED
    assert box("--root", "/r", "--log", str(path), "--log-format", "json", "create", "c1") == 1
    text = path.read_text()
    entry = json.loads(text)
    assert RFC3339.fullmatch(entry.pop("time"))
    message = "/mounts/3: mount '/x': no such file or directory (make it)"
    assert entry == {
        "level": "error",
        "msg": message,
        "code": "kernel",
        "pointer": "/mounts/3",
        "call": "mount(…)",
        "errno": 2,
        "path": "/x",
        "hint": "make it",
    }
    assert list(json.loads(text))[:3] == ["level", "msg", "time"]
    assert box.err == f"box: {message}\n"


def test_error_in_json_without_a_log_goes_to_stderr(box: Box) -> None:
    box.answers["state"] = NO_SUCH
    assert box("--log-format=json", "state", "c1") == 1
    assert json.loads(box.err)["msg"] == "container 'c1' does not exist"


def test_error_in_the_text_log(box: Box, tmp_path: Path) -> None:
    path = tmp_path / "log"
    box.answers["state"] = NO_SUCH
    assert box("--log", str(path), "state", "c1") == 1
    line = r'time="[^"]+" level=error msg="container \'c1\' does not exist" code="not-found"\n'
    assert re.fullmatch(line, path.read_text())
    assert box.err == "box: container 'c1' does not exist\n"


def test_log_to_stderr_says_it_once(box: Box) -> None:
    box.answers["state"] = NO_SUCH
    assert box("--log", "/dev/stderr", "--log-format", "json", "state", "c1") == 1
    assert json.loads(box.err)["level"] == "error"


def test_log_exists_before_the_verb_is_even_parsed(box: Box, tmp_path: Path) -> None:
    path = tmp_path / "log.json"
    assert box("--log", str(path), "--log-format", "json", "create", "--nonsense") == 1
    assert "unknown flag" in json.loads(path.read_text())["msg"]
    path.unlink()
    assert box("--log", str(path), "--log-format", "json", "--nonsense") == 1
    assert "unknown flag" in json.loads(path.read_text())["msg"]
    path.unlink()
    assert box("--log", str(path), "start", "c1") == 0
    assert path.read_bytes() == b""


def test_log_is_appended_to(box: Box, tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("first\n")
    box.answers["state"] = NO_SUCH
    box("--log", str(path), "state", "c1")
    assert path.read_text().startswith("first\ntime=")
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_log_is_private_and_never_a_link(box: Box, tmp_path: Path) -> None:
    box("--log", str(tmp_path / "log"), "start", "c1")
    assert stat.S_IMODE((tmp_path / "log").stat().st_mode) == 0o600
    (tmp_path / "link").symlink_to(tmp_path / "target")
    assert box("--log", str(tmp_path / "link"), "start", "c1") == 1
    assert not (tmp_path / "target").exists()
    assert box.err.startswith("box: open the log: ")
    assert box.calls == []


def test_exec_fails_with_255(box: Box) -> None:
    box.answers["execute"] = StateError("container not running")
    assert box("exec", "c1", "true") == 255
    assert box.err == "box: container not running\n"


def test_unexpected_errors_are_one_line_without_a_traceback(box: Box) -> None:
    box.answers["start"] = TypeError("unsupported\noperand")
    assert box("start", "c1") == 1
    assert re.fullmatch(r"box: internal error, at \S+:\d+: TypeError: unsupported\\noperand\n", box.err)
    box.answers["start"] = PermissionError(13, "Permission denied", "/run/boxes")
    assert box("start", "c1") == 1
    assert re.fullmatch(r"box: unexpected, at \S+:\d+: '/run/boxes': permission denied\n", box.err)


def test_debug_shows_the_traceback_and_the_error_last(box: Box, tmp_path: Path) -> None:
    box.answers["start"] = TypeError("oops")
    assert box("--debug", "start", "c1") == 1
    assert "Traceback (most recent call last)" in box.err
    assert box.err.endswith(": TypeError: oops\n") and "\nbox: internal error, at " in box.err
    path = tmp_path / "log.json"
    assert box("--debug", "--log", str(path), "--log-format=json", "start", "c1") == 1
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    assert [entry["level"] for entry in entries] == ["debug", "error"]
    assert "Traceback" in entries[0]["trace"]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["creat"], "unknown command 'creat' (did you mean 'create'?)"),
        (["os"], "unknown command 'os' (see 'box --help')"),
        (["../x"], "unknown command '../x' (see 'box --help')"),
        (["--log-format", "xml", "start"], "flag --log-format: 'xml' where 'text' or 'json' is wanted"),
        (["--rootless=maybe", "start", "c"], "flag --rootless: 'maybe' where 'true', 'false' or 'auto' is wanted"),
        (["start"], "'box start' needs ID (usage: box start ID)"),
        (["start", "a", "b"], "unexpected argument 'b' for 'box start' (usage: box start ID)"),
    ],
)
def test_usage_errors(box: Box, argv: list[str], message: str) -> None:
    assert box(*argv) == 1
    assert box.err == f"box: {message}\n"
    assert box.calls == []


def say(*_: Any) -> None:
    log.warning("unknown field 'maskedpaths', did you mean 'maskedPaths'?", pointer="/linux/maskedpaths")
    log.debug("a detail", path="/x")


def test_warnings_are_for_people(box: Box, tmp_path: Path) -> None:
    box.answers["start"] = say
    text = "box: warning: /linux/maskedpaths: unknown field 'maskedpaths', did you mean 'maskedPaths'?\n"
    assert box("start", "c1") == 0
    assert box.err == text
    path = tmp_path / "log"
    assert box("--log", str(path), "start", "c1") == 0
    assert box.err == ""
    assert 'level=warning msg="unknown field' in path.read_text()
    assert 'pointer="/linux/maskedpaths"' in path.read_text()
    assert "detail" not in path.read_text()


def test_warnings_stay_out_of_what_engines_parse(box: Box, tmp_path: Path) -> None:
    box.answers["start"] = say
    path = tmp_path / "log.json"
    assert box("--log", str(path), "--log-format", "json", "start", "c1") == 0
    assert (box.err, path.read_text()) == ("", "")
    assert box("--log-format", "json", "start", "c1") == 0
    assert box.err == ""


def test_warnings_are_logged_where_they_were_asked_for(box: Box, tmp_path: Path) -> None:
    box.answers["start"] = say
    path = tmp_path / "log.json"
    assert box("--log", str(path), "--log-format", "json", "--log-level", "warning", "start", "c1") == 0
    assert json.loads(path.read_text())["level"] == "warning"
    assert box("--debug", "start", "c1") == 0
    assert box.err.splitlines()[1] == 'box: debug: a detail path="/x"'
    assert box("--log-level=error", "start", "c1") == 0
    assert box.err == ""


def test_program_leaves_with_the_status_of_the_verb(program: Program) -> None:
    done = program("run", "c1", answers='{"run": 139}')
    assert (done.returncode, done.stdout, done.stderr) == (139, b"", b"")


def test_interrupt_leaves_no_traceback(program: Program) -> None:
    answers = '{"run": lambda *_: os.kill(os.getpid(), 2)}'
    done = program("run", "c1", answers=answers)
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")


def test_closed_standard_descriptors_become_dev_null(program: Program) -> None:
    answers = '{"run": lambda *_: sum(os.path.samefile(f"/proc/self/fd/{fd}", "/dev/null") for fd in range(3))}'
    done = program("run", "c1", answers=answers, through='"$@" <&- >&- 2>&-')
    assert done.returncode == 3
    answers = '{"run": lambda *_: sum(os.get_inheritable(fd) for fd in range(3))}'
    assert program("run", "c1", answers=answers, through='"$@" <&- >&- 2>&-').returncode == 3


def test_nobody_reading_is_no_failure_to_talk_about(program: Program) -> None:
    answers = '{"listing": [{"id": "x" * 100}] * 10000}'
    done = program("list", "-q", answers=answers, through='{ "$@"; echo $? >&2; } | head -n 1')
    assert done.stdout == b"x" * 100 + b"\n"
    assert done.stderr == b"1\n"


def test_a_full_disk_is(program: Program) -> None:
    done = program("--version", through='"$@" >/dev/full')
    assert done.returncode == 1
    assert done.stderr == b"box: write to standard output: no space left on device\n"


def test_a_non_blocking_standard_output_is_waited_for(program: Program) -> None:
    answers = '{"listing": lambda: os.set_blocking(1, False) or [{"id": "x" * 100}] * 10000}'
    done = program("list", "-q", answers=answers, through='"$@" | { sleep 0.2; cat; }')
    assert len(done.stdout) == 101 * 10000


@pytest.mark.parametrize("locale", ["C", "POSIX", "en_US.ISO-8859-1", "C.UTF-8"])
def test_any_locale_and_any_bytes(program: Program, locale: str) -> None:
    done = program("start", os.fsdecode(b"\xff\xc3\xa9"), env={"LC_ALL": locale})
    assert done.returncode == 1
    assert done.stderr.count(b"\n") == 1
    assert b"is not a container id" in done.stderr
    done = program("state", "c1", answers='{"state": {"bundle": "/\\u20ac\\udcff"}}', env={"LC_ALL": locale})
    assert done.returncode == 0
    done = program("--log-format=json", "kill", "c1", "\udcff€", env={"LC_ALL": locale})
    assert json.loads(done.stderr)["level"] == "error"


def test_ignored_sigchld_is_reset(program: Program) -> None:
    answers = (
        '{"run": lambda *_: os.waitstatus_to_exitcode(os.waitpid(os.spawnv(os.P_NOWAIT, "/bin/false", ["f"]), 0)[1])}'
    )
    done = program("run", "c1", answers=answers, preexec_fn=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN))
    assert done.returncode == 1
    assert done.stderr == b""
