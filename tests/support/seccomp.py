"""Profiles for `linux.seccomp`, and an agent for those that notify one."""

from __future__ import annotations

import fcntl
import json
import os
import select
import socket
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

# What engines allow by default, roughly: everything but keys, modules, clocks and what needs privileges anyway.
NAMES = (
    "accept access acct add_key adjtimex alarm arch_prctl bind brk capget capset chdir chmod chown chroot clock_getres clock_gettime "
    "clock_nanosleep clock_settime clone close connect creat dup dup2 dup3 epoll_create epoll_ctl epoll_wait eventfd execve exit "
    "exit_group faccessat fadvise64 fallocate fchdir fchmod fchmodat fchown fchownat fcntl fdatasync fgetxattr flistxattr flock fork "
    "fremovexattr fsetxattr fstat fstatfs fsync ftruncate futex getcpu getcwd getdents getdents64 getegid geteuid getgid getgroups "
    "getitimer getpeername getpgid getpgrp getpid getppid getpriority getrandom getresgid getresuid getrlimit getrusage getsid "
    "getsockname getsockopt gettid gettimeofday getuid getxattr init_module inotify_add_watch inotify_init inotify_rm_watch io_cancel "
    "io_destroy io_getevents io_setup io_submit ioctl ioperm iopl ioprio_get ioprio_set kcmp kexec_load keyctl kill lchown lgetxattr "
    "link linkat listen listxattr llistxattr lookup_dcookie lremovexattr lseek lsetxattr lstat madvise mbind membarrier memfd_create "
    "migrate_pages mincore mkdir mkdirat mknod mknodat mlock mlock2 mlockall mmap modify_ldt mount move_pages mprotect mq_getsetattr "
    "mq_notify mq_open mq_timedreceive mq_timedsend mq_unlink mremap msgctl msgget msgrcv msgsnd msync munlock munlockall munmap "
    "name_to_handle_at nanosleep newfstatat open open_by_handle_at openat pause perf_event_open personality pipe pipe2 pivot_root poll "
    "ppoll prctl pread64 preadv prlimit64 process_vm_readv process_vm_writev pselect6 ptrace pwrite64 pwritev quotactl read readahead "
    "readlink readlinkat readv reboot recvfrom recvmmsg recvmsg remap_file_pages removexattr rename renameat renameat2 rseq request_key "
    "rmdir rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_tgsigqueueinfo "
    "sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr sched_getparam sched_getscheduler "
    "sched_rr_get_interval sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield seccomp select semctl semget "
    "semop semtimedop sendfile sendmmsg sendmsg sendto set_mempolicy set_robust_list set_tid_address setdomainname setfsgid setfsuid "
    "setgid setgroups sethostname setitimer setns setpgid setpriority setregid setresgid setresuid setreuid setrlimit setsid "
    "setsockopt settimeofday setuid setxattr shmat shmctl shmdt shmget shutdown sigaltstack signalfd signalfd4 socket socketpair "
    "splice stat statfs statx swapoff swapon symlink symlinkat sync sync_file_range syncfs sysfs sysinfo syslog tee tgkill time "
    "timer_create timer_delete timer_getoverrun timer_gettime timer_settime timerfd_create timerfd_gettime timerfd_settime times "
    "tkill truncate umask umount2 uname unlink unlinkat unshare uselib userfaultfd ustat utime utimensat utimes vfork vhangup vmsplice "
    "wait4 waitid write writev"
).split()

CONTINUE = 1  # SECCOMP_USER_NOTIF_FLAG_CONTINUE
_RECEIVE, _SEND = 0xC0502100, 0xC0182101  # SECCOMP_IOCTL_NOTIF_RECV, SECCOMP_IOCTL_NOTIF_SEND

# The number and the arguments of a call → value, errno, flags.
Answer = Callable[[int, tuple[int, ...]], tuple[int, int, int]]


def profile(*listed: dict[str, Any], default: str = "SCMP_ACT_ERRNO", **more: Any) -> dict[str, Any]:
    return {"defaultAction": default, "syscalls": list(listed), **more}


def rule(*names: str, action: str = "SCMP_ACT_ALLOW", **more: Any) -> dict[str, Any]:
    return {"names": list(names), "action": action, **more}


def arg(index: int, op: str, value: int, second: int = 0) -> dict[str, Any]:
    return {"index": index, "op": f"SCMP_CMP_{op}", "value": value, "valueTwo": second}


def denying(*names: str, action: str = "SCMP_ACT_ERRNO", **more: Any) -> dict[str, Any]:
    """Allow all but these."""
    return profile(rule(*names, action=action, **more), default="SCMP_ACT_ALLOW")


def like_an_engines(*left_out: str) -> dict[str, Any]:
    """About 300 names on three architectures, and conditions on some."""
    personalities = [rule("personality", args=[arg(0, "EQ", value)]) for value in (0, 8, 0x20000, 0x20008, 0xFFFFFFFF)]
    kept = [name for name in NAMES if name not in ("personality", "socket", *left_out)]
    families = rule("socket", args=[arg(0, "NE", 40)])
    architectures = ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]
    return profile(rule(*kept), *personalities, families, architectures=architectures)


class Agent:
    """Listens where runtimes send listeners, keeps what they say, and answers what it is asked."""

    def __init__(self, path: Path, answer: Answer) -> None:
        self.path = path
        self.answer = answer
        self.messages: list[dict[str, Any]] = []
        self.asked: list[int] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind(str(path))
        self._socket.listen(8)
        self._stop, self._stopped = os.pipe()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        poll.register(self._stop, select.POLLIN | select.POLLHUP)
        listeners: set[int] = set()
        while True:
            ready = dict(poll.poll())
            if self._stop in ready:
                break
            for fd, events in ready.items():
                if fd == self._socket.fileno():
                    new = self._accept()
                    listeners.add(new)
                    poll.register(new, select.POLLIN)
                elif events & select.POLLIN:
                    self._reply(fd)
                else:
                    poll.unregister(fd)
                    listeners.remove(fd)
                    os.close(fd)
        for fd in listeners:
            os.close(fd)

    def _accept(self) -> int:
        connection, _ = self._socket.accept()
        with connection:
            data, fds, _, _ = socket.recv_fds(connection, 1 << 16, 4)
        assert len(fds) == 1
        self.messages.append(json.loads(data))
        return fds[0]

    def _reply(self, fd: int) -> None:
        request = bytearray(80)  # struct seccomp_notif
        try:
            fcntl.ioctl(fd, _RECEIVE, request)
            number, *arguments = struct.unpack_from("=i12x6Q", request, 16)
            self.asked.append(number)
            value, errno, flags = self.answer(number, tuple(arguments))
            fcntl.ioctl(fd, _SEND, struct.pack("=QqiI", struct.unpack_from("=Q", request)[0], value, -errno, flags))
        except FileNotFoundError:
            pass  # who asked has ended

    def close(self) -> None:
        if self._stopped >= 0:
            os.close(self._stopped)
            self._stopped = -1
            self._thread.join()
            os.close(self._stop)
            self._socket.close()
            self.path.unlink()
