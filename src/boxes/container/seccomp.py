"""Filters of /linux/seccomp: compiled once and kept by content, and their listeners handed to agents.

A compiled filter is kept in `<runtime>/.cache/seccomp/`, under a digest of what it is made of: the profile, and for
which machine and kernel. The file tells what libseccomp it was made with; another one replaces it.
"""

from __future__ import annotations

from _struct import pack, unpack_from

from boxes import system as os
from boxes.errors import BoxesError, InternalError, UnsupportedError, refused
from boxes.linux import syscalls
from boxes.linux.fd import memory
from boxes.linux.sockets import close, connect_stream, send_fd
from boxes.plan import seccomp as planned
from boxes.plan.seccomp import POINTER, Filter
from boxes.spec.document import dump, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from boxes.plan.facts import Facts

_CACHE = ".cache/seccomp"
_VERSION = "1"  # of what is kept, and of how it is compiled
_MOST = 64  # files
_LARGEST = 1 << 20
_DIGEST = 32
_LISTENER = "anon_inode:seccomp notify"

Held = dict[str, tuple[str, str]]
_compiled: list[tuple[dict[str, Any], tuple[bytes, Held]]] = []  # what `remember` was given


def prepare(
    config: dict[str, Any], process: dict[str, Any], hooks: list[dict[str, Any]], available: int, runtime: str | None
) -> Filter:
    """The filter that a config asks for, once it is clear that a process gets through its own start with it.

    `hooks` are those at startContainer, `available` the capabilities that the process can have, `runtime` is the
    store's directory, or None for whoever leaves nothing behind. Raises ConfigError, UnsupportedError.
    """
    found = _filter(config, runtime)
    found.check(process, hooks, available)
    return found


def of_init(config: dict[str, Any], facts: Facts, capabilities: int, runtime: str | None) -> Filter:
    """The same for a container's init, by the capabilities that this process has."""
    from boxes.container import host

    hooks = (config.get("hooks") or {}).get("startContainer") or []
    available = host.ALL if facts.has_own("user") else capabilities
    return prepare(config, config["process"], hooks, available, runtime)


def _filter(config: dict[str, Any], runtime: str | None) -> Filter:
    profile = config["linux"]["seccomp"]
    planned.refuse_notify(profile)
    flags = planned.flags(profile)
    if planned.notifies(profile):
        planned.listener(config)
    if runtime is None:
        program, held = _compile(profile, flags)
        return Filter(program, flags, held)
    for known, made in _compiled:
        if known == profile:
            return Filter(made[0], flags, made[1])
    name = _name(profile)
    kept = _kept(f"{runtime}/{_CACHE}", name)
    if kept is None:
        kept = _compile(profile, flags)
        _keep(runtime, name, *kept)
    return Filter(kept[0], flags, kept[1])


def remember(profile: dict[str, Any]) -> None:
    """Compile a profile for all containers that this process, and its forks, make with it."""
    try:
        _compiled.append((profile, _compile(profile, planned.flags(profile))))
    except BoxesError:
        pass  # whoever wants it is told why it cannot be


def like() -> Filter:
    """One that takes as many steps as any, and is not to be loaded."""
    return Filter(b"", 0, {})


# ---- the cache ----


def _name(profile: dict[str, Any]) -> str:
    import _blake2

    system = os.uname()
    compiled = {key: value for key, value in profile.items() if key not in ("listenerPath", "listenerMetadata")}
    content = dump([_VERSION, system.machine, system.release, compiled])
    return str(_blake2.blake2b(content.encode(), digest_size=_DIGEST).hexdigest())


def _open_directory(path: str) -> int:
    """Raises OSError if it is not there, or not ours alone."""
    return _ours(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC), path)


def _ours(fd: int, path: str) -> int:
    facts = os.fstat(fd)
    if facts.st_uid == os.geteuid() and not facts.st_mode & 0o022:
        return fd
    os.close(fd)
    raise PermissionError(1, "it is not ours alone", path)


def _kept(directory: str, name: str) -> tuple[bytes, Held] | None:
    """What was compiled before; None if there is nothing, or nothing that can be trusted."""
    try:
        holder = _open_directory(directory)
    except OSError:
        return None
    try:
        fd = _ours(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=holder), name)
        try:
            content = os.read_all(fd, _LARGEST)
        finally:
            os.close(fd)
        return _unpacked(content)
    except (OSError, BoxesError, ValueError, KeyError, TypeError):
        return None
    finally:
        os.close(holder)


def _digest(content: bytes) -> bytes:
    import _blake2

    return bytes(_blake2.blake2b(content, digest_size=_DIGEST).digest())


def _packed(program: bytes, held: Held) -> bytes:
    head = dump({"library": _library(_loaded()[0]), "held": held}).encode()
    content = pack("=I", len(head)) + head + program
    return _digest(content) + content


def _unpacked(content: bytes) -> tuple[bytes, Held] | None:
    digest, content = content[:_DIGEST], content[_DIGEST:]
    if len(content) < 4 or _digest(content) != digest:
        return None
    end = 4 + unpack_from("=I", content)[0]
    head: Any = parse(content[4:end], source="filter")
    if _library(head["library"][0]) != head["library"]:
        return None
    return content[end:], {name: tuple(verdict) for name, verdict in head["held"].items()}


def _library(path: str) -> list[str | int]:
    """What tells one libseccomp from another without loading it."""
    facts = os.stat(path)
    return [path, facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns]


def _keep(runtime: str, name: str, program: bytes, held: Held) -> None:
    """Only ever an attempt: without a cache the next container compiles again."""
    directory = f"{runtime}/{_CACHE}"
    try:
        os.makedirs(runtime, mode=0o700, exist_ok=True)
        for path in (directory.rpartition("/")[0], directory):
            if not os.isdir(path):
                os.mkdir(path, 0o700)
        holder = _open_directory(directory)
    except OSError:
        return
    try:
        _make_room(holder, name)
        made = f"{name}.{os.getpid()}"
        fd = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=holder)
        try:
            os.write_all(fd, _packed(program, held))
            os.rename(made, name, src_dir_fd=holder, dst_dir_fd=holder)
        except OSError:
            os.unlink(made, dir_fd=holder)
        finally:
            os.close(fd)
    except OSError:
        pass  # no room, or a directory that is read-only
    finally:
        os.close(holder)


def _make_room(holder: int, name: str) -> None:
    """Remove the older half of what is kept, once it is much; and what those left that were killed as they wrote this
    one: whoever writes it now only fails to keep it."""
    names = os.listdir(holder)
    for each in names:
        if each.startswith(f"{name}."):
            os.unlink(each, dir_fd=holder)
    if len(names) < _MOST:
        return
    aged = sorted(names, key=lambda name: os.stat(name, dir_fd=holder, follow_symlinks=False).st_mtime_ns)
    for name in aged[: len(aged) // 2]:
        os.unlink(name, dir_fd=holder)


# ---- the compiler ----


def _loaded() -> tuple[str, str]:
    """libseccomp's file and its version."""
    try:
        path, version = syscalls.seccomp_library()
    except ImportError as error:
        hint = "install libseccomp 2.5 or newer: the package libseccomp2 of Debian"
        raise UnsupportedError(f"a filter needs libseccomp: {error}", pointer=POINTER, hint=hint) from error
    return path, ".".join(str(number) for number in version)


def _compile(profile: dict[str, Any], flags: int) -> tuple[bytes, Held]:
    from boxes.plan import seccomp_rules as rules

    version = _loaded()[1]
    machine = os.uname().machine
    if machine not in rules.NATIVE:
        raise UnsupportedError(f"filters cannot be made on '{machine}'", pointer=POINTER)
    _probe(profile, flags)
    parts = rules.Parts(profile, machine, syscalls.seccomp_number)
    fd = memory("filter")
    try:
        taken, errno = syscalls.seccomp_compile(parts.default, parts.encode(), fd)
        if errno:
            raise parts.failed(taken, errno, version)
        os.lseek(fd, 0, os.SEEK_SET)
        program = rules.unknown_calls(profile, machine, syscalls.seccomp_number) + os.read_all(fd, _LARGEST)
    finally:
        os.close(fd)
    rules.check_length(program)
    return program, rules.held(program, machine)


def _probe(profile: dict[str, Any], flags: int) -> None:
    """Ask the kernel for the flags, each with those it needs, and for filters at all."""
    if not syscalls.seccomp_flags(0):
        raise UnsupportedError("this kernel has no filters of system calls", pointer=POINTER)
    for number, name in enumerate(profile.get("flags") or ()):
        if not syscalls.seccomp_flags(planned.FLAGS[name] | planned.needed_flags(name)):
            raise UnsupportedError(f"this kernel does not know '{name}'", pointer=f"{POINTER}/flags/{number}")
    if planned.notifies(profile) and not syscalls.seccomp_flags(flags):
        raise UnsupportedError("this kernel does not know 'SCMP_ACT_NOTIFY' with these flags", pointer=POINTER)


# ---- the listener ----


def hand_over(config: dict[str, Any], state: dict[str, Any], pid: int, number: int, fds: list[int]) -> None:
    """Send the container process state and the listener to listenerPath (config-linux.md, "Seccomp").

    `state` is that of the container, `pid` the process whose listener it is, and its number there; `fds` what it sent.
    """
    path = planned.listener(config)
    fd = fds[0] if fds else _fetched(pid, number)
    try:
        if os.readlink(f"/proc/self/fd/{fd}") != _LISTENER:
            raise InternalError("what should be the listener of a filter is another descriptor")
        message: dict[str, Any] = {"ociVersion": state["ociVersion"], "fds": ["seccompFd"], "pid": pid}
        metadata = config["linux"]["seccomp"].get("listenerMetadata")
        if metadata:
            message["metadata"] = metadata
        message["state"] = state
        socket = connect_stream(path)
        try:
            send_fd(socket, dump(message).encode(), fd)
        finally:
            close(socket)
    except OSError as error:
        stage = "cannot hand the listener to the seccomp agent"
        raise refused(stage, error, pointer=f"{POINTER}/listenerPath") from error
    finally:
        os.close(fd)


def _fetched(pid: int, number: int) -> int:
    """The listener of a process that its filter does not let send it: pidfd_getfd(2), Linux 5.6."""
    try:
        pidfd = syscalls.pidfd_open(pid)
        try:
            return syscalls.pidfd_getfd(pidfd, number)
        finally:
            os.close(pidfd)
    except OSError as error:
        hint = "an ordinary user's profile has to allow 'sendmsg', for the process to send it" if os.geteuid() else None
        raise refused("cannot fetch the listener", error, pointer=POINTER, hint=hint) from error
