"""Names of kernel parameters: their two spellings, and the namespace each belongs to.

Imported only for configs that set some.
"""

from __future__ import annotations

from boxes.errors import ConfigError
from boxes.spec.kinds import child

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

IPC = frozenset(
    (
        "auto_msgmni",
        "msg_next_id",
        "msgmax",
        "msgmnb",
        "msgmni",
        "sem",
        "sem_next_id",
        "shm_next_id",
        "shm_rmid_forced",
        "shmall",
        "shmmax",
        "shmmni",
    )
)


def parts(name: str) -> tuple[str, ...] | None:
    """The components of a parameter's name, or None if it is none.

    As sysctl(8) does: the first separator counts. In `net.ipv4.conf.eth0/100.mtu` the slash stands for a dot that is
    part of a component, in `net/ipv4/conf/eth0.100/mtu` the dot stands for itself.
    """
    if 0 <= name.find(".") < (name.find("/") if "/" in name else len(name)):
        name = name.translate({ord("."): "/", ord("/"): "."})
    found = tuple(name.split("/"))
    if len(found) < 2 or any(part in ("", ".", "..") or not part.isprintable() or " " in part for part in found):
        return None
    return found


def check_names(names: Iterable[str], where: str) -> None:
    """Raise ConfigError for a name that is none, and for a second spelling of the same one."""
    seen: dict[tuple[str, ...], str] = {}
    for name in names:
        found = parts(name)
        if found is None:
            raise ConfigError(
                "expected the name of a kernel parameter, such as 'net.ipv4.ip_forward'", pointer=child(where, name)
            )
        if found in seen:
            raise ConfigError(f"is the same parameter as '{seen[found]}'", pointer=child(where, name))
        seen[found] = name


def namespace_of(found: tuple[str, ...]) -> str | None:
    """The type of the namespace that a parameter belongs to, or None: then it is the whole machine's."""
    if found[0] == "net":
        return "network"
    if found[:2] == ("fs", "mqueue") and len(found) > 2:
        return "ipc"
    if found[0] == "kernel" and len(found) == 2:
        if found[1] in IPC:
            return "ipc"
        if found[1] in ("hostname", "domainname"):
            return "uts"
    return None
