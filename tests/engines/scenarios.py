"""What people do with each engine, as shell scripts. Each is run with each runtime; what they print is compared.

A container's name is the scenario's own, and it is removed at the end: scenarios share an engine. The exit status of the
script is the one that counts, so a scenario about a failure has that command last.
"""

from __future__ import annotations

_UP = (
    "podman run -d --network none --name c1 $ARGS bb sleep 1000 >/dev/null; trap 'podman rm -ft0 c1 >/dev/null' EXIT; "
)
_DOCKER_UP = (
    "docker run -d --network none --name c1 $ARGS bb sleep 1000 >/dev/null; trap 'docker rm -f c1 >/dev/null' EXIT; "
)
_CTR_UP = (
    "run -d $ARGS localhost/bb:latest c sleep 1000;"
    "trap 'ctr tasks kill -s KILL c; ctr tasks delete -f c; ctr containers delete c' EXIT 2>/dev/null; "
)


def _podman(*args: str) -> str:
    return "podman run --rm --network none " + " ".join(args)


def _docker(*args: str) -> str:
    return "docker run --rm --network none " + " ".join(args)


def _up(script: str, args: str = "") -> str:
    return f"ARGS='{args}'; {_UP}{script}"


def _docker_up(script: str, args: str = "") -> str:
    return f"ARGS='{args}'; {_DOCKER_UP}{script}"


def _ctr_up(script: str, args: str = "") -> str:
    return f"ARGS='{args}'; {_CTR_UP}{script}"


def _ctr(*args: str) -> str:
    return "run --rm " + " ".join(args)


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
    "pause and unpause": "E pause c1 >/dev/null; E inspect -f '{{.State.Status}}' c1; E unpause c1 >/dev/null; E inspect -f '{{.State.Status}}' c1",
    "exec while paused": "E pause c1 >/dev/null; E exec c1 true; s=$?; E unpause c1 >/dev/null; exit $s",
    "update": "E update --memory 50m --memory-swap 50m c1 >/dev/null && E exec c1 sh -c 'cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null; true'",
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

_PODMAN_ONLY = {
    "pod": "podman pod create --infra=false --name p >/dev/null; podman run --pod p --rm --network none bb echo in; podman pod rm -f p >/dev/null",
    "user namespace": _podman("--uidmap 0:100000:1000 --gidmap 0:100000:1000 bb sh -c 'id -u; cat /proc/self/uid_map'"),
    "terminal": _podman("-t bb tty"),
    "logs": _up("podman logs l1; podman rm l1 >/dev/null", "").replace(
        "podman logs", "podman run --name l1 --network none bb echo text >/dev/null; podman logs"
    ),
    "healthcheck": _up("podman healthcheck run c1 && echo healthy", "--health-cmd true --health-interval disable"),
    "secret": "echo hidden | podman secret create s - >/dev/null; "
    + _podman("--secret s bb cat /run/secrets/s")
    + "; podman secret rm s >/dev/null",
    "named volume": _podman("-v vol:/mnt bb sh -c 'echo kept >/mnt/f'")
    + " && "
    + _podman("-v vol:/mnt bb cat /mnt/f")
    + "; podman volume rm vol",
    "keep groups": _podman("--group-add keep-groups bb true"),
    "shared network": _up("podman run --rm --network container:c1 bb ls /sys/class/net"),
    "build": "printf 'FROM bb\\nRUN echo built >/built\\n' >Dockerfile; podman build --network none -q -t made . >/dev/null; "
    + _podman("made cat /built")
    + "; podman rmi made >/dev/null",
}
_DOCKER_ONLY = {
    "working directory is made": _docker("-w /var/made/here bb pwd"),  # podman refuses it, whatever the runtime
    "chosen runtime": _docker("--runtime box bb echo chosen"),
    "logs": "docker run --name l1 --network none bb echo text >/dev/null; docker logs l1; docker rm l1 >/dev/null",
    "bridge": "docker run --rm bb sh -c 'ls /sys/class/net'",
    "two on a network": "docker network create n >/dev/null; docker run -d --network n --name a1 --network-alias a1 bb sleep 1000 >/dev/null;"
    "docker run --rm --network n bb grep -c . /etc/resolv.conf; docker rm -f a1 >/dev/null; docker network rm n",
    "restart policy": "docker run -d --network none --restart on-failure:2 --name r1 bb false >/dev/null; sleep 4;"
    "docker inspect -f '{{.RestartCount}} {{.State.ExitCode}}' r1; docker rm -f r1 >/dev/null",
    "build": "printf 'FROM bb\\nRUN echo built >/built\\n' >Dockerfile; docker build --network none -q -t made . >/dev/null;"
    + _docker("made cat /built")
    + "; docker rmi made >/dev/null",
    "failing build": "printf 'FROM bb\\nRUN exit 5\\n' >Dockerfile; docker build --network none -q .",
}
_CONTAINERD = {
    "true": _ctr("localhost/bb:latest t true"),
    "exit status": _ctr("localhost/bb:latest t sh -c 'exit 7'"),
    "program not found": _ctr("localhost/bb:latest t nosuchprogram"),
    "program not executable": _ctr("localhost/bb:latest t /etc/passwd"),
    "output": _ctr("localhost/bb:latest t sh -c 'echo out; echo err >&2'"),
    "environment": _ctr("--env A=1 localhost/bb:latest t sh -c 'echo $A'"),
    "working directory": _ctr("--cwd /var localhost/bb:latest t pwd"),
    "read-only": _ctr("--read-only localhost/bb:latest t touch /x"),
    "mount": _ctr(
        "--mount type=bind,src=$PWD,dst=/mnt,options=rbind:rw localhost/bb:latest t sh -c 'echo x >/mnt/f; cat /mnt/f'"
    ),
    "seccomp": _ctr("--seccomp localhost/bb:latest t grep -E '^Seccomp:' /proc/self/status"),
    "memory limit": _ctr("--memory-limit 67108864 localhost/bb:latest t true"),
    "capabilities": _ctr("localhost/bb:latest t grep Cap /proc/self/status"),
    "mounts": _ctr('localhost/bb:latest t sh -c \'cut -d" " -f2 /proc/mounts | grep -v -e "^/$" -e cgroup | sort\''),
    "exec": _ctr_up("ctr tasks exec --exec-id e c echo hi"),
    "exec status": _ctr_up("ctr tasks exec --exec-id e c sh -c 'exit 9'"),
    "exec not found": _ctr_up("ctr tasks exec --exec-id e c nosuchprogram"),
    "pause and resume": _ctr_up(
        "ctr tasks pause c; ctr tasks ls | awk '/^c /{print $3}'; ctr tasks resume c; ctr tasks ls | awk '/^c /{print $3}'"
    ),
    "ps": _ctr_up("ctr tasks ps c | wc -l"),
    "kill": _ctr_up(
        "ctr tasks kill -s TERM -a c; ctr tasks kill -s KILL c; sleep 1; ctr tasks ls | awk '/^c /{print $3}'"
    ),
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

# Those that are about a failure. All others must work, with runc to begin with.
FAILING = {
    "exit status", "killed by a signal", "program not found", "program is a directory", "program not executable",
    "read-only root", "read-only volume", "read-only proc", "read-only", "exec status", "exec not found",
    "exec while paused", "remove a running one", "failing build", "failing bud",
}  # fmt: skip

SCENARIOS: dict[str, dict[str, str]] = {
    "podman": {name: _podman(args) for name, args in _RUNS.items()}
    | {name: _up(script.replace("E ", "podman ")) for name, script in _RUNNING.items()}
    | _PODMAN_ONLY,
    "containerd": _CONTAINERD,
    "docker": {name: _docker(args) for name, args in _RUNS.items()}
    | {name: _docker_up(script.replace("E ", "docker ")) for name, script in _RUNNING.items()}
    | _DOCKER_ONLY,
    "buildah": _BUILDAH,
}
