"""Start-up is the speed of a runtime: each verb of an engine may import a short list of modules, and no more."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

from tests.support import source
from tests.support.bundle import Bundle
from tests.support.marks import requires
from tests.support.runtime import ENVIRONMENT, Runtime

pytestmark = requires("root")

# Of the standard library, and what `os` itself brings. `gc` is built in; `__future__` comes with every module here.
ALLOWED = set(
    "os errno time stat fcntl select posix marshal sys builtins posixpath genericpath abc _abc _stat _collections_abc os.path "
    "_signal gc __future__ _json _socket _posixsubprocess _struct".split()
)
# 3 to 30 ms each: the reason of the rule. Any other that is not allowed is an error too.
FORBIDDEN = set(
    "re json argparse typing dataclasses enum logging subprocess socket tempfile pathlib threading collections functools contextlib "
    "signal random hashlib shutil datetime traceback warnings copy glob ctypes importlib.util inspect string struct".split()
)
# How many of the package's own modules a verb may load. They cost 0.05 to 0.3 ms each.
OWN = {"create": 80, "start": 48, "state": 48, "kill": 48, "delete": 48, "run": 80, "exec": 58}
OWN |= {"pause": 48, "resume": 48, "update": 54, "events": 48}

# Before what the launcher runs: a note of what was imported when the process ends. The runtime leaves by `_exit`.
NOTE = """
import sys, posix
before, note = set(sys.modules), sys.argv.pop(1)
end, own = posix._exit, posix.getpid()
def leave(code):
    if posix.getpid() == own:
        fd = posix.open(note, posix.O_WRONLY | posix.O_CREAT | posix.O_TRUNC | posix.O_CLOEXEC)
        loaded = set(sys.modules) - before
        if sys.meta_path[0].find_spec.__globals__.get('found') is not None: loaded.add('boxes.?')
        posix.write(fd, ' '.join(sorted(loaded)).encode())
    end(code)
posix._exit = leave
if 'os' in sys.modules: sys.modules['os']._exit = leave
"""


def start_code() -> str:
    """What the launcher gives to `python -c`, from its source."""
    text = (source.CHECKOUT / "native" / "launcher.c").read_text()
    declaration = re.search(r"START\[\] =\n(.*?);\n", text, re.DOTALL)
    assert declaration
    lines: list[str] = [ast.literal_eval(line.strip()) for line in declaration[1].splitlines()]
    return "".join(lines)


def imported(box: Runtime, *args: str) -> set[str]:
    """The modules a command loads beyond those of a bare interpreter. The command must succeed."""
    note = box.directory / "modules"
    note.unlink(missing_ok=True)
    program = [str(note), str(source.PACKAGE), "2", "0", "--root", str(box.root), *args]
    told = next((source.PACKAGE / "__pycache__").glob("!*._pth"))  # as the launcher names the interpreter
    command = [str(told).removesuffix("._pth"), "-I", "-S", "-c", NOTE + start_code(), *program]
    errors = box.directory / "errors"
    with open(errors, "wb") as err:
        code = subprocess.run(
            command, env=ENVIRONMENT, executable="/usr/bin/python3", stdin=-3, stdout=-3, stderr=err, timeout=20
        ).returncode
    assert code == 0, errors.read_text()
    return set(note.read_text().split())


@pytest.fixture
def loaded(box: Runtime, bundle: Bundle) -> dict[str, set[str]]:
    """The modules of each hot verb, over one container's life."""
    # lets it renew the file of its bytecode, if sources are newer: any verb would
    box("list").ok()
    bundle.args("/bin/probe", "--catch").save()
    place = ("--bundle", str(bundle.path))
    box.identifiers.append(bundle.id)
    found = {"create": imported(box, "create", *place, bundle.id)}
    found["start"] = imported(box, "start", bundle.id)
    found["state"] = imported(box, "state", bundle.id)
    found["exec"] = imported(box, "exec", bundle.id, "/bin/true")
    found["pause"] = imported(box, "pause", bundle.id)
    found["resume"] = imported(box, "resume", bundle.id)
    found["update"] = imported(box, "update", "--memory", "64M", "--pids-limit", "50", bundle.id)
    found["events"] = imported(box, "events", "--stats", bundle.id)
    found["kill"] = imported(box, "kill", bundle.id, "KILL")
    found["delete"] = imported(box, "delete", "--force", bundle.id)
    bundle.args("/bin/true").save()
    found["run"] = imported(box, "run", *place, bundle.id)
    return found


def outside(modules: set[str]) -> set[str]:
    return {module for module in modules if module.split(".")[0] != "boxes"}


def test_hot_verbs_import_nothing_slow(loaded: dict[str, set[str]]) -> None:
    assert {
        verb: outside(modules) & FORBIDDEN for verb, modules in loaded.items() if outside(modules) & FORBIDDEN
    } == {}


def test_hot_verbs_import_nothing_that_is_not_listed(loaded: dict[str, set[str]]) -> None:
    assert {verb: outside(modules) - ALLOWED for verb, modules in loaded.items() if outside(modules) - ALLOWED} == {}


def test_hot_verbs_load_a_bounded_number_of_own_modules(loaded: dict[str, set[str]]) -> None:
    counts = {verb: len(modules - outside(modules)) for verb, modules in loaded.items()}
    assert {verb: count for verb, count in counts.items() if count > OWN[verb]} == {}


def test_all_that_a_hot_verb_loads_is_in_its_packs(loaded: dict[str, set[str]]) -> None:
    """boxes/bundle.py lists them; what is not there is found by an index of all modules, which is long."""
    assert [verb for verb, modules in loaded.items() if "boxes.?" in modules] == []


def test_verbs_that_query_do_not_load_what_builds(loaded: dict[str, set[str]]) -> None:
    building = (
        "boxes.apply",
        "boxes.plan",
        "boxes.spec.validate",
        "boxes.container.creation",
        "boxes.container.builder",
    )
    for verb in ("start", "state", "kill", "pause", "resume", "events"):
        assert [module for module in sorted(loaded[verb]) if module.startswith(building)] == [], verb


# Of systemd's scopes.
SYSTEMD = set(
    "boxes.cgroups.bus boxes.cgroups.dbus boxes.cgroups.scope boxes.cgroups.systemd boxes.cgroups.units boxes.plan.systemd "
    "boxes.plan.gvariant boxes.container.scopes boxes.container.attach".split()
)


def test_what_talks_to_systemd_is_loaded_for_its_own_containers_only(loaded: dict[str, set[str]]) -> None:
    assert {verb: modules & SYSTEMD for verb, modules in loaded.items() if modules & SYSTEMD} == {}


def test_what_talks_to_systemd_imports_nothing_slow() -> None:
    code = f"import sys; sys.path.insert(0, {str(source.PACKAGE.parent)!r}); before = set(sys.modules)\n"
    code += "".join(f"import {name}\n" for name in sorted(SYSTEMD))
    code += "print(*sorted(set(sys.modules) - before))"
    done = subprocess.run(["/usr/bin/python3", "-I", "-S", "-c", code], capture_output=True, text=True, timeout=20)
    modules = set(done.stdout.split())
    assert modules >= SYSTEMD, done.stderr
    assert outside(modules) - ALLOWED == set()


def test_entry_is_compiled() -> None:
    """Without bytecode each start compiles: 15 ms."""
    compiled = {path.name.split(".")[0] for path in (source.PACKAGE / "cli" / "__pycache__").glob("*.pyc")}
    assert {"main", "create", "start", "state", "kill", "delete", "run"} <= compiled


def test_bytecode_is_not_written_by_a_verb(box: Runtime) -> None:
    def caches() -> dict[str, int]:
        return {str(path): path.stat().st_mtime_ns for path in source.PACKAGE.rglob("*.pyc")}

    before = caches()
    box("list").ok()
    assert caches() == before


def test_budget_is_for_the_command_that_users_run(box: Runtime, tmp_path: Path) -> None:
    """The launcher starts the interpreter isolated, without site, and without a variable of PYTHON*."""
    command = [
        "strace",
        "-ff",  # a file for each process: in one, a call may be on two lines
        "-o",
        str(tmp_path / "calls"),
        "-v",
        "-s",
        "4096",
        "-e",
        "trace=execve",
        str(source.CHECKOUT / "bin" / "box"),
        "--version",
    ]
    result = subprocess.run(
        command, env=ENVIRONMENT | {"PYTHONPATH": "/evil"}, capture_output=True, text=True, timeout=20
    )
    assert result.returncode == 0, result.stderr
    calls = [line for path in tmp_path.glob("calls.*") for line in path.read_text().splitlines()]
    (last,) = [line for line in calls if '"-I"' in line and line.endswith("= 0")]
    assert '"-I", "-S"' in last
    assert "PYTHON" not in last
