"""What people do with each engine, as shell scripts. Each is run with each runtime; what they print is compared.

A container's name is the scenario's own, and it is removed at the end: scenarios share an engine. The exit status of the
script is the one that counts, so a scenario about a failure has that command last.
"""

from __future__ import annotations

from tests.engines import ctr_scenarios, docker_scenarios, podman_scenarios
from tests.engines.forms import docker, docker_up, on_terminal, podman, podman_up

_PROFILE = '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}]}'
# The options of `run` that podman and docker share, and what shows their effect.
_RUNS = {
    "true": "bb true",
    "exit status": "bb sh -c 'exit 7'",
    "killed by a signal": "bb sh -c 'sleep 1000 & kill -9 $!; wait $!'",
    "program not found": "bb nosuchprogram",
    "program is a directory": "bb /etc",
    "program not executable": "bb /etc/passwd",
    "output and errors": "bb sh -c 'echo out; echo err >&2'",
    "environment": "-e A=1 -e B='two words' bb sh -c 'echo $A $B'",
    "user by name": "-u user bb id",
    "user by number": "-u 1234:5678 bb id",
    "additional group": "-u user --group-add 4242 bb id",
    "working directory": "-w /var bb pwd",
    "hostname": "-h named bb hostname",
    "read-only root": "--read-only bb touch /x",
    "tmpfs": "--tmpfs /mnt:size=1m bb sh -c 'df -k /mnt | tail -n 1'",
    "volume": "-v $PWD:/mnt bb sh -c 'echo in >/mnt/file; cat /mnt/file'",
    "read-only volume": "-v $PWD:/mnt:ro bb touch /mnt/x",
    "ulimit": "--ulimit nofile=100:200 --ulimit nproc=100:200 bb sh -c 'ulimit -Sn; ulimit -Hn'",
    "capabilities dropped": "--cap-drop ALL bb grep Cap /proc/self/status",
    "capability added": "--cap-drop ALL --cap-add NET_ADMIN bb grep Cap /proc/self/status",
    "default capabilities": "bb grep Cap /proc/self/status",
    "no new privileges": "--security-opt no-new-privileges bb grep NoNewPrivs /proc/self/status",
    "seccomp": "bb grep -E '^Seccomp:' /proc/self/status",
    "unconfined": "--security-opt seccomp=unconfined bb grep -E '^Seccomp:' /proc/self/status",
    "sysctl": "--sysctl net.ipv4.ip_unprivileged_port_start=99 bb cat /proc/sys/net/ipv4/ip_unprivileged_port_start",
    "memory limit": "--memory 64m bb sh -c 'cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null; true'",
    "pids limit": "--pids-limit 33 bb sh -c 'cat /sys/fs/cgroup/pids.max /sys/fs/cgroup/pids/pids.max 2>/dev/null; true'",
    "device": "--device /dev/null:/dev/other bb sh -c 'ls -l /dev/other | cut -c1-10; echo x >/dev/other'",
    "masked paths": "bb sh -c 'cat /proc/kcore | wc -c; ls /proc/scsi /sys/firmware; true'",
    "read-only proc": "bb sh -c 'echo 1 >/proc/sys/kernel/panic'",
    "devices there are": "bb ls /dev",
    "host pid": "--pid host bb sh -c 'test $$ != 1 && echo host'",
    "init": "--init bb sh -c 'cat /proc/1/comm'",
    "stdin": "-i bb cat <<<hello",
    "shm size": "--shm-size 2m bb sh -c 'df -k /dev/shm | tail -n 1'",
    "cpu limit": "--cpus 0.5 --cpu-shares 512 bb sh -c 'cd /sys/fs/cgroup; cat cpu.max cpu/cpu.cfs_quota_us cpu/cpu.shares 2>/dev/null; true'",
    "cpuset": "--cpuset-cpus 0 bb grep Cpus_allowed_list /proc/self/status",
    "out of memory": "--memory 16m --memory-swap 16m bb busybox tail /dev/zero",
    "oom score": "--oom-score-adj 500 bb cat /proc/self/oom_score_adj",
    "device rule": "--device-cgroup-rule 'c 1:3 rwm' bb sh -c 'echo x >/dev/null'",
    "bind mount": "--mount type=bind,src=$PWD,dst=/mnt bb sh -c 'echo in >/mnt/file; cat /mnt/file'",
    "read-only bind mount": "--mount type=bind,src=$PWD,dst=/mnt,readonly bb touch /mnt/x",
    "tmpfs mount": "--mount type=tmpfs,dst=/mnt,tmpfs-size=1048576 bb sh -c 'df -k /mnt | tail -n 1'",
    "read-only root with a volume": "--read-only --tmpfs /tmp -v $PWD:/mnt bb sh -c 'touch /tmp/x /mnt/x && echo both; touch /x'",
    "seccomp profile": "--security-opt seccomp=$PWD/profile.json bb mkdir /x",
    "host uts": "--uts host bb sh -c 'test $(hostname) && echo there'",
    "host ipc": "--ipc host bb true",
    "hosts": "--add-host there:192.0.2.7 bb grep -c 192.0.2.7 /etc/hosts",
    "entry point": "--entrypoint /bin/echo bb said",
    "label and annotation": "--label a=b bb true",
    "big output": "bb sh -c 'busybox head -c 3000000 /dev/zero | busybox tr \\0 x' | wc -c",
    "mounts": 'bb sh -c \'cut -d" " -f2 /proc/mounts | grep -v -e "^/$" -e cgroup | sort\'',
}
# The same for what is done to a running container; E is the engine.
_RUNNING = {
    "exec": "E exec c1 echo hi",
    "exec status": "E exec c1 sh -c 'exit 9'",
    "exec not found": "E exec c1 nosuchprogram >/dev/null",
    "exec user, directory, environment": "E exec -u user -w /var -e K=v c1 sh -c 'id; pwd; echo $K'",
    "exec stdin": "E exec -i c1 cat <<<hello",
    "exec detached": "E exec -d c1 touch /made; for i in 1 2 3 4 5 6 7 8 9; do sleep 0.3; E exec c1 ls /made && break; done 2>/dev/null",
    "exec on a terminal": "T:E exec -it c1 tty",
    "exec on a terminal, exit status": "T:E exec -it c1 sh -c 'exit 5'",
    "many of exec": "for n in 1 2 3 4 5; do E exec c1 true & done; wait; E exec c1 ps -o args | grep -c ^sleep",
    "pause and unpause": "E pause c1 >/dev/null; E inspect -f '{{.State.Status}}' c1; E unpause c1 >/dev/null; E inspect -f '{{.State.Status}}' c1",
    "exec while paused": "E pause c1 >/dev/null; E exec c1 true; s=$?; E unpause c1 >/dev/null; exit $s",
    "update": "E update --memory 50m --memory-swap 50m c1 >/dev/null && E exec c1 sh -c 'cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null; true'",
    "update of shares": "E update --cpu-shares 256 c1 >/dev/null && E exec c1 sh -c 'cd /sys/fs/cgroup; cat cpu.weight cpu/cpu.shares 2>/dev/null; true'",
    "update of the quota": "E update --cpus 0.25 c1 >/dev/null && E exec c1 sh -c 'cd /sys/fs/cgroup; cat cpu.max cpu/cpu.cfs_quota_us 2>/dev/null; true'",
    "update cpuset": "E update --cpuset-cpus 0 c1 >/dev/null && E exec c1 grep Cpus_allowed_list /proc/1/status",
    "follow logs": "E run -d --network none --name l2 bb sh -c 'echo a; sleep 1; echo b' >/dev/null; E logs -f l2; E rm -f l2 >/dev/null",
    "stop": "E stop -t 1 c1; E inspect -f '{{.State.Status}} {{.State.ExitCode}}' c1",
    "kill by name": "E kill -s USR1 c1; E kill c1; E wait c1",
    "restart": "E restart -t 0 c1; E exec c1 echo again",
    "top": "E top c1 | wc -l",
    "copy in and out": "echo text >f; E cp f c1:/etc/f; E exec c1 cat /etc/f; E cp c1:/etc/f g; cat g",
    "stats": "E stats --no-stream --format '{{.Name}}' c1",
    "rename": "E rename c1 d1; E exec d1 echo renamed; E rename d1 c1",
    "commit": "E exec c1 touch /etc/new; E commit c1 made >/dev/null 2>&1; E run --rm --network none made ls /etc/new; E rmi made >/dev/null",
    "start a running one": "E start c1",
    "remove a running one": "E rm c1",
}

_BUILDAH = {
    name: f"c=$(buildah from bb); {script}; s=$?; buildah rm $c >/dev/null; exit $s"
    for name, script in {
        "run": "buildah run $c echo hi",
        "exit status": "buildah run $c sh -c 'exit 7'",
        "program not found": "buildah run $c nosuchprogram",
        "user and directory": "buildah run --user user --workingdir /var $c sh -c 'id; pwd'",
        "volume": "buildah run -v $PWD:/mnt $c sh -c 'echo x >/mnt/f; cat /mnt/f'",
        "terminal": "buildah run -t $c tty",
        "capabilities": "buildah run --cap-drop all $c grep Cap /proc/self/status",
        "commit": "buildah run $c touch /made; buildah commit -q $c made >/dev/null; d=$(buildah from made); buildah run $d ls /made; buildah rm $d >/dev/null",
        "bud": "printf 'FROM bb\\nRUN echo built >/built\\nRUN cat /built\\n' >Dockerfile; buildah bud -q . >/dev/null",
        "failing bud": "printf 'FROM bb\\nRUN exit 5\\n' >Dockerfile; buildah bud -q . >/dev/null",
    }.items()
}


def _profiled(script: str) -> str:
    """With a seccomp profile at hand, for the scenario that names it."""
    return f"echo '{_PROFILE}' >profile.json; {script}" if "profile.json" in script else script


def _running(engine: str, script: str) -> str:
    return (
        on_terminal(script.removeprefix("T:").replace("E ", f"{engine} "))
        if script.startswith("T:")
        else script.replace("E ", f"{engine} ")
    )


# Those that are about a failure. All others must work, with runc to begin with.
FAILING = {
    "exit status", "killed by a signal", "program not found", "program is a directory", "program not executable",
    "read-only root", "read-only volume", "read-only proc", "read-only", "exec status", "exec not found",
    "exec while paused", "remove a running one", "failing bud", "out of memory", "read-only bind mount", "read-only root with a volume", "seccomp profile",
    "exec on a terminal, exit status", *ctr_scenarios.FAILING, *docker_scenarios.FAILING, *podman_scenarios.FAILING,
}  # fmt: skip

SCENARIOS: dict[str, dict[str, str]] = {
    "podman": {name: _profiled(podman(args)) for name, args in _RUNS.items()}
    | {name: podman_up(_running("podman", script)) for name, script in _RUNNING.items()}
    | podman_scenarios.SCENARIOS,
    "containerd": ctr_scenarios.SCENARIOS,
    "docker": {name: _profiled(docker(args)) for name, args in _RUNS.items()}
    | {name: docker_up(_running("docker", script)) for name, script in _RUNNING.items()}
    | docker_scenarios.SCENARIOS,
    "buildah": _BUILDAH,
}
