"""The plugins of the Container Network Interface: programs that are told by their environment and standard input what
to do, and answer on standard output. SPEC.md of CNI 1.1.0, section 2.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess

from boxes import system
from boxes.errors import ServiceError, UnsupportedError
from boxes.linux import procfs
from boxes.linux.fd import Fds
from boxes.network.cni_conf import NEWEST

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

PATH = ("/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni")  # Debian's, the upstream's, Fedora's
TIMEOUT = 60.0  # seconds; DHCP takes some
_SBIN = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Of the runtime's environment: what is meant for the runtime alone.
_OWN = ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "NOTIFY_SOCKET")
_SHOWN = 600  # bytes of what a plugin wrote to standard error
_LONGEST = 8 << 20  # bytes of an answer
_AGAIN = 11  # "try again later"
# Codes whose number says more than the message, which plugins word as they like.
_MEANINGS = {1: "incompatible CNI version", 11: "try again later", 50: "not available", 51: "limited connectivity"}


class PluginError(ServiceError):
    """What a plugin answered. `number` is the code of the specification, or None if it did not give any."""

    def __init__(self, message: str, number: int | None, *, path: str, hint: str | None = None) -> None:
        super().__init__(message, path=path, hint=hint)
        self.number = number


def find(kind: str, path: Sequence[str], file: str) -> str:
    """The program of a plugin's type; `file` is the configuration that names it."""
    for directory in path:
        program = f"{directory}/{kind}"
        if os.path.isfile(program) and os.access(program, os.X_OK):
            return program
    text = f"there is no CNI plugin '{kind}', which '{file}' asks for, in {', '.join(path)}"
    hint = "Debian and Ubuntu have those of the project in the package containernetworking-plugins"
    raise UnsupportedError(text, path=file, hint=hint)


class Call:
    """One command to one plugin, for one configuration file. `lock` is a descriptor that the plugin gets too, so that
    a lock on it lasts as long as the plugin does, whatever becomes of this process."""

    def __init__(self, program: str, file: str, *, lock: int = -1, timeout: float = TIMEOUT) -> None:
        self._program = program
        self._name = program.rpartition("/")[2]
        self._file = file
        self._lock = lock
        self._timeout = timeout

    def __call__(self, command: str, conf: dict[str, Any], parameters: Mapping[str, str]) -> dict[str, Any] | None:
        """Its answer; None if it said nothing. Raises PluginError."""
        environment = {name: value for name, value in os.environ.items() if name not in _OWN}
        environment.setdefault("PATH", _SBIN)
        environment = {name: value for name, value in environment.items() if not name.startswith("CNI_")}
        environment |= {"CNI_COMMAND": command, **parameters}
        code, out, err = self._run(command, json.dumps(conf).encode(), environment)
        if code != 0:
            raise self._failed(command, code, out, err)
        return self._answer(command, out)

    def _run(self, command: str, document: bytes, environment: dict[str, str]) -> tuple[int, bytes, bytes]:
        """Files instead of pipes: a daemon that a plugin starts may keep its standard error open for ever."""
        with Fds() as fds:
            given, out, err = (fds.add(os.memfd_create(f"cni {name}", os.MFD_CLOEXEC)) for name in ("in", "out", "err"))
            os.write(given, document)
            os.lseek(given, 0, os.SEEK_SET)
            try:
                process = subprocess.Popen(  # a session of its own: what it starts can be ended with it
                    [self._program],
                    env=environment,
                    stdin=given,
                    stdout=out,
                    stderr=err,
                    pass_fds=() if self._lock < 0 else (self._lock,),
                    start_new_session=True,
                )
            except OSError as error:
                raise self._error(command, f"cannot be run: {os.strerror(error.errno or 0).lower()}") from None
            self._wait(command, process)
            return process.returncode, _content(out), _content(err)

    def _wait(self, command: str, process: subprocess.Popen[bytes]) -> None:
        pidfd = os.pidfd_open(process.pid)
        try:
            ended = procfs.has_ended(pidfd, self._timeout)
        finally:
            os.close(pidfd)
        if not ended:
            os.killpg(process.pid, signal.SIGKILL)  # our child, not reaped yet: the number is its own
        process.wait()
        if not ended:
            raise self._error(command, f"it has not answered within {self._timeout:g} seconds")

    def _error(self, command: str, text: str, number: int | None = None, hint: str | None = None) -> PluginError:
        message = f"CNI plugin '{self._name}' ({command}, '{self._file}'): {text}"
        return PluginError(message, number, path=self._file, hint=hint)

    def _failed(self, command: str, code: int, out: bytes, err: bytes) -> PluginError:
        """The error that it printed as JSON; else what it wrote to standard error, else how it ended."""
        try:
            answer = json.loads(out)
        except ValueError:
            answer = None
        if isinstance(answer, dict) and ("code" in answer or "msg" in answer):
            return self._told(command, answer)
        said = (err.strip() or out.strip()).decode("utf-8", "replace")[-_SHOWN:].replace("\n", "; ")
        ended = f"it was killed by signal {-code}" if code < 0 else f"it exited with {code}"
        return self._error(command, f"{ended}: {said}" if said else ended)

    def _told(self, command: str, answer: dict[str, Any]) -> PluginError:
        number = answer.get("code")
        number = number if type(number) is int else None
        parts = [str(answer[key]).strip() for key in ("msg", "details") if answer.get(key)]
        text = ": ".join(parts) or _MEANINGS.get(number or 0, "it gave no reason")
        hint = _MEANINGS[_AGAIN] if number == _AGAIN else None
        return self._error(command, text if number is None else f"{text} [code {number}]", number, hint)

    def _answer(self, command: str, out: bytes) -> dict[str, Any] | None:
        if not out.strip():
            return None
        try:
            answer = json.loads(out)
        except ValueError as error:
            if command in ("ADD", "VERSION"):
                raise self._error(command, f"its answer is not JSON: {error}") from None
            return None  # nothing is expected
        if not isinstance(answer, dict):
            raise self._error(command, "its answer is not an object")
        return answer


def _content(fd: int) -> bytes:
    os.lseek(fd, 0, os.SEEK_SET)
    return system.read_all(fd, _LONGEST)


def versions(program: str, file: str, timeout: float = TIMEOUT) -> list[str]:
    """Those of the protocol that a plugin speaks. The oldest do not know the question: they speak 0.1.0."""
    try:
        parameters = {"CNI_PATH": "dummy", "CNI_NETNS": "dummy", "CNI_IFNAME": "dummy", "CNI_CONTAINERID": "dummy"}
        answer = Call(program, file, timeout=timeout)("VERSION", {"cniVersion": NEWEST}, parameters)
    except PluginError as error:
        if error.number is None:
            raise
        return ["0.1.0"]
    found = (answer or {}).get("supportedVersions")
    if not isinstance(found, list) or not all(isinstance(version, str) for version in found):
        raise Call(program, file)._error("VERSION", "its answer has no supportedVersions")
    return found
