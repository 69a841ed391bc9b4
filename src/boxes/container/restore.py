"""`restore`: a container made of what `checkpoint` wrote, by CRIU in the builder's place.

The order is that of `create` (lifecycle.py), and so are the journal, the undo and what `delete --force` can finish.
What the dump calls external is given to it: streams, namespaces by path, the host's mounts. docs/adr/0011.
"""

from __future__ import annotations

from boxes import system as os
from boxes.container import foreground, host, images, lifecycle, notification, placement, terminals
from boxes.container.creation import Creation
from boxes.criu.messages import RESTORE
from boxes.criu.service import Service, check_version, numbers
from boxes.errors import ConfigError, refused
from boxes.linux import path as paths
from boxes.linux import procfs
from boxes.linux.fd import Fds
from boxes.plan import checkpoint as plan
from boxes.spec.document import parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from boxes.container.options import CreateOptions
    from boxes.container.store import Store
    from boxes.plan.checkpoint import Bound, CriuOptions

_INHERITED = ("pipe:[", "socket:[", "file[", "tty[")  # names of descriptors that CRIU takes another for


def restore(
    store: Store, id: str, options: CreateOptions, asked: CriuOptions, *, detach: bool = False, keep: bool = False
) -> int:
    """Unless detached, wait for the end, delete, and return the exit status. If it raises, nothing is left."""
    if not detach:
        lifecycle.adopt_orphans(options)
    making = Restoration(store, id, options, asked, attached=not detach)
    with making:
        if detach:
            making.carry_out()
            making.finish()
            return 0
        with foreground.Signals() as signals:
            making.carry_out()
            terminals.size(making)
            making.finish()
            making.place.close()
            try:
                code = lifecycle.wait_for(making, signals, notification.of(making))
            finally:
                if not keep:
                    lifecycle.delete_own(store, id, making.ended)
    if keep:
        from boxes.container import outcome

        outcome.keep_all(store, id, making.ended)
    return code


class Restoration(Creation):
    """The steps of `restore`, in the order of `carry_out`."""

    def __init__(
        self, store: Store, id: str, options: CreateOptions, asked: CriuOptions, *, attached: bool = False
    ) -> None:
        super().__init__(store, id, options, attached=attached)
        self.asked = asked

    def carry_out(self) -> None:
        images.check_privilege("restore")
        images.check_status_fd(self.asked)
        with images.Images(self.asked, making=False) as self.images:
            self.read()
            plan.refuse(self.config)
            self.survey()
            if self.facts.has_own("user"):
                self.images.check_shared()
            self.config_file = images.config_file(self.config)
            self.bound = plan.bound(self.config, self.facts)
            self.joined = plan.joined_namespaces(self.facts)
            self.given, self.names = self._given()
            self.outputs = host.hook_outputs(self.config, self.fds)
            check_version()
            self.plan_cgroup()
            self.claim()
            if self.notified:
                notification.prepare(self.place.path)
            if self.networking is not None:
                self.networking.prepare()
            self._make_mount_points()
            self._restore()

    def _given(self) -> tuple[list[int], list[str]]:
        """Descriptors that take the place of what was external, and the names of these in the dump."""
        fds, names = [], []
        for number, name in enumerate(self._descriptors()[: 3 + self.preserved]):
            # Of a file's path CRIU leaves out the first character, and this is what it has as the path.
            key = name[1:] if name.startswith("file[") else name
            if name.startswith(_INHERITED) and key not in names:
                fds.append(number)
                names.append(key)
        for kind, _, name in plan.external_namespaces(self.facts):
            fds.append(self.joins[kind])
            names.append(name)
        return fds, names

    def _descriptors(self) -> list[str]:
        path = f"{self.images.path}/{images.DESCRIPTORS}"
        try:
            fd = os.open(images.DESCRIPTORS, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=self.images.fd)
        except OSError as error:
            raise refused("this is no whole checkpoint", error, hint=f"'{path}' is missing") from error
        try:
            found = parse(os.read_all(fd, 1 << 20), source=path)
        finally:
            os.close(fd)
        if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
            raise ConfigError("expected a list of texts", path=path)
        return found

    def _filter(self) -> None:
        """The dump has the filters of its processes."""

    # what the dump's mounts lie on

    def _make_mount_points(self) -> None:
        """The root may be a fresh one. What lies on another mount of the container comes with that."""
        if not self.facts.has_own("mount"):
            return
        targets = ["/" + "/".join(paths.parts(mount["destination"])) for mount in self.config.get("mounts") or ()]
        bound = {each.target: each for each in self.bound}
        root = os.open(self.rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for target in dict.fromkeys([*targets, *bound]):
                if all(plan.below(other, target) is None for other in targets):
                    self._make_mount_point(root, target, bound.get(target))
        except OSError as error:
            raise refused("cannot make what is mounted on", error) from error
        finally:
            os.close(root)

    def _make_mount_point(self, root: int, target: str, bound: Bound | None) -> None:
        make = paths.make_directory if bound is None or os.isdir(bound.source) else paths.make_file
        os.close(make(root, target))

    # CRIU

    def _restore(self) -> None:
        # What is mounted of the container's own directory is not to be hidden.
        self.yard = images.cgroup_yard(notification.aside(self.place.path) if self.notified else self.place.path)
        with Service(self.given, self.rootfs, self.yard) as service:
            if self.cgroups.needs_process:
                self.cgroup_begun = True
                self.cgroups.announce(service.pid, self.limits)
                self.journal["cgroups"] = self.cgroups.record()
                self.place.save(self.journal)
            else:
                self.make_entry()
            self.make_cgroup()
            self._enter_cgroup(service.pid)
            response = service.ask(RESTORE, self._request(service.pid), self._notified)
        if not response.get("success"):
            raise self.images.failure("restore the container", "restore.log", response)

    def _enter_cgroup(self, pid: int) -> None:
        """What CRIU makes is born where it is itself."""
        self.entered = True
        try:
            early, late = self.cgroups.entries(born=False)
            with Fds() as fds:
                for fd in early + late:
                    fds.add(fd)
                for fd in early + late:
                    os.write(fd, str(pid).encode())
        except OSError as error:
            raise refused("cannot enter the cgroup", error) from error

    def _request(self, pid: int) -> dict[str, Any]:
        request = plan.restore(self.asked) | self.images.options_for(pid)
        request |= {"root": self.rootfs, "config_file": self.config_file, "join_namespaces": self.joined}
        request |= {"external": self._external(), "cgroup_yard": self.yard and self.yard.directory}
        fds = numbers(len(self.names))
        request["inherit_fds"] = [{"key": name, "fd": fd} for name, fd in zip(self.names, fds, strict=True)]
        if self.asked.manage_cgroups_mode != "ignore" and self.cgroups.directories:
            request["cgroup_roots"] = _cgroup_roots(pid)
        return request

    def _external(self) -> list[str]:
        """`mnt[NAME]:PATH ON THE HOST`"""
        found = []
        mounted = (
            [row.target for row in images.mountinfo(os.getpid())] if any(each.recursive for each in self.bound) else []
        )
        for each in self.bound:
            found.append(f"mnt[{each.target}]:{each.source}")
            rests = (plan.below(each.source, path) for path in mounted) if each.recursive else ()
            found += [f"mnt[{each.target}{rest}]:{each.source}{rest}" for rest in rests if rest is not None]
        if plan.masks(self.config):
            found.append(f"mnt[{plan.MASK}]:{plan.MASK}")
        shown = self.cgroups.mounts_for_container()
        for target in plan.cgroup_targets(self.config, self.facts):
            found += [f"mnt[{target}{f'/{each.name}' if each.name else ''}]:{each.source}" for each in shown]
        return list(dict.fromkeys(found))

    def _notified(self, moment: str, pid: int, fd: int) -> None:
        if moment == "orphan-pts-master" and fd >= 0:
            self.terminal = fd
        elif fd >= 0:
            os.close(fd)
        if moment == "setup-namespaces":
            self._begin(pid)
        elif moment == "post-restore":
            placement.complete(self)
            self.record()

    def _begin(self, pid: int) -> None:
        """The first process is there, with its namespaces; it has not run yet."""
        self.pid = pid
        self.pidfd = self.fds.add(os.pidfd_open(pid))
        self.journal |= {"pid": pid, "started": procfs.start_time(pid)}
        self.place.save(self.journal)
        if (self.config.get("linux") or {}).get("intelRdt") is not None:
            from boxes.container import lent

            self.lent = lent.Lent(self)
            self.lent.lend()
        self.call_hooks()


def _cgroup_roots(pid: int) -> list[dict[str, str]]:
    """Where the dump's cgroups are to be now: by controller, or for all on v2."""
    from boxes.cgroups.layout import memberships

    with open(f"/proc/{pid}/cgroup", "rb", buffering=0) as file:
        found = memberships(file.readall())
    if list(found) == [""]:
        return [{"path": found[""]}]
    return [{"controller": label, "path": path} for label, path in found.items()]
