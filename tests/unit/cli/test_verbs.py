"""What each verb asks of the container layer, and prints."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from boxes.cli.commands import VERBS
from boxes.cli.ps import select
from boxes.cli.signals import parse as parse_signal
from boxes.errors import UsageError
from tests.unit.cli.conftest import Box

CONTAINER = {
    "ociVersion": "1.3.0",
    "id": "c1",
    "pid": 4711,
    "status": "running",
    "bundle": "/b\n1",
    "rootfs": "/b/rootfs",
    "created": "2026-01-02T03:04:05.6Z",
    "owner": "root",
}


def options_of(box: Box) -> dict[str, Any]:
    return dict(vars(box.calls[-1][2]))


def test_create_as_conmon_calls_it(box: Box) -> None:
    line = "--systemd-cgroup create --bundle /b --pid-file /p --no-pivot --no-new-keyring --preserve-fds 2"
    assert box(*line.split(), "--console-socket", "/s", "c1") == 0
    assert box.calls[0] == ("store", None)
    assert box.calls[1][:2] == ("create", "c1")
    assert options_of(box) == {
        "bundle": "/b",
        "config": None,
        "pid_file": "/p",
        "console_socket": "/s",
        "pidfd_socket": None,
        "no_pivot": True,
        "no_new_keyring": True,
        "preserve_fds": 2,
        "cgroup_manager": "systemd",
        "rootless": "auto",
        "no_subreaper": False,
        "record_exit": False,
        "notify_socket": None,
        "network": {},
        "hostname": None,
    }
    assert (box.out, box.err) == ("", "")


def test_create_in_the_working_directory_by_default(box: Box) -> None:
    assert box("create", "c1") == 0
    assert options_of(box)["bundle"] == "."
    assert options_of(box)["cgroup_manager"] == "auto"


def test_cgroup_manager_overrules_systemd_cgroup(box: Box) -> None:
    assert box("--systemd-cgroup", "--cgroup-manager=disabled", "--rootless=true", "create", "c1") == 0
    assert options_of(box)["cgroup_manager"] == "disabled"
    assert options_of(box)["rootless"] == "true"


def test_root_goes_to_the_store(box: Box) -> None:
    assert box("--root=/r", "start", "c1") == 0
    assert box.calls == [("store", "/r"), ("start", "c1", {"notify_socket": None})]


def test_config_from_another_file(box: Box, tmp_path: Path) -> None:
    assert box("spec", "-b", str(tmp_path)) == 0
    path = tmp_path / "config.json"
    assert box("create", "--config", str(path), "c1") == 0
    assert options_of(box)["config"] == path.read_bytes()
    path.write_text("{")
    assert box("create", "--config", str(path), "c1") == 1
    assert "not valid JSON" in box.err


@pytest.mark.parametrize("count", ["-1", "1048577", "x"])
def test_absurd_preserve_fds(box: Box, count: str) -> None:
    assert box("create", "--preserve-fds", count, "c1") == 1
    assert [call[0] for call in box.calls if call[0] == "create"] == []


def test_run_gives_the_status_of_the_container(box: Box) -> None:
    box.answers["run"] = 137
    assert box("run", "--bundle", "/b", "--keep", "c1") == 137
    assert box.calls[1][0:2] == ("run", "c1")
    assert box.calls[1][3] == {"detach": False, "keep": True}
    assert box("run", "-d", "-no-subreaper", "c1") == 137
    assert box.calls[1][2].no_subreaper is True
    assert box.calls[1][3] == {"detach": True, "keep": False}


def test_state_is_indented_json(box: Box) -> None:
    box.answers["state"] = CONTAINER
    assert box("state", "c1") == 0
    assert box.out.startswith('{\n  "ociVersion": "1.3.0",\n  "id": "c1",\n')
    assert json.loads(box.out) == CONTAINER


def test_kill_without_a_signal_sends_term(box: Box) -> None:
    assert box("kill", "c1") == 0
    assert box.calls[1] == ("kill", "c1", 15, {"all": False})
    assert box("kill", "--all", "c1", "9") == 0
    assert box.calls[1] == ("kill", "c1", 9, {"all": True})
    assert box("kill", "c1", "SIGKILL", "-a") == 0
    assert box.calls[1] == ("kill", "c1", 9, {"all": True})


@pytest.mark.parametrize(
    ("text", "number"),
    [("KILL", 9), ("SIGKILL", 9), ("sigterm", 15), ("9", 9), ("0", 0), ("64", 64), ("RTMIN+1", 35), ("SIGRTMIN", 34),
     ("SIGRTMAX-2", 62), ("RTMAX", 64), ("CHLD", 17), ("poll", 29)],
)  # fmt: skip
def test_signals(text: str, number: int) -> None:
    assert parse_signal(text) == number


@pytest.mark.parametrize(
    "text",
    ["", "SIG", "65", "-1", "+9", "9x", "99999999999999999999999", "KIL", "SIGSIGKILL", "_IGN", "SIG_BLOCK", "RTMIN+31",
     "RTMIN+", "RTMIN-1", "RTMAX+1", "RTMAX--1", "\u0661"],
)  # fmt: skip
def test_no_signals(text: str) -> None:
    with pytest.raises(UsageError, match="unknown signal"):
        parse_signal(text)


def test_delete(box: Box) -> None:
    assert box("delete", "c1") == 0
    assert box.calls[1] == ("delete", "c1", {"force": False})
    assert box("delete", "--force", "c1") == 0
    assert box.calls[1] == ("delete", "c1", {"force": True})


@pytest.mark.parametrize("verb", ["create", "start", "state", "kill", "delete", "run", "ps"])
@pytest.mark.parametrize("name", ["", "..", "a/b", "é", "-x"])
def test_every_verb_checks_the_id(box: Box, verb: str, name: str) -> None:
    assert box(verb, "--", name) == 1
    assert [call for call in box.calls if call[0] != "store"] == []
    assert "container id" in box.err


def test_exec_checks_the_id(box: Box) -> None:
    assert box("exec", "a/b", "true") == 255
    assert [call for call in box.calls if call[0] != "store"] == []


def test_list_as_table(box: Box) -> None:
    box.answers["listing"] = [CONTAINER]
    assert box("list") == 0
    assert box.out == (
        "ID          PID         STATUS      BUNDLE      CREATED                  OWNER\n"
        "c1          4711        running     /b\\n1       2026-01-02T03:04:05.6Z   root\n"
    )


def test_list_without_containers(box: Box) -> None:
    box.answers["listing"] = []
    assert box("list") == 0
    assert box.out == "ID          PID         STATUS      BUNDLE      CREATED     OWNER\n"
    assert box("list", "--format=json") == 0
    assert json.loads(box.out) == []
    assert box("list", "-q") == 0
    assert box.out == ""


def test_list_json_and_ids(box: Box) -> None:
    box.answers["listing"] = [CONTAINER]
    assert box("list", "-f", "json") == 0
    assert json.loads(box.out) == [CONTAINER]
    assert box.out.count("\n") == 1
    assert box("list", "-q", "-f", "json") == 0
    assert box.out == "c1\n"
    assert box("list", "c1") == 1


def test_ps_json_as_containerd_asks(box: Box) -> None:
    box.answers["processes"] = [1, 4711]
    assert box("ps", "--format", "json", "c1") == 0
    assert json.loads(box.out) == [1, 4711]


@pytest.mark.parametrize("path", [os.environ["PATH"], "/nonexistent"])
def test_ps_table_with_and_without_a_ps_on_the_host(box: Box, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.setenv("PATH", path)
    box.answers["processes"] = [os.getpid()]
    assert box("ps", "c1") == 0
    header, line = box.out.splitlines()
    assert header.split()[:3] == ["UID", "PID", "PPID"]
    assert line.split()[1:3] == [str(os.getpid()), str(os.getppid())]
    assert "python" in line


def test_ps_options_are_for_ps(box: Box) -> None:
    box.answers["processes"] = [os.getpid()]
    assert box("ps", "c1", "-o", "comm,pid") == 0
    header, line = box.out.splitlines()
    assert header.split() == ["COMMAND", "PID"]
    assert line.split()[-1] == str(os.getpid())
    assert box("ps", "c1", "-o", "comm") == 1
    assert box.err == "box: the output of ps has no column 'PID'\n"
    assert box("ps", "c1", "--nonsense") == 1
    assert box.err.startswith("box: ps: ")


def test_ps_does_not_take_a_number_in_another_column_for_a_pid() -> None:
    text = "UID PID CMD\n7 1 7\n1 7 x\nshort\n"
    assert select(text, [7]) == "UID PID CMD\n1 7 x\n"


def test_spec_writes_a_config_once(box: Box, tmp_path: Path) -> None:
    assert box("spec", "--bundle", str(tmp_path)) == 0
    text = (tmp_path / "config.json").read_text()
    assert json.loads(text)["process"]["args"] == ["sh"]
    assert box("spec", "--rootless", "-b", str(tmp_path)) == 1
    assert box.err.endswith("config.json' exists (remove it first)\n")
    assert (tmp_path / "config.json").read_text() == text


def test_spec_for_an_ordinary_user(box: Box, tmp_path: Path) -> None:
    assert box("spec", "--rootless", "-b", str(tmp_path)) == 0
    assert "uidMappings" in json.loads((tmp_path / "config.json").read_text())["linux"]


def test_exec_with_options(box: Box) -> None:
    box.answers["execute"] = 3
    line = (
        "exec --cwd /w -e A=1 --env B= -t --user 1000:5 -g 7 -g 8 -c CAP_KILL --no-new-privs --apparmor p "
        "--process-label l --cgroup cpu:/x --ignore-paused --pidfd-socket /ps c1 ls -t"
    )
    assert box(*line.split()) == 3
    name, identifier, _ = box.calls[1]
    assert (name, identifier) == ("execute", "c1")
    assert options_of(box) == {
        "process": None,
        "args": ["ls", "-t"],
        "cwd": "/w",
        "env": ["A=1", "B="],
        "user": (1000, 5),
        "tty": True,
        "detach": False,
        "pid_file": None,
        "console_socket": None,
        "pidfd_socket": "/ps",
        "caps": ["CAP_KILL"],
        "additional_gids": [7, 8],
        "no_new_privs": True,
        "apparmor": "p",
        "process_label": "l",
        "preserve_fds": 0,
        "cgroup": ["cpu:/x"],
        "ignore_paused": True,
    }


def test_exec_as_containerd_calls_it(box: Box, tmp_path: Path) -> None:
    document = {"args": ["true"], "cwd": "/", "user": {"uid": 0, "gid": 0}}
    (tmp_path / "p.json").write_text(json.dumps(document))
    line = f"exec --process {tmp_path}/p.json --console-socket /s --detach --pid-file /p c1"
    assert box(*line.split()) == 0
    assert options_of(box)["process"] == document
    assert options_of(box)["args"] == []
    assert options_of(box)["detach"] is True


def test_exec_takes_two_dashes_before_the_command(box: Box) -> None:
    assert box("exec", "c1", "--", "ls", "--", "-l") == 0
    assert options_of(box)["args"] == ["ls", "--", "-l"]


@pytest.mark.parametrize("argv", [["c1"], ["c1", "--"], ["--process", "/x", "c1", "ls"], ["-e", "A", "c1", "ls"]])
def test_exec_usage_errors_exit_with_255(box: Box, argv: list[str]) -> None:
    assert box("exec", *argv) == 255
    assert box.calls in ([], [("store", None)])


@pytest.mark.parametrize(
    ("text", "ids"),
    [("0", (0, None)), ("0:0", (0, 0)), ("4294967294:1", (4294967294, 1)), ("1:4294967294", (1, 4294967294))],
)
def test_users(box: Box, text: str, ids: tuple[int, int | None]) -> None:
    assert box("exec", "--user", text, "c1", "id") == 0
    assert options_of(box)["user"] == ids


@pytest.mark.parametrize(
    "text",
    ["4294967295", "-1", "+1", "1_0", " 1", "1 ", "01", "1:", ":1", "1:2:3", "0x1", "\u0661", "root", "1:staff", "1e3"],
)
def test_no_users(box: Box, text: str) -> None:
    assert box("exec", "--user", text, "c1", "id") == 255
    assert "is no id" in box.err
    assert ("give the number" in box.err) == ("root" in text or "staff" in text)


@pytest.mark.parametrize("name", VERBS)
def test_help_of_every_verb(box: Box, name: str) -> None:
    assert box(name, "--help") == 0
    assert box.out.startswith(f"box {name} - ")
    assert "Usage: box " in box.out
    assert max(map(len, box.out.splitlines())) <= 110
    assert box.err == ""
    text = box.out
    assert box("help", name) == 0
    assert box.out == text
    assert box.calls == []
