"""What the kubelet asks of a runtime, pod by pod. Each returns what may be compared between runtimes.

A scenario asserts what makes it a scenario at all; the comparison is the test's.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.engines.cri import Containerd, Pod

Scenario = Callable[[Containerd, str], object]
NODE, CONTAINER, TARGET = 2, 1, 3
LOCALHOST = 2
FOREVER = ("sleep", "1000")
_MIB = 1 << 20


def _context(**security: Any) -> dict[str, Any]:
    return {"security_context": security}


def _in_one(name: str, script: str, *, linux: dict[str, Any] | None = None, **config: Any) -> Scenario:
    """A script in a container of its own pod: state, exit status, reason, and what it wrote."""

    def run(rig: Containerd, runtime: str) -> object:
        with Pod(rig, runtime, name) as pod:
            container = pod.start("sh", "-c", script, linux=linux, **config)
            return pod.ended(container), pod.log(container)

    return run


def shared_namespaces(rig: Containerd, runtime: str) -> object:
    """Two containers of a pod see each other's processes and /dev/shm, and have one host name and network."""
    with Pod(rig, runtime, "shared") as pod:
        one, two = pod.start(*FOREVER), pod.start("sleep", "2000")
        pod.sh(one, "echo text >/dev/shm/file")
        processes = pod.sh(two, "ps -o args | grep -E '^(sleep|/catatonit)' | sort")
        assert "sleep 1000\nsleep 2000" in processes
        same = [
            pod.sh(each, "cd /proc/self/ns; for kind in pid ipc net; do readlink $kind; done") for each in (one, two)
        ]
        return (
            processes,
            pod.sh(two, "cat /dev/shm/file; hostname; busybox df -k /dev/shm | busybox tail -n 1"),
            same[0] == same[1],
        )


def handler(rig: Containerd, runtime: str) -> object:
    """The sandbox and the container are kept by the runtime that was asked for, and by no other."""
    with Pod(rig, runtime, "handler") as pod:
        wanted = {pod.id, pod.start(*FOREVER)}
        kept = {path.name for path in rig.directory.glob(f"rr-{runtime}/k8s.io/*")}
        assert kept >= wanted
        return pod.call("PodSandboxStatus", {"pod_sandbox_id": pod.id})["status"]["runtime_handler"] == runtime


def own_pid_namespace(rig: Containerd, runtime: str) -> object:
    options = {"namespace_options": {"pid": CONTAINER}}
    with Pod(rig, runtime, "own-pid", linux=_context(**options)) as pod:
        pod.start(*FOREVER)
        # Not all processes: runc's own, which made the one that asks, may be seen for a moment.
        return pod.sh(
            pod.start("sleep", "2000", linux=_context(**options)), "ps -o pid,args | grep sleep | grep -v grep"
        )


def target_pid_namespace(rig: Containerd, runtime: str) -> object:
    """What `kubectl debug --target` asks: the process namespace of another container of the pod."""
    options = {"namespace_options": {"pid": CONTAINER}}
    with Pod(rig, runtime, "target", linux=_context(**options)) as pod:
        one = pod.start(*FOREVER, linux=_context(**options))
        target = {"namespace_options": {"pid": TARGET, "target_id": one}}
        two = pod.start("sleep", "2000", linux=_context(**target))
        seen = pod.sh(two, "ps -o args | grep -E '^sleep' | sort")
        assert "sleep 1000" in seen
        return seen


def host_namespaces(rig: Containerd, runtime: str) -> object:
    options = _context(namespace_options={"pid": NODE, "network": NODE, "ipc": NODE})
    with Pod(rig, runtime, "host", hostname="", linux=options) as pod:
        container = pod.start(*FOREVER, linux=options)
        kinds = ("pid", "net", "ipc", "uts", "mnt")
        script = f"cd /proc/self/ns; for kind in {' '.join(kinds)}; do readlink $kind; done"
        links = pod.sh(container, script).split()
        return {kind: link == os.readlink(f"/proc/self/ns/{kind}") for kind, link in zip(kinds, links, strict=True)}


def pod_network(rig: Containerd, runtime: str) -> object:
    """A bridge by the distribution's CNI plugins: two pods reach each other, and the host."""
    with Pod(rig, runtime, "net-a") as a, Pod(rig, runtime, "net-b") as b:
        address = a.call("PodSandboxStatus", {"pod_sandbox_id": a.id})["status"]["network"]["ip"]
        server = a.start("sh", "-c", "while :; do echo served | busybox nc -l -p 80; done")
        client = b.start(*FOREVER)
        pinged = b.exec(client, "busybox", "ping", "-c", "1", "-W", "2", "10.87.0.1")[0]
        fetched = b.sh(
            client, f"for i in 1 2 3 4 5; do busybox nc -w 2 {address} 80 </dev/null && exit; sleep 0.3; done"
        )
        return pinged, fetched, a.sh(server, "ls /sys/class/net; cat /etc/resolv.conf | wc -l; hostname")


def stats(rig: Containerd, runtime: str) -> object:
    with Pod(rig, runtime, "stats") as pod:
        container = pod.start("sh", "-c", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; sleep 1000")
        time.sleep(1)
        single = pod.call("ContainerStats", {"container_id": container})["stats"]
        listed = pod.call("ListContainerStats", {"filter": {"pod_sandbox_id": pod.id}})["stats"]
        cpu = int(single["cpu"]["usage_core_nano_seconds"]["value"])
        memory = int(single["memory"]["working_set_bytes"]["value"])
        assert cpu > 0 and memory > 0
        return cpu > 10**6, 10**4 < memory < 10**8, [each["attributes"]["id"] == container for each in listed]


_LIMITS = """
cd /sys/fs/cgroup
cat memory/memory.limit_in_bytes memory.max cpu/cpu.shares cpu.weight cpu/cpu.cfs_quota_us cpu.max cpuset/cpuset.cpus cpuset.cpus 2>/dev/null
true"""


def resources(rig: Containerd, runtime: str) -> object:
    """Limits of creation, then others by UpdateContainerResources, as the container sees them in its control group."""
    first = {"memory_limit_in_bytes": 64 * _MIB, "cpu_shares": 512, "cpu_quota": 50000, "cpu_period": 100000}
    second = {"memory_limit_in_bytes": 96 * _MIB, "cpu_shares": 256, "cpu_quota": 20000, "cpu_period": 100000}
    with Pod(rig, runtime, "resources") as pod:
        container = pod.start(*FOREVER, linux={"resources": first})
        before = pod.sh(container, _LIMITS)
        pod.call("UpdateContainerResources", {"container_id": container, "linux": second})
        after = pod.sh(container, _LIMITS)
        pod.call("UpdateContainerResources", {"container_id": container, "linux": {"cpuset_cpus": "0"}})
        assert str(64 * _MIB) in before and str(96 * _MIB) in after
        return before, after, pod.sh(container, _LIMITS)


def out_of_memory(rig: Containerd, runtime: str) -> object:
    with Pod(rig, runtime, "oom") as pod:
        limits = {"resources": {"memory_limit_in_bytes": 16 * _MIB}}
        ended = pod.ended(pod.start("busybox", "tail", "/dev/zero", linux=limits), 40)
        assert ended == ("CONTAINER_EXITED", 137, "OOMKilled")
        return ended


def seccomp(rig: Containerd, runtime: str) -> object:
    profile = rig.directory / "profile.json"
    refusal = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}
    profile.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [refusal]}))
    script = "grep ^Seccomp: /proc/self/status; mkdir /tmp/x"
    chosen = _context(seccomp={"profile_type": LOCALHOST, "localhost_ref": f"{profile}"})
    return _in_one("seccomp", script, linux=chosen)(rig, runtime)


def propagation(rig: Containerd, runtime: str) -> object:
    """A volume of each kind; what is mounted on either side afterwards is seen on the other, or not."""
    volume = rig.directory / f"volume-{runtime}"
    volume.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "volume", volume], check=True)
    subprocess.run(["mount", "--make-shared", volume], check=True)
    for each in ("host", "inside"):
        (volume / each).mkdir()
    mounts = [
        {"container_path": f"/v{kind}", "host_path": str(volume), "propagation": kind}
        for kind in ("PROPAGATION_PRIVATE", "PROPAGATION_HOST_TO_CONTAINER", "PROPAGATION_BIDIRECTIONAL")
    ]
    try:
        with Pod(rig, runtime, "propagation", linux=_context(privileged=True)) as pod:
            container = pod.start(*FOREVER, mounts=mounts, linux=_context(privileged=True))
            subprocess.run(["mount", "-t", "tmpfs", "later", volume / "host"], check=True)
            seen = pod.sh(container, "grep -E '^later ' /proc/mounts | cut -d' ' -f2 | sort")
            pod.sh(container, "mount -t tmpfs back /vPROPAGATION_BIDIRECTIONAL/inside")
            back = f"back {volume}/inside " in Path("/proc/self/mounts").read_text()
            assert back
            return seen, back
    finally:
        subprocess.run(["umount", "-R", "-l", volume], check=True)


def volumes(rig: Containerd, runtime: str) -> object:
    """A directory read-write, one read-only, and single files, as config maps and service accounts are."""
    volume = rig.directory / f"volumes-{runtime}"
    volume.mkdir()
    (volume / "file").write_text("text\n")
    mounts = [
        {"container_path": "/rw", "host_path": f"{volume}"},
        {"container_path": "/ro", "host_path": f"{volume}", "readonly": True},
        {"container_path": "/var/run/secrets/file", "host_path": f"{volume}/file", "readonly": True},
    ]
    script = "cat /ro/file /var/run/secrets/file; echo new >/rw/new; cat /ro/new; echo x >/ro/x"
    return _in_one("volumes", script, mounts=mounts)(rig, runtime)


def missing_volume(rig: Containerd, runtime: str) -> object:
    """containerd makes the directory on the host."""
    mounts = [{"container_path": "/made", "host_path": f"{rig.directory}/made-{runtime}/here"}]
    return _in_one("missing-volume", "ls -d /made", mounts=mounts)(rig, runtime)


def privileged(rig: Containerd, runtime: str) -> object:
    with Pod(rig, runtime, "privileged", linux=_context(privileged=True)) as pod:
        container = pod.start(*FOREVER, linux=_context(privileged=True))
        script = "grep -E 'Cap|Seccomp:' /proc/self/status; mount -t tmpfs t /mnt && echo mounted; ls -d /sys/firmware"
        return pod.sh(container, script)


def sysctl(rig: Containerd, runtime: str) -> object:
    wanted = {"sysctls": {"net.ipv4.ip_unprivileged_port_start": "99", "kernel.shm_rmid_forced": "1"}}
    with Pod(rig, runtime, "sysctl", linux=wanted) as pod:
        files = "/proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/shm_rmid_forced"
        return pod.sh(pod.start(*FOREVER), f"cat {files}")


_USER = {"run_as_user": {"value": "1000"}, "run_as_group": {"value": "3000"}, "supplemental_groups": ["4000", "5000"]}
_GROUPS_OF_NAME = {"run_as_username": "user", "supplemental_groups": ["4242"]}
_MASKS = {"masked_paths": ["/proc/kcore", "/sys/firmware", "/etc/group"], "readonly_paths": ["/proc/sys", "/var"]}
_HUGE = {"resources": {"cpu_shares": 2, "oom_score_adj": 1000}}

SCENARIOS: dict[str, Scenario] = {
    "handler": handler,
    "shared namespaces": shared_namespaces,
    "own pid namespace": own_pid_namespace,
    "target pid namespace": target_pid_namespace,
    "host namespaces": host_namespaces,
    "pod network": pod_network,
    "output and exit status": _in_one("exit", "echo out; echo err >&2; exit 7"),
    "killed by a signal": _in_one("killed", "kill -9 $$"),
    "terminal": _in_one("terminal", "tty", tty=True),
    "stats": stats,
    "resources": resources,
    "out of memory": out_of_memory,
    "oom score": _in_one("score", "cat /proc/self/oom_score_adj", linux=_HUGE),
    "read-only root": _in_one("readonly", "touch /x", linux=_context(readonly_rootfs=True)),
    "default capabilities": _in_one("caps", "grep Cap /proc/self/status"),
    "capabilities": _in_one(
        "some-caps",
        "grep Cap /proc/self/status; chown 1:1 /etc/group",
        linux=_context(capabilities={"drop_capabilities": ["ALL"], "add_capabilities": ["NET_ADMIN"]}),
    ),
    "seccomp profile": seccomp,
    "default seccomp": _in_one(
        "default-seccomp", "grep ^Seccomp: /proc/self/status", linux=_context(seccomp={"profile_type": 0})
    ),
    "no new privileges": _in_one("no-new", "grep NoNewPrivs /proc/self/status", linux=_context(no_new_privs=True)),
    "user and groups": _in_one("user", "id; touch /x", linux=_context(**_USER)),
    "user by name": _in_one("named", "id", linux=_context(**_GROUPS_OF_NAME)),
    "masked paths": _in_one(
        "masks",
        "cat /etc/group | wc -c; cat /proc/kcore | wc -c; ls /sys/firmware; touch /var/x; echo 1 >/proc/sys/kernel/panic",
        linux=_context(**_MASKS),
    ),
    "mounts": _in_one("mounts", "cut -d' ' -f2,3 /proc/mounts | grep -v cgroup | sort"),
    "privileged": privileged,
    "sysctls of the pod": sysctl,
    "propagation": propagation,
    "volumes": volumes,
    "missing volume": missing_volume,
}
