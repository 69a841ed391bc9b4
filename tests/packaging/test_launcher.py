"""native/launcher.c: which package and interpreter it finds, and what it hands on. The package here is a stub."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.sweeps import points

BOX = Path(__file__).parents[2] / "bin" / "box"
PACKAGE = Path(__file__).parents[2] / "src" / "boxes"
STUB = """
import os, sys

def main(stderr, watcher):
    import json
    os.write(2, b"\\0")
    os.dup2(int(stderr), 2)
    os.close(int(stderr))
    print(json.dumps({
        "argv": [os.fsencode(argument).hex() for argument in sys.argv[1:]],
        "environment": dict(os.environ),
        "package": sys.modules["boxes"].__path__,
        "path": sys.path,
        "json": json.__file__,
        "executable": sys.executable,
        "flags": [sys.flags.isolated, sys.flags.no_site, sys.flags.utf8_mode],
        "descriptors": sorted(map(int, os.listdir("/proc/self/fd"))) if os.path.exists("/proc/self/fd") else [],
    }))
"""
LOOKS = """
import json, os, sys
from boxes.cli.options import Command
COMMAND = Command("state", "look around", usage="state")

def run(call):
    try:
        child = os.waitpid(-1, 0x40000000)
    except ChildProcessError:
        child = None
    files = [os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{fd}")]
    print(json.dumps([child, os.readlink("/proc/self/fd/2"), [file.split(":")[0] for file in files if "bundle" not in file]]))
    return 0
"""
LAYOUTS = [
    "lib/python3.11/site-packages",
    "lib/python3.11/dist-packages",
    "lib64/python3.11/site-packages",
    "lib/python3/dist-packages",
    "src",
    ".",
]


def make_package(folder: Path) -> Path:
    package = folder / "boxes"
    (package / "cli").mkdir(parents=True)
    (package / "__init__.py").write_text("raise SystemExit('the command line does not need the API')")
    (package / "cli/__init__.py").touch()
    (package / "cli/main.py").write_text(STUB)
    return package


def make_prefix(prefix: Path, layout: str = LAYOUTS[0]) -> Path:
    """An installed box in `prefix`, with the stub as its package. The launcher."""
    make_package(prefix / layout)
    (prefix / "bin").mkdir()
    shutil.copy(BOX, prefix / "bin/box")
    return prefix / "bin/box"


def run(*command: str | bytes | Path, **options: Any) -> dict[str, Any]:
    finished = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert finished.returncode == 0, finished.stderr
    seen = json.loads(finished.stdout)
    assert isinstance(seen, dict)
    return seen


@pytest.mark.parametrize("layout", LAYOUTS)
def test_package_is_found_in_every_layout(tmp_path: Path, layout: str) -> None:
    box = make_prefix(tmp_path / "prefix", layout)
    assert run(box)["package"] == [os.path.normpath(tmp_path / "prefix" / layout / "boxes")]


def test_newest_python_wins(tmp_path: Path) -> None:
    box = make_prefix(tmp_path, "lib/python3.11/site-packages")
    for version in ("3.9", "3.12", "3.12-old", "3.100"):
        make_package(tmp_path / f"lib/python{version}/site-packages")
    assert run(box)["package"] == [f"{tmp_path}/lib/python3.12/site-packages/boxes"]


def test_interpreter_beside_it_is_used(tmp_path: Path) -> None:
    box = make_prefix(tmp_path)
    (tmp_path / "bin/python3.11").symlink_to("/usr/bin/python3.11")
    assert run(box)["executable"] == f"{tmp_path}/bin/python3.11"


def test_interpreter_of_the_same_version_is_better_than_another_beside_it(tmp_path: Path) -> None:
    box = make_prefix(tmp_path)
    (tmp_path / "bin/python3").symlink_to("/bin/false")
    assert run(box)["executable"] == "/usr/bin/python3.11"


def test_nothing_is_searched_in_path(tmp_path: Path) -> None:
    box = make_prefix(tmp_path / "prefix")
    for name in ("python3", "python", "python3.11"):
        (tmp_path / name).symlink_to("/bin/false")
    assert run(box, env={"PATH": str(tmp_path)})["executable"] == "/usr/bin/python3.11"


def test_links_to_it_lead_to_its_own_prefix(tmp_path: Path) -> None:
    box = make_prefix(tmp_path / "prefix")
    (tmp_path / "bin").mkdir()
    first, second = tmp_path / "bin/box", tmp_path / "another-name"
    first.symlink_to(box)
    second.symlink_to("bin/box")
    assert run(first) == run(second) == run("./another-name", cwd=tmp_path)
    assert run("box", env={"PATH": str(first.parent)})["package"] == [
        f"{tmp_path}/prefix/lib/python3.11/site-packages/boxes"
    ]


def test_arguments_arrive_byte_for_byte(tmp_path: Path) -> None:
    arguments = [b"", b"-c", b"--", b"-V", b"two words", b"\xff\xfe", "é漢".encode(), b"a\nb", bytes(range(1, 256))]
    for locale in ("C", "C.UTF-8", "en_US.ISO-8859-1"):
        seen = run(make_prefix(tmp_path / locale), *arguments, env={"LC_ALL": locale})
        assert [bytes.fromhex(argument) for argument in seen["argv"]] == arguments


def test_environment_is_passed_on_but_for_what_changes_how_code_is_loaded(tmp_path: Path) -> None:
    kept = {
        "PATH": "/nowhere",
        "HOME": "/home/x",
        "XDG_RUNTIME_DIR": "/run/user/0",
        "NOTIFY_SOCKET": "/run/notify",
        "LISTEN_FDS": "2",
        "_PYTHONHOME": "x",
        "LC_ALL": "C",
        "EMPTY": "",
    }
    dropped = {
        "PYTHONHOME": "/nowhere",
        "PYTHONPATH": "/nowhere",
        "PYTHONINSPECT": "1",
        "PYTHONSTARTUP": "/nowhere",
        "LD_LIBRARY_PATH": "/nowhere",
        "LD_DEBUG": "all",
        "LD_PRELOAD": "/nowhere.so",
        "GCONV_PATH": "/nowhere",
        "GLIBC_TUNABLES": "glibc.malloc.check=3",
        "LOCPATH": "/nowhere",
        "MALLOC_PERTURB_": "1",
    }
    assert run(make_prefix(tmp_path), env=kept | dropped)["environment"] == kept


def test_interpreter_is_told_where_its_library_is(tmp_path: Path) -> None:
    """boxes/bundle.py writes the file; with it `encodings` is ours, and knows the others of the library's all the same."""
    box = make_prefix(tmp_path)
    package = tmp_path / LAYOUTS[0] / "boxes"
    shutil.copytree(BOX.parent.parent / "src/boxes/start", package / "start")
    (package / "__pycache__").mkdir()
    library = Path(json.__file__).parent.parent
    interpreter = str(Path("/usr/bin/python3").resolve())
    told = package / "__pycache__" / f"{interpreter.replace('/', '!')}._pth"
    told.write_text(f"../start\n/usr/lib/{Path(interpreter).name}\n/usr/lib/{Path(interpreter).name}/lib-dynload\n")
    main = package / "cli/main.py"
    check = 'assert "é".encode("latin-1") == b"\\xe9" and "bücher".encode("idna") == b"xn--bcher-kva"'
    main.write_text(main.read_text().replace("    import json\n", f"    import json\n    {check}\n"))

    seen = run(box, "x", env={"PYTHONPATH": "/nowhere", "LC_ALL": "C"})

    assert library.is_dir() and seen["path"][0] == str(package / "start")
    assert seen["flags"] == [1, 1, 1] and seen["argv"] == [b"x".hex()]


def test_hostile_current_directory_is_ignored(tmp_path: Path) -> None:
    box = make_prefix(tmp_path / "prefix")
    hostile = tmp_path / "bundle"
    (hostile / "boxes/cli").mkdir(parents=True)
    for name in ("json.py", "os.py", "sitecustomize.py", "boxes/__init__.py", "boxes/cli/main.py", "pyvenv.cfg"):
        (hostile / name).write_text("raise SystemExit('imported')")
    seen = run(box, cwd=hostile, env={"PYTHONPATH": str(hostile), "PYTHONSAFEPATH": "", "PYTHONHOME": str(hostile)})
    assert seen["flags"] == [1, 1, 1]
    assert not [entry for entry in seen["path"] if "packages" in entry or not entry.startswith("/usr/lib/python3")]
    assert seen["json"].startswith("/usr/lib/python3")
    assert not list(hostile.rglob("*.pyc"))


def test_missing_standard_descriptors_are_filled(tmp_path: Path) -> None:
    box = make_prefix(tmp_path)
    result = tmp_path / "result"
    subprocess.run(["sh", "-c", '"$0" >"$1" <&- 2>&-', box, result], check=True)
    # 3 is what lists them.
    assert json.loads(result.read_text())["descriptors"] == [0, 1, 2, 3]


def test_missing_package_is_one_line_which_says_where_it_looked(tmp_path: Path) -> None:
    shutil.copy(BOX, tmp_path / "box")
    finished = subprocess.run([tmp_path / "box", "state"], capture_output=True, text=True, check=False)
    assert finished.returncode == 1
    assert finished.stderr.startswith("box: no Python package 'boxes' in lib/python3*/site-packages, ")
    assert finished.stderr.endswith(f" below '{tmp_path.parent}'\n")
    assert finished.stderr.count("\n") == 1


@pytest.mark.requires("root")
def test_missing_interpreter_is_one_line_also_without_proc(tmp_path: Path) -> None:
    make_prefix(tmp_path / "opt")
    command = ["/usr/sbin/chroot", str(tmp_path), "/opt/bin/box"]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 1
    assert finished.stderr == (
        "box: cannot run python3.11 or python3 of '/opt/bin', '/usr/bin' or '/usr/local/bin' for "
        "'/opt/lib/python3.11/site-packages/boxes': No such file or directory\n"
    )


def starting(prefix: Path, script: str, *, through: str = '"$0"') -> tuple[int, str]:
    """What becomes of a command whose interpreter is a program of the shell: its status and its words."""
    box = make_prefix(prefix)
    python = prefix / "bin/python3.11"
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    finished = subprocess.run(["sh", "-c", through, box], capture_output=True, text=True, check=False, timeout=10)
    return finished.returncode, finished.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("Traceback (most recent call last):\nOSError: [Errno 5] Input/output error\n\n", "OSError: [Errno 5] Input/output error"),
        ("Fatal Python error: init: no memory\nPython runtime state: x\n\nCurrent thread\n", "Fatal Python error: init: no memory"),
        ("/a/python3: error while loading shared libraries: no room\n", "error while loading shared libraries: no room"),
        ("no end of line", "no end of line"),
        ("a\tb\033[1m", "a?b?[1m"),
        ("", "the interpreter ended without a word"),
    ],
)  # fmt: skip
def test_interpreter_that_cannot_start_is_one_line(tmp_path: Path, words: str, told: str) -> None:
    (tmp_path / "words").write_text(words)
    assert starting(tmp_path, f"cat {tmp_path}/words >&2; exit 7") == (
        7,
        f"box: cannot start: {told}\n",
    )


def test_interpreter_that_a_signal_ends_is_one_line(tmp_path: Path) -> None:
    assert starting(tmp_path, "kill -SEGV $$", through='exec "$0"') == (
        -signal.SIGSEGV,
        "box: cannot start: the interpreter ended without a word\n",
    )


def test_interpreter_that_says_a_lot_is_not_held_up(tmp_path: Path) -> None:
    status, told = starting(tmp_path, "yes | head -c 1000000 >&2; echo last >&2; exit 1")
    assert (status, told) == (1, "box: cannot start: last\n")


@pytest.mark.parametrize("bundled", [True, False])
def test_start_without_room_for_a_watcher_is_one_line_too(tmp_path: Path, bundled: bool) -> None:
    box = make_real_prefix(tmp_path)
    if not bundled:
        shutil.rmtree(tmp_path / "src/boxes/__pycache__")
    for limit in range(3, 12):
        command = ["prlimit", f"--nofile={limit}", str(box), "state"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0 or done.stderr.count("\n") == 1, (limit, done)


@pytest.mark.parametrize("to", ["2>&-", "2>/dev/null", "2>/dev/full"])
def test_interpreter_that_cannot_start_without_a_place_to_say_it(tmp_path: Path, to: str) -> None:
    assert starting(tmp_path, "echo word >&2; exit 7", through=f'"$0" {to}') == (7, "")


def make_real_prefix(prefix: Path) -> Path:
    """With the package itself, of which one verb looks around instead."""
    make_prefix(prefix, "src")
    shutil.rmtree(prefix / "src/boxes")
    shutil.copytree(PACKAGE, prefix / "src/boxes")
    (prefix / "src/boxes/cli/state.py").write_text(LOOKS)
    package = str(prefix / "src/boxes")
    subprocess.run(["/usr/bin/python3", "-X", "no_debug_ranges", f"{package}/bundle.py", package], check=True)
    return prefix / "bin/box"


def test_interpreter_that_cannot_start_in_the_session_it_leads(tmp_path: Path) -> None:
    """The end of a terminal's first process hangs up on all others there, but for who has to tell of it."""
    box = make_real_prefix(tmp_path)
    errors = tmp_path / "errors"
    script = f"ulimit -v 5000; exec {box} state x 2>{errors}"
    master, slave = os.openpty()
    leads = "import fcntl, os, sys; fcntl.ioctl(0, 0x540e, 0); os.execv('/bin/sh', sys.argv[1:])"  # TIOCSCTTY
    for _ in range(5):
        errors.unlink(missing_ok=True)
        command = ["/usr/bin/python3", "-c", leads, "sh", "-c", script]
        process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, start_new_session=True)
        assert process.wait(20) != 0
        deadline = time.monotonic() + 2
        while not errors.read_text() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert "cannot start" in errors.read_text()
    os.close(master)
    os.close(slave)


def test_closed_streams_without_a_null_device_are_told_of(tmp_path: Path) -> None:
    box = [str(make_real_prefix(tmp_path)), "state", "x"]
    closed = ["/bin/sh", "-c", 'exec "$@" <&-', "sh"]
    opening = points.Point(0, "open", 1)  # the C library of the shell has openat(2) for that
    done = points.run([*closed, *box], points.failing(opening), tmp_path, 20)
    assert done.reached
    assert done.code == 1
    assert "/dev/null" in done.err


def test_watcher_is_gone_when_the_command_runs(tmp_path: Path) -> None:
    box = make_real_prefix(tmp_path)
    words = tmp_path / "words"
    with words.open("w") as file:
        done = subprocess.run([box, "state"], stdout=subprocess.PIPE, stderr=file, stdin=subprocess.DEVNULL, check=True)
    assert json.loads(done.stdout) == [None, str(words), ["/dev/null", "pipe", str(words)]]
    assert words.read_text() == ""


@pytest.mark.requires("root")
def test_no_call_of_the_start_that_fails_is_silent_or_holds_it_up(tmp_path: Path) -> None:
    box = [str(make_real_prefix(tmp_path)), "state"]
    found = [point for point in points.record(box, tmp_path).points if point.call not in points.NEVER_FAIL]
    own = {"pipe2", "dup", "dup2", "clone", "wait4"}
    chosen = [point for point in found if point.task or point.call in own]
    assert {point.call for point in chosen if point.task} - {"getppid"} == {"dup2", "poll", "read"}
    assert {point.call for point in chosen if not point.task} == own
    for point in [*chosen, *random.Random(1).sample(found, 30)]:
        done = points.run(box, points.failing(point), tmp_path, 20)
        deadline = time.monotonic() + 2
        while done.code and not done.err and time.monotonic() < deadline:
            done = done._replace(err=points.words(tmp_path))
        if done.code:
            assert done.err.startswith("box: "), (point, done)
            assert done.err.count("\n") == 1, (point, done)
        else:
            assert done.err == "", (point, done)


DELETE = ("delete", "--force", "gone")


@pytest.mark.parametrize(
    "options",
    [
        ("--root", "ROOT", "--log", "LOG", "--log-format", "json"),
        ("--root", "ROOT", "--log", "LOG", "--log-format", "json", "--systemd-cgroup"),
        ("--root", "ROOT/none"),
    ],
    ids=["containerd", "systemd", "no directory"],
)
@pytest.mark.requires("root")
def test_deletion_by_force_of_nothing_takes_no_interpreter(tmp_path: Path, options: tuple[str, ...]) -> None:
    """What containerd's shim asks for each container that it has deleted. The log is there, as after other commands. On
    a host without networks, so in a mount namespace of its own."""
    (tmp_path / "bin").mkdir()
    box = shutil.copy(BOX, tmp_path / "bin/box")  # without the package it can do nothing else
    log = tmp_path / "log"
    given = [word.replace("ROOT", str(tmp_path)).replace("LOG", str(log)) for word in options]
    alone = 'mkdir -p /run/boxes && mount -t tmpfs tmpfs /run/boxes && exec "$@"'
    command = ["unshare", "--mount", "sh", "-c", alone, "sh", box, *given, *DELETE]
    done = subprocess.run(command, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert log.exists() == ("--log" in options)


@pytest.mark.parametrize(
    "command",
    [
        ("--root", "ROOT", "delete", "--force", "there"),
        ("--root", "ROOT", "delete", "--force", "file"),
        ("--root", "ROOT", "delete", "gone"),
        ("--root", "ROOT", "delete", "--force", "gone", "more"),
        ("--root", "ROOT", "delete", "--force", "../gone"),
        ("--root", "ROOT", "delete", "--force", ".."),
        ("--root", "ROOT", "delete", "--force", ""),
        ("--root", "ROOT", "delete", "--force", "x" * 256),
        ("--root", "", "delete", "--force", "gone"),
        ("--root", "relative", *DELETE),
        ("--root", "ROOT", "--root", "ROOT", *DELETE),
        ("--root", "ROOT", "--log", "ROOT", *DELETE),
        ("--root", "ROOT", "--log", "/dev/null", *DELETE),
        ("--root", "ROOT", "--log-format", "text", *DELETE),
        ("--root", "ROOT", "--debug", *DELETE),
        ("--root", "/" + "x" * 5000, *DELETE),
        DELETE,
        ("--root",),
        ("--log-format",),
    ],
    ids=" ".join,
)
def test_whatever_else_is_python_s_to_answer(tmp_path: Path, command: tuple[str, ...]) -> None:
    box = make_prefix(tmp_path)
    (tmp_path / "there").mkdir()
    (tmp_path / "file").touch()
    given = [word.replace("ROOT", str(tmp_path)) for word in command]
    assert run(box, *given)["argv"] == [os.fsencode(word).hex() for word in given]


@pytest.mark.requires("root")
def test_source_that_cannot_be_looked_at_is_no_reason_to_write_the_bundle_anew(tmp_path: Path) -> None:
    box = [str(make_real_prefix(tmp_path)), "state"]
    looks = [point for point in points.record(box, tmp_path).points if point.call == "newfstatat" and point.task == 0]
    bundle = next((tmp_path / "src/boxes/__pycache__").glob("bundle.*"))
    before = bundle.stat()
    for point in looks[-12::3]:
        points.run(box, points.failing(point), tmp_path, 20)
    assert bundle.stat().st_ino == before.st_ino
