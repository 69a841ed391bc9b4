"""Rulesets of nftables, by nft(8): one transaction each."""

from __future__ import annotations

import _signal

from boxes import system as os
from boxes.errors import ServiceError, UnsupportedError, refused

# Where it is, whatever the caller's PATH: Debian's lies where that of an ordinary user does not lead.
_PLACES = ("/usr/sbin/nft", "/sbin/nft", "/usr/bin/nft", "/usr/local/sbin/nft")
_SHOWN = 400
_LONGEST = 1 << 20


def find() -> str:
    for path in _PLACES:
        if os.access(path, os.X_OK):
            return path
    hint = "it is in the package nftables"
    raise UnsupportedError("there is no 'nft' on this host, which makes the rules of networks", hint=hint)


class Transaction:
    """An nft(8) that waits for what it is to do. Started early, it has loaded what it needs by then.

    It inherits `lock`, so that what it was told to do is done before anybody else has the lock, even if we are killed.
    If nothing is told it does nothing.
    """

    def __init__(self, lock: int) -> None:
        self._pid = 0
        self._output = os.memfd_create("nft", os.MFD_CLOEXEC)
        read, self._input = os.pipe2(os.O_CLOEXEC)
        try:
            path = find()
            actions = [(os.POSIX_SPAWN_DUP2, read, 0), (os.POSIX_SPAWN_DUP2, self._output, 1)]
            actions += [(os.POSIX_SPAWN_DUP2, self._output, 2), (os.POSIX_SPAWN_DUP2, lock, lock)]
            self._pid = os.posix_spawn(path, [path, "-f", "-"], {}, file_actions=actions, setsigmask=[])
        except OSError as error:
            self.close()
            raise refused("cannot run 'nft'", error) from error
        finally:
            os.close(read)

    def tell(self, ruleset: str) -> None:
        """Hand it over, whole."""
        try:
            os.write_all(self._input, ruleset.encode())
        except OSError as error:
            if error.errno != 32:  # EPIPE: it has ended, and said why
                raise refused("cannot hand the rules to 'nft'", error) from error
        os.close(self._input)
        self._input = -1

    def wait(self) -> None:
        """Until it is done. Raises ServiceError with its first words if it could not."""
        pid, self._pid = self._pid, 0
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        os.lseek(self._output, 0, os.SEEK_SET)
        said = os.read_all(self._output, _LONGEST).decode("utf-8", "replace").strip().partition("\n")[0]
        self.close()
        if code:
            raise ServiceError(f"nft refused the rules of the network: {said[:_SHOWN] or f'it ended with {code}'}")

    def close(self) -> None:
        """Let go of it. If it has been told nothing, it ends."""
        for fd in (self._input, self._output):
            if fd >= 0:
                os.close(fd)
        self._input = self._output = -1
        if self._pid:
            os.kill(self._pid, _signal.SIGKILL)
            os.waitpid(self._pid, 0)
            self._pid = 0
