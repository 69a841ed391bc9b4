"""Starting a follower: a small process that ends another one with a container (see plan.follower)."""

from __future__ import annotations

from boxes import system as os
from boxes.container import host
from boxes.errors import refused
from boxes.linux.fd import Fds, sealed
from boxes.plan import follower


def start(pid: int, other: int) -> None:
    """End `other` when the container's init has ended. It has nothing of the caller's open."""
    with Fds() as fds:
        try:
            pidfds = [fds.add(os.pidfd_open(pid)), fds.add(os.pidfd_open(other))]
            null = fds.add(os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC))
            first = max(int(name) for name in os.listdir("/proc/self/fd")) + 2  # above all, and above the plan's
            plan = fds.add(sealed("plan", follower.follower(first, first + 1).encode()))
            sources = (*pidfds, plan, null)
            actions = [(os.POSIX_SPAWN_DUP2, null, number) for number in range(3)]
            actions += [(os.POSIX_SPAWN_DUP2, source, first + number) for number, source in enumerate(sources)]
            arguments = ["box: follower", str(first + 2), str(first + 3), "0"]
            os.posix_spawn(host.inner_path(), arguments, {}, file_actions=actions)
        except OSError as error:
            raise refused("cannot start the process that ends the network's with the container", error) from error
