"""The id maps of a new user namespace: user_namespaces(7)."""

from __future__ import annotations

from boxes import system as os
from boxes.errors import UnsupportedError, refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    Mapping = tuple[int, int, int]  # the first id inside, the first outside, how many

_HELPER_DIRECTORIES = ("/usr/bin", "/bin", "/usr/local/bin")  # set-user-ID programs: never by PATH


def groups_allowed(gid_mappings: list[Mapping], *, privileged: bool) -> bool:
    """Whether setgroups(2) will be allowed in a user namespace with these maps."""
    try:
        with open("/proc/self/setgroups", "rb") as file:
            inherited = file.read().strip() != b"deny"
    except FileNotFoundError:
        inherited = True
    return inherited and (privileged or not _own_id(gid_mappings, os.getegid()))


def write(pid: int, kind: str, mappings: list[Mapping], *, privileged: bool) -> None:
    """Write the map of `kind` ("gid" or "uid", in this order) of `pid`, our own child: directly with privileges or for
    the caller's own single id, else by newuidmap(1) or newgidmap(1), which know the subordinate ids of /etc/subuid and
    /etc/subgid."""
    own = os.getegid() if kind == "gid" else os.geteuid()
    if privileged or _own_id(mappings, own):
        _write_map(pid, kind, mappings, privileged)
    else:
        _by_helper(pid, kind, mappings)


def _own_id(mappings: list[Mapping], own: int) -> bool:
    return len(mappings) == 1 and mappings[0][1:] == (own, 1)


def _write_map(pid: int, kind: str, mappings: list[Mapping], privileged: bool) -> None:
    lines = "".join(f"{inside} {outside} {count}\n" for inside, outside, count in mappings)
    try:
        if kind == "gid" and not privileged:
            # Else a process could shed a group that is there to deny it something: CVE-2014-8989.
            _write(f"/proc/{pid}/setgroups", b"deny")
        _write(f"/proc/{pid}/{kind}_map", lines.encode())
    except OSError as error:
        raise refused(f"cannot map {kind}s", error) from error


def _write(path: str, text: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text)
    except OSError as error:
        error.filename = path
        raise
    finally:
        os.close(fd)


def _by_helper(pid: int, kind: str, mappings: list[Mapping]) -> None:
    program = f"new{kind}map"
    path = next((p for p in (f"{d}/{program}" for d in _HELPER_DIRECTORIES) if os.access(p, os.X_OK)), None)
    if path is None:
        hint = "install the package uidmap, or map only your own id"
        raise UnsupportedError(f"'{program}' is needed to map these {kind}s and is not installed", hint=hint)
    numbers = [str(number) for mapping in mappings for number in mapping]
    said = os.memfd_create(program, os.MFD_CLOEXEC)
    try:
        actions = [(os.POSIX_SPAWN_DUP2, said, 2)]
        child = os.posix_spawn(path, [program, str(pid), *numbers], {}, file_actions=actions)
        status = os.waitpid(child, 0)[1]
        if status:
            os.lseek(said, 0, os.SEEK_SET)
            reason = os.read(said, 400).decode("utf-8", "replace").strip().replace("\n", "; ")
            hint = f"see /etc/sub{kind}"
            raise UnsupportedError(f"{program} refused the mappings: {reason}", path=path, hint=hint)
    finally:
        os.close(said)
