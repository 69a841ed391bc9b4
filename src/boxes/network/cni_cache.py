"""What a CNI network answered, kept where libcni keeps it, so that other tools (cnitool, collectors of garbage) see our
attachments: ``/var/lib/cni/results/NETWORK-CONTAINER-INTERFACE``, a JSON object of the kind ``cniCacheV1``.

Beside a result lies ``.NETWORK-CONTAINER-INTERFACE`` as long as plugins run: it is locked, and the plugins have the
lock too, so that whoever comes after a runtime that was killed can wait for them.
"""

from __future__ import annotations

import fcntl
import json
import os
import time

from boxes.errors import ExistsError, refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from boxes.linux.fd import Fds

DIRECTORY = "/var/lib/cni"
_KIND = "cniCacheV1"
_PAUSE = 0.05  # seconds between two looks at a lock


class Cache:
    """The place of one attachment's result."""

    def __init__(self, directory: str, network: str, container: str, interface: str) -> None:
        self._results = f"{directory}/results"
        self._name = f"{network}-{container}-{interface}"
        self.path = f"{self._results}/{self._name}"
        self._pending = f"{self._results}/.{self._name}"
        self._about = {"containerId": container, "ifName": interface, "networkName": network}

    def begin(self, fds: Fds) -> int:
        """A descriptor with a lock, for the plugins to inherit. Raises ExistsError if another has it, or had."""
        try:
            os.makedirs(self._results, 0o700, exist_ok=True)
            fd = fds.add(os.open(self._pending, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
            if not _locked(fd) or not _is(fd, self._pending) or os.path.exists(self.path):
                text = f"the CNI network has an attachment '{self.path}' already"
                raise ExistsError(text, path=self.path, hint="ids are the machine's for CNI, whatever --root is")
        except OSError as error:
            raise refused("cannot keep what the CNI network answers", error) from error
        return fd

    def abandon(self) -> None:
        """Undo a `begin` that may not have come about: what another holds is left alone."""
        try:
            fd = os.open(self._pending, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        try:
            if _locked(fd) and _is(fd, self._pending):
                os.unlink(self._pending)
        finally:
            os.close(fd)

    def wait(self, seconds: float) -> bool:
        """Whether no plugin runs any more, of a runtime that was killed."""
        import select

        try:
            fd = os.open(self._pending, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return True
        deadline = time.monotonic() + seconds
        try:
            while not _locked(fd):
                if time.monotonic() > deadline:
                    return False
                select.select((), (), (), _PAUSE)
        finally:
            os.close(fd)
        return True

    def finish(self, fd: int, attachment: dict[str, Any]) -> None:
        """Write down what there is to know: `attachment` has libcni's keys."""
        document = json.dumps({"kind": _KIND, **self._about, **attachment}).encode()
        try:
            os.ftruncate(fd, 0)
            os.pwrite(fd, document, 0)
            os.fsync(fd)
            os.rename(self._pending, self.path)
        except OSError as error:
            raise refused("cannot keep what the CNI network answered", error) from error

    def result(self) -> dict[str, Any] | None:
        """The answer to ADD, if it has been kept."""
        found = read(self.path)
        answer = found.get("result") if found else None
        return answer if isinstance(answer, dict) else None

    def remove(self) -> None:
        for path in (self._pending, self.path):
            try:
                os.unlink(path)
            except FileNotFoundError:
                pass
            except OSError as error:
                raise refused("cannot remove what the CNI network answered", error) from error


def read(path: str) -> dict[str, Any] | None:
    """One kept attachment, by libcni's keys; None if this is none."""
    try:
        with open(path, encoding="utf-8") as stream:
            found = json.load(stream)
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and found.get("kind") == _KIND else None


def attachments(directory: str, network: str) -> list[dict[str, Any]]:
    """All that are kept of a network, whoever made them."""
    try:
        names = sorted(os.listdir(f"{directory}/results"))
    except FileNotFoundError:
        return []
    listed = [read(f"{directory}/results/{name}") for name in names if not name.startswith(".")]
    return [found for found in listed if found is not None and found.get("networkName") == network]


def lock(directory: str, fds: Fds, *, exclusive: bool) -> None:
    """Hold all networks for changes of attachments, or alone for the collection of garbage, until `fds` are closed."""
    try:
        os.makedirs(f"{directory}/results", 0o700, exist_ok=True)
        fd = fds.add(os.open(f"{directory}/results", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        fcntl.flock(fd, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
    except OSError as error:
        raise refused("cannot lock the CNI networks", error) from error


def _is(fd: int, path: str) -> bool:
    """Whether the path still names this file."""
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except FileNotFoundError:
        return False


def _locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
