"""The directories of a checkpoint: its images, and CRIU's log; and what CRIU's failure means."""

from __future__ import annotations

import fcntl

from boxes import system as os
from boxes.cgroups import layout
from boxes.criu import log as criu_log
from boxes.criu.service import CgroupYard
from boxes.errors import BoxesError, ConfigError, ServiceError, StateError, UnsupportedError, UsageError, refused
from boxes.linux import procfs
from boxes.linux.fd import Fds
from boxes.plan import checkpoint as plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from boxes.plan.checkpoint import CriuOptions, Mounted

# What the process had as its first descriptors: a JSON list of texts, as runc writes it.
DESCRIPTORS = "descriptors.json"
_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class Images:
    """Both directories, opened; `making`: they are made if they are not there, and if `shared` so that those who know
    a name in them can reach it: from a user namespace CRIU looks there without root's rights."""

    def __init__(self, asked: CriuOptions, *, making: bool, shared: bool = False) -> None:
        self._mode = 0o711 if shared else 0o700
        self._fds = Fds()
        try:
            self.path = os.abspath(asked.image_path)
            self.fd = self._open(self.path, making=making)
            self.work_path = os.abspath(asked.work_path) if asked.work_path else self.path
            self.work_fd = self.fd if self.work_path == self.path else self._open(self.work_path, making=True)
        except BoxesError:
            self._fds.close()
            raise

    def _open(self, path: str, *, making: bool) -> int:
        try:
            if making:
                os.makedirs(path, self._mode, exist_ok=True)
            return self._fds.add(os.open(path, _FLAGS))
        except OSError as error:
            raise refused(
                "cannot open the directory for images" if making else "there is no checkpoint", error
            ) from error

    def check_shared(self) -> None:
        """Raises StateError for a directory that a restore in a user namespace could not use."""
        if not os.fstat(self.fd).st_mode & 0o001:
            text = f"CRIU cannot restore from '{self.path}' in a user namespace, as only its owner can search it"
            raise StateError(text, path=self.path, hint="chmod o+x; the images themselves stay as they are")

    def options_for(self, pid: int) -> dict[str, Any]:
        """For CRIU in a mount namespace of its own, which mounts below its working directory: what it is in has to be
        of its namespace."""
        try:
            fds = [
                self._fds.add(os.open(f"/proc/{pid}/root{_real_path(fd)}", _FLAGS)) for fd in (self.fd, self.work_fd)
            ]
        except OSError as error:
            raise refused("cannot open the directory for images", error) from error
        return {"images_dir_fd": fds[0], "work_dir_fd": fds[1]}

    def failure(self, what: str, name: str, response: dict[str, Any]) -> ServiceError:
        """The error for a request that CRIU could not fulfil; `name` is that of its log."""
        told = criu_log.errors(self.work_fd, name)
        if not told and response.get("message"):
            told = [response["message"]]
        if not told and response.get("errno"):
            told = [os.strerror(response["errno"]).lower()]
        path = f"{self.work_path}/{name}"
        cause = "; ".join(told) or "it gave no reason"
        return ServiceError(f"criu cannot {what}: {cause}", path=path, hint=f"its log is '{path}'")

    def __enter__(self) -> Images:
        return self

    def __exit__(self, *_: object) -> None:
        self._fds.close()


def _real_path(fd: int) -> str:
    """Without symbolic links, which would lead out of another process's root."""
    return os.readlink(f"/proc/self/fd/{fd}")


def check_privilege(verb: str) -> None:
    """CRIU reads and makes what only root of the host may. Raises UnsupportedError."""
    if os.geteuid() or not procfs.in_initial_user_namespace():
        raise UnsupportedError(f"only root of the host can {verb} a container", hint="CRIU needs its rights")


def check_status_fd(asked: CriuOptions) -> None:
    """Raises UsageError for a descriptor that cannot be written to."""
    if asked.status_fd is None:
        return
    try:
        writable = fcntl.fcntl(asked.status_fd, fcntl.F_GETFL) & (os.O_WRONLY | os.O_RDWR)
    except (OSError, OverflowError):
        raise UsageError(f"flag --status-fd: descriptor {asked.status_fd} is not open") from None
    if not writable:
        raise UsageError(f"flag --status-fd: descriptor {asked.status_fd} is not open for writing")


def config_file(config: dict[str, Any]) -> str | None:
    """The file of CRIU's options: that of the annotation, or the first there is of ours and runc's."""
    named = plan.config_file(config)
    if named is None:
        return next((path for path in plan.CONFIG_FILES if os.exists(path)), None)
    if named and not os.exists(named):
        pointer = f"/annotations/{plan.CONFIG_ANNOTATION}"
        raise ConfigError(f"there is no file '{named}'", pointer=pointer, path=named)
    return named or None


def cgroup_yard(path: str) -> CgroupYard | None:
    """On v2, over a directory of which CRIU needs nothing; on v1 it mounts hierarchies itself."""
    found = layout.detect()
    if found.kind != "unified" or found.hierarchies[0].root != "/":
        return None
    return CgroupYard(path, found.hierarchies[0].mount_point)


def mountinfo(pid: int) -> list[Mounted]:
    with open(f"/proc/{pid}/mountinfo", "rb", buffering=0) as file:
        return plan.mounts(os.fsdecode(file.readall()))
