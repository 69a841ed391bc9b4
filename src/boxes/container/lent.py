"""What the host lends a container: network devices, and a class of cache and memory bandwidth (resctrl).

Only for configs that ask for either. Runs in the runtime, with its rights and in its namespaces.
"""

from __future__ import annotations

from boxes import log
from boxes import system as os
from boxes.container import status
from boxes.errors import BoxesError, UnsupportedError, located, refused
from boxes.linux import procfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from boxes.container.creation import Creation
    from boxes.network.devices import Transfer


class Lent:
    """On its way to the container that is being made. Devices can be brought back as long as this is open."""

    def __init__(self, making: Creation) -> None:
        self._making = making
        self._transfer: Transfer | None = None

    def lend(self) -> None:
        """Before the builder has begun: kernel parameters of a device that moves are set by it, and what it starts is
        in its class."""
        linux = self._making.config["linux"]
        if linux.get("intelRdt") is not None:
            self._enter_class(linux["intelRdt"])
        if linux.get("netDevices"):
            try:
                self._move_devices(linux["netDevices"])
            except BoxesError as error:
                raise located(error, "/linux/netDevices") from None

    def _enter_class(self, rdt: dict[str, Any]) -> None:
        from boxes.apply import resctrl
        from boxes.plan.resctrl import POINTER, group

        root = resctrl.mounted()
        if root is None:
            hint = "where the processor has it: mount -t resctrl resctrl /sys/fs/resctrl"
            raise UnsupportedError("no resctrl filesystem is mounted", pointer=POINTER, hint=hint)
        wanted = group(rdt, self._making.id)
        journal, place = self._making.journal, self._making.place
        try:
            with resctrl.Lock(root):
                record = resctrl.survey(root, wanted)
                journal["resctrl"] = record
                place.save(journal)
                resctrl.make(root, wanted, record)
                resctrl.enter(root, record, self._making.pid, wanted.pointer)
        except OSError as error:
            raise refused("cannot set the class of service", error, pointer=POINTER) from error

    def _move_devices(self, devices: dict[str, Any]) -> None:
        from boxes.network.devices import Transfer
        from boxes.plan.network import moves

        joined = self._making.joins.get("network", -1)
        own = joined < 0
        netns = joined
        if own:
            try:
                netns = os.open(f"/proc/{self._making.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            except OSError as error:
                raise refused("cannot reach the network namespace", error) from error
        try:
            self._transfer = transfer = Transfer(netns)
        finally:
            if own:
                os.close(netns)
        listed = moves(devices)
        transfer.check(listed)
        for move in listed:
            transfer.move(move)

    def bring_back(self) -> None:
        """The devices, with all they had; what cannot be is logged."""
        if self._transfer is not None:
            for failure in self._transfer.undo():
                log.warning(f"ignoring: {failure}")
        self.close()

    def close(self) -> None:
        if self._transfer is not None:
            self._transfer.close()
            self._transfer = None


def release(journal: dict[str, Any]) -> None:
    """Take away the groups that were made for a container. Its devices the kernel has by now: with their namespace,
    physical ones go back to the host and others end."""
    from boxes.apply import resctrl

    if journal["boot"] == procfs.boot_id():
        resctrl.remove(journal["resctrl"], complete=journal["status"] == status.CREATED)


def open_tasks(journal: dict[str, Any]) -> list[int]:
    """Where one more process of the container enters its class; nowhere, if somebody has removed it."""
    from boxes.apply import resctrl

    opened: list[int] = []
    for path in resctrl.tasks(journal["resctrl"]):
        try:
            opened.append(os.open(path, os.O_WRONLY | os.O_CLOEXEC))
        except FileNotFoundError:
            log.debug(f"ignoring: there is no '{path}' any more")
        except OSError as error:
            for fd in opened:
                os.close(fd)
            raise refused("cannot enter the class of service", error, pointer="/linux/intelRdt") from error
    return opened
