"""`checkpoint`: a container's processes written to files by CRIU. They end, unless asked otherwise, and the container
with them, as it does under runc and crun. docs/adr/0011."""

from __future__ import annotations

import _stat as stat

from boxes import system as os
from boxes.container import images, joins, lifecycle, status
from boxes.criu.messages import DUMP, PRE_DUMP
from boxes.criu.service import Service, check_version
from boxes.errors import StateError, UnsupportedError, UsageError
from boxes.linux import path as paths
from boxes.plan import checkpoint as plan
from boxes.plan.checkpoint import SWITCHES, CriuOptions
from boxes.spec.document import dump

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from boxes.container.images import Images
    from boxes.container.store import Place, Store
    from boxes.plan.checkpoint import Bound, Mounted
    from boxes.plan.facts import Facts

__all__ = ["SWITCHES", "CriuOptions", "checkpoint"]


def checkpoint(store: Store, id: str, asked: CriuOptions) -> None:
    """Dump a container that runs or is paused. If that fails it goes on."""
    images.check_privilege("checkpoint")
    images.check_status_fd(asked)
    _check_parent(asked)
    with store.open(id) as place:
        journal = place.load()
        found = status.of(place, journal)
        if found not in (status.RUNNING, status.PAUSED):
            raise StateError(f"container not running: it is {found}")
        _checkpoint(place, journal, asked)
    if not (asked.leave_running or asked.pre_dump):
        lifecycle.delete(store, id, force=True)


def _check_parent(asked: CriuOptions) -> None:
    """CRIU follows it from the images' directory. Raises UsageError."""
    parent = asked.parent_path
    if parent is None:
        return
    if parent.startswith("/"):
        raise UsageError(f"flag --parent-path: '{parent}' is not relative to --image-path")
    found = f"{asked.image_path}/{parent}"
    if not os.isdir(found if os.isdir(asked.image_path) else os.abspath(found)):  # it may have yet to be made
        raise UsageError(f"flag --parent-path: there is no directory '{asked.image_path}/{parent}'")


def _checkpoint(place: Place, journal: dict[str, Any], asked: CriuOptions) -> None:
    config = place.config()
    plan.refuse(config)
    options = journal["options"]
    facts = joins.facts_of(journal, config, no_pivot=options["no_pivot"], preserve=options["preserve"])
    check_version()
    _check_features(asked)
    with images.Images(asked, making=True, shared=facts.has_own("user")) as directories:
        request = plan.dump(asked)
        request |= {"pid": journal["pid"], "root": journal["rootfs"], "config_file": images.config_file(config)}
        request |= {"freeze_cgroup": _freezer(journal)}
        streams = _Streams(journal["pid"], 3 + options["preserve"])
        request["external"] = _mounts(config, facts, journal["pid"]) + _namespaces(facts, journal["pid"])
        request["external"] += streams.external
        if not asked.pre_dump:
            _write(directories, streams.names)
        yard = images.cgroup_yard(place.path)
        request["cgroup_yard"] = yard and yard.directory
        with Service(yard=yard) as service:
            request |= directories.options_for(service.pid)
            response = service.ask(PRE_DUMP if asked.pre_dump else DUMP, request)
        if not response.get("success"):
            raise directories.failure("checkpoint the container", "dump.log", response)


def _check_features(asked: CriuOptions) -> None:
    needed = {}
    if asked.pre_dump or asked.parent_path is not None:
        needed["track_memory"] = "what has changed since an earlier dump"
    if "lazy-pages" in asked.switches:
        needed["lazy_pages"] = "pages as they are needed (userfaultfd)"
    if not needed:
        return
    with Service() as service:
        found = service.features(*needed)
    for name, what in needed.items():
        if not found[name]:
            raise UnsupportedError(f"this kernel, or its CRIU, cannot dump {what}")


def _freezer(journal: dict[str, Any]) -> str | None:
    """The cgroup by which CRIU stops all processes at once; one at a time, if there is no such of the container's."""
    with status.cgroups_of(journal) as cgroups:
        if cgroups.shared:
            return None
        for directory in cgroups.directories:
            if "freezer" in directory.controllers or cgroups.kind == "unified":
                return directory.path
    return None


def _write(directories: Images, names: list[str]) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(images.DESCRIPTORS, flags, 0o600, dir_fd=directories.fd)
    try:
        os.write_all(fd, dump(names).encode())
    finally:
        os.close(fd)


# ---- what is external ----


def _namespaces(facts: Facts, pid: int) -> list[str]:
    """`net[INODE]:extRootNetNS`"""
    found = []
    for _, file, name in plan.external_namespaces(facts):
        found.append(f"{file}[{os.stat(f'/proc/{pid}/ns/{file}').st_ino}]:{name}")
    return found


class _Streams:
    """The first descriptors of a process: what tells each in the dump, and which of them CRIU is to take as external:
    what lies on none of the container's mounts. A pipe is nobody's in particular."""

    def __init__(self, pid: int, count: int) -> None:
        self.names: list[str] = []
        self.external: list[str] = []
        inside = {row.id for row in images.mountinfo(pid)}
        for number in range(count):
            self.names.append(self._name(f"/proc/{pid}", number, inside))

    def _name(self, process: str, number: int, inside: set[int]) -> str:
        path = f"{process}/fd/{number}"
        try:
            name, facts = os.readlink(path), os.stat(path)
        except OSError:
            return ""  # it is closed
        mount = _mount_id(f"{process}/fdinfo/{number}")
        if mount in inside or not name.startswith("/"):
            return name
        if stat.S_ISCHR(facts.st_mode) and _is_terminal(facts.st_rdev):
            name = f"tty[{facts.st_rdev:x}:{facts.st_dev:x}]"
        else:
            name = f"file[{mount:x}:{facts.st_ino:x}]"
        self.external.append(name)
        return name


def _is_terminal(device: int) -> bool:
    """Consoles, serial lines and pseudoterminals: <linux/major.h>."""
    return os.major(device) in (4, *range(136, 144)) or device == os.makedev(5, 1)


def _mounts(config: dict[str, Any], facts: Facts, pid: int) -> list[str]:
    """`mnt[TARGET IN THE CONTAINER]:NAME` for each mount that is the host's, as they are now."""
    root = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        tree = _Tree(root, images.mountinfo(pid))
        found = []
        for each in plan.bound(config, facts):
            found += tree.bound(each)
        for path in plan.masks(config):
            row = tree.mounted(path)
            if row is not None and tree.is_file(path):
                found.append(f"mnt[{row.target}]:{plan.MASK}")
        for target in plan.cgroup_targets(config, facts):
            found += tree.cgroups(target, namespaced="cgroup" in facts.namespaces.new)
        return list(dict.fromkeys(found))
    finally:
        os.close(root)


class _Tree:
    """A container's mounts, as seen from its root."""

    def __init__(self, root: int, rows: list[Mounted]) -> None:
        self.root = root
        self.rows = rows
        self._of_the_host = {(row.device, row.root) for row in images.mountinfo(os.getpid())}

    def mounted(self, target: str) -> Mounted | None:
        """What is mounted on a path; None if nothing is."""
        fd = paths.find(self.root, target)
        if fd is None:
            return None
        try:
            id, real = _mount_id(f"/proc/self/fdinfo/{fd}"), os.readlink(f"/proc/self/fd/{fd}")
        finally:
            os.close(fd)
        return next((row for row in self.rows if row.id == id and row.target == real and real != "/"), None)

    def is_file(self, target: str) -> bool:
        fd = paths.find(self.root, target)
        if fd is None:
            return False
        try:
            return not stat.S_ISDIR(os.fstat(fd).st_mode)
        finally:
            os.close(fd)

    def bound(self, each: Bound) -> list[str]:
        row = self.mounted(each.target)
        if row is None or (each.perhaps and (row.device, row.root) not in self._of_the_host):
            return []
        found = [f"mnt[{row.target}]:{each.target}"]
        for other in self.rows if each.recursive else ():
            rest = plan.below(row.target, other.target)
            if rest is not None and (other.device, other.root) in self._of_the_host:
                found.append(f"mnt[{other.target}]:{each.target}{rest}")
        return found

    def cgroups(self, target: str, *, namespaced: bool) -> list[str]:
        """CRIU knows what a cgroup namespace shows of v2, and no other part of a hierarchy."""
        kinds = ("cgroup",) if namespaced else ("cgroup", "cgroup2")
        return [
            f"mnt[{row.target}]:{row.target}"
            for row in self.rows
            if row.kind in kinds and (row.target == target or plan.below(target, row.target))
        ]


def _mount_id(fdinfo: str) -> int:
    with open(fdinfo, "rb", buffering=0) as file:
        text = file.readall()
    return next(int(line[7:]) for line in text.splitlines() if line.startswith(b"mnt_id:"))
