"""System calls, typed, whose errors say which call it was.

Each raises OSError with an attribute `call`: the call as it would be written in C, such as
``move_mount(7, "", 9, "", MOVE_MOUNT_F_EMPTY_PATH)``. A path below a container's root is always given as a directory
descriptor and a relative path. See the man page of the same name for the rest.
"""

from __future__ import annotations

import _signal
import errno

from boxes import system as os
from boxes.linux import _syscalls as native
from boxes.linux import flags as k

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn, TypeVar

    Path = str | bytes
    Result = TypeVar("Result")


def described(fd: int, path: Path = b"") -> str:
    """A directory descriptor and a path as a reader knows them: ``fd<rootfs>/proc``."""
    if fd == k.AT_FDCWD:
        return f'"{os.fsdecode(path)}"'
    try:
        target = os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        target = str(fd)
    name = os.fsdecode(path)
    return f"fd<{target}>/{name}" if name else f"fd<{target}>"


def rendered(error: OSError, call: str) -> OSError:
    error.call = call  # type: ignore[attr-defined]
    return error


def _checked(call: str, function: Callable[..., Result], *arguments: object) -> Result:
    """For calls that are cheap to render. `call` is what they are shown as."""
    try:
        return function(*arguments)
    except OSError as error:
        raise rendered(error, call) from None


def openat2(directory: int, path: Path, flags: int, *, mode: int = 0, resolve: int = 0) -> int:
    """Open relative to a directory. EAGAIN, which RESOLVE_IN_ROOT gives while anything is renamed, is tried again."""
    for attempt in range(128):
        try:
            return native.openat2(directory, path, flags | os.O_CLOEXEC, mode, resolve)
        except OSError as error:
            if error.errno == 11 and attempt < 127:  # EAGAIN
                continue
            raise rendered(error, f"openat2({described(directory, path)}, {flags:#o}, resolve={resolve:#x})") from None
    raise AssertionError


def clone3(flags: int, *, exit_signal: int = 17, cgroup: int = -1) -> tuple[int, int]:
    """Fork: (pid, pidfd) in the parent, (0, -1) in the child, which is in the new namespaces of `flags`.

    `cgroup` is a directory of a v2 hierarchy in which the child starts (Linux 5.7), `exit_signal` SIGCHLD or 0.
    """
    into = f", cgroup={described(cgroup)}" if cgroup >= 0 else ""
    return _checked(f"clone3({flags:#x}{into})", native.clone3, flags, exit_signal, cgroup)


def clone_shared(flags: int, body: Callable[[], NoReturn], *, cgroup: int = -1) -> tuple[int, int]:
    """(pid, pidfd) of a child that has called `body` in this process's memory, and has executed a program or ended:
    until then this process waits, as for vfork(2). All that `body` does to objects is done to ours."""
    into = f", cgroup={described(cgroup)}" if cgroup >= 0 else ""
    return _checked(f"clone3({flags:#x}|CLONE_VM|CLONE_VFORK{into})", native.clone_shared, flags, cgroup, body)


def unshare(flags: int) -> None:
    _checked(f"unshare({flags:#x})", native.unshare, flags)


def setns(fd: int, kind: int) -> None:
    try:
        native.setns(fd, kind)
    except OSError as error:
        raise rendered(error, f"setns({described(fd)}, {kind:#x})") from None


def fsopen(kind: str) -> int:
    return _checked(f'fsopen("{kind}")', native.fsopen, kind, k.FSOPEN_CLOEXEC)


def fsconfig_flag(fd: int, key: str) -> None:
    try:
        native.fsconfig(fd, k.FSCONFIG_SET_FLAG, key, None, 0)
    except OSError as error:
        raise _fsconfig_failed(fd, error, f'fsconfig(FSCONFIG_SET_FLAG, "{key}")') from None


def fsconfig_string(fd: int, key: str, value: str) -> None:
    """Values are at most 255 bytes: longer ones need mount(2)."""
    try:
        native.fsconfig(fd, k.FSCONFIG_SET_STRING, key, value, 0)
    except OSError as error:
        raise _fsconfig_failed(fd, error, f'fsconfig(FSCONFIG_SET_STRING, "{key}", "{value}")') from None


def fsconfig_create(fd: int) -> None:
    try:
        native.fsconfig(fd, k.FSCONFIG_CMD_CREATE, None, None, 0)
    except OSError as error:
        raise _fsconfig_failed(fd, error, "fsconfig(FSCONFIG_CMD_CREATE)") from None


def _fsconfig_failed(fd: int, error: OSError, call: str) -> OSError:
    """The kernel tells more of a mount's failure to who reads the context's descriptor: "e cgroup: Unknown subsys"."""
    try:
        told = os.read(fd, 512).decode("utf-8", "replace").strip()
    except OSError:
        return rendered(error, call)
    reason = told.split(" ", 1)[-1].lower()
    return rendered(error, f"{call}: {reason}" if reason else call)


def fsmount(fd: int, attributes: int) -> int:
    return _checked(f"fsmount(attributes={attributes:#x})", native.fsmount, fd, k.FSMOUNT_CLOEXEC, attributes)


def open_tree(directory: int, path: Path, flags: int) -> int:
    try:
        return native.open_tree(directory, path, flags | k.OPEN_TREE_CLOEXEC)
    except OSError as error:
        raise rendered(error, f"open_tree({described(directory, path)}, {flags:#x})") from None


def move_mount(mount: int, target: int) -> None:
    """Attach a detached mount on the object that `target` refers to."""
    try:
        native.move_mount(mount, "", target, "", k.MOVE_MOUNT_F_EMPTY_PATH | k.MOVE_MOUNT_T_EMPTY_PATH)
    except OSError as error:
        raise rendered(error, f"move_mount({described(mount)}, {described(target)})") from None


def mount_setattr(
    fd: int, *, set: int = 0, clear: int = 0, propagation: int = 0, userns: int = 0, recursive: bool
) -> None:
    """Change the attributes of the mount, or of all mounts, at a descriptor (Linux 5.12)."""
    flags = k.AT_EMPTY_PATH | (k.AT_RECURSIVE if recursive else 0)
    try:
        native.mount_setattr(fd, "", flags, set, clear, propagation, userns)
    except OSError as error:
        call = f"mount_setattr({described(fd)}, set={set:#x}, clear={clear:#x}, propagation={propagation:#x})"
        raise rendered(error, call) from None


def mount(source: Path | None, target: Path, kind: str | None, flags: int, data: Path | None = None) -> None:
    try:
        native.mount(source, target, kind, flags, data)
    except OSError as error:
        shown = (os.fsdecode(source) if source else "", os.fsdecode(target), kind or "", flags)
        raise rendered(error, 'mount("{}", "{}", "{}", {:#x})'.format(*shown)) from None


def umount2(target: Path, flags: int) -> None:
    _checked(f'umount2("{os.fsdecode(target)}", {flags:#x})', native.umount2, target, flags)


def prctl(option: int, *arguments: int) -> int:
    return _checked(f"prctl({option}, {arguments})", native.prctl, option, *arguments)


def capset(mask: int) -> None:
    """The effective and permitted capabilities of this thread; none is inheritable."""
    _checked(f"capset({mask:#x})", native.capset, mask)


def prlimit(pid: int, resource: int, limits: tuple[int, int] | None = None) -> tuple[int, int]:
    """The (soft, hard) limits before; sets new ones if given. 2**64 - 1 is RLIM_INFINITY."""
    return _checked(f"prlimit({pid}, {resource}, {limits})", native.prlimit, pid, resource, *(limits or ()))


def close_range(first: int, last: int = 0xFFFFFFFF, flags: int = 0) -> None:
    _checked(f"close_range({first}, {last})", native.close_range, first, last, flags)


def sethostname(name: bytes) -> None:
    _checked(f"sethostname({name!r})", native.sethostname, name)


def setdomainname(name: bytes) -> None:
    _checked(f"setdomainname({name!r})", native.setdomainname, name)


def filesystem(fd: int) -> int:
    """The magic number of the filesystem a descriptor is on: fstatfs(2)."""
    return _checked(f"fstatfs({fd})", native.fstatfs, fd)


def execveat(fd: int, arguments: list[bytes], environment: list[bytes]) -> None:
    """Execute what the descriptor refers to; returns only by an error."""
    try:
        native.execveat(fd, arguments, environment)
    except OSError as error:
        raise rendered(error, f"execveat({described(fd)})") from None


def spawn(fd: int, arguments: list[bytes], *, cgroup: int = -1) -> int:
    """The pid of a child that executes what the descriptor refers to, without environment: clone3(2), born in a v2
    cgroup if one is given."""
    try:
        return native.spawn(fd, arguments, cgroup)
    except OSError as error:
        born = f', cgroup="{described(cgroup)}"' if cgroup >= 0 else ""
        raise rendered(error, f"clone3(CLONE_VFORK{born}), execveat({described(fd)})") from None


def make_device(directory: int, name: Path, mode: int, device: int) -> None:
    try:
        os.mknod(name, mode, device, dir_fd=directory)
    except OSError as error:
        shown = f"{mode:#o}, {os.major(device)}:{os.minor(device)}"
        raise rendered(error, f"mknodat({described(directory, name)}, {shown})") from None


def pidfd_open(pid: int) -> int:
    """Of a process. Raises ProcessLookupError if there is none, also where the number is a thread's."""
    try:
        return _checked(f"pidfd_open({pid})", os.pidfd_open, pid)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENOENT):  # a thread's; which it is depends on the kernel
            raise rendered(OSError(errno.ESRCH, "no such process"), f"pidfd_open({pid})") from None
        raise


def pidfd_send_signal(pidfd: int, number: int) -> None:
    _checked(f"pidfd_send_signal({number})", _signal.pidfd_send_signal, pidfd, number)


def pidfd_getfd(pidfd: int, fd: int) -> int:
    """A duplicate of another process's descriptor (Linux 5.6). Needs the right to trace it."""
    return _checked(f"pidfd_getfd({pidfd}, {fd})", native.pidfd_getfd, pidfd, fd)


def inotify_init(flags: int) -> int:
    return _checked(f"inotify_init1({flags:#o})", native.inotify_init, flags)


def inotify_add_watch(fd: int, path: Path, mask: int) -> int:
    shown = os.fsdecode(path)
    return _checked(f'inotify_add_watch({fd}, "{shown}", {mask:#x})', native.inotify_add_watch, fd, path, mask)


def seccomp_flags(flags: int) -> bool:
    """Whether the kernel knows flags of SECCOMP_SET_MODE_FILTER in this combination: then only the missing filter
    (EFAULT) is wrong."""
    try:
        native.seccomp(k.SECCOMP_SET_MODE_FILTER, flags, None)
    except OSError as error:
        return error.errno == 14  # EFAULT
    return False


def seccomp_library() -> tuple[str, tuple[int, int, int]]:
    """libseccomp's file and version. Raises ImportError if there is none."""
    return native.seccomp_library()


def seccomp_number(architecture: int, name: str) -> int:
    """The number of a system call on an architecture, by libseccomp's tables: -1 if unknown, less if only others have
    it."""
    return native.seccomp_number(architecture, name)


def seccomp_compile(action: int, parts: bytes, fd: int) -> tuple[int, int]:
    """Compile parts (native/syscalls.c, struct part) and write the program to `fd`: (parts that were taken, errno)."""
    return native.seccomp_compile(action, parts, fd)


def exchange(old_path: Path, new_path: Path) -> None:
    """Let two files trade their names: renameat2(2), RENAME_EXCHANGE. EINVAL on filesystems that cannot."""
    _checked("renameat2", native.renameat2, k.AT_FDCWD, old_path, k.AT_FDCWD, new_path, k.RENAME_EXCHANGE)
