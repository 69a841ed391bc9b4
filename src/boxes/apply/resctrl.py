"""The resctrl filesystem: groups of processes that share a part of the caches and of the memory's bandwidth.

Documentation/filesystems/resctrl.rst of the kernel. A directory below the root is a class of service (CTRL_MON group);
one below a class's `mon_groups` only counts (MON group). Both have a file `tasks`. rmdir(2) takes a directory away with
all it holds, and its processes go back to the parent.
"""

from __future__ import annotations

import errno
import fcntl

from boxes import system as os
from boxes.errors import ConfigError, KernelError, refused
from boxes.linux import mountinfo as listed
from boxes.linux.syscalls import rendered

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any

_MOST = 1 << 20  # bytes of a schemata file, or of a list of processes
_HINTS = {errno.ENOSPC: "the processor has no more of them", errno.ENOENT: "the processor may lack what it takes"}


class Group:
    """What a process is to be in.

    `name`: the class of service, or nothing for the root's; `lasting`: once made it stays, for others to enter;
    `makes`: whether it may be made; `schemata`: (text, pointer) each to be written at once; `matching`: those of them
    that a class that is there must have already; `monitor`: (name, pointer) of a group that only counts, or None;
    `pointer` says who wants the class.
    """

    __slots__ = ("lasting", "makes", "matching", "monitor", "name", "pointer", "schemata")

    def __init__(
        self,
        name: str,
        *,
        lasting: bool,
        makes: bool,
        schemata: list[tuple[str, str]],
        matching: list[tuple[str, str]],
        monitor: tuple[str, str] | None,
        pointer: str,
    ) -> None:
        self.name = name
        self.lasting = lasting
        self.makes = makes
        self.schemata = schemata
        self.matching = matching
        self.monitor = monitor
        self.pointer = pointer


def mounted() -> str | None:
    """Where this mount namespace has the filesystem, or None."""
    return find(listed.own())


def find(mountinfo: bytes) -> str | None:
    """Where /proc/PID/mountinfo says that the whole filesystem is mounted. proc(5)"""
    for line in mountinfo.splitlines():
        fields, _, rest = line.partition(b" - ")
        if rest.startswith(b"resctrl "):
            root, point = fields.split(b" ")[3:5]
            if root == b"/":
                return listed.text(point)
    return None


class Lock:
    """Of the whole filesystem, as its users agree: between a look at the groups and what follows from it."""

    def __init__(self, root: str) -> None:
        self._fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def __enter__(self) -> Lock:
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._fd)


def survey(root: str, group: Group) -> dict[str, Any]:
    """What will be made, to be written down before it is: the rest takes this record. Raises ConfigError for a class
    that is not there and may not be made."""
    here = f"{root}/{group.name}".rstrip("/")
    makes = not os.isdir(here)
    if makes:
        if not group.makes:
            text = f"there is no class of service '{group.name}', and no schema to make it with"
            raise ConfigError(text, pointer=group.pointer, path=here)
    elif not os.access(f"{here}/tasks", os.F_OK):
        raise ConfigError(f"'{group.name}' is not a class of service", pointer=group.pointer, path=here)
    monitor = None
    if group.monitor is not None:
        name, pointer = group.monitor
        monitor = f"{here}/mon_groups/{name}"
        if os.isdir(monitor):
            raise ConfigError(f"there is a monitoring group '{name}' already", pointer=pointer, path=monitor)
    return {"root": root, "group": here, "makes": makes, "lasting": group.lasting, "monitor": monitor}


def make(root: str, group: Group, record: dict[str, Any]) -> None:
    """Make what is missing, and write its schemata."""
    here = record["group"]
    if record["makes"]:
        record["makes"] = False  # should it be there all the same, it is somebody else's
        _mkdir(root, here, "cannot make the class of service", group.pointer)
        record["makes"] = True
    elif group.matching:
        found = _parsed(_read(f"{here}/schemata"))
        gran = _granularity(root)
        for text, pointer in group.matching:
            if not _matches(_parsed(text), found, gran):
                message = f"the class of service '{group.name}' is there, and has another schema than '{text}'"
                raise ConfigError(message, pointer=pointer, path=f"{here}/schemata")
    for text, pointer in group.schemata:
        try:
            _write(f"{here}/schemata", f"{text}\n")
        except OSError as error:
            raise _refused(root, "cannot set the schema", error, pointer) from error
    if group.monitor is not None:
        monitor, record["monitor"] = record["monitor"], None
        _mkdir(root, monitor, "cannot make the monitoring group", group.monitor[1])
        record["monitor"] = monitor


def enter(root: str, record: dict[str, Any], pid: int, pointer: str) -> None:
    """Put a process there: into the class first, as only its members can be in its monitoring group."""
    for path in tasks(record):
        try:
            _write(path, str(pid))
        except OSError as error:
            raise _refused(root, "cannot enter the class of service", error, pointer) from error


def rewrite(record: dict[str, Any], schemata: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Write other schemata, (text, pointer) each, and return what puts the old ones back. All of them hold, or none."""
    path = f"{record['group']}/schemata"
    with Lock(record["root"]):
        # without the blanks that make columns of it
        before = [(line, "/linux/intelRdt") for line in _read(path).replace(" ", "").splitlines()]
        try:
            for text, pointer in schemata:
                try:
                    _write(path, f"{text}\n")
                except OSError as error:
                    raise _refused(record["root"], "cannot set the schema", error, pointer) from error
        except KernelError:
            for text, _ in before:
                _write(path, f"{text}\n")
            raise
    return before


def tasks(record: dict[str, Any]) -> list[str]:
    """The files to which who enters writes a pid, or 0 for its own, in this order."""
    return [f"{here}/tasks" for here in (record["group"], record["monitor"]) if here]


def remove(record: dict[str, Any], *, complete: bool) -> None:
    """Take away what was made. If its making was not `complete`, also a class that was to last, if nobody is in it."""
    if record["monitor"]:
        _rmdir(record["monitor"])
    if record["makes"] and not record["lasting"]:
        _rmdir(record["group"])
    elif record["makes"] and not complete and os.isdir(record["root"]):
        with Lock(record["root"]):
            if not _is_used(record["group"]):
                _rmdir(record["group"])


def _is_used(group: str) -> bool:
    try:
        return bool(_read(f"{group}/tasks").strip())
    except FileNotFoundError:
        return False


def _mkdir(root: str, path: str, stage: str, pointer: str) -> None:
    try:
        os.mkdir(path, 0o755)
    except OSError as error:
        raise _refused(root, stage, rendered(error, f'mkdir("{path}")'), pointer) from error


def _rmdir(path: str) -> None:
    try:
        os.rmdir(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise refused("cannot remove the group", rendered(error, f'rmdir("{path}")')) from error


def _read(path: str) -> str:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read_all(fd, _MOST).decode("utf-8", "replace")
    finally:
        os.close(fd)


def _write(path: str, text: str) -> None:
    """In one piece: the kernel looks at each write(2) by itself."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)
    except OSError as error:
        raise rendered(error, f'write("{path}", "{text.strip()}")') from None


def _refused(root: str, stage: str, error: OSError, pointer: str) -> KernelError:
    """With what the kernel says of it in `info/last_cmd_status`."""
    try:
        reason = _read(f"{root}/info/last_cmd_status").strip()
    except OSError:
        reason = ""
    hint = _HINTS.get(error.errno or 0)
    call = getattr(error, "call", stage)
    if reason and reason != "ok":
        error = rendered(error, f"{call}: {reason[:1].lower()}{reason[1:]}")
    return refused(stage, error, pointer=pointer, hint=hint)


def _parsed(schemata: str) -> dict[tuple[str, str], str]:
    """(resource, domain) to value: of ``L3:0=7ff;1=7ff`` the two masks of L3."""
    found = {}
    for line in schemata.splitlines():
        resource, _, values = line.partition(":")
        for value in values.split(";"):
            domain, _, amount = value.partition("=")
            found[resource.strip(), domain.strip()] = amount.strip()
    return found


def _granularity(root: str) -> int:
    """In percent, to which the kernel rounds a bandwidth up."""
    try:
        return int(_read(f"{root}/info/MB/bandwidth_gran"))
    except (OSError, ValueError):
        return 1


def _matches(wanted: dict[tuple[str, str], str], found: dict[tuple[str, str], str], granularity: int) -> bool:
    """Whether all that is wanted is so: masks are hexadecimal, a bandwidth is a number."""
    for key, text in wanted.items():
        has = found.get(key)
        if has is None:
            return False
        try:
            base = 10 if key[0] == "MB" else 16
            want, have = int(text, base), int(has, base)
        except ValueError:
            return False
        if want != have and not (base == 10 and -(-want // granularity) * granularity == have):
            return False
    return True
