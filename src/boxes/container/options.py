"""What `create` and `run` are asked for besides the config."""

from __future__ import annotations


class CreateOptions:
    """`bundle`: its directory; `config`: what to use in the place of its config.json, as text or parsed; `pid_file`,
    `console_socket`, `pidfd_socket`: paths; `preserve_fds`: how many descriptors after stdio the process gets;
    `cgroup_manager`: auto, cgroupfs, systemd or disabled; `rootless`: auto, true or false; `record_exit`: leave a
    keeper; `layer`: directories of an overlay above the config's root: one that takes what is written, an empty one of
    the same filesystem, and then those that lie between, the uppermost first;
    `notify_socket`: of the service manager that is to hear what the program says;
    `network`: what plan.networking.Request takes, as flags said it; `hostname`: in the place of the config's."""

    def __init__(
        self,
        bundle: str = ".",
        *,
        config: bytes | dict[str, object] | None = None,
        pid_file: str | None = None,
        console_socket: str | None = None,
        pidfd_socket: str | None = None,
        no_pivot: bool = False,
        no_new_keyring: bool = False,
        preserve_fds: int = 0,
        cgroup_manager: str = "auto",
        rootless: str = "auto",
        no_subreaper: bool = False,
        record_exit: bool = False,
        layer: list[str] | None = None,
        notify_socket: str | None = None,
        network: dict[str, list[str]] | None = None,
        hostname: str | None = None,
    ) -> None:
        self.bundle = bundle
        self.config = config
        self.pid_file = pid_file
        self.console_socket = console_socket
        self.pidfd_socket = pidfd_socket
        self.no_pivot = no_pivot
        self.no_new_keyring = no_new_keyring
        self.preserve_fds = preserve_fds
        self.cgroup_manager = cgroup_manager
        self.rootless = rootless
        self.no_subreaper = no_subreaper
        self.record_exit = record_exit
        self.layer = layer
        self.notify_socket = notify_socket
        self.network = network or {}
        self.hostname = hostname

    @property
    def asks_network(self) -> bool:
        """Whether the namespaces of the config may not be those that are meant."""
        return bool(self.network) or self.hostname is not None
