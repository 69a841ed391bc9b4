"""native/launcher.c: which package and interpreter it finds, and what it hands on. The package here is a stub."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

BOX = Path(__file__).parents[2] / "bin" / "box"
STUB = """
import os, sys

def main():
    import json
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
def test_deletion_by_force_of_nothing_takes_no_interpreter(tmp_path: Path, options: tuple[str, ...]) -> None:
    """What containerd's shim asks for each container that it has deleted. The log is there, as after other commands."""
    (tmp_path / "bin").mkdir()
    box = shutil.copy(BOX, tmp_path / "bin/box")  # without the package it can do nothing else
    log = tmp_path / "log"
    given = [word.replace("ROOT", str(tmp_path)).replace("LOG", str(log)) for word in options]
    done = subprocess.run([box, *given, *DELETE], capture_output=True, check=False)
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
