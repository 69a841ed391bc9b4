"""A keeper: a small process that waits for a container's end and notes how it was (docs/adr/0006-outcome.md)."""

from __future__ import annotations

from _struct import unpack_from

from boxes import system as os
from boxes.container import host
from boxes.errors import ConfigError, refused
from boxes.linux import exits
from boxes.linux.fd import Fds, sealed
from boxes.plan import keeper

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from boxes.container.creation import Creation
    from boxes.container.store import Place

_PATIENCE = 0.2  # seconds that it may be slower than who asks
FILE = "exit"  # in a container's directory
ANNOTATION = "boxes.record-exit"  # as creation.py has it


def start(making: Creation) -> None:
    """Start one for a container's init. It has nothing of the caller's open, and is in a session of its own."""
    asked = making.journal["annotations"].get(ANNOTATION, "true")
    if asked not in ("true", "false"):
        raise ConfigError("is neither 'true' nor 'false'", pointer=f"/annotations/{ANNOTATION}")
    if asked == "false" and not making.options.record_exit:
        return
    with Fds() as fds:
        try:
            _start(making.place, making.pid, making.pidfd, fds)
        except OSError as error:
            raise refused("cannot start the process that notes the container's end", error) from error


def _start(place: Place, pid: int, pidfd: int, fds: Fds) -> None:
    file = fds.add(os.open(f"{place.path}/{FILE}", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
    os.write_all(file, keeper.blank())
    stat = fds.add(os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC))
    null = fds.add(os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC))
    first = max(int(name) for name in os.listdir("/proc/self/fd")) + 2  # above all, and above the plan's
    numbers = range(first, first + 5)
    plan = fds.add(sealed("plan", keeper.keeper(*numbers[:3]).encode()))
    sources = (pidfd, file, stat, plan, null)
    actions = [(os.POSIX_SPAWN_DUP2, null, number) for number in range(3)]
    actions += [(os.POSIX_SPAWN_DUP2, *pair) for pair in zip(sources, numbers, strict=True)]
    arguments = ["box: keeper", str(numbers[3]), str(numbers[4]), "0"]
    os.posix_spawn(host.inner_path(), arguments, {}, file_actions=actions)


def read(place: Place, journal: dict[str, Any]) -> dict[str, Any]:
    """What a keeper has noted of a container that has ended; nothing if there was none, or if it could not."""
    import time

    from boxes.cgroups import wait

    found: dict[str, Any] = {}

    def noted() -> bool:
        page = _page(place)
        found.update(_facts(page, journal) if page else {})
        return not page or "exit_code" in found

    wait.until(noted, time.monotonic() + _PATIENCE)
    return found


def _page(place: Place) -> bytes:
    try:
        fd = os.open(f"{place.path}/{FILE}", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return b""
    try:
        page = os.read(fd, keeper.SIZE)
    finally:
        os.close(fd)
    return page if len(page) == keeper.SIZE else b""


def _facts(page: bytes, journal: dict[str, Any]) -> dict[str, Any]:
    from boxes.container import outcome

    stat = page[keeper.STAT_AT : keeper.STAT_AT + keeper.STAT_SIZE].rstrip(b"\0")
    found = exits.of_zombie(stat, journal["started"])
    if found is None:
        found = exits.of_info(page[keeper.INFO_AT : keeper.INFO_AT + exits.INFO_SIZE])
    seconds, nanoseconds = unpack_from("=qq", page, keeper.TIME_AT)
    at = outcome.stamp(seconds * 10**9 + nanoseconds) if seconds else None
    if found is None:
        return {"ended": at} if at else {}
    return outcome.ended(found, at)
