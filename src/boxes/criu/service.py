"""`criu swrk`: one process of CRIU's for one request, and the notifications on the way. criu(8), https://criu.org/RPC."""

from __future__ import annotations

import _signal
import _socket

from boxes import system as os
from boxes.criu.messages import NOTIFY, REQUEST, RESPONSE, VERSION, decode, encode
from boxes.errors import InternalError, UnsupportedError, refused
from boxes.linux import flags as k
from boxes.linux import procfs, syscalls
from boxes.linux.fd import Fds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

    # The name of a moment, the pid that goes with it or 0, and a descriptor or -1, which is the receiver's.
    Notified = Callable[[str, int, int], None]

_OLDEST = (3, 17)  # what has a method for the lock of the network, and takes mounts of SELinux contexts
_LIMIT = 1 << 20  # bytes of a message
_PATIENCE = 10.0  # seconds for it to clean up after a failure
_FIRST = 4  # the first descriptor that is inherited: 3 is the socket
_HINT = "install the package 'criu'"


def program() -> str:
    """The path of criu by $PATH. Raises UnsupportedError."""
    for directory in (os.environment.get("PATH") or "/usr/local/sbin:/usr/sbin:/sbin").split(":"):
        path = f"{directory}/criu"
        if directory.startswith("/") and os.access(path, os.X_OK) and not os.isdir(path):
            return path
    raise UnsupportedError("there is no 'criu' in $PATH, which checkpoints are made by", hint=_HINT)


class CgroupYard:
    """What criu(8) calls so: a directory with each hierarchy of cgroups under its name, here the one of v2. Without it
    CRIU mounts cgroup2 itself, with no options, and they are those of all mounts of it: the host would lose its own."""

    def __init__(self, directory: str, hierarchy: str) -> None:
        self.directory = directory
        self._hierarchy = hierarchy

    def mount(self) -> None:
        """Over the directory, in a mount namespace of CRIU's. Raises OSError."""
        syscalls.mount("tmpfs", self.directory, "tmpfs", k.MS_NOSUID | k.MS_NODEV | k.MS_NOEXEC, "mode=755")
        os.mkdir(f"{self.directory}/unified")
        syscalls.mount(self._hierarchy, f"{self.directory}/unified", None, k.MS_BIND)


class Service:
    """A process of CRIU's. `inherited` are descriptors that it gets as numbers 4, 5, …; `root` is to be a mount of its
    own, as a restored tree needs, and `yard` a directory in which it finds cgroups, both in a mount namespace that
    ends with it."""

    def __init__(
        self, inherited: list[int] | None = None, root: str | None = None, yard: CgroupYard | None = None
    ) -> None:
        path = program()
        self._fds = Fds()
        self.output = self._fds.add(os.memfd_create("criu", os.MFD_CLOEXEC))
        self.socket, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
        try:
            self.pid, self._pidfd = syscalls.clone3(k.CLONE_NEWNS if root or yard else 0)
            if self.pid == 0:
                self._become(path, theirs.fileno(), inherited or [], root, yard)
            self._fds.add(self._pidfd)
        except OSError as error:
            self.close()
            raise refused("cannot run criu", error) from error
        finally:
            theirs.close()

    def _become(
        self, path: str, socket: int, inherited: list[int], root: str | None, yard: CgroupYard | None
    ) -> NoReturn:
        """Runs in the child, which leaves by execve or _exit."""
        try:
            if root or yard:
                syscalls.mount(None, "/", None, k.MS_SLAVE | k.MS_REC)
            if root:
                syscalls.mount(root, root, None, k.MS_BIND | k.MS_REC)
            if yard:
                yard.mount()
            null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
            wanted = [null, self.output, self.output, socket, *inherited]
            high = _FIRST + len(inherited) + 16
            for target, source in enumerate([_duplicate(fd, high) for fd in wanted]):
                os.dup2(source, target)
            environment = {**os.environment, "PATH": os.environment.get("PATH") or "/usr/sbin:/usr/bin:/sbin:/bin"}
            os.execve(path, [path, "swrk", "3"], environment)
        except OSError as error:
            os.write(self.output, f"cannot run criu: {error}".encode())
        finally:
            os._exit(127)

    def ask(self, kind: int, options: dict[str, Any] | None = None, notified: Notified | None = None) -> dict[str, Any]:
        """Make the request, and return the response. `notified` is called at each moment on the way, and CRIU gives up
        if it raises; that error comes out of here."""
        request: dict[str, Any] = {"type": kind}
        if options is not None:
            request["options"] = options
        self._send(request)
        raised: BaseException | None = None
        while True:
            response, fd = self._receive(raised)
            if response["type"] != NOTIFY:
                if raised is not None:
                    raise raised
                return response
            raised = raised or self._notify(response, fd, notified)
            self._send({"type": NOTIFY, "notify_success": raised is None})

    def features(self, *names: str) -> dict[str, bool]:
        """Whether CRIU and this kernel can do what is named: track_memory, lazy_pages."""
        from boxes.criu.messages import FEATURE_CHECK

        self._send({"type": FEATURE_CHECK, "features": dict.fromkeys(names, True)})
        found = self._receive(None)[0].get("features") or {}
        return {name: bool(found.get(name)) for name in names}

    def _notify(self, response: dict[str, Any], fd: int, notified: Notified | None) -> BaseException | None:
        try:
            if notified is not None:
                about = response.get("notify") or {}
                notified(about.get("script", ""), about.get("pid", 0), fd)
            elif fd >= 0:
                os.close(fd)
        except BaseException as error:  # noqa: BLE001 - raised again when CRIU has cleaned up
            return error
        return None

    def _send(self, request: dict[str, Any]) -> None:
        try:
            self.socket.send(encode(REQUEST, request), _socket.MSG_NOSIGNAL)
        except BrokenPipeError:
            pass  # it has ended: what is received next tells
        except OSError as error:
            raise refused("cannot speak to criu", error) from error

    def _receive(self, raised: BaseException | None) -> tuple[dict[str, Any], int]:
        try:
            data, ancillary, _, _ = self.socket.recvmsg(_LIMIT, _socket.CMSG_SPACE(4), _socket.MSG_CMSG_CLOEXEC)
        except ConnectionResetError:
            data, ancillary = b"", []
        if not data:
            raise raised or InternalError(f"criu ended before it had answered{self._said()}")
        fd = int.from_bytes(ancillary[0][2][:4], "little") if ancillary else -1
        try:
            return decode(RESPONSE, data), fd
        except (ValueError, KeyError) as error:
            raise InternalError(f"criu's answer makes no sense: {error}") from error

    def _said(self) -> str:
        os.lseek(self.output, 0, os.SEEK_SET)
        text = os.read_all(self.output, 1 << 16).decode("utf-8", "replace").strip()
        return f": {text[-400:]}" if text else ""

    def close(self) -> None:
        """Wait until it has ended; the end of the socket lets it give up what it was doing."""
        self.socket.close()
        if getattr(self, "pid", 0):
            if not procfs.has_ended(self._pidfd, _PATIENCE):
                os.kill(self.pid, _signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self.pid = 0
        self._fds.close()

    def __enter__(self) -> Service:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def numbers(count: int) -> list[int]:
    """The numbers that so many inherited descriptors have in it."""
    return list(range(_FIRST, _FIRST + count))


def check_version() -> None:
    """Raise UnsupportedError unless CRIU is there, and new enough for all that it may be asked."""
    with Service() as service:
        version = service.ask(VERSION).get("version") or {}
    found = (version.get("major", 0), version.get("minor", 0))
    if found < _OLDEST:
        text = f"criu is of version {found[0]}.{found[1]}, and {_OLDEST[0]}.{_OLDEST[1]} is the oldest that will do"
        raise UnsupportedError(text, hint="install a newer package 'criu'")


def _duplicate(fd: int, least: int) -> int:
    import fcntl

    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, least)
