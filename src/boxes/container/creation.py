"""One container being created: what the runtime gathers on the way, and how it is undone."""

from __future__ import annotations

from boxes import log
from boxes import system as os
from boxes.cgroups import layout as layouts
from boxes.container import adjust, channel, host, journals, placement, stage, status, terminals
from boxes.container.store import START_SOCKET, write_pid
from boxes.errors import BoxesError, ConfigError, refused
from boxes.linux import procfs
from boxes.linux.fd import Fds, memory
from boxes.plan import refusals
from boxes.plan.facts import Facts
from boxes.plan.namespaces import Namespaces
from boxes.spec import config as configs
from boxes.spec.document import dump
from boxes.spec.state import oci_state

# What only the builder needs is imported in it, and what the runtime needs while the builder mounts then: the two
# processes run side by side, and modules are most of what a command costs.

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable
    from typing import Any, NoReturn, Self

    from boxes.cgroups.manager import Manager
    from boxes.container import builder
    from boxes.container.lent import Lent
    from boxes.container.networking import Networking
    from boxes.container.options import CreateOptions
    from boxes.container.planning import Planned
    from boxes.container.store import Place, Store
    from boxes.plan.descriptors import Descriptors
    from boxes.plan.seccomp import Filter

# Annotations, for whoever has an engine between; of those about the network the beginning.
_RECORD_EXIT, _NETWORK = "boxes.record-exit", "boxes.network"
_RESERVE = 4 << 20  # address space alone, for what a shortage of memory leads to


class Creation:
    """The steps of `create`, each a method, in the order they are called by lifecycle.create.

    After `finish` the container stands by itself. If the block is left before, everything is undone.
    """

    def __init__(self, store: Store, id: str, options: CreateOptions, *, attached: bool = False) -> None:
        self.store = store
        self.id = id
        self.options = options
        self.attached = attached
        self.fds = Fds()
        self.claimed = self.entered = False
        self.place: Place  # once claimed
        self.cgroups: Manager  # once planned
        self.cgroup_begun = self.cgroup_made = False
        self.journal: dict[str, Any] = {}
        self.pid, self.pidfd = 0, -1
        self.terminal: int | None = None
        self.lent: Lent | None = None
        self.networking: Networking | None = None
        self.hooked = False
        self.ended: list[int] = []  # its wait status, once known
        self.finished = False
        self.reserve = bytes(_RESERVE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.reserve = b""
        if not self.finished:
            from boxes.container import undo

            if self.pid:
                undo.end_builder(self.pid)
        if self.terminal is not None:
            os.close(self.terminal)
        self.fds.close()
        if self.cgroup_begun:
            self.cgroups.close()
        if not self.finished:
            undo.take_back(self)  # only now, as descriptors may be what was lacking
        if self.claimed:
            self.place.close()

    # 1. nothing is changed on the host

    def read(self) -> None:
        """Read and check the config; find out what the runtime may do."""
        activated = host.listen_fds(os.environment)
        self.preserved = activated + self.options.preserve_fds
        host.close_on_exec(self.preserved)
        bundle = os.abspath(self.options.bundle)
        path = f"{bundle}/config.json"
        given = self.options.config
        if given is None:
            loaded = configs.load(path)
        elif isinstance(given, dict):
            loaded = configs.from_value(given)
        else:
            loaded = configs.from_bytes(given, source="config")
        for notice in loaded.warnings:
            log.warning(notice.message, pointer=notice.pointer)
        self.config: dict[str, Any] = loaded.config  # type: ignore[assignment]
        if self.options.asks_network or any(name.startswith(_NETWORK) for name in self.config.get("annotations") or ()):
            from boxes.container import networking

            self.networking = networking.begin(self)
        self.notified = host.pass_sockets(self, activated)
        self.capabilities = host.capabilities()
        self.privileged = host.privileged(self.capabilities)
        terminals.check(self.config.get("process") or {}, self.options.console_socket, relayed=self.attached)
        rootfs = self.config["root"]["path"]
        self.rootfs = os.normpath(rootfs if rootfs.startswith("/") else f"{bundle}/{rootfs}")
        self.bundle = bundle
        if not os.isdir(self.rootfs):
            raise ConfigError(f"the root '{self.rootfs}' is not a directory", pointer="/root/path", path=self.rootfs)

    def survey(self) -> None:
        """Namespaces, and the host: what decides how the rest is done."""
        refusals.refuse(self.config)
        self.labelled = bool(host.labels(self.config.get("process") or {}))
        self.namespaces = Namespaces(self.config)
        self.joins: dict[str, int] = {}
        if self.namespaces.joins:
            from boxes.container import joins

            self.joins = joins.open_all(self.namespaces, self.fds, self.networking)
            joins.spare_own(self.config, self.joins)
        self.facts = Facts(
            id=self.id,
            bundle=self.bundle,
            rootfs=self.rootfs,
            namespaces=self.namespaces,
            no_pivot=self.options.no_pivot,
            preserve=self.preserved,
            mount_label=host.mount_label(self.config),
            nested=not procfs.in_initial_user_namespace(),
        )
        self._planned: Planned | None = None
        self.groups_allowed = host.groups_allowed(self.namespaces, self.capabilities)
        self.filter = self._filter()
        self.layout = layouts.detect()
        host.check_delegation(self.config, self.layout.kind, self.options.cgroup_manager)
        if self.networking is not None:
            self.networking.plan()

    @property
    def planned(self) -> Planned:
        """The plan, made when it is first asked for: by the builder, if the runtime has no need of it."""
        if self._planned is None:
            from boxes.container import planning

            self._planned = planning.plan(
                self.config,
                self.facts,
                self.numbers,
                self.capabilities,
                groups_allowed=self.groups_allowed,
                no_new_keyring=self.options.no_new_keyring,
                filter=self.filter,
            )
        return self._planned

    def _filter(self) -> Filter | None:
        """Compiled here, where the store's cache is at hand."""
        if not (self.config.get("linux") or {}).get("seccomp") or "process" not in self.config:
            return None
        from boxes.container import seccomp

        return seccomp.of_init(self.config, self.facts, self.capabilities, self.store.runtime)

    def plan_cgroup(self) -> None:
        unprivileged = not self.privileged or self.facts.nested
        self.cgroups, self.limits, self.postponed = placement.plan(
            self.config, self.options, self.layout, self.id, unprivileged=unprivileged
        )

    # 2. everything below is in the journal before it is made

    def claim(self) -> None:
        """Take the id, and write down what comes."""
        self.place = self.store.new(self.id)
        self.claimed = True
        self.journal = journals.begin(self.facts, self.config, self.options)
        self.journal["cgroups"] = self.cgroups.record()
        if self.networking is not None and self.networking.record:
            self.journal["network"] = self.networking.record
        try:
            self.place.write_state("config.json", dump(self.config).encode())
            self.place.save(self.journal)
        except OSError as error:
            raise refused("cannot keep the container's state", error) from error

    def make_entry(self) -> None:
        """The cgroup that the builder is born in. The journal has had its path from the beginning; what tells it from
        another of its name follows with the next version."""
        self.cgroup_begun = True
        try:
            self.cgroups.make_entry()
        except BoxesError as error:
            raise placement.about(error, self.config) from None
        self.journal["cgroups"] = self.cgroups.record()

    def make_cgroup(self) -> None:
        try:
            self.cgroups.make()
            self.journal |= {"cgroups": self.cgroups.record(), "frozen_sign": self.cgroups.frozen_sign()}
            self.place.save(self.journal)  # nothing else tells whose a cgroup or unit of this name is
            self.cgroups.apply(self.limits)
            self.cgroup_made = True
        except BoxesError as error:
            raise placement.about(error, self.config) from None

    def open_sources(self) -> None:
        """The root and what is bound, where the builder will have fewer rights: in a user namespace. Else it opens each
        when its turn comes, so that mounts are numbered in the config's order."""
        self.outputs = host.hook_outputs(self.config, self.fds)
        self.tree = -1
        self.sources: dict[tuple[str, str], int] = {}
        self.numbers = self._reserve()
        if not self.facts.has_own("mount"):
            self.tree = self.fds.add(os.open(self.rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
        elif self.privileged and (self.facts.has_own("user") or refusals.idmapped(self.config)):
            from boxes.container import sources

            if self.facts.nested and not refusals.idmapped(self.config) and not sources.may_open():
                return
            if self.networking is not None:
                self.networking.prepare()  # files of its own are bound
            self.tree = self.fds.add(sources.open_root(self.rootfs))
            self.sources = sources.open_binds(self.planned.plan.binds, self.fds)

    def _reserve(self) -> Descriptors:
        """The numbers of descriptors that inner's steps name: what they refer to is put there later."""
        from boxes.plan.descriptors import Descriptors

        self.waiting = self.fds.add(status.hold(self.place))
        self.listening = self._listen()
        state = self.fds.add(memory("state"))
        root, old_root = self.fds.add(os.dup(state)), self.fds.add(os.dup(state))
        proc = self.fds.add(os.dup(state)) if self.labelled else -1
        return Descriptors(
            root,
            old_root,
            -1 if self.listening is None else self.listening.fileno(),
            state,
            self.joins.get("mount", -1),
            proc=proc,
        )

    def _listen(self) -> _socket.socket | None:
        return channel.listen(f"{self.place.path}/{START_SOCKET}")

    # 3. processes

    def spawn(self) -> None:
        """Make the builder; it waits for a word. Its pid goes to the journal at once."""
        host.single_threaded()
        ours, theirs = channel.pair()
        self.socket = ours
        self.image = self.fds.add(host.open_inner())
        early = placement.enters_early(self.cgroups.kind, self.config, self.namespaces)
        entry = self.cgroups.entry_fd() if early else None
        self.entered = entry is not None
        self.late = self.cgroups.needs_process and placement.has_little_memory(self.config)
        made = stage.Stage(
            self.namespaces,
            self.joins,
            cgroup=-1 if entry is None else entry,
            mapped=lambda pid: stage.map_ids(pid, self.namespaces, privileged=self.privileged),
            ours=ours,
            theirs=theirs,
        )

        def body() -> NoReturn:
            from boxes.container import builder

            builder.main(self._job(theirs))

        self.pid, self.pidfd = self._clone(made, body)
        self.fds.add(self.pidfd)
        channel.close(theirs)
        if self.listening is not None:
            channel.close(self.listening)
        self.fds.close_one(self.waiting)  # the lock is inner's from here on: it ends when the program begins

    def _clone(self, made: stage.Stage, body: Callable[[], NoReturn]) -> tuple[int, int]:
        return stage.spawn(made, body, self._born)

    def _job(self, theirs: _socket.socket) -> builder.Job:
        """Runs in the builder."""
        from boxes.container.builder import Job

        return Job(
            config=self.config,
            facts=self.facts,
            planned=self.planned,
            fds=self.numbers,
            tree=self.tree,
            sources=self.sources,
            socket=theirs,
            inner=self.image,
            kept=[*self.numbers.all, self.waiting],
            awaited=self.late,
            outputs=self.outputs,
            layer=self.options.layer,
        )

    def _born(self, pid: int) -> None:
        self.pid = pid
        self.journal |= {"pid": pid, "started": procfs.start_time(pid)}
        if self.cgroups.needs_process:
            self.cgroups.announce(pid, self.limits)
            self.journal["cgroups"] = self.cgroups.record()
        self.place.save(self.journal)

    def build(self) -> None:
        """Let the builder mount; meanwhile make the rest of its cgroups. It enters them by itself, since a thread that
        moves itself does not wait, and that of memory as late as can be: what it allocates from then on counts."""
        adjust.oom_score(self.pid, self.config.get("process") or {})
        linux = self.config.get("linux") or {}
        if linux.get("netDevices") or linux.get("intelRdt") is not None:
            from boxes.container import lent

            self.lent = lent.Lent(self)
            self.lent.lend()
        if self.networking is not None:
            self.networking.prepare()
            self.networking.attach()
        if self.cgroups.needs_owner and not self.late:
            self.make_cgroup()  # while the builder has our ids
        channel.say(self.socket, "go")
        if self.late:
            channel.expect(self.socket, "mounted")
        if not self.cgroup_made:
            self.make_cgroup()
        placement.show(self)
        self._prepare()
        if self.networking is not None:
            self.networking.complete()
        channel.expect(self.socket, "built")
        placement.complete(self)

    def _prepare(self) -> None:
        """Load what comes next while the builder is busy."""
        import boxes.container.reports

        if self.attached:
            import boxes.container.foreground  # noqa: F401

    def run_hooks(self) -> None:
        self.call_hooks()
        channel.say(self.socket, "hooked")

    def call_hooks(self) -> None:
        if self.config.get("hooks"):
            from boxes.container import hooks

            self.hooked = True  # should one fail, poststop comes next: runtime.md, "Lifecycle"
            state = oci_state(self.id, status.CREATED, self.pid, self.bundle, self.config.get("annotations"))
            hooks.run_before_start(self.config, state, self.pidfd, self.outputs)

    def wait_until_ready(self) -> None:
        """From here on the builder is inner: its reports are numbers."""
        from boxes.container.reports import Reports

        reports = Reports(self.socket, lambda: self.planned.steps)
        self.terminal = reports.until_ready()
        adjust.raise_rlimits(self.pid, self.config.get("process") or {})

    # 4. it is there

    def record(self) -> None:
        """Tell whoever is to know: terminal, pidfd, journal, pid file."""
        receiver = (self.config.get("annotations") or {}).get("run.oci.pidfd_receiver")
        if any(path is not None for path in (self.options.console_socket, self.options.pidfd_socket, receiver)):
            from boxes.container import console

            console.hand_over(self.options, receiver, self.terminal, self.pidfd)
        if not self.attached and (self.options.record_exit or _RECORD_EXIT in self.journal["annotations"]):
            from boxes.container import keeper

            keeper.start(self)
        self.journal["status"] = status.CREATED
        try:
            self.place.save(self.journal)
            if self.options.pid_file is not None:
                write_pid(self.options.pid_file, self.pid)
        except OSError as error:
            raise refused("cannot record the container", error) from error

    def finish(self) -> None:
        if self.lent is not None:
            self.lent.close()
        self.finished = True
