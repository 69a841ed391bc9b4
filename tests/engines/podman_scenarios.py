"""What podman alone does, or in its own words."""

from __future__ import annotations

from tests.engines.forms import on_terminal, podman, podman_up

_KEEP = "podman run -d --name k1 --network none "
_DROP = "; podman rm -ft0 k1 >/dev/null"
# A range of ids for containers, as a host has it that uses them; only in these namespaces.
_AUTO = (
    "echo containers:2000000:65536 >ids; mount --bind ids /etc/subuid; mount --bind ids /etc/subgid;"
    "trap 'umount /etc/subuid /etc/subgid' EXIT; "
)
_POD = (
    "podman pod create --infra=false --name p >/dev/null; trap 'podman pod rm -ft0 p >/dev/null' EXIT;"
    "podman run -d --pod p --name k1 --network none --shm-size 1m bb sleep 1000 >/dev/null; "
)
_INFRA = (
    "podman pod create --share net,ipc,uts,pid --network none --hostname podded --name p >/dev/null;"
    "trap 'podman pod rm -ft0 p >/dev/null' EXIT; podman run -d --pod p --name k1 bb sleep 1000 >/dev/null; "
)
_NOTIFIED = """
    cat >send.py <<'END'
import os, socket
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.connect(os.environ["NOTIFY_SOCKET"]); s.send(b"READY=1"); print("sent")
END
    cat >manager.py <<'END'
import socket
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind("notify"); s.settimeout(20); open("bound", "w")
said = []
while not any("READY=1" in each for each in said): said.append(s.recv(4096).decode())
print(sorted(line.split("=")[0] for each in said for line in each.split()))
END
    python3 manager.py >heard & manager=$!
    until [ -e bound ]; do sleep 0.05; done
    NOTIFY_SOCKET=$PWD/notify podman run --rm --network none --sdnotify=container -v /usr:/usr:ro -v /lib64:/lib64:ro \
        -v /lib:/lib:ro -v $PWD/send.py:/send.py bb /usr/bin/python3 /send.py
    wait $manager; cat heard
"""

SCENARIOS = {
    "pod": "podman pod create --infra=false --name p >/dev/null; podman run --pod p --rm --network none bb echo in; podman pod rm -f p >/dev/null",
    "pod with its own init": _INFRA
    + "podman run --rm --pod p bb sh -c 'hostname; ps -o args | grep -c -e ^sleep -e ^/catatonit; ls /sys/class/net'",
    "ipc and pid of another": podman_up(
        "podman run --rm --network none --ipc container:c1 --pid container:c1 bb sh -c 'ps -o args | grep -c ^sleep; df -k /dev/shm | tail -n 1'",
        "--ipc shareable --shm-size 3m",
    ),
    "stopped and started pod": _POD
    + "podman pod stop -t 0 p >/dev/null; podman pod start p >/dev/null; podman exec k1 echo again",
    "paused pod": _POD
    + "podman pod pause p >/dev/null; podman inspect -f '{{.State.Status}}' k1; podman pod unpause p >/dev/null; podman exec k1 echo on",
    "user namespace": podman("--uidmap 0:100000:1000 --gidmap 0:100000:1000 bb sh -c 'id -u; cat /proc/self/uid_map'"),
    "user namespace, and a user": podman(
        "--uidmap 0:100000:2000 -u user --tmpfs /mnt bb sh -c 'id; touch /mnt/x; cat /proc/self/gid_map'"
    ),
    "user namespace by itself": _AUTO + podman("--userns=auto bb sh -c 'id -u; cut -c22- /proc/self/uid_map'"),
    "user namespace of a size": _AUTO + podman("--userns=auto:size=5000 bb cat /proc/self/uid_map"),
    "terminal": podman("-t bb tty"),
    "run on a terminal": on_terminal(podman("-it bb tty")),
    "logs": podman_up("podman logs l1; podman rm l1 >/dev/null", "").replace(
        "podman logs", "podman run --name l1 --network none bb echo text >/dev/null; podman logs"
    ),
    "healthcheck": podman_up("podman healthcheck run c1 && echo healthy", "--health-cmd true --health-interval disable"),
    "unhealthy": podman_up("podman healthcheck run c1", "--health-cmd false --health-interval disable"),
    "secret": "echo hidden | podman secret create s - >/dev/null; "
    + podman("--secret s bb cat /run/secrets/s")
    + "; podman secret rm s >/dev/null",
    "named volume": podman("-v vol:/mnt bb sh -c 'echo kept >/mnt/f'")
    + " && "
    + podman("-v vol:/mnt bb cat /mnt/f")
    + "; podman volume rm vol",
    "volume with options": podman("-v $PWD:/mnt:nosuid,noexec,z bb grep -c ' /mnt .*nosuid.*noexec' /proc/mounts"),
    "volume with a changed owner": podman(
        "--uidmap 0:100000:2000 -v $PWD:/mnt:U bb sh -c 'touch /mnt/x; stat -c %u /mnt'"
    ),
    "slave volume": podman("-v $PWD:/mnt:rslave bb sh -c 'grep -c \" /mnt .*master\" /proc/self/mountinfo; true'"),
    "exec privileged": podman_up("podman exec --privileged c1 grep CapEff /proc/self/status"),
    "overlaid volume": podman("-v $PWD:/mnt:O bb sh -c 'echo x >/mnt/f; cat /mnt/f'") + "; ls",
    "relabelled mount": podman("--mount type=bind,src=$PWD,dst=/mnt,relabel=shared,ro=true bb touch /mnt/x"),
    "image mount": podman("--mount type=image,src=bb,dst=/mnt bb ls /mnt/etc/passwd"),
    "devpts mount": podman("--mount type=devpts,dst=/mnt bb ls /mnt"),
    "keep groups": podman("--group-add keep-groups bb true"),
    "shared network": podman_up("podman run --rm --network container:c1 bb ls /sys/class/net"),
    "host network": "podman run --rm --network host bb ls /sys/class/net",
    "bridge": "podman run --rm bb sh -c 'ls /sys/class/net; ip -4 -o addr show eth0 | wc -l'",
    "published port": "podman run -d --name k1 -p 18123:80 bb sh -c 'while :; do echo served | busybox nc -l -p 80; done' >/dev/null;"
    "for i in 1 2 3 4 5 6 7 8; do busybox nc -w 2 127.0.0.1 18123 </dev/null && break; sleep 0.3; done" + _DROP,
    "masked and unmasked": podman("--security-opt mask=/etc/passwd:/var bb sh -c 'wc -c </etc/passwd; ls /var'")
    + ";"
    + podman("--security-opt unmask=ALL bb sh -c 'grep -c -e /proc/ -e /sys/firmware /proc/mounts; true'"),
    "options of proc": podman("--security-opt proc-opts=hidepid=2 bb grep -c 'hidepid=' /proc/mounts"),
    "apparmor unconfined": podman("--security-opt apparmor=unconfined --security-opt label=disable bb true"),
    "no writable tmpfs": podman("--read-only --read-only-tmpfs=false bb touch /tmp/x"),
    "umask": podman("--umask 0027 bb sh -c umask"),
    "personality": podman("--personality=LINUX32 bb sh -c 'uname -m | grep -x i686'"),
    "time limit": podman("--timeout 1 bb sleep 1000"),
    "time zone": podman("--tz Europe/Zurich bb ls -l /etc/localtime | wc -l"),
    "descriptors": "echo through >f; exec 3<f; " + podman("--preserve-fds 1 bb sh -c 'cat <&3'"),
    "descriptors of exec": podman_up("echo through >f; exec 3<f; podman exec --preserve-fds 1 c1 sh -c 'cat <&3'"),
    "systemd's mounts": podman("--systemd=always bb sh -c 'grep -c -e \" /run tmpfs\" -e \" /tmp tmpfs\" /proc/mounts'"),
    "without cgroups": "podman run --rm --network none --cgroups=disabled bb echo none",
    "cgroup namespace of the host": podman("--cgroupns host bb grep -c boxes-engines /proc/self/cgroup >/dev/null"),
    "root directory": "mkdir r; tar -C r -xf ../../image/bb.tar; podman run --rm --network none --rootfs $PWD/r cat /etc/group",
    "events": podman_up(
        "podman exec c1 true; podman pause c1 >/dev/null; podman unpause c1 >/dev/null;"
        "podman events --since 5m --stream=false --filter container=c1 --format '{{.Status}}' | grep -x -e pause -e unpause -e exec"
    ),
    "generate and play kube": "podman run -d --network none --name k1 bb sleep 1000 >/dev/null; podman generate kube k1 >k.yml; podman rm -ft0 k1 >/dev/null;"
    "podman play kube --network none k.yml >/dev/null; podman exec k1-pod-k1 echo played; podman play kube --down k.yml >/dev/null; podman ps -aq",
    "restart policy": "podman run -d --network none --restart on-failure:2 --name k1 bb false >/dev/null; sleep 4;"
    "podman inspect -f '{{.RestartCount}} {{.State.ExitCode}}' k1" + _DROP,
    "stop signal": _KEEP + "--stop-signal USR1 bb sh -c 'trap \"echo told; exit 4\" USR1; while :; do sleep 0.1; done' >/dev/null;"
    "sleep 1; podman stop -t 5 k1; podman logs k1; podman inspect -f '{{.State.ExitCode}}' k1" + _DROP,
    "attach": _KEEP + "bb sh -c 'sleep 1; echo late; exit 3' >/dev/null; podman attach k1; echo $?" + _DROP,
    "clone": podman_up("podman container clone --run c1 d1 >/dev/null; podman exec d1 echo cloned; podman rm -ft0 d1 >/dev/null"),
    "mounted root": podman_up("ls $(podman mount c1)/etc/passwd | wc -l; podman umount c1 >/dev/null"),
    "notification": _NOTIFIED,
    "build": "printf 'FROM bb\\nRUN echo built >/built\\n' >Dockerfile; podman build --network none -q -t made . >/dev/null; "
    + podman("made cat /built")
    + "; podman rmi made >/dev/null",
    "build with mounts": "printf 'FROM bb\\nRUN --mount=type=tmpfs,dst=/mnt grep -c \" /mnt tmpfs\" /proc/mounts >/built\\n' >Dockerfile;"
    "podman build --network none --cap-add NET_ADMIN -q -t made . >/dev/null; "
    + podman("made cat /built")
    + "; podman rmi made >/dev/null",
}  # fmt: skip
# runc knows no personality before 1.2. containers.conf names box, as it names crun, as one that can do without; podman refuses it for runc.
ONLY_BOX = {"without cgroups", "personality"}
FAILING = {"unhealthy", "relabelled mount", "no writable tmpfs", "time limit"}
