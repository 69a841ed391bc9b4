"""A creation in which runtime and builder share their memory and take turns, for who makes containers by the thousand.

Beside an ordinary creation nothing is copied: neither page tables nor the pages that a forked interpreter touches. For
that the builder must not need the runtime: whatever it waits for is said ahead. Where that cannot be, it is an ordinary
creation. docs/adr/0012-zygote.md has the numbers.
"""

from __future__ import annotations

from boxes.container import adjust, channel, placement, stage
from boxes.container.creation import Creation

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable
    from typing import NoReturn

    from boxes.plan.descriptors import Descriptors

_SYS_CHROOT = 18  # CAP_SYS_CHROOT


class Undivided(Creation):
    """The same steps, in the same order."""

    shared = False  # once it is known that the builder can do without the runtime
    at_once = False  # whether the program is to be started, too; it may be all the same that this is not done here
    begun = False  # whether it was
    bare = -1  # this process' bare mount namespace, if it has one

    def plan_cgroup(self) -> None:
        """Without v1's cpuset, if nothing is asked of it: a cgroup there costs all the more the more there are, as each
        is compared with its siblings and has the scheduler's domains built anew. Its parent's CPUs are the container's
        all the same."""
        super().plan_cgroup()
        linux = self.config.get("linux") or {}
        asked = {"cpus", "mems"} & ((linux.get("resources") or {}).get("cpu") or {}).keys()
        if self.cgroups.kind == "legacy" and not linux.get("cgroupsPath") and not asked:
            found = self.cgroups.directories
            self.cgroups.directories = [each for each in found if each.controllers != ("cpuset",)]

    def make_entry(self) -> None:
        super().make_entry()
        self.shared = self._may_share()
        self.at_once = self.at_once and self.shared and self._may_begin()
        if self.shared:
            self.make_cgroup()

    def make_cgroup(self) -> None:
        if not self.cgroup_made:
            super().make_cgroup()

    def _may_share(self) -> bool:
        """No id maps to be written, no hook to be run, nothing to be moved into the container, no network to be made,
        and no cgroup that is made around a process."""
        linux = self.config.get("linux") or {}
        busy = self.config.get("hooks") or linux.get("netDevices") or linux.get("intelRdt") is not None
        apart = self.namespaces.staged or "user" in self.namespaces.new or not self.facts.has_own("mount")
        return not (busy or apart or self.cgroups.needs_process or self.postponed or self.networking)

    def _may_begin(self) -> bool:
        """No terminal to be handed over, no agent that a filter's listener goes to."""
        process = self.config.get("process") or {}
        filter = (self.config.get("linux") or {}).get("seccomp") or {}
        return bool(process) and not process.get("terminal") and not filter.get("listenerPath")

    def _reserve(self) -> Descriptors:
        numbers = super()._reserve()
        if self.bare >= 0 and self._may_enter_bare():
            numbers.bare = self.bare
        return numbers

    def _may_enter_bare(self) -> bool:
        """Whether the finished root is carried over to a copy of the bare mount namespace, where there is nothing to be
        pivoted out of: with the host's own rights, and no mount that cannot be copied."""
        linux = self.config.get("linux") or {}
        options = [option for mount in self.config.get("mounts") or () for option in mount.get("options") or ()]
        whole = "mount" in self.namespaces.new and not self.namespaces.staged and "user" not in self.namespaces.new
        bindable = "unbindable" not in "\0".join([*options, linux.get("rootfsPropagation") or ""])
        allowed = self.capabilities >> _SYS_CHROOT & 1 and not self.facts.nested
        return bool(whole and bindable and allowed and not self.options.no_pivot and not self.config.get("hooks"))

    def _listen(self) -> _socket.socket | None:
        return None if self.at_once else super()._listen()

    def _born(self, pid: int) -> None:
        """In the shared case this runs in the builder, whose limits and OOM score are its own all the same."""
        super()._born(pid)
        if self.shared:
            process = self.config.get("process") or {}
            adjust.oom_score(pid, process)
            adjust.raise_rlimits(0, process)

    def _clone(self, made: stage.Stage, body: Callable[[], NoReturn]) -> tuple[int, int]:
        if not self.shared:
            return super()._clone(made, body)
        channel.say(self.socket, "go")
        placement.show(self)
        channel.say(self.socket, "hooked")
        return stage.spawn_shared(made, body, self._born)

    def build(self) -> None:
        if not self.shared:
            super().build()
            return
        channel.expect(self.socket, "built")
        placement.complete(self)

    def wait_until_ready(self) -> None:
        if not self.at_once:
            super().wait_until_ready()
            return
        from boxes.container.reports import Reports

        Reports(self.socket, lambda: self.planned.steps).until_executed()
        self.begun = True

    def run_hooks(self) -> None:
        if not self.shared:
            super().run_hooks()
