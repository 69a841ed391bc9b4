"""Python never runs with a container's root as its root: only `inner`, from its memfd, changes roots or enters mounts.

A traceback, a warning or a late import opens files by path, and those paths would be the container's. strace(1) tells
which image each process runs when it calls pivot_root(2), chroot(2), or setns(2) into a mount namespace.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.bundle import Bundle
from tests.support.marks import requires
from tests.support.runtime import ENVIRONMENT, Runtime, executable

pytestmark = requires("root", "strace")

TRACED = "trace=execve,execveat,clone,clone3,fork,vfork,pivot_root,chroot,setns,unshare,openat,open,memfd_create"
CALL = re.compile(r"(\d+) +(\w+)\((.*)\) += (-?\d+|\?)")
UNFINISHED = re.compile(r"(\d+) +(.*) <unfinished \.\.\.>$")
RESUMED = re.compile(r"(\d+) +<\.\.\. \w+ resumed>(.*)$")


def calls(log: Path) -> Iterator[tuple[int, str, str, int]]:
    """pid, call, arguments and result of each finished call, in the order of their ends."""
    begun: dict[str, str] = {}
    for line in log.read_text().splitlines():
        if match := UNFINISHED.match(line):
            begun[match[1]] = match[2]
            continue
        if match := RESUMED.match(line):
            line = f"{match[1]} {begun.pop(match[1], '')}{match[2]}"
        if (match := CALL.match(line)) and match[4] != "?":
            yield int(match[1]), match[2], match[3], int(match[4])


def images(log: Path) -> Iterator[tuple[int, str, str, str]]:
    """pid, image, call and arguments of each call that succeeded. A child's image is its parent's.

    A memfd is executed by its descriptor, or by its name below /proc/self/fd.
    """
    image: dict[int, str] = {}
    memfds: set[str] = set()
    last = "?"
    for pid, call, arguments, result in calls(log):
        # a child may be seen before its parent's clone returns
        image.setdefault(pid, last)
        if result < 0:
            continue
        if call == "memfd_create":
            memfds |= {f"/proc/self/fd/{result}", f'{result}, "'}
        if call in ("execve", "execveat"):
            image[pid] = (
                "memfd"
                if arguments.startswith(tuple(memfds)) or arguments[1:].startswith(tuple(memfds))
                else arguments.split('"')[1]
            )
            last = image[pid]
        elif call in ("clone", "clone3", "fork", "vfork"):
            image[result] = image.get(result, image[pid]) if image.get(result) == "memfd" else image[pid]
        yield pid, image[pid], call, arguments


def changes_root(call: str, arguments: str) -> bool:
    return call in ("pivot_root", "chroot") or (
        call == "setns" and ("CLONE_NEWNS" in arguments or arguments.endswith(" 0"))
    )


def trace(box: Runtime, *args: str) -> Path:
    log = box.directory / "strace.log"
    command = ["strace", "-f", "-s", "200", "-e", TRACED, "-o", str(log), *box.command(*args)]
    result = subprocess.run(command, env=ENVIRONMENT, stdin=-3, capture_output=True, text=True, timeout=50)
    assert result.returncode == 0, result.stderr
    return log


def check(log: Path) -> None:
    changed = [(image, call) for _, image, call, arguments in images(log) if changes_root(call, arguments)]
    assert changed, "nothing entered a container: this test proves nothing"
    assert {image for image, _ in changed} == {"memfd"}


@pytest.fixture(autouse=True)
def only_box() -> None:
    if executable().name != "box":
        pytest.skip("a rule of box")


@pytest.mark.parametrize("kind", ["plain", "no pivot", "user namespace", "no mount namespace", "joined network"])
def test_run(box: Runtime, bundle: Bundle, kind: str) -> None:
    flags = ["--no-pivot"] if kind == "no pivot" else []
    if kind == "user namespace":
        bundle.user_namespace()
    elif kind == "no mount namespace":
        bundle.without_namespace("mount").config["mounts"] = []
    elif kind == "joined network":
        bundle.namespace("network", "/proc/self/ns/net")
    check(trace(box, "run", *box.bundle_args(bundle, *flags)))


def test_exec(box: Runtime, bundle: Bundle) -> None:
    container = box.running_shell(bundle)
    check(trace(box, "exec", container.id, "/bin/true"))


def test_exec_in_a_user_namespace(box: Runtime, bundle: Bundle) -> None:
    container = box.running_shell(bundle.user_namespace())
    check(trace(box, "exec", container.id, "/bin/true"))


def test_hooks_in_the_container(box: Runtime, bundle: Bundle) -> None:
    bundle.hook("startContainer", "/bin/true").hook("createContainer", "/bin/true")
    check(trace(box, "run", *box.bundle_args(bundle)))


def test_inner_opens_no_file_by_path_of_its_own(box: Runtime, bundle: Bundle) -> None:
    """After it has entered: no library, no locale, no /proc of the container. What a program opens is its own affair."""
    log = trace(box, "run", *box.bundle_args(bundle.args("/bin/true")))
    entered, opened = set(), []
    for pid, image, call, arguments in images(log):
        if changes_root(call, arguments):
            entered.add(pid)
        elif pid in entered and image == "memfd" and call in ("open", "openat"):
            opened.append(arguments)
    assert [arguments for arguments in opened if '"/' in arguments and '"/dev/' not in arguments] == []
