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
    from collections.abc import Callable
    from typing import NoReturn


class Undivided(Creation):
    """The same steps, in the same order."""

    shared = False  # once it is known that the builder can do without the runtime

    def make_entry(self) -> None:
        super().make_entry()
        self.shared = self._may_share()
        if self.shared:
            self.make_cgroup()

    def make_cgroup(self) -> None:
        if not self.cgroup_made:
            super().make_cgroup()

    def _may_share(self) -> bool:
        """No id maps to be written, no hook to be run, nothing to be moved into the container, and no cgroup that is
        made around a process."""
        linux = self.config.get("linux") or {}
        busy = self.config.get("hooks") or linux.get("netDevices") or linux.get("intelRdt") is not None
        apart = self.namespaces.staged or "user" in self.namespaces.new or not self.facts.has_own("mount")
        return not (busy or apart or self.cgroups.needs_process or self.postponed)

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
        adjust.oom_score(self.pid, self.config.get("process") or {})  # only now: it is the memory's, not the process's
        placement.complete(self)

    def run_hooks(self) -> None:
        if not self.shared:
            super().run_hooks()
