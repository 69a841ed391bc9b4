"""The seccomp profile of containers made from Python: what no sandboxed program needs is refused.

It is a list of what is denied. Programs that were never tried run, and the parts of the kernel are out of reach that
escapes have gone through: keyrings, BPF, io_uring, userfaultfd, modules, mounts, other processes' memory.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from boxes.spec.shapes import Seccomp, SeccompArg, SeccompRule

EPERM, ENOSYS = 1, 38
# What glibc tries first and does without; flags of clone3 are in memory, where no filter sees them.
_ABSENT = "clone3 io_uring_setup io_uring_enter io_uring_register".split()
_DENIED = """
    acct add_key adjtimex bpf clock_adjtime clock_settime create_module delete_module fanotify_init finit_module
    fsconfig fsmount fsopen fspick get_mempolicy init_module ioperm iopl kcmp kexec_file_load kexec_load keyctl
    lookup_dcookie mbind migrate_pages mount mount_setattr move_mount move_pages name_to_handle_at nfsservctl
    open_by_handle_at open_tree perf_event_open pidfd_getfd pivot_root process_madvise process_vm_readv
    process_vm_writev ptrace quotactl quotactl_fd reboot request_key set_mempolicy set_mempolicy_home_node setns
    settimeofday stime swapoff swapon syslog umount umount2 unshare uselib userfaultfd vhangup vm86 vm86old
""".split()
_NEW_NAMESPACES = 0x7E020080  # CLONE_NEW* of <linux/sched.h>
_ARCHITECTURES = {
    "x86_64": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
    "aarch64": ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"],
}


def _no_clone(flag: int) -> SeccompRule:
    args: list[SeccompArg] = [{"index": 0, "value": flag, "valueTwo": flag, "op": "SCMP_CMP_MASKED_EQ"}]
    return {"names": ["clone"], "action": "SCMP_ACT_ERRNO", "errnoRet": EPERM, "args": args}


def profile(machine: str) -> Seccomp:
    """The profile for a machine, as uname(2) calls it."""
    made: Seccomp = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [
            {"names": list(_ABSENT), "action": "SCMP_ACT_ERRNO", "errnoRet": ENOSYS},
            {"names": list(_DENIED), "action": "SCMP_ACT_ERRNO", "errnoRet": EPERM},
            *(_no_clone(1 << bit) for bit in range(32) if _NEW_NAMESPACES >> bit & 1),
        ],
    }
    if machine in _ARCHITECTURES:
        made["architectures"] = list(_ARCHITECTURES[machine])
    return made
