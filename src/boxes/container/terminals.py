"""Whether a process's terminal has somewhere to go."""

from __future__ import annotations

from boxes.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from boxes.container.creation import Creation


def check(process: dict[str, Any], console_socket: str | None, *, relayed: bool) -> None:
    """`relayed`: whether this command stays and hands its own terminal through. Raises UsageError."""
    if process.get("terminal") and console_socket is None and not relayed:
        raise UsageError("cannot allocate tty if box will detach without setting console socket")
    if console_socket is not None and not process.get("terminal"):
        hint = "set /process/terminal, or leave --console-socket away"
        raise UsageError("a console socket is given and the process wants no terminal", hint=hint)


def size(making: Creation) -> None:
    """The caller's terminal tells the size of the container's, unless the config does."""
    if making.terminal is not None and not (making.config.get("process") or {}).get("consoleSize"):
        from boxes.container import console

        console.copy_size(making.terminal)


def give(making: Creation) -> int | None:
    """The master, for whoever relays it; it is theirs to close, which hangs the container's up."""
    if making.options.console_socket is not None:
        return None
    terminal, making.terminal = making.terminal, None
    return terminal
