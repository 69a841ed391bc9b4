"""The Python API for an ordinary user: a user namespace, and no cgroup."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import source
from tests.support.bundle import Bundle

UID = 54321
PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
import boxes
rootfs, root = sys.argv[2:]
shown = "id -u; ulimit -v; ulimit -u"
result = boxes.run(["sh", "-c", shown], rootfs=rootfs, root=root, limits=boxes.Limits(memory=64 << 20, pids=20))
print(result.limits, *result.stdout.decode().split())
with boxes.Sandbox(rootfs, root=root) as sandbox:
    print(sandbox.exec(["touch", "/new"]).exit_code, sandbox.diff())
    sandbox.discard()
    sandbox.write_file("/tmp/file", "content")
    print(sandbox.diff(), sandbox.exec(["cat", "/tmp/file"]).stdout)
with boxes.Container("c", root=root) as container:
    container.create(config=boxes.Config(args=["sh", "-c", "exit 3"], rootfs=rootfs))
    container.start()
    print(container.wait()["exit_code"])
boxes.shut_down()
"""


@pytest.mark.requires("overlay")
def test_ordinary_user_has_the_same(bundle: Bundle, directory: Path) -> None:
    root = directory / "own"
    root.mkdir()
    os.chown(root, UID, UID)
    change = ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups", "--inh-caps=-all"]
    places = map(str, (source.PACKAGE.parent, bundle.path / "rootfs", root))
    command = [*change, sys.executable, "-c", PROGRAM, *places]
    done = subprocess.run(command, capture_output=True, text=True, env={"PATH": os.environ["PATH"]}, timeout=50)
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        f"rlimits 0 {64 << 10} 20",
        "0 [('changed', '/new')]",
        "[] b'content'",
        "3",
    ]
    assert os.listdir(root) == []
