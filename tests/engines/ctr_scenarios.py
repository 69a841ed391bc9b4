"""What is done with containerd by `ctr`."""

from __future__ import annotations

from tests.engines.forms import ctr, ctr_up, on_terminal

_BB = "localhost/bb:latest t "
_DENYING = '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}]}'
_ROOT = "mkdir r; tar -C r -xf ../../image/bb.tar; "

SCENARIOS = {
    "true": ctr(_BB, "true"),
    "exit status": ctr(_BB, "sh -c 'exit 7'"),
    "program not found": ctr(_BB, "nosuchprogram"),
    "program not executable": ctr(_BB, "/etc/passwd"),
    "output": ctr(_BB, "sh -c 'echo out; echo err >&2'"),
    # Input that ends before the task has started ends for nobody: ctr tells containerd of it too early.
    "standard input": "(echo hello; sleep 3) | " + ctr(_BB, "cat"),
    "terminal": on_terminal(ctr("-t", _BB, "tty")),
    "environment": ctr("--env A=1", _BB, "sh -c 'echo $A'"),
    "working directory": ctr("--cwd /var", _BB, "pwd"),
    "read-only": ctr("--read-only", _BB, "touch /x"),
    "read-only and seccomp": ctr("--read-only --seccomp", _BB, "sh -c 'grep ^Seccomp: /proc/self/status; touch /x'"),
    "root directory": _ROOT + "run --rm --rootfs $PWD/r t /bin/cat /etc/group",
    "read-only root directory": _ROOT + "run --rm --read-only --seccomp --rootfs $PWD/r t /bin/touch /x",
    "mount": ctr("--mount type=bind,src=$PWD,dst=/mnt,options=rbind:rw", _BB, "sh -c 'echo x >/mnt/f; cat /mnt/f'"),
    "read-only mount": ctr("--mount type=bind,src=$PWD,dst=/mnt,options=rbind:ro", _BB, "touch /mnt/x"),
    "tmpfs": ctr("--mount type=tmpfs,src=tmpfs,dst=/mnt,options=size=1m:nosuid", _BB, "sh -c 'df -k /mnt | tail -n 1'"),
    "seccomp": ctr("--seccomp", _BB, "grep -E '^Seccomp:' /proc/self/status"),
    "seccomp profile": f"echo '{_DENYING}' >p.json; " + ctr("--seccomp --seccomp-profile p.json", _BB, "mkdir /x"),
    "memory limit": ctr("--memory-limit 67108864", _BB, "true"),
    "processor limits": ctr("--cpus 0.5 --cpu-shares 512", _BB, "true"),
    "capabilities": ctr(_BB, "grep Cap /proc/self/status"),
    "capability dropped": ctr("--cap-drop CAP_CHOWN --cap-add CAP_SYS_PTRACE", _BB, "grep Cap /proc/self/status"),
    "new privileges": ctr("--allow-new-privs", _BB, "grep NoNewPrivs /proc/self/status"),
    "privileged": ctr("--privileged", _BB, "sh -c 'grep Cap /proc/self/status; ls -d /sys/firmware'"),
    "host's network": ctr("--net-host", _BB, "ls /sys/class/net"),
    "user namespace": "chmod a+x ../..; " + ctr("--uidmap 0:100000:65536 --gidmap 0:100000:65536", _BB, "cat /proc/self/uid_map"),
    "namespace of another": ctr_up(
        "pid=$(ctr tasks ls | awk '/^c /{print $2}'); run --rm --with-ns network:/proc/$pid/ns/net --with-ns pid:/proc/$pid/ns/pid "
        "localhost/bb:latest t sh -c 'ps -o args | grep -c ^sleep'"
    ),
    "without pivot": ctr("--no-pivot", _BB, "true"),
    "no cgroup": ctr('--cgroup ""', _BB, "true"),
    "pid file": "run -d --pid-file p localhost/bb:latest c sleep 1000; test $(cat p) = $(ctr tasks ls | awk '/^c /{print $2}') && echo same;"
    "ctr tasks kill -s KILL c; ctr tasks delete -f c >/dev/null 2>&1; ctr containers delete c",
    "mounts": ctr(_BB, "sh -c 'cut -d\" \" -f2 /proc/mounts | grep -v -e \"^/$\" -e cgroup | sort'"),
    "exec": ctr_up("ctr tasks exec --exec-id e c echo hi"),
    "exec status": ctr_up("ctr tasks exec --exec-id e c sh -c 'exit 9'"),
    "exec not found": ctr_up("ctr tasks exec --exec-id e c nosuchprogram"),
    "exec with a directory and a user": ctr_up("ctr tasks exec --exec-id e --cwd /var --user 1000 c sh -c 'pwd; id -u'"),
    "exec on a terminal": ctr_up(on_terminal("ctr tasks exec -t --exec-id e c tty")),
    "two of exec": ctr_up("for n in 1 2 3; do ctr tasks exec --exec-id e$n c echo $n & done | sort; wait"),
    "pause and resume": ctr_up(
        "ctr tasks pause c; ctr tasks ls | awk '/^c /{print $3}'; ctr tasks resume c; ctr tasks ls | awk '/^c /{print $3}'"
    ),
    "metrics": ctr_up("ctr tasks metrics c | grep -c -e memory -e cpu"),
    "ps": ctr_up("ctr tasks ps c | wc -l"),
    "kill": ctr_up(
        "ctr tasks kill -s TERM -a c; ctr tasks kill -s KILL c; sleep 1; ctr tasks ls | awk '/^c /{print $3}'"
    ),
    "delete a running one": ctr_up("ctr tasks delete c"),
}  # fmt: skip
# What containerd refuses with any runtime where a controller of v1 is mounted nowhere.
OF_THE_HOST = {"metrics"}
FAILING = {
    "read-only and seccomp", "read-only root directory", "read-only mount", "seccomp profile",
    "delete a running one",
}  # fmt: skip
