"""Code of others which an interpreter would load: from the working directory, from what the environment names, from the
home directory, from the bundle.

CVE-2019-14271, CVE-2026-41567.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.bundle import Bundle
from tests.support.runtime import CHECKOUT, ENVIRONMENT, Runtime
from tests.support.tally import Row, some

MODULES = (
    "boxes os sys json re errno stat site sitecustomize usercustomize encodings codecs io abc posix posixpath types enum typing "
    "argparse logging subprocess socket select signal struct warnings traceback linecache tokenize _strptime locale fcntl"
).split()
# Set to a directory with a module of each of these names, or to what makes an interpreter run or write something.
VARIABLES = {
    "PYTHONPATH": "{evil}",
    "PYTHONHOME": "{evil}",
    "PYTHONSTARTUP": "{evil}/os.py",
    "PYTHONUSERBASE": "{evil}",
    "PYTHONPLATLIBDIR": "{evil}",
    "PYTHONPYCACHEPREFIX": "{evil}",
    "PYTHONEXECUTABLE": "{evil}/python3",
    "PYTHONINSPECT": "1",
    "PYTHONBREAKPOINT": "os.system",
    "PYTHONWARNINGS": "error::evil.Category",
    "PYTHONCASEOK": "1",
    "PYTHONMALLOC": "debug",
    "PYTHONMALLOCSTATS": "1",
    "PYTHONFAULTHANDLER": "1",
    "PYTHONTRACEMALLOC": "25",
    "PYTHONPERFSUPPORT": "1",
    "PYTHONDUMPREFS": "1",
    "PYTHONHASHSEED": "0",
    "PYTHONDEBUG": "3",
    "PYTHONVERBOSE": "2",
    "PYTHONOPTIMIZE": "2",
    "PYTHONUNBUFFERED": "1",
    "PYTHONIOENCODING": "evil",
    "PYTHONUTF8": "0",
    "PYTHONCOERCECLOCALE": "0",
    "PYTHONASYNCIODEBUG": "1",
    "PYTHONPROFILEIMPORTTIME": "1",
    "PYTHONINTMAXSTRDIGITS": "640",
    "PYTHONNODEBUGRANGES": "1",
    "PYTHONSAFEPATH": "",
    "PYTHONDONTWRITEBYTECODE": "1",
    "HOME": "{evil}",
    "XDG_CONFIG_HOME": "{evil}",
    "VIRTUAL_ENV": "{evil}",
    "PATH": "{evil}:/usr/bin:/bin",
    "TMPDIR": "{evil}",
    "LD_LIBRARY_PATH": "{evil}",
    "LD_PRELOAD": "{evil}/evil.so",
    "LD_AUDIT": "{evil}/evil.so",
    "GCONV_PATH": "{evil}",
    "OPENSSL_CONF": "{evil}/openssl.cnf",
    "LOCPATH": "{evil}",
    "NLSPATH": "{evil}/%N",
    "GLIBC_TUNABLES": "glibc.malloc.check=3",
    "LANG": "tr_TR.ISO-8859-9",
    "LC_ALL": "evil",
    "NOTIFY_SOCKET": "{evil}/notify",
}


def plant(folder: Path, pwned: Path) -> Path:
    """What an interpreter may look for in a directory; if it is loaded, `pwned` appears."""
    folder.mkdir(exist_ok=True)
    code = f"open({str(pwned)!r}, 'w')\n"
    for name in MODULES:
        (folder / f"{name}.py").write_text(code)
    for package in ("encodings", "boxes", "json"):
        (folder / "packages" / package).mkdir(parents=True)
        (folder / "packages" / package / "__init__.py").write_text(code)
    (folder / "evil.pth").write_text(f"import os; open({str(pwned)!r}, 'w')\n")
    for name in ("pyvenv.cfg", "python311._pth", "python3._pth", "python._pth", "box._pth"):
        (folder / name).write_text("home = /evil\n" if name == "pyvenv.cfg" else f"{folder}\nimport site\n")
    library = folder / "lib" / "python3.11"
    (library / "site-packages").mkdir(parents=True)
    for place in (library, library / "site-packages"):
        (place / "sitecustomize.py").write_text(code)
        (place / "os.py").write_text(code)
    tool = folder / "python3"
    tool.write_text(f"#!/bin/sh\n: > {pwned}\n")
    tool.chmod(0o755)
    return folder


@pytest.fixture
def pwned(bundle: Bundle) -> Path:
    return bundle.path / "pwned"


def quiet(text: str) -> list[str]:
    """What a loader says of a library that is not there is not the runtime's to say."""
    return [line for line in text.splitlines() if "ERROR: ld.so" not in line]


@pytest.mark.parametrize("variable", some(list(VARIABLES), 20))
def test_variable_of_the_caller_changes_nothing(box: Runtime, bundle: Bundle, pwned: Path, variable: str) -> None:
    evil = plant(bundle.path / "evil", pwned)
    value = VARIABLES[variable].format(evil=evil)
    bundle.process["env"] = ["PATH=/bin", "HOME=/home"]
    result = box.run(bundle.args("/bin/probe"), env=ENVIRONMENT | {variable: value})
    assert result.report()["env"] == ["PATH=/bin", "HOME=/home"]
    assert quiet(result.err) == []
    assert not pwned.exists()
    assert not list(evil.rglob("*.pyc"))


def test_all_of_them_at_once_change_nothing(box: Runtime, bundle: Bundle, pwned: Path) -> None:
    evil = plant(bundle.path / "evil", pwned)
    env = {name: value.format(evil=evil) for name, value in VARIABLES.items()}
    container = box.running_shell(bundle)
    assert container.exec("/bin/echo", "ran", env=env).ok().out == "ran\n"
    for verb in ("state", "ps", "kill", "delete"):
        result = box(verb, *(["--force"] if verb == "delete" else []), container.id, env=env)
        assert quiet(result.err) == []
        result.ok()
    assert not pwned.exists()


def test_empty_environment_is_enough(box: Runtime, bundle: Bundle) -> None:
    assert box.run(bundle.args("/bin/echo", "ran"), env={}).ok().out == "ran\n"


@pytest.mark.parametrize("place", ["bundle", "root filesystem", "bundle and home"])
def test_modules_in_the_working_directory_are_not_imported(
    box: Runtime, bundle: Bundle, pwned: Path, place: str
) -> None:
    """containerd runs a runtime in the bundle."""
    folder = plant(bundle.rootfs if place == "root filesystem" else bundle.path, pwned)
    bundle.args("/bin/echo", "ran").save()
    env = ENVIRONMENT | ({"HOME": str(folder)} if "home" in place else {})
    assert box("run", "--bundle", str(bundle.path), bundle.id, cwd=folder, env=env).ok().out == "ran\n"
    assert not pwned.exists()
    assert not list(bundle.path.rglob("__pycache__"))


@pytest.mark.parametrize("kind", ["constructor", "missing"])
def test_libraries_of_the_image_are_not_loaded(box: Runtime, bundle: Bundle, pwned: Path, kind: str) -> None:
    """CVE-2019-14271: a helper loaded libnss from the container's root. Those here mark the host if they are executed."""
    libraries = (
        "libnss_files.so.2",
        "libnss_dns.so.2",
        "libgcc_s.so.1",
        "libcrypto.so.3",
        "libc.so.6",
        "libpthread.so.0",
    )
    folder = bundle.rootfs / "lib/x86_64-linux-gnu"
    folder.mkdir(parents=True)
    if kind == "constructor":
        source = bundle.path / "evil.c"
        source.write_text(
            "#include <fcntl.h>\n__attribute__((constructor)) static void run(void)"
            f'{{ open("{pwned}", O_CREAT | O_WRONLY, 0600); open("/tmp/pwned", O_CREAT | O_WRONLY, 0600); }}\n'
        )
        built = bundle.path / "evil.so"
        subprocess.run(["gcc", "-shared", "-fPIC", "-o", built, source], check=True)
        for name in libraries:
            os.link(built, folder / name)
    (bundle.rootfs / "etc/nsswitch.conf").write_text("passwd: files dns\ngroup: files dns\n")
    bundle.process["user"] = {"uid": 1000, "gid": 1000}
    container = box.running_shell(bundle)
    container.exec("/bin/true", flags=("--user", "1000:1000")).ok()
    assert not pwned.exists()
    assert not (bundle.rootfs / "tmp/pwned").exists()


def test_control_imports_from_the_working_directory(bundle: Bundle, pwned: Path, tally: Row) -> None:
    """The same package, by an interpreter that is not isolated."""
    plant(bundle.path, pwned)
    env = ENVIRONMENT | {"PYTHONPATH": str(CHECKOUT / "src")}
    subprocess.run(
        ["/usr/bin/python3", "-m", "boxes.cli.main", "state", "x"],
        cwd=bundle.path,
        env=env,
        capture_output=True,
        check=False,
    )
    tally.red("python3 -m in the bundle", pwned.exists())


def test_control_obeys_a_variable(bundle: Bundle, pwned: Path, tally: Row) -> None:
    evil = bundle.host_directory("evil", **{"sitecustomize.py": f"open({str(pwned)!r}, 'w')"})
    subprocess.run(["/usr/bin/python3", "-c", "pass"], env=ENVIRONMENT | {"PYTHONPATH": str(evil)}, check=False)
    tally.red("python3 with PYTHONPATH", pwned.exists())
