"""`box network`: the networks of this host."""

from __future__ import annotations

from boxes import log
from boxes.cli.options import FLAG, INT, MANY, Command, Option
from boxes.cli.output import table, write
from boxes.errors import BoxesError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from boxes.cli.commands import Call

COMMAND = Command(
    "network",
    "list, make, look at and remove networks for 'run --network bridge:NAME'",
    usage="ls | create NAME | inspect NAME | rm NAME...",
    description=(
        "A network has a bridge, which is there while containers are on it, and a subnet of IPv4 or IPv6 or both;\n"
        "what is not given is chosen. The network 'default' is always there, and is what --network bridge means."
    ),
    options=(
        Option("subnet", "for create: a subnet, of each family at most one", kind=MANY, metavar="CIDR"),
        Option("mtu", "for create: the largest packet, in bytes; else as the host has", kind=INT, metavar="N"),
        Option("force", "for rm: although containers have leases that are gone, or have ended", short="f", kind=FLAG),
        Option("format", "for ls: how to print them", default="table", metavar="FORMAT", choices=("table", "json")),
    ),
    least=1,
    most=None,
)
_COLUMNS = ("name", "subnets", "bridge", "containers")


def run(call: Call) -> int:
    action, *names = call.options.arguments
    if action not in _ACTIONS:
        raise UsageError(f"'{action}' where ls, create, inspect or rm is wanted", hint=f"box network {COMMAND.usage}")
    if (action == "ls") != (not names) or (action in ("create", "inspect") and len(names) > 1):
        raise UsageError(f"usage: box network {COMMAND.usage}")
    if action != "create" and (call.options.many("subnet") or call.options.integer("mtu") is not None):
        raise UsageError("--subnet and --mtu belong to 'box network create'")
    if action != "rm" and call.options.flag("force"):
        raise UsageError("--force belongs to 'box network rm'")
    _ACTIONS[action](call, names)
    return 0


def _list(call: Call, names: list[str]) -> None:
    from boxes.container import network_admin

    found = network_admin.listing()
    if call.options.text("format") == "json":
        from boxes.spec.document import dump

        write(dump(found) + "\n")
        return
    rows: list[tuple[str, ...]] = []
    for network in found:
        subnets = " ".join(entry["subnet"] for entry in network["subnets"])
        rows.append((network["name"], subnets or "-", network["bridge"], str(len(network["containers"]))))
    write(table(tuple(column.upper() for column in _COLUMNS), rows))


def _create(call: Call, names: list[str]) -> None:
    from boxes.container import network_admin

    network_admin.create(names[0], call.options.many("subnet"), call.options.integer("mtu"))


def _inspect(call: Call, names: list[str]) -> None:
    from boxes.container import network_admin
    from boxes.spec.document import pretty

    write(pretty(network_admin.describe(names[0])) + "\n")


def _remove(call: Call, names: list[str]) -> None:
    """Each that can be. What is wrong with the others is told as warnings, but for the last."""
    from boxes.container import network_admin

    failed: list[BoxesError] = []
    for name in names:
        try:
            network_admin.remove(name, force=call.options.flag("force"))
        except BoxesError as error:
            failed.append(error)
    for each in failed[:-1]:
        log.warning(each.message)
    if failed:
        raise failed[-1]


_ACTIONS = {"ls": _list, "create": _create, "inspect": _inspect, "rm": _remove}
