"""Whether a process would find its place in the finished root: its ids, directory, terminal, program and hooks.

Runs in the rehearsal, which has the container's namespaces and the host's root. Below the container's nothing is done
but looking, by openat2(2).
"""

from __future__ import annotations

import _stat as stat
import errno as e
from _struct import unpack_from

from boxes import system as os
from boxes.container.program import candidates
from boxes.errors import BoxesError, ConfigError
from boxes.linux import path
from boxes.plan import failures

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from boxes.plan.facts import Facts

_HEAD = 1024  # bytes, as native/inner.c sends them along
_DEEPEST = 5  # scripts whose interpreter is a script: execve(2)
_READ, _SEARCH = 4, 1
_NO_EXECUTION = 8  # ST_NOEXEC of statvfs(3)
_MACHINES = {"x86_64": (62, 3), "aarch64": (183, 40)}  # <elf.h>: EM_*; the second is that of 32-bit programs
_OVERRIDES = ("CAP_DAC_OVERRIDE",)


def check(config: dict[str, Any], facts: Facts, root: int, *, whole: bool) -> list[BoxesError]:
    """What the process would fail at, in the order of its start. `whole`: what the plan makes has been made."""
    process = config.get("process")
    if not process:
        return []
    found = _ids(process, facts)
    if process.get("terminal") and _missing(root, "/dev/pts/ptmx"):
        found.append(failures.of_console(e.ENOENT, b""))
    user = _User(process)
    number = _directory(root, process["cwd"], user)
    if number and (whole or number != e.ENOENT):
        found.append(failures.of_chdir(process["cwd"])(number, b""))
    for position, hook in enumerate((config.get("hooks") or {}).get("startContainer") or ()):
        number, _ = _program(root, hook["path"], user)
        if number:
            pointer = f"/hooks/startContainer/{position}"
            found.append(failures.of_hook(hook, pointer)(number, b""))
    error = _searched(root, process, user)
    return found if error is None else [*found, error]


class _User:
    """Whom the files of the container will be asked for."""

    def __init__(self, process: dict[str, Any]) -> None:
        user = process.get("user") or {}
        self.uid = user.get("uid", 0)
        self.groups = {user.get("gid", 0), *(user.get("additionalGids") or ())}
        self.overrides = any(name in _OVERRIDES for name in (process.get("capabilities") or {}).get("effective") or ())

    def may(self, facts: os.stat_result, bit: int) -> bool:
        """Whether mode bits allow it; capabilities(7) has CAP_DAC_OVERRIDE."""
        if self.overrides and (stat.S_ISDIR(facts.st_mode) or facts.st_mode & 0o111):
            return True
        shift = 6 if facts.st_uid == self.uid else 3 if facts.st_gid in self.groups else 0
        return bool(facts.st_mode >> shift & bit)


def _ids(process: dict[str, Any], facts: Facts) -> list[BoxesError]:
    user = process.get("user") or {}
    wanted = [("uid", "/process/user/uid", user.get("uid", 0)), ("gid", "/process/user/gid", user.get("gid", 0))]
    wanted += [
        ("gid", f"/process/user/additionalGids/{number}", gid)
        for number, gid in enumerate(user.get("additionalGids") or ())
    ]
    maps = {"uid": facts.namespaces.uid_mappings, "gid": facts.namespaces.gid_mappings}
    return [
        ConfigError(f"{id} is not in /linux/{kind}Mappings", pointer=pointer)
        for kind, pointer, id in wanted
        if not facts.namespaces.maps(maps[kind], id)
    ]


def _missing(root: int, name: str) -> bool:
    try:
        fd = path.find(root, name)
    except OSError:
        return False
    if fd is None:
        return True
    os.close(fd)
    return False


def _directory(root: int, name: str, user: _User) -> int:
    """The errno of a chdir(2), or 0."""
    number, fd = _found(root, name, user)
    if number:
        return number
    facts = os.fstat(fd)
    os.close(fd)
    if not stat.S_ISDIR(facts.st_mode):
        return e.ENOTDIR
    return 0 if user.may(facts, _SEARCH) else e.EACCES


def _found(root: int, name: str, user: _User) -> tuple[int, int]:
    """(errno, 0) or (0, a descriptor): what `name` is, if the user may go there."""
    names = path.parts(name)
    for count in range(len(names)):
        try:
            fd = path.find(root, "/".join(names[:count]))
        except OSError:
            break  # more is said by what follows
        if fd is None:
            return e.ENOENT, 0
        facts = os.fstat(fd)
        os.close(fd)
        if stat.S_ISDIR(facts.st_mode) and not user.may(facts, _SEARCH):
            return e.EACCES, 0
    try:
        fd = path.find(root, name)
    except OSError as error:
        return error.errno or e.EIO, 0
    return (e.ENOENT, 0) if fd is None else (0, fd)


def _searched(root: int, process: dict[str, Any], user: _User) -> BoxesError | None:
    """The program, along PATH as inner looks for it."""
    name = process["args"][0]
    told, data = e.ENOENT, b""
    for candidate in candidates(process):
        number, head = _program(root, candidate, user)
        if number in (0, e.ELOOP):  # a magic link, such as /proc/self/exe: only the process itself has it
            return None
        if number == e.EACCES and "/" not in name:
            told = e.EACCES
        elif number not in (e.ENOENT, e.ENOTDIR) or head or "/" in name:
            told, data = number, os.fsencode(candidate) + b"\0" + head
            break
    return failures.of_exec(name)(told, data)


def _program(root: int, name: str, user: _User, depth: int = 0) -> tuple[int, bytes]:
    """The errno of an execve(2), or 0, and how the file begins if that says more."""
    number, fd = _found(root, name, user)
    if number:
        return number, b""
    try:
        facts = os.fstat(fd)
        if stat.S_ISDIR(facts.st_mode):
            return e.EISDIR, b""
        if not stat.S_ISREG(facts.st_mode) or not user.may(facts, _SEARCH) or not facts.st_mode & 0o111:
            return e.EACCES, b""
        if os.fstatvfs(fd).f_flag & _NO_EXECUTION:
            return e.EACCES, b""
        head = _head(fd)
    finally:
        os.close(fd)
    return _format(root, head, user, depth)


def _head(fd: int) -> bytes:
    try:
        opened = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return b"\x7fELF"  # it may be executed and not be read
    try:
        return os.read(opened, _HEAD)
    finally:
        os.close(opened)


def _format(root: int, head: bytes, user: _User, depth: int) -> tuple[int, bytes]:
    if head.startswith(b"#!"):
        words = head[2:].split(b"\n", 1)[0].split()
        if not words:
            return e.ENOEXEC, head
        if depth >= _DEEPEST:
            return 0, b""
        number, below = _program(root, os.fsdecode(words[0]), user, depth + 1)
        return number, head if number == e.ENOENT else below
    if not head.startswith(b"\x7fELF"):
        return e.ENOEXEC, head
    if len(head) >= 20 and unpack_from("=H", head, 18)[0] not in _MACHINES.get(os.uname().machine, ()):
        return (0, b"") if _translated() else (e.ENOEXEC, head)
    interpreter = failures.elf_interpreter(head) if head[4:5] == b"\x02" else b""
    if interpreter and _missing(root, os.fsdecode(interpreter)):
        return e.ENOENT, head
    return 0, b""


def _translated() -> bool:
    """Whether programs of other machines may be run by binfmt_misc."""
    try:
        return len(os.listdir("/proc/sys/fs/binfmt_misc")) > 2
    except OSError:
        return False
