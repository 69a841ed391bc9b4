"""What network a container is to have: the annotations ``boxes.network…``, which flags of `run` and `create` become.

    boxes.network             none, host, bridge[:NAME], cni:NAME, pasta, or ns:PATH
    boxes.network.publish     [ADDR:]HOST:CONTAINER[/tcp or /udp], more than one with commas between
    boxes.network.ip          an address of the container, or one of each family
    boxes.network.dns         addresses of name servers
    boxes.network.allow       what it may reach: see network.egress_policy.Policy
    boxes.network.cni-conf    the directory of CNI's network configurations
    boxes.network.cni-bin     the directories of CNI's plugins

Everything is checked here as far as the text tells; what the host has to say about it is the driver's part.
"""

from __future__ import annotations

from boxes.errors import ConfigError, UsageError
from boxes.network import addresses
from boxes.network.addresses import ANY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    Given = dict[str, list[str]]  # by the last part of the annotation's name, which is the flag's

PREFIX = "boxes.network"
NETWORK, PUBLISH, IP, DNS, ALLOW, CNI_CONF, CNI_BIN = "network", "publish", "ip", "dns", "allow", "cni-conf", "cni-bin"
KEYS = (NETWORK, PUBLISH, IP, DNS, ALLOW, CNI_CONF, CNI_BIN)
DEFAULT = "default"  # the name of the network of `bridge` alone

# Which of the others mean something to a driver.
_MEANT = {
    "none": (),
    "host": (),
    "ns": (),
    "bridge": (PUBLISH, IP, DNS, ALLOW),
    "cni": (PUBLISH, IP, DNS, ALLOW, CNI_CONF, CNI_BIN),
    "pasta": (PUBLISH, DNS, ALLOW),
}
_SHOWN = "none, host, bridge[:NAME], cni:NAME, pasta or ns:PATH"


class Port:
    """A port of the host that leads to one of the container. `address` is one of the host's; 0.0.0.0 for all of IPv4,
    :: for all of IPv6, empty for all."""

    __slots__ = ("address", "container", "host", "protocol")

    def __init__(self, address: str, host: int, container: int, protocol: str) -> None:
        self.address = address
        self.host = host
        self.container = container
        self.protocol = protocol

    def record(self) -> list[Any]:
        """For a journal; `Port(*record)` is the port again."""
        return [self.address, self.host, self.container, self.protocol]

    def __str__(self) -> str:
        address = f"[{self.address}]" if ":" in self.address else self.address
        return f"{address}{':' if address else ''}{self.host}/{self.protocol}"


class Request:
    """A network that is asked for, and what goes with it.

    `driver`: none, host, ns, bridge, cni or pasta; `argument`: the network's name, or the path of the namespace;
    `ports`: to be published; `addresses`: at most one of each family; `servers`: of names; `allowed`: entries of a
    policy (network.egress_policy), None where nothing is restricted; `cni_conf`: a directory, or empty; `cni_bin`:
    directories. `flags`: the keys that were given on the command line, which makes errors name the flag.
    """

    def __init__(self, given: Given, flags: frozenset[str] = frozenset()) -> None:
        self.flags = flags
        if NETWORK not in given:
            self.wrong(next(iter(given)), "this needs a network", hint=f"add --network {_SHOWN}")
        self.driver, self.argument = self._network(given[NETWORK][-1])
        for key in given:
            if key != NETWORK and key not in _MEANT[self.driver]:
                self.wrong(key, f"this means nothing to the network '{self.driver}'")
        self.ports = self._each(given, PUBLISH, _port)
        self._check_ports()
        self.addresses: list[str] = self._each(given, IP, addresses.normal)
        if len({":" in address for address in self.addresses}) < len(self.addresses):
            self.wrong(IP, "at most one address of each family")
        self.servers: list[str] = self._each(given, DNS, addresses.normal)
        self.allowed: list[str] | None = self._each(given, ALLOW, _allowed) if ALLOW in given else None
        self.cni_conf = "".join(given.get(CNI_CONF, [])[-1:])
        self.cni_bin = given.get(CNI_BIN, [])
        for key, paths in ((CNI_CONF, [self.cni_conf]), (CNI_BIN, self.cni_bin)):
            if key in given and not all(path.startswith("/") and "\0" not in path for path in paths):
                self.wrong(key, f"expected an absolute path, not '{paths[-1]}'")

    def place(self, key: str) -> str:
        """What an error about it begins with."""
        return f"flag --{key}" if key in self.flags else f"/annotations/{annotation(key)}"

    def wrong(self, key: str, text: str, *, hint: str | None = None) -> NoReturn:
        """Raise the error that names the flag or the annotation."""
        if key in self.flags:
            raise UsageError(f"flag --{key}: {text}", hint=hint)
        raise ConfigError(text, pointer=f"/annotations/{annotation(key)}", hint=hint)

    def _network(self, text: str) -> tuple[str, str]:
        driver, colon, argument = text.partition(":")
        if driver not in _MEANT or (driver in ("cni", "ns") and not argument):
            self.wrong(NETWORK, f"expected {_SHOWN}, not '{text}'")
        if colon and (not argument or driver not in ("cni", "ns", "bridge")):
            self.wrong(NETWORK, f"expected {_SHOWN}, not '{text}'")
        if driver == "bridge":
            argument = argument or DEFAULT
            if not is_name(argument):
                self.wrong(NETWORK, f"'{argument}' is no name of a network", hint=NAME_RULE)
        if driver == "ns" and not (argument.startswith("/") and "\0" not in argument):
            self.wrong(NETWORK, f"expected an absolute path, not '{argument}'")
        return driver, argument

    def _each(self, given: Given, key: str, read: Any) -> list[Any]:
        found = []
        for text in given.get(key, ()):
            try:
                found.append(read(text))
            except ValueError as error:
                self.wrong(key, str(error))
        return found

    def _check_ports(self) -> None:
        for index, port in enumerate(self.ports):
            if any(_is_same(port, other) for other in self.ports[:index]):
                self.wrong(PUBLISH, f"port {port} is published twice")


NAME_RULE = "a letter or digit, then letters, digits, '_' and '-', at most 32"


def is_name(text: str) -> bool:
    """Whether a network can be called so: it is part of names of files, of nftables and of devices."""
    plain = text.replace("-", "").replace("_", "")
    return 0 < len(text) <= 32 and text[0].isalnum() and plain.isascii() and plain.isalnum()


def annotation(key: str) -> str:
    return PREFIX if key == NETWORK else f"{PREFIX}.{key}"


def given(config: dict[str, Any], flags: Given) -> Given:
    """What the annotations say, and the command line, which wins."""
    found: Given = {}
    for key in KEYS:
        text = (config.get("annotations") or {}).get(annotation(key))
        if text is not None:
            # a path and the name of a network may have a comma, the others are lists
            found[key] = [text] if key in (NETWORK, CNI_CONF) else [part.strip() for part in text.split(",")]
    return found | flags


def as_annotations(given: Given) -> dict[str, str]:
    """The same as annotations."""
    return {annotation(key): ",".join(texts) for key, texts in given.items()}


def overlap(one: str, other: str) -> bool:
    """Whether two addresses that a port is published on have one of the host's in common."""
    if not one or not other or one == other:
        return True
    return (":" in one) == (":" in other) and (one in ANY or other in ANY)


def _is_same(one: Port, other: Port) -> bool:
    """Whether two ports of the host are one. To one address it may lead elsewhere than to all."""
    if (one.host, one.protocol) != (other.host, other.protocol):
        return False
    many = (one.address in ANY) == (other.address in ANY)
    return many and overlap(one.address, other.address)


def _port(text: str) -> Port:
    numbers, slash, protocol = text.partition("/")
    if slash and protocol not in ("tcp", "udp"):
        raise ValueError(f"'{text}': neither tcp nor udp")
    rest, _, container = numbers.rpartition(":")
    address, _, host = rest.rpartition(":")
    if address.startswith("[") and address.endswith("]"):
        address = address[1:-1]
    elif ":" in address:
        raise ValueError(f"'{text}': an address of IPv6 is written in brackets")
    if address:
        try:
            address = addresses.normal(address)
        except ValueError as error:
            raise ValueError(f"'{text}': {error}") from None
    return Port(address, _number(host, text), _number(container, text), protocol or "tcp")


def _number(port: str, text: str) -> int:
    if not (port.isascii() and port.isdigit()) or len(port) > 5 or not 0 < int(port) < 65536:
        raise ValueError(f"'{text}' where [ADDR:]HOST:CONTAINER[/udp] is wanted, ports from 1 to 65535")
    return int(port)


def _allowed(text: str) -> str:
    from boxes.network.egress_policy import Policy

    Policy([text])
    return text


def is_host_name(text: str) -> bool:
    """Whether a machine can be called so: what the kernel has room for (HOST_NAME_MAX), and who reads it can read."""
    plain = text.replace("-", "").replace("_", "").replace(".", "")
    return 0 < len(text) <= 64 and text[0] not in "-." and plain.isascii() and plain.isalnum()


HOST_NAME_RULE = "letters, digits, '-', '_' and '.', at most 64"


def is_domain(text: str) -> bool:
    """Whether a text is a domain name: labels of letters, digits and hyphens, the last not only digits (RFC 1123)."""
    labels = text.rstrip(".").split(".")
    return (
        0 < len(text) <= 253
        and not labels[-1].isdigit()
        and all(
            0 < len(label) < 64
            and label.replace("-", "").replace("_", "").isalnum()
            and label.isascii()
            and label[0] != "-"
            and label[-1] != "-"
            for label in labels
        )
    )
