"""What goes wrong in Python while a container is set up executes, and opens, nothing of the container's.

An interpreter that shows a traceback or a warning opens source files by path, and a late import searches directories.
With a container's root as its root these would be the attacker's: planted source, a planted codec, a pipe to wait at.
So Python never gets there (tests/architecture/test_inner_only.py); here it is made to fail at each call of the builder,
in all ways that make an interpreter open files, above a root filesystem where all of them are planted.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sysconfig
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.bundle import Bundle
from tests.support.marks import not_for
from tests.support.runtime import CHECKOUT, ENVIRONMENT, Runtime
from tests.support.tally import Row, patience, some

pytestmark = not_for("runc", "crun", reason="they are not written in Python")

# Runs the package as the launcher does, with a profiler in the child that is to become the container: it fails at the
# N-th call. "exit" is a sys.exit which unwinds; "import" is one on a path that is never taken else.
DRIVER = """#!/usr/bin/python3 -IS
import os, sys
KIND, POINT, LOG = os.environ["FAIL"].split(":")
POINT = int(POINT)
PARENT = os.getpid()
calls = 0

class Broken:
    def __del__(self):
        raise RuntimeError("unraisable")

def fail(frame):
    if os.environ.get("ROOT"):  # the control: as a runtime whose code runs in the container's root
        os.chroot(os.environ["ROOT"])
        os.chdir("/")
    if KIND == "raise":
        if os.environ.get("ROOT"):
            try:
                raise RuntimeError("planned")
            except RuntimeError:
                sys.__excepthook__(*sys.exc_info())
        raise RuntimeError("planned")
    elif KIND == "warn":
        import warnings
        warnings.warn("planned")
    elif KIND == "unraisable":
        Broken()
    elif KIND == "exit":
        sys.exit(3)
    elif KIND == "import":
        import wave
    elif KIND == "interrupt":
        raise KeyboardInterrupt
    elif KIND == "memory":
        raise MemoryError
    elif KIND == "recursion":
        def deeper():
            deeper()
        deeper()

def profile(frame, event, argument):
    global calls
    if os.getpid() == PARENT or event != "call":
        return
    calls += 1
    if POINT == 0 and LOG:
        with open(LOG, "a") as log:
            log.write(f"{calls} {frame.f_code.co_filename}:{frame.f_code.co_name}\\n")
    if calls == POINT:
        sys.setprofile(None)
        fail(frame)

package = %r
module = sys.modules["boxes"] = type(sys)("boxes")
module.__path__ = [package]
module.bundled = True
sys.setprofile(profile)
from boxes.cli.main import main
main()
"""
KINDS = ["raise", "warn", "unraisable", "exit", "import", "interrupt", "memory", "recursion"]
STDLIB = Path(sysconfig.get_path("stdlib", vars={"installed_base": "/usr", "base": "/usr"}))
CODEC = "evilcodec"


def plant(bundle: Bundle, planted: str, driver: Path) -> None:
    """At each path where an interpreter may look for source: code that leaves a mark, or a pipe that nobody writes to."""
    mark = "open('/tmp/executed', 'w').close()\n"
    folders = [CHECKOUT / "src/boxes", STDLIB]
    files = [*folders[0].rglob("*.py"), driver, Path(driver.name)]
    late = "wave warnings traceback linecache tokenize re contextlib textwrap enum functools".split()
    files += [STDLIB / f"{name}.py" for name in late]
    files += [STDLIB / "encodings" / f"{name}.py" for name in (CODEC, "ascii", "idna", "latin_1")]
    for path in files:
        place = bundle.rootfs / str(path).lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.exists():
            continue
        if planted == "fifo":
            os.mkfifo(place)
        elif path.parent.name == "encodings" or path.parent == STDLIB:
            place.write_text(mark)
        else:
            place.write_text(f"# -*- coding: {CODEC} -*-\n" + mark * 400)


@pytest.fixture
def driver(bundle: Bundle) -> Path:
    path = bundle.path / "driver"
    path.write_text(DRIVER % str(CHECKOUT / "src/boxes"))
    path.chmod(0o755)
    return path


class Attempt:
    """A `run` which fails at a point, and what came of it."""

    def __init__(self, box: Runtime, bundle: Bundle, driver: Path, fail: str, root: str = "") -> None:
        self.mark = bundle.rootfs / "tmp/executed"
        command = [str(driver), *box.command("run", *box.bundle_args(bundle))[1:]]
        env = ENVIRONMENT | {"FAIL": fail} | ({"ROOT": root} if root else {})
        begun = time.monotonic()
        self.hung = False
        with subprocess.Popen(
            command, env=env, stdin=-3, stdout=-3, stderr=subprocess.PIPE, start_new_session=True
        ) as process:
            try:
                _, err = process.communicate(timeout=3)
            except subprocess.TimeoutExpired:
                self.hung = True
                os.killpg(process.pid, 9)
                _, err = process.communicate()
        self.code, self.err = process.returncode, err.decode()
        self.seconds = time.monotonic() - begun

    @property
    def executed(self) -> bool:
        return self.mark.exists()


def calls(box: Runtime, bundle: Bundle, driver: Path) -> int:
    """How many calls the builder makes."""
    log = bundle.path / "calls"
    attempt = Attempt(box, bundle, driver, f"none:0:{log}")
    assert attempt.code == 0, attempt.err
    names = log.read_text().splitlines()
    assert any("container/builder.py:main" in name for name in names)
    return len(names)


def shifted(kinds: list[str], point: int) -> list[str]:
    """So that each kind meets both of what is planted."""
    return kinds[point % 2 :] + kinds[: point % 2]


def test_failure_anywhere_in_the_builder_runs_and_opens_nothing_of_the_containers(
    box: Runtime, make_bundle: Callable[[], Bundle], tally: Row
) -> None:
    patience(60, 240, 7200)
    bundles = {}
    for planted in ("code", "fifo"):
        bundle = bundles[planted] = make_bundle()
        path = bundle.path / "driver"
        path.write_text(DRIVER % str(CHECKOUT / "src/boxes"))
        path.chmod(0o755)
        bundle.linux["maskedPaths"] = ["/etc/passwd", "/proc/keys"]
        bundle.linux["readonlyPaths"] = ["/proc/sys"]
        plant(bundle, planted, path)
    count = calls(box, bundles["code"], bundles["code"].path / "driver")
    assert count > 60
    failed, wrong = 0, []
    both = itertools.cycle(bundles)  # in turn: a call fails in all ways, half of them with either
    cases = [(point, kind, next(both)) for point in range(1, count + 1) for kind in shifted(KINDS, point)]
    first = 5 * len(KINDS)  # until there is something that holds it, the child has its parent's frames to unwind into
    for point, kind, planted in [*cases[:first], *some(cases[first:], 24, 600)]:
        bundle = bundles[planted]
        attempt = Attempt(box, bundle, bundle.path / "driver", f"{kind}:{point}:")
        told = attempt.err.startswith("box: ") and attempt.err.count("\n") == 1
        if attempt.hung or attempt.executed or not (told or attempt.code == 0 or kind in ("warn", "unraisable")):
            wrong.append(f"{kind} at call {point}, {planted}: {attempt.code} {attempt.err}")
        failed += attempt.code != 0
        if (box.root / bundle.id).exists():
            box("delete", "--force", bundle.id).ok()
        tally.tried()
    assert wrong == []
    assert failed, "nothing failed: this test proves nothing"


@pytest.mark.parametrize("kind", ["raise", "warn", "unraisable"])
def test_control_with_the_containers_root_runs_what_is_planted(
    box: Runtime, bundle: Bundle, driver: Path, tally: Row, kind: str
) -> None:
    plant(bundle, "code", driver)
    attempt = Attempt(box, bundle, driver, f"{kind}:60:", root=str(bundle.rootfs))
    tally.red(f"python in the container's root: {kind}", attempt.executed)


@pytest.mark.parametrize("kind", ["raise", "unraisable"])
def test_control_with_the_containers_root_waits_at_a_pipe(
    box: Runtime, bundle: Bundle, driver: Path, tally: Row, kind: str
) -> None:
    plant(bundle, "fifo", driver)
    attempt = Attempt(box, bundle, driver, f"{kind}:60:", root=str(bundle.rootfs))
    tally.red(f"python in the container's root: {kind}, pipe", attempt.hung)
