"""`box cni`: the rest of CNI."""

from __future__ import annotations

from boxes.cli.options import MANY, Command, Option
from boxes.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from boxes.cli.commands import Call

COMMAND = Command(
    "cni",
    "check attachments and networks of CNI, and collect what is left of them",
    usage="check ID | status NETWORK | gc NETWORK",
    description=(
        "check asks the plugins of a container's network whether all is as they left it; status whether containers\n"
        "can be added to a network now; gc takes away what is left of containers whose network namespace is gone,\n"
        "whatever runtime made them. Nothing is printed unless something is wrong."
    ),
    options=(
        Option("cni-conf", "where CNI's network configurations are", metavar="DIR"),
        Option("cni-bin", "where CNI's plugins are", kind=MANY, metavar="DIR"),
    ),
    least=2,
    most=2,
)


def run(call: Call) -> int:
    from boxes.container import cni_admin

    action, name = call.options.arguments
    directory = call.options.text("cni-conf") or ""
    path = [part for entry in call.options.many("cni-bin") for part in entry.split(":")]
    if action == "check":
        from boxes.spec.identifier import check_id

        cni_admin.check(call.store(), check_id(name))
    elif action == "status":
        cni_admin.status(name, directory, path)
    elif action == "gc":
        failures = cni_admin.collect(name, directory, path)
        if failures:
            raise failures[0]
    else:
        raise UsageError(f"'{action}' where check, status or gc is wanted", hint=f"box cni {COMMAND.usage}")
    return 0
