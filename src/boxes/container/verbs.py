"""What a worker can be asked for, over the same functions as the command line's."""

from __future__ import annotations

from boxes.container import attached, fallback, lifecycle, worker
from boxes.container.options import CreateOptions
from boxes.container.store import Store
from boxes.container.undivided import Undivided
from boxes.errors import UnsupportedError, UsageError
from boxes.spec.document import dump
from boxes.spec.identifier import check_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from boxes.container.worker import Request


def carry_out(request: Request) -> None:
    """Do what is asked, and answer. Raises BoxesError, UsageError for a request that makes no sense."""
    verb = _VERBS.get(request.verb) if isinstance(request.verb, str) else None
    if verb is None:
        raise UsageError(f"there is no verb '{request.verb}'")
    verb(request)


def _text(given: dict[str, Any], name: str, default: str | None = None) -> str:
    value = given.get(name, default)
    if type(value) is not str or not value:
        raise UsageError(f"'{name}' is to be a text that is not empty")
    return value


def _where(given: dict[str, Any]) -> tuple[Store, str]:
    runtime, state = _text(given, "runtime"), _text(given, "state")
    return Store(runtime, state), check_id(_text(given, "id"))


def _options(given: dict[str, Any]) -> CreateOptions:
    config = given.get("config")
    return CreateOptions(
        _text(given, "bundle", "/"),
        config=None if config is None else dump(config).encode(),
        cgroup_manager=_text(given, "cgroup_manager", "auto"),
        rootless=_text(given, "rootless", "auto"),
        record_exit=bool(given.get("record_exit")),
    )


# ---- containers ----


def _run(request: Request) -> None:
    """Make a container whose streams are the given ones, start it, and keep it."""
    store, id = _where(request.given)
    worker.take_streams(request.fds)
    limits = "cgroups"
    try:
        making, held = _launched(store, id, _options(request.given))
    except UnsupportedError as error:
        if not request.given.get("fall_back") or not (error.pointer or "").startswith("/linux/resources"):
            raise
        making, held = _launched(store, id, _options(fallback.without_cgroups(request.given)))
        limits = "rlimits"
    worker.leave_streams()
    lifecycle.run_poststart(making)
    facts = {"id": id, "pid": making.pid, "limits": limits, "files": list(held.files)}
    request.answer(facts, [held.pidfd])
    attached.keep_container(making, held, request.reply.fileno())


def _launched(store: Store, id: str, options: CreateOptions) -> tuple[Undivided, attached.Held]:
    with Undivided(store, id, options, attached=True) as making:
        lifecycle.launch(making)
        return making, attached.Held(making)


_VERBS: dict[str, Callable[[Request], None]] = {"run": _run}
