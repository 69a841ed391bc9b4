"""What happens to a container while it lives: commands in it, its end, its successor, its removal.

As in `cri_scenarios`, each returns what may be compared between runtimes.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.engines.cri import Containerd, Pod
from tests.engines.cri_scenarios import FOREVER, Scenario

_OBEDIENT = "trap 'echo stopped; exit 3' TERM; echo ready; while :; do sleep 0.1; done"
_STUBBORN = "trap '' TERM; echo ready; while :; do sleep 0.1; done"


def _until_ready(pod: Pod, container: str) -> None:
    deadline = time.monotonic() + 20
    while not pod.log(container):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def exec_sync(rig: Containerd, runtime: str) -> object:
    with Pod(rig, runtime, "exec") as pod:
        container = pod.start(*FOREVER, envs=[{"key": "A", "value": "two words"}], working_dir="/var")
        said = pod.exec(container, "sh", "-c", "echo out; echo err >&2; exit 7")
        assert said == (7, "out\n", "err\n")
        killed = pod.exec(container, "sh", "-c", "kill -9 $$")
        big = pod.exec(container, "sh", "-c", "busybox head -c 300000 /dev/zero | busybox tr '\\0' x")[1]
        assert big == "x" * 300000
        return said, killed, len(big), pod.sh(container, 'echo "$A"; pwd; id')


def exec_fails(rig: Containerd, runtime: str) -> object:
    import grpc

    with Pod(rig, runtime, "exec-fails") as pod:
        container, codes = pod.start(*FOREVER), []
        for command in ("nosuchprogram", "/etc", "/etc/passwd"):
            try:
                pod.exec(container, command)
            except grpc.RpcError as error:
                codes.append((command, str(error.code())))
        assert len(codes) == 3
        return codes


def exec_timeout(rig: Containerd, runtime: str) -> object:
    """The process is killed, the container goes on. (A child of it would hold the pipes, and containerd 1.6 wait for it.)"""
    import grpc

    with Pod(rig, runtime, "exec-timeout") as pod:
        container, started = pod.start(*FOREVER), time.monotonic()
        with pytest.raises(grpc.RpcError) as error:
            pod.exec(container, "sleep", "333", seconds=1)
        assert time.monotonic() - started < 15
        left = pod.sh(container, "ps -o args | grep -c '^sleep 333' || true")
        assert left == "0\n"
        return str(error.value.code()), pod.status(container)["state"]


def stop_obedient(rig: Containerd, runtime: str) -> object:
    with Pod(rig, runtime, "stop") as pod:
        container = pod.start("sh", "-c", _OBEDIENT)
        _until_ready(pod, container)
        started = time.monotonic()
        pod.call("StopContainer", {"container_id": container, "timeout": 20})
        ended = pod.ended(container)
        assert ended[1] == 3
        return ended, pod.log(container), time.monotonic() - started < 15


def stop_stubborn(rig: Containerd, runtime: str) -> object:
    """TERM, and after the timeout KILL."""
    with Pod(rig, runtime, "stubborn") as pod:
        container = pod.start("sh", "-c", _STUBBORN)
        _until_ready(pod, container)
        started = time.monotonic()
        pod.call("StopContainer", {"container_id": container, "timeout": 2})
        took, ended = time.monotonic() - started, pod.ended(container)
        assert ended[1] == 137 and took >= 2
        return ended, took < 15, pod.call("StopContainer", {"container_id": container, "timeout": 2})


def restart(rig: Containerd, runtime: str) -> object:
    """The kubelet restarts a container as a new one, with the next attempt, in the same pod."""
    with Pod(rig, runtime, "restart") as pod:
        ended = []
        for attempt in range(3):
            command = ("sh", "-c", f"echo try {attempt}; exit {attempt}")
            container = pod.start(*command, metadata={"name": "same", "attempt": attempt})
            ended.append((pod.ended(container), pod.log(container)))
            pod.call("RemoveContainer", {"container_id": container})
        listed = pod.call("ListContainers", {"filter": {"pod_sandbox_id": pod.id}})["containers"]
        return ended, listed


def daemon_restart(rig: Containerd, runtime: str) -> object:
    """Containers outlive containerd; the next one takes them up again, an exit in between included."""
    with Pod(rig, runtime, "daemon") as pod:
        kept, ending = pod.start(*FOREVER), pod.start("sh", "-c", "sleep 0.3; exit 6")
        rig.restart()
        said = pod.exec(kept, "echo", "again")
        ended = pod.ended(ending)
        pod.call("StopContainer", {"container_id": kept, "timeout": 0})
        assert ended[1] == 6
        return said, ended, pod.ended(kept)


def start_fails(rig: Containerd, runtime: str) -> object:
    import grpc

    with Pod(rig, runtime, "start-fails") as pod:
        ended: list[object] = []
        for command in ("nosuchprogram", "/etc", "/etc/passwd"):
            container = pod.create(command)
            try:
                pod.call("StartContainer", {"container_id": container})
            except grpc.RpcError as error:
                ended.append((command, str(error.code()), pod.ended(container)))
        assert len(ended) == 3
        return ended


def remove_running(rig: Containerd, runtime: str) -> object:
    """Containers that run are killed with their pod; nothing of it stays: processes, control groups, mounts, state."""
    pod = Pod(rig, runtime, "gone")
    with pod:
        containers = [pod.start(*FOREVER), pod.start("sh", "-c", _STUBBORN), pod.create("true")]
    names = [pod.id, *containers]
    # os.walk passes over what others remove meanwhile.
    groups = [name for _, directories, _ in os.walk("/sys/fs/cgroup") for name in directories if name in names]
    mounts = [
        line for line in Path("/proc/self/mounts").read_text().splitlines() if any(name in line for name in names)
    ]
    state = [path.name for path in rig.directory.glob(f"rr-{runtime}/k8s.io/*") if path.name in names]
    left = pod.call("ListContainers", {"filter": {"pod_sandbox_id": pod.id}})["containers"]
    assert (groups, mounts, state, left) == ([], [], [], [])
    return pod.call("ListPodSandbox", {"filter": {"id": pod.id}})


def remove_while_running(rig: Containerd, runtime: str) -> object:
    with Pod(rig, runtime, "remove-one") as pod:
        container = pod.start(*FOREVER)
        pod.call("RemoveContainer", {"container_id": container})
        return pod.call("ListContainers", {"filter": {"pod_sandbox_id": pod.id}})


def stdin_once(rig: Containerd, runtime: str) -> object:
    """A container with an open standard input and no one attached waits; stopping it is what ends it."""
    with Pod(rig, runtime, "stdin") as pod:
        container = pod.start("cat", stdin=True)
        state = pod.status(container)["state"]
        pod.call("StopContainer", {"container_id": container, "timeout": 1})
        return state, pod.ended(container)[:2]


LIFECYCLE: dict[str, Scenario] = {
    "exec": exec_sync,
    "exec fails": exec_fails,
    "exec timeout": exec_timeout,
    "stop": stop_obedient,
    "stop with a kill": stop_stubborn,
    "restart in the pod": restart,
    "restart of containerd": daemon_restart,
    "start fails": start_fails,
    "standard input": stdin_once,
    "remove a running container": remove_while_running,
    "remove a running pod": remove_running,
}
