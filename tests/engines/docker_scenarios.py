"""What docker alone does, or in its own words."""

from __future__ import annotations

from tests.engines.forms import docker, docker_up, on_terminal

_KEEP = "docker run -d --name k1 --network none "
_DROP = "; docker rm -f k1 >/dev/null"

SCENARIOS = {
    "working directory is made": docker("-w /var/made/here bb pwd"),  # podman refuses it, whatever the runtime
    "chosen runtime": docker("--runtime box bb echo chosen"),
    "runtimes": "docker info -f '{{range $name, $_ := .Runtimes}}{{$name}} {{end}}' | tr ' ' '\\n' | grep -c -e box -e runc",
    "run on a terminal": on_terminal(docker("-it bb tty")),
    "logs": "docker run --name l1 --network none bb echo text >/dev/null; docker logs l1; docker rm l1 >/dev/null",
    "host network": "docker run --rm --network host bb sh -c 'ls /sys/class/net | grep -x lo'",
    "bridge": "docker run --rm bb sh -c 'ls /sys/class/net'",
    "two on a network": "docker network create n >/dev/null; docker run -d --network n --name a1 --network-alias a1 bb sleep 1000 >/dev/null;"
    "docker run --rm --network n bb grep -c . /etc/resolv.conf; docker rm -f a1 >/dev/null; docker network rm n",
    "connected later": docker_up("docker network create n >/dev/null; docker network connect n c1; docker exec c1 ls /sys/class/net;"
    "docker network disconnect n c1; docker network rm n", "").replace("--network none", ""),
    "published port": "docker run -d --name k1 -p 18124:80 bb sh -c 'while :; do echo served | busybox nc -l -p 80; done' >/dev/null;"
    "for i in 1 2 3 4 5 6 7 8; do busybox nc -w 2 127.0.0.1 18124 </dev/null && break; sleep 0.3; done" + _DROP,
    "network of another": docker_up("docker run --rm --network container:c1 bb ls /sys/class/net"),
    "ipc and pid of another": docker_up(
        "docker run --rm --network none --ipc container:c1 --pid container:c1 bb sh -c 'ps -o args | grep -c ^sleep; df -k /dev/shm | tail -n 1'",
        "--ipc shareable --shm-size 3m",
    ),
    "restart policy": "docker run -d --network none --restart on-failure:2 --name r1 bb false >/dev/null; sleep 4;"
    "docker inspect -f '{{.RestartCount}} {{.State.ExitCode}}' r1; docker rm -f r1 >/dev/null",
    "stop signal": _KEEP + "--stop-signal USR1 bb sh -c 'trap \"echo told; exit 4\" USR1; while :; do sleep 0.1; done' >/dev/null;"
    "sleep 1; docker stop -t 5 k1; docker logs k1; docker inspect -f '{{.State.ExitCode}}' k1" + _DROP,
    "healthy": _KEEP + "--health-cmd true --health-interval 300ms bb sleep 1000 >/dev/null;"
    "for i in $(seq 40); do [ $(docker inspect -f '{{.State.Health.Status}}' k1) != starting ] && break; sleep 0.3; done;"
    "docker inspect -f '{{.State.Health.Status}}' k1" + _DROP,
    "health check fails": _KEEP + "--health-cmd 'exit 1' --health-interval 300ms --health-retries 1 bb sleep 1000 >/dev/null;"
    "for i in $(seq 40); do [ $(docker inspect -f '{{.State.Health.Status}}' k1) != starting ] && break; sleep 0.3; done;"
    "docker inspect -f '{{.State.Health.Status}}' k1" + _DROP,
    "attach": _KEEP + "bb sh -c 'sleep 1; echo late; exit 3' >/dev/null; docker attach k1; echo $?" + _DROP,
    "paths unmasked": docker("--security-opt systempaths=unconfined bb sh -c 'grep -c /proc/ /proc/mounts; true'"),
    "apparmor unconfined": docker("--security-opt apparmor=unconfined bb true"),
    "cgroup namespace": docker("--cgroupns private bb sh -c 'grep -c boxes-engines /proc/self/cgroup; true'"),
    "no such device": docker("--device /dev/nosuchdevice bb true"),
    "changed files": docker_up("docker exec c1 touch /etc/new; docker diff c1 | grep -c /etc/new"),
    "events": docker_up("docker pause c1 >/dev/null; docker unpause c1 >/dev/null; sleep 1;"
    "docker events --since 5m --until $(date +%s) --filter container=c1 --format '{{.Action}}' | grep -x -e pause -e unpause"),
    "update of pids": docker_up("docker update --pids-limit 44 c1 >/dev/null && docker exec c1 sh -c 'cd /sys/fs/cgroup; cat pids.max pids/pids.max 2>/dev/null; true'"),
    "export": docker_up("docker export c1 | tar -t | grep -c ^etc/passwd"),
    "build": "printf 'FROM bb\\nRUN echo built >/built\\n' >Dockerfile; docker build --network none -q -t made . >/dev/null;"
    + docker("made cat /built")
    + "; docker rmi made >/dev/null",
    "failing build": "printf 'FROM bb\\nRUN exit 5\\n' >Dockerfile; docker build --network none -q .",
    "build with BuildKit": "printf 'FROM bb\\nRUN echo built >/built\\nRUN cat /built\\n' >Dockerfile;"
    "DOCKER_BUILDKIT=1 docker build --network none -q -t made . >/dev/null 2>&1 && " + docker("made cat /built") + "; docker rmi made >/dev/null",
}  # fmt: skip
FAILING = {"no such device", "failing build"}
