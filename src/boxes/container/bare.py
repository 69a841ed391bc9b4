"""The bare mount namespace: an empty directory to which nobody can write is all there is in it.

Those of scripts (plan/script_root.py) are copies of it: nothing of the host's is copied, and left again, for each of
them, and none takes a pivot_root(2), which walks all processes of the host (docs/adr/0017-bare-mount-namespace.md).
"""

from __future__ import annotations

import _socket

from boxes import system as os
from boxes.linux import flags as k
from boxes.linux.fd import sealed
from boxes.plan.inner import Steps, string
from boxes.plan.script_root import SAFE, new_mount, place_on_root
from boxes.plan.scripted import Process

_READY = b"+"
_LEAST = 16  # descriptors below are for the steps
_HERE = b".\0"


def open_namespace(image: str) -> int:
    """A descriptor of one. `image`: the path of inner. Where none can be made, as by ordinary users, the descriptor is
    of something else, which setns(2) refuses: then scripts fail, and containers are made in the ordinary way."""
    heard, said = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    first = max(_LEAST, heard.fileno(), said.fileno()) + 2  # above the plan's, too
    plan = sealed("plan", _steps(first + 1).encode())
    actions = [(os.POSIX_SPAWN_DUP2, plan, first), (os.POSIX_SPAWN_DUP2, said.fileno(), first + 1)]
    try:
        pid = os.posix_spawn(image, ["box: bare", str(first), str(first + 1), "0"], {}, file_actions=actions)
    finally:
        said.close()
        os.close(plan)
    try:
        path = f"/proc/{pid}/ns/mnt" if heard.recv(64) == _READY else "/dev/null"
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    finally:
        heard.close()
        os.waitpid(pid, 0)


def _steps(reply: int) -> Steps:
    """Of the process that makes it, which ends when the socket `reply` does."""
    steps = Steps()
    maker = Process(steps, (0, 1, 2))
    maker.call("unshare", k.CLONE_NEWNS)
    maker.call("mount", 0, string("/"), 0, k.MS_REC | k.MS_PRIVATE, 0)
    mount = new_mount(maker, "tmpfs", "none", ("nr_inodes=1", "mode=0555", "ro"), SAFE)
    place_on_root(maker, mount)
    maker.call("fchdir", mount)
    maker.call("pivot_root", _HERE, _HERE)
    maker.call("umount2", _HERE, k.MNT_DETACH)
    maker.call("write", reply, _READY, 1)
    maker.call("read", reply, bytes(8), 8)
    maker.call("exit_group", 0)
    return steps
