"""Whether a bundle would run as it is written, here and by this user: `check`.

The functions of `creation` are called, but for those that leave something behind. The build is rehearsed by a process
that has all the namespaces, above a copy of the root that is gone with it (rehearsal.py).
"""

from __future__ import annotations

from boxes import system as os
from boxes.container import host
from boxes.container.findings import Finding, Findings
from boxes.errors import ConfigError
from boxes.linux import procfs
from boxes.linux.fd import Fds
from boxes.plan import refusals
from boxes.plan.descriptors import Descriptors
from boxes.plan.facts import Facts
from boxes.plan.namespaces import Namespaces
from boxes.spec.document import parse, read
from boxes.spec.validate import validate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from boxes.container.options import CreateOptions
    from boxes.container.planning import Planned

_NAME = "check"  # stands for the id of the container


def check(options: CreateOptions) -> list[Finding]:
    """What stands in the way. Raises ConfigError if there is no config to look at."""
    bundle = os.abspath(options.bundle)
    source = f"{bundle}/config.json"
    raw = options.config if isinstance(options.config, bytes) else read(source)
    findings = Findings(parse(raw, source=source), validate)
    if findings.validated():
        with Fds() as fds:
            Check(findings, options, bundle, fds).run()
    return findings.found


class Check:
    """The steps of a creation that change nothing."""

    def __init__(self, findings: Findings, options: CreateOptions, bundle: str, fds: Fds) -> None:
        self.findings = findings
        self.options = options
        self.bundle = bundle
        self.fds = fds
        self.capabilities = host.capabilities()
        self.privileged = host.privileged(self.capabilities)
        self.joins: dict[str, int] = {}

    @property
    def config(self) -> dict[str, Any]:
        found: dict[str, Any] = self.findings.config
        return found

    def run(self) -> None:
        from boxes.container import check_cgroups, check_host

        check_host.hooks(self.config, self.findings)
        check_host.attributes(self.config, self.findings, self.capabilities)
        check_host.prepared(self.config, self.findings)
        if self.findings.tried(self._root) is None:
            return
        self.findings.tried(self._network)
        self.findings.tried(lambda: refusals.refuse(self.config))
        if self.findings.tried(self._join) is None:
            return
        check_cgroups.check(self)
        self.findings.tried(self._filter)
        planned = self.findings.tried(self._plan)
        if planned is None:
            return
        for warning in planned.plan.warnings:
            self.findings.warning(warning)
        from boxes.container import rehearsal

        for error in rehearsal.rehearse(self, planned):
            self.findings.error(error)

    def _root(self) -> bool:
        rootfs = self.config["root"]["path"]
        self.rootfs = os.normpath(rootfs if rootfs.startswith("/") else f"{self.bundle}/{rootfs}")
        if not os.isdir(self.rootfs):
            raise ConfigError(f"the root '{self.rootfs}' is not a directory", pointer="/root/path", path=self.rootfs)
        return True

    def _network(self) -> None:
        """What flags or annotations ask for."""
        from boxes.container import networking

        request = networking.settle(self.config, self.options)
        if request is not None:
            privileged = self.privileged and procfs.in_initial_user_namespace()
            networking.planned_record(
                request, id=_NAME, directory=self.bundle, config=self.config, privileged=privileged
            )

    def _join(self) -> bool:
        """The namespaces, and with them the facts of the plan."""
        self.namespaces = Namespaces(self.config)
        if self.namespaces.joins:
            from boxes.container import joins

            self.joins = joins.open_all(self.namespaces, self.fds, None)
            joins.spare_own(self.config, self.joins)
        self.facts = Facts(
            id=_NAME,
            bundle=self.bundle,
            rootfs=self.rootfs,
            namespaces=self.namespaces,
            no_pivot=self.options.no_pivot,
            mount_label=host.mount_label(self.config),
            nested=not procfs.in_initial_user_namespace(),
        )
        return True

    def _filter(self) -> None:
        if (self.config.get("linux") or {}).get("seccomp") and "process" in self.config:
            from boxes.container import seccomp

            seccomp.of_init(self.config, self.facts, self.capabilities, None)

    def _plan(self) -> Planned:
        from boxes.container import planning

        self.numbers = Descriptors(0, 0, 0, 0, self.joins.get("mount", -1), proc=0)
        return planning.plan(
            self.config,
            self.facts,
            self.numbers,
            self.capabilities,
            groups_allowed=host.groups_allowed(self.namespaces, self.capabilities),
            no_new_keyring=self.options.no_new_keyring,
        )
