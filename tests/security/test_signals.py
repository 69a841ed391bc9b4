"""Signals at any moment, to each verb: what it reports is true, and nothing is left that `delete --force` leaves."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable

import pytest

from tests.support.bundle import Bundle
from tests.support.marks import not_for
from tests.support.runtime import ENVIRONMENT, Runtime
from tests.support.tally import SEED, Row, patience, size

# The default of these is to be ignored, to stop, or to go on: none of them is a reason to fail.
HARMLESS = [signal.SIGWINCH, signal.SIGCHLD, signal.SIGURG, signal.SIGCONT]
ENDING = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGALRM, signal.SIGUSR1]


def storm(process: subprocess.Popen[bytes], chance: random.Random, stop: bool) -> int:
    """Signals as fast as one can, until it has ended; its exit status."""
    while process.poll() is None:
        process.send_signal(chance.choice(HARMLESS))
        if stop and chance.random() < 0.05:
            process.send_signal(signal.SIGSTOP)
            process.send_signal(signal.SIGCONT)
    return process.returncode


def started(runtime: Runtime, *args: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(runtime.command(*args), env=ENVIRONMENT, stdin=-3, stdout=-3, stderr=-3)


@pytest.mark.parametrize("stop", [False, True])
@pytest.mark.parametrize("verb", ["run", "exec", "create"])
@not_for("runc", "crun", reason="they forward all signals, those that stop too")
def test_storm_of_harmless_signals_changes_no_status(
    box: Runtime, bundle: Bundle, tally: Row, verb: str, stop: bool
) -> None:
    """Each call may be interrupted: EINTR is no error, and no result."""
    patience(60, 120, 600)
    chance = random.Random(SEED)
    rounds = size(4, 60, 500)
    if verb == "exec":
        box.running_shell(bundle)
    for _ in range(rounds):
        if verb == "run":
            assert storm(started(box, "run", *box.bundle_args(bundle.shell("exit 42"))), chance, stop) == 42
        elif verb == "exec":
            assert storm(started(box, "exec", bundle.id, "/bin/sh", "-c", "exit 42"), chance, stop) == 42
        else:
            assert storm(started(box, "create", *box.bundle_args(bundle)), chance, stop) == 0
            box("delete", "--force", bundle.id).ok()
    tally.tried(rounds)


def prepare(box: Runtime, bundle: Bundle, verb: str) -> tuple[str, ...]:
    """What has to be there for a verb, and its arguments."""
    if verb in ("run", "create"):
        return (verb, *box.bundle_args(bundle))
    if not (box.root / bundle.id).exists():
        assert started(box, "create", *box.bundle_args(bundle)).wait(20) == 0
    if verb in ("exec", "pause", "kill"):
        started(box, "start", bundle.id).wait(20)
    tails = {"exec": ("/bin/sh", "-c", "exit 42"), "kill": ("WINCH",)}
    return (verb, *(["--force"] if verb == "delete" else []), bundle.id, *tails.get(verb, ()))


@pytest.mark.parametrize("verb", ["create", "run", "start", "exec", "kill", "pause", "delete", "state"])
def test_signal_that_ends_at_a_random_moment_leaves_nothing(
    box: Runtime, bundle: Bundle, tally: Row, verb: str
) -> None:
    """It ends by the signal, or does what it was asked, or says that it did not; then `delete --force` works."""
    patience(60, 240, 1800)
    chance = random.Random(SEED)
    bundle.args("/bin/sleep", "0.05" if verb == "run" else "100")
    right = {"exec": {42}, "run": {0, 137, 143, 130}}.get(verb, {0})
    rounds = size(3, 40, 250)
    for _ in range(rounds):
        command = prepare(box, bundle, verb)
        process = started(box, *command)
        time.sleep(chance.uniform(0, 0.04))
        number = chance.choice(ENDING)
        process.send_signal(number)
        code = process.wait(20)
        # 130: SIGINT as a shell reports it; 128+N: a container that was ended by what was forwarded to it
        assert code in right | {-number, 1, 130, 128 + number}, f"{verb} after {number.name}: {code}"
        result = box("delete", "--force", bundle.id)
        result.ok()
        assert not (box.root / bundle.id).exists()
    tally.tried(rounds)


def test_ignored_and_blocked_signals_of_the_caller_end_nothing_early(
    box: Runtime, make_bundle: Callable[[], Bundle]
) -> None:
    """A caller that ignores SIGCHLD has no zombies, and so has who inherits that: waits would fail with ECHILD."""
    code = "import os, signal, sys; [signal.signal(n, signal.SIG_IGN) for n in (17, 13, 1, 2, 15)]; os.execv(sys.argv[1], sys.argv[1:])"
    prefix = ("/usr/bin/python3", "-c", code)
    assert box.run(make_bundle().shell("exit 42"), prefix=prefix).code == 42
    container = box.create(make_bundle(), prefix=prefix)
    container.start().ok()
    assert container.wait() == 0


def test_control_takes_an_interrupted_call_for_its_end(tally: Row) -> None:
    """A C program's read, as PEP 475 found Python's to be: a signal with a handler, and what it waited for is lost."""
    code = (
        "import ctypes, os, signal; libc = ctypes.CDLL(None, use_errno=True)\n"
        "signal.signal(signal.SIGUSR1, lambda *a: None); signal.siginterrupt(signal.SIGUSR1, True)\n"
        "r, w = os.pipe(); print('ready', flush=True)\n"
        "n = libc.read(r, ctypes.create_string_buffer(8), 8); os._exit(7 if n < 0 and ctypes.get_errno() == 4 else 0)"
    )
    process = subprocess.Popen(["/usr/bin/python3", "-c", code], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    while process.poll() is None:
        os.kill(process.pid, signal.SIGUSR1)
        time.sleep(0.01)
    process.stdout.close()
    tally.red("naive read(2)", process.returncode == 7)
