"""The network that flags or annotations ask for, on the way of a container that is being made, and taken back.

Only for containers that ask for one: see `plan.networking` for what can be asked for, and `container.networks` for who
does it. The journal has it as "network".
"""

from __future__ import annotations

from boxes import system as os
from boxes.errors import InternalError, UsageError, refused
from boxes.plan import networking as planned
from boxes.spec.validate import validate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from boxes.container.creation import Creation
    from boxes.container.networks import Driver, Rest
    from boxes.container.options import CreateOptions
    from boxes.plan.networking import Request

_DRIVEN = ("bridge", "cni", "pasta")  # the others are a namespace and nothing else
_EGRESS = "egress"


def begin(making: Creation) -> Networking | None:
    """Once the config is read."""
    request = settle(making.config, making.options)
    return None if request is None else Networking(making, request)


def settle(config: dict[str, Any], options: CreateOptions) -> Request | None:
    """Make the config say what was asked for: its namespaces, and the annotations. None if nothing was."""
    if options.hostname is not None:
        _set_hostname(config, options.hostname)
    given = planned.given(config, options.network)
    if not given:
        return None
    request = planned.Request(given, frozenset(options.network))
    _set_namespace(config, request)
    config["annotations"] = (config.get("annotations") or {}) | planned.as_annotations(given)
    validate(config)
    return request


def _set_hostname(config: dict[str, Any], name: str) -> None:
    if not planned.is_host_name(name):
        raise UsageError(f"flag --hostname: '{name}' is no host name", hint=planned.HOST_NAME_RULE)
    namespaces = config.setdefault("linux", {}).setdefault("namespaces", [])
    if not any(entry["type"] == "uts" for entry in namespaces):
        namespaces.append({"type": "uts"})
    config["hostname"] = name
    validate(config)


def _set_namespace(config: dict[str, Any], request: Request) -> None:
    """The flag decides; the annotation cannot give a container another network than who wrote the config wanted."""
    namespaces = config.setdefault("linux", {}).setdefault("namespaces", [])
    present = [entry for entry in namespaces if entry["type"] == "network"]
    wanted: list[dict[str, str]] = {
        "host": [],
        "ns": [{"type": "network", "path": request.argument}],
    }.get(request.driver, [{"type": "network"}])
    if planned.NETWORK not in request.flags:
        for entry in present:
            if not wanted:
                request.wrong(planned.NETWORK, "the config has a network namespace of its own")
            if (entry.get("path") or "") != wanted[0].get("path", ""):
                request.wrong(planned.NETWORK, "the config joins another network namespace")
    if present != wanted:
        namespaces[:] = [entry for entry in namespaces if entry["type"] != "network"] + wanted


class Networking:
    """One network, for one container."""

    def __init__(self, making: Creation, request: Request) -> None:
        self._making = making
        self._request = request
        self._drivers: list[tuple[Driver, dict[str, Any]]] = []
        self._rest: list[Rest] = []
        self._prepared = False

    @property
    def by_flag(self) -> bool:
        return planned.NETWORK in self._request.flags

    def plan(self) -> None:
        """Before the container is claimed: `record` is for its journal, or empty."""
        making = self._making
        self.record = planned_record(
            self._request,
            id=making.id,
            directory=f"{making.store.runtime}/{making.id}",
            config=making.config,
            privileged=making.privileged and not making.facts.nested,
        )
        if self.record:
            _bind_files(self._making.config, self.record)
            self._drivers = _drivers(self.record)

    def prepare(self) -> None:
        """Before the builder binds what is made here: where it has the runtime's rights it does so itself, and begins
        meanwhile."""
        if self._prepared:
            return
        self._prepared = True
        for driver, record in self._drivers:
            if hasattr(driver, "prepare"):
                self._rest.append(driver.prepare(record, self._save))

    def attach(self) -> None:
        if not any(hasattr(driver, "attach") for driver, _ in self._drivers):
            return
        pid = self._making.pid
        try:
            netns = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise refused("cannot reach the network namespace", error) from error
        try:
            for driver, record in self._drivers:
                if hasattr(driver, "attach"):
                    self._rest.append(driver.attach(record, netns, pid, self._save))
        finally:
            os.close(netns)

    def complete(self) -> None:
        for rest in self._rest:
            if rest is not None:
                rest()

    def _save(self) -> None:
        self._making.place.save(self._making.journal)


def planned_record(
    request: Request, *, id: str, directory: str, config: dict[str, Any], privileged: bool
) -> dict[str, Any]:
    """What the driver makes of a request: its record; empty if there is nothing to be made."""
    from boxes.container.networks import Host

    if request.driver not in _DRIVEN:
        return {}
    host = Host(
        id=id,
        hostname=config.get("hostname") or "",
        directory=directory,
        config=config,
        privileged=privileged,
        user=any(entry["type"] == "user" for entry in config["linux"]["namespaces"]),
    )
    record = _module(request.driver).plan(request, host)
    if request.allowed is not None:
        egress: Any = _module(_EGRESS)
        record[_EGRESS] = egress.plan(request, host, record)
    return record


def release(journal: dict[str, Any]) -> None:
    """Take back what a journal tells of."""
    for driver, record in reversed(_drivers(journal["network"])):
        driver.release(record)


def _drivers(record: dict[str, Any]) -> list[tuple[Driver, dict[str, Any]]]:
    found = [(_module(record["driver"]), record)]
    if _EGRESS in record:
        found.append((_module(_EGRESS), record[_EGRESS]))
    return found


def _module(name: str) -> Driver:
    if name not in (*_DRIVEN, _EGRESS):
        raise InternalError(f"the network of this container is of an unknown kind: '{name}'")
    module: Driver = __import__(f"boxes.container.networks.{name}", fromlist=["plan"])
    return module


def _bind_files(config: dict[str, Any], record: dict[str, Any]) -> None:
    """Mounts for the files that the driver makes, where the config has none."""
    from boxes.plan import mounts

    if not any(entry["type"] == "mount" for entry in config["linux"]["namespaces"]):
        return
    for destination, source in record.get("files", {}).items():
        if mounts.covers(config, destination) is None:
            options = ["bind", "ro", "nosuid", "nodev", "noexec"]
            entry = {"destination": destination, "type": "bind", "source": source, "options": options}
            config.setdefault("mounts", []).append(entry)
