"""sd_notify(3): the service manager's socket, bound into the container, where its program tells that it is ready.

The program talks to the manager itself, so nothing of the runtime has to stay and forward. The manager has the
sender's pid from the socket's credentials, as its own namespace numbers it. Nobody adds a MAINPID to what the program
says.
"""

from __future__ import annotations

from boxes import log
from boxes import system as os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

INSIDE = "/run/notify/notify.sock"


def pass_socket(config: dict[str, Any], host: str) -> None:
    """Bind the socket `host` at INSIDE and name that in the program's environment.

    A config which names a socket itself keeps it: an engine that forwards has put its own there. An abstract socket
    (`@name`) is one of the network namespace: it can be named, and is reached only if that is shared. A path where
    nothing is has no effect but a warning: the variable may be left from a manager that is gone.
    """
    environment = config["process"].setdefault("env", [])
    if any(entry.startswith("NOTIFY_SOCKET=") for entry in environment):
        return
    if host.startswith("@"):
        environment.append(f"NOTIFY_SOCKET={host}")
    elif host.startswith("/") and os.exists(host):
        mount = {
            "destination": INSIDE,
            "type": "bind",
            "source": host,
            "options": ["bind", "nosuid", "nodev", "noexec"],
        }
        config.setdefault("mounts", []).append(mount)
        environment.append(f"NOTIFY_SOCKET={INSIDE}")
    else:
        log.debug(f"NOTIFY_SOCKET is passed over: there is no socket '{host}'")
