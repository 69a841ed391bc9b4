"""What is known of networks on this host: how they are defined, and who is on them.

    /var/lib/boxes/networks/NAME.json     a network that somebody made: it outlives the host
    /run/boxes/.networks/lock             held by whoever changes anything below, and rules and bridges with it
    /run/boxes/.networks/NAME/state.json  a network that is in use: its definition as it was when the first came, its
                                          bridge, and who is on it with which addresses and ports
    /run/boxes/.networks/NAME/hosts       /etc/hosts of all of them

Networks are the host's: they do not depend on where containers are kept (--root).
"""

from __future__ import annotations

import fcntl
from binascii import crc32

from boxes import system as os
from boxes.container.store import replace
from boxes.errors import ConfigError, InternalError, StateError, refused
from boxes.linux import procfs
from boxes.network import BRIDGES
from boxes.network.addresses import Subnet
from boxes.plan.networking import DEFAULT, is_name
from boxes.spec.document import dump, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

RUNTIME = "/run/boxes/.networks"
DEFINED = "/var/lib/boxes/networks"
_LIMIT = 16 << 20
_LONGEST_NAME = 15  # IFNAMSIZ - 1


class Lock:
    """Of all networks. Descriptors that others inherited hold it too."""

    def __init__(self) -> None:
        try:
            os.makedirs(RUNTIME, mode=0o700, exist_ok=True)
            self.fd = os.open(f"{RUNTIME}/lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise refused("cannot keep the state of networks", error) from error

    def take(self) -> None:
        fcntl.flock(self.fd, fcntl.LOCK_EX)

    def close(self) -> None:
        os.close(self.fd)

    def __enter__(self) -> Lock:
        self.take()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Network:
    """One that is in use. `subnets`: at most one of each family, IPv4 first; `mtu`: 0 if it is the host's to say;
    `members`: by token; `last`: the address that was given last, by family; `leaving`: devices of those who have left,
    which the kernel removes, or else who sweeps."""

    def __init__(self, name: str, document: dict[str, Any]) -> None:
        self.name = name
        self.texts: list[str] = document["subnets"]
        self.subnets = [Subnet.parse(text) for text in self.texts]
        self.mtu: int = document.get("mtu") or 0
        self.bridge: str = document.get("bridge") or bridge_name(name)
        self.members: dict[str, dict[str, Any]] = document.get("members") or {}
        self.last: dict[str, str] = document.get("last") or {}
        self.leaving: list[str] = document.get("leaving") or []

    @property
    def hosts(self) -> str:
        return f"{RUNTIME}/{self.name}/hosts"

    def taken(self) -> set[str]:
        return {address for member in self.members.values() for address in member["addresses"]}

    def save(self) -> None:
        document = {
            "boot": procfs.boot_id(),
            "netns": _netns(),
            "subnets": self.texts,
            "mtu": self.mtu,
            "bridge": self.bridge,
            "members": self.members,
            "last": self.last,
            "leaving": self.leaving,
        }
        os.makedirs(f"{RUNTIME}/{self.name}", mode=0o700, exist_ok=True)
        replace(_path(self.name), dump(document).encode())

    def keep_family(self, family: int) -> None:
        self.texts = [str(subnet) for subnet in self.subnets if subnet.family == family]
        self.subnets = [subnet for subnet in self.subnets if subnet.family == family]


def forget(name: str) -> None:
    """When nobody is on it: its state last, so that who is killed is followed by one who knows."""
    directory = f"{RUNTIME}/{name}"
    files = [file for file in _listed(directory) if file != "state.json"]
    for file in (*files, "state.json"):
        try:
            os.unlink(f"{directory}/{file}")
        except FileNotFoundError:
            pass
    try:
        os.rmdir(directory)
    except FileNotFoundError:
        pass


def _path(name: str) -> str:
    return f"{RUNTIME}/{name}/state.json"


def _netns() -> int:
    return os.stat("/proc/self/ns/net").st_ino


def bridge_name(network: str) -> str:
    name = BRIDGES + network
    return name if len(name) <= _LONGEST_NAME else f"{BRIDGES}{network[:3]}-{crc32(network.encode()):08x}"


def in_use(name: str) -> Network | None:
    """A network that containers are on, or None. One of before the host was started does not count."""
    document = _load(_path(name))
    if document is None or document["boot"] != procfs.boot_id():
        return None
    if document["netns"] != _netns():
        if not procfs.has_network(document["netns"]):
            return None  # and all that was in it has gone with it
        raise StateError(f"network '{name}' is in use in another network namespace")
    return Network(name, document)


def all_in_use() -> Iterator[Network]:
    for name in _listed(RUNTIME):
        found = in_use(name) if is_name(name) and name != "lock" else None
        if found is not None:
            yield found


def definition(name: str) -> dict[str, Any] | None:
    """What somebody made of a network; nothing is known of the default one until it is in use."""
    return _load(f"{DEFINED}/{name}.json")


def definitions() -> dict[str, dict[str, Any]]:
    found = {}
    for file in _listed(DEFINED):
        document = definition(file.removesuffix(".json"))
        if file.endswith(".json") and document is not None:
            found[file.removesuffix(".json")] = document
    return found


def define(name: str, document: dict[str, Any]) -> None:
    os.makedirs(DEFINED, mode=0o700, exist_ok=True)
    replace(f"{DEFINED}/{name}.json", dump(document).encode())


def undefine(name: str) -> None:
    os.unlink(f"{DEFINED}/{name}.json")


def exists(name: str) -> bool:
    return name == DEFAULT or os.exists(f"{DEFINED}/{name}.json") or os.exists(_path(name))


def _listed(directory: str) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except FileNotFoundError:
        return []


def _load(path: str) -> dict[str, Any] | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise refused("cannot read the state of a network", error) from error
    try:
        found = parse(os.read_all(fd, _LIMIT), source=path)
    except (ConfigError, OSError) as error:
        raise InternalError(f"the state of a network cannot be read: {error}", path=path) from error
    finally:
        os.close(fd)
    if not isinstance(found, dict) or not isinstance(found.get("subnets"), list):
        raise InternalError(f"'{path}' describes no network", path=path)
    return found
