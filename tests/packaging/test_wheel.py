"""What pip and `make install` make of the checkout: a working box and an importable package, wherever it is put."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
SYSTEM_PYTHON = "/usr/bin/python3"
# No user, no settings of pip's, and the tools of the build in reach.
ENVIRONMENT = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


def output(*command: str | Path, cwd: Path = Path("/"), environment: dict[str, str] | None = None) -> str:
    finished = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=cwd, env=ENVIRONMENT | (environment or {})
    )
    assert finished.returncode == 0, f"{command}: {finished.stdout}{finished.stderr}"
    return finished.stdout


def is_box(program: Path) -> bool:
    return output(program, "--version").startswith("box version ")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("wheel")
    pip = (sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index")
    output(*pip, "--wheel-dir", target, CHECKOUT)
    (made,) = target.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def venv(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the wheel."""
    path = tmp_path_factory.mktemp("venv")
    output(SYSTEM_PYTHON, "-m", "venv", path)
    output(path / "bin/pip", "install", "--no-index", wheel)
    return path


def test_wheel_has_each_source_the_binaries_and_nothing_else(wheel: Path) -> None:
    assert wheel.name.split("-")[2:4] == ["cp311", "abi3"]
    with zipfile.ZipFile(wheel) as archive:
        modes = {entry.filename: entry.external_attr >> 16 & 0o777 for entry in archive.infolist()}
    names = {name for name in modes if ".dist-info/" not in name}
    package = CHECKOUT / "src/boxes"
    sources = {str(path.relative_to(CHECKOUT / "src")) for path in package.rglob("*.py*") if path.suffix != ".pyc"}
    (box,) = (name for name in names if name.endswith(".data/scripts/box"))
    assert names == sources | {box, "boxes/py.typed", "boxes/libexec/inner", "boxes/linux/_syscalls.abi3.so"}
    assert modes[box] == modes["boxes/libexec/inner"] == 0o755


def test_installed_box_runs(venv: Path) -> None:
    assert is_box(venv / "bin/box")


def test_version_is_the_same_everywhere(venv: Path) -> None:
    shown = output(venv / "bin/pip", "show", "boxes")
    (version,) = (line.split()[1] for line in shown.splitlines() if line.startswith("Version:"))
    assert output(venv / "bin/box", "--version").startswith(f"box version {version}\n")


def test_installed_package_is_importable_and_compiled(venv: Path) -> None:
    script = "import boxes, boxes.linux._syscalls, sys; print(sys.modules['boxes.linux'].__file__)"
    folder = Path(output(venv / "bin/python", "-c", script).strip()).parent
    assert folder.is_relative_to(venv)
    assert list(folder.glob("__pycache__/syscalls.*.pyc"))


def test_installed_inner_is_a_static_program_that_can_be_executed(venv: Path) -> None:
    (inner,) = venv.glob("lib/python3*/site-packages/boxes/libexec/inner")
    assert os.access(inner, os.X_OK)
    assert b"ld-linux" not in inner.read_bytes()
    assert b"ld-musl" not in inner.read_bytes()


def test_link_as_pipx_makes_it(venv: Path, tmp_path: Path) -> None:
    (tmp_path / "box").symlink_to(venv / "bin/box")
    assert is_box(tmp_path / "box")


@pytest.mark.parametrize("where", ["--prefix", "--target"])
def test_installed_without_a_virtual_environment(venv: Path, wheel: Path, tmp_path: Path, where: str) -> None:
    """--prefix has the layout of --user too."""
    output(venv / "bin/pip", "install", "--no-index", "--ignore-installed", where, tmp_path, wheel)
    assert is_box(tmp_path / "bin/box")


def test_hostile_surroundings_are_ignored(venv: Path, tmp_path: Path) -> None:
    (tmp_path / "boxes").mkdir()
    for name in ("json.py", "os.py", "posix.py", "errno.py", "boxes/__init__.py", "sitecustomize.py"):
        (tmp_path / name).write_text("raise SystemExit('imported')")
    hostile = {"PYTHONPATH": str(tmp_path), "PYTHONHOME": str(tmp_path), "PYTHONSAFEPATH": ""}
    shown = output(venv / "bin/box", "--version", cwd=tmp_path, environment=hostile)
    assert shown.startswith("box version ")


@pytest.mark.parametrize("prefix", ["/usr/local", "/usr", "/opt/boxes"])
def test_make_install_honours_prefix_and_destdir(tmp_path: Path, prefix: str) -> None:
    output(SYSTEM_PYTHON, CHECKOUT / "scripts/install-files", "--destdir", tmp_path, prefix)
    box = Path(f"{tmp_path}{prefix}/bin/box")
    assert is_box(box)
    (source,) = tmp_path.rglob("errors.py")
    assert list(source.parent.glob("__pycache__/errors.*.pyc"))
    paths = os.fsencode(tmp_path), os.fsencode(CHECKOUT)  # of the build: they mean nothing to who installs the package
    # The bundle was written anew by the box that just ran from where it is packed.
    texts = [
        path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and not path.name.startswith("bundle.c")
    ]
    assert not [text for text in texts if any(path in text for path in paths)]
    output(SYSTEM_PYTHON, CHECKOUT / "scripts/install-files", "--destdir", tmp_path, "--remove", prefix)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.slow
def test_pip_install_of_the_checkout_into_a_fresh_environment(tmp_path: Path) -> None:
    """As a user does it: pip gets what the build needs by itself."""
    output(SYSTEM_PYTHON, "-m", "venv", tmp_path)
    # Its settings say how it reaches the packages of the build; no tool of this environment may help.
    settings = {name: value for name, value in os.environ.items() if name.startswith("PIP_") or name.endswith("_proxy")}
    settings |= {"PATH": "/usr/bin:/bin", "HOME": os.environ.get("HOME", "/")}
    output(tmp_path / "bin/pip", "install", "-q", CHECKOUT, environment=settings)
    assert is_box(tmp_path / "bin/box")
    output(tmp_path / "bin/python", "-c", "import boxes")
