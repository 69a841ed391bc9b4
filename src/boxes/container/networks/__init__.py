"""Drivers: a module for each kind of network, which `container.networking` calls in the order of a container's life.

    plan(request, host) -> record
        Check all there is to be checked; nothing is changed yet. The record is JSON: it is journal["network"], saved
        before anything is made, and the only thing that `release` knows. These members are common:
            driver   the module's name; `plan` sets it
            files    {destination in the container: a path of the host} to be bound read-only, where the config has no
                     mount there: /etc/hosts, /etc/resolv.conf. They exist when `prepare` has returned.

    prepare(record, save) -> None or a function                optional
        What needs no namespace of the container, before anything is mounted: its first process may be there, and wait.

    attach(record, netns, pid, save) -> None or a function     optional
        The container's process waits in the network namespace `netns` (a descriptor) and has mounted nothing: its
        network parameters (/linux/sysctl) are set after this, hooks run after this.

    A function that they return is called when the container has been mounted, before the first hook: to wait for what
    could go on meanwhile. If the creation fails before, it is not called.

    release(record) -> None
        Take back whatever is there. Called when a creation fails and by `delete`, at any stage of the above, more than
        once, perhaps by another process, and after a reboot (then what the kernel had is gone, files may be not).

The module `egress` has the same functions, and is called after the driver, and to release before it, where the request
has `allowed`: its own record is record["egress"], and its plan(request, host, record) is given the driver's, whose
`files` it may change.

`save()` writes the journal, so that what `record` says is on disk before the side effect it tells of. All run in the
runtime, with its rights and in its namespaces, which is single-threaded and may have children that are not the
driver's. All raise BoxesError: `request.wrong(key, text)` is the one that names a flag or an annotation. What `release`
cannot take back it raises; the container then stays, and `delete --force` can be called again.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    from boxes.plan.networking import Request

    Rest = Callable[[], None] | None

    class Driver(Protocol):
        """A module of this package. The optional ones are looked for."""

        def plan(self, request: Request, host: Host) -> dict[str, Any]: ...

        def prepare(self, record: dict[str, Any], save: Callable[[], None]) -> Rest: ...

        def attach(self, record: dict[str, Any], netns: int, pid: int, save: Callable[[], None]) -> Rest: ...

        def release(self, record: dict[str, Any]) -> None: ...


class Host:
    """What a driver may want to know. `directory` is the container's own, for files that go with it (see
    `container.store`, which lists their names); it does not exist yet. `config` is not to be changed. `privileged`:
    whether this process may set up networks of the host. `user`: whether the container has a user namespace of its
    own."""

    __slots__ = ("config", "directory", "hostname", "id", "privileged", "user")

    def __init__(
        self, *, id: str, hostname: str, directory: str, config: dict[str, Any], privileged: bool, user: bool
    ) -> None:
        self.id = id
        self.hostname = hostname
        self.directory = directory
        self.config = config
        self.privileged = privileged
        self.user = user
