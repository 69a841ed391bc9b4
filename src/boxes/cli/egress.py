"""`box egress`: what a container may reach, and what it has been refused."""

from __future__ import annotations

from boxes.cli.options import Command, Option
from boxes.cli.output import printable, write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from boxes.cli.commands import Call

COMMAND = Command(
    "egress",
    "tell what a container with --allow has been refused",
    usage="ID",
    description=(
        "Destinations are those of packets that went nowhere, the most frequent first; names are those asked for\n"
        "that are not allowed. An address is withheld if a name that is allowed has it, but it is not the public's."
    ),
    options=(
        Option("format", "how to print it", short="f", default="text", metavar="FORMAT", choices=("text", "json")),
    ),
    least=1,
    most=1,
)


def run(call: Call) -> int:
    from boxes.container import refusals
    from boxes.spec.document import pretty

    found = refusals.of(call.store(), call.id())
    if call.options.text("format") == "json":
        write(pretty(found) + "\n")
    else:
        write("".join(f"{printable(line)}\n" for line in _lines(found)))
    return 0


def _lines(found: dict[str, Any]) -> list[str]:
    lines = [f"allowed    {entry}" for entry in found["allowed"]]
    for name, count in found.get("packets", {}).items():
        lines.append(f"{name:<10} {count} packets")
    for entry in found.get("destinations", ()):
        port = f":{entry['port']}" if entry["port"] else ""
        address = f"[{entry['address']}]" if ":" in entry["address"] else entry["address"]
        where = f"{address}{port}/{entry['protocol']}"
        lines.append(f"refused    {where}  {entry['packets']} packets, the last {entry['ago']} s ago")
    names = found["names"]
    lines += [f"refused    {name}  {count} questions" for name, count in names.get("refused", {}).items()]
    lines += [f"withheld   {name}  {address}" for name, address in names.get("withheld", {}).items()]
    if names.get("failure"):
        lines.append(f"failed     {names['failure']}")
    return lines
