"""What a worker can be asked for, over the same functions as the command line's."""

from __future__ import annotations

from boxes import system as os
from boxes.container import attached, fallback, lifecycle, worker
from boxes.container.exec import ExecOptions, begin
from boxes.container.options import CreateOptions
from boxes.container.store import Store
from boxes.container.undivided import Undivided
from boxes.errors import UnsupportedError, UsageError
from boxes.linux.fd import Fds, memory
from boxes.spec.identifier import check_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

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
    return CreateOptions(
        _text(given, "bundle", "/"),
        config=given.get("config"),
        cgroup_manager=_text(given, "cgroup_manager", "auto"),
        rootless=_text(given, "rootless", "auto"),
        record_exit=bool(given.get("record_exit")),
        layer=given.get("layer"),
    )


# ---- containers and processes that are kept ----


def _run(request: Request) -> None:
    """Make a container whose streams are the given ones, start it, and keep it."""
    making, held, limits = _made(request, lifecycle.launch)
    _keep(request, making, held, limits, lifecycle.run_poststart)


def _create(request: Request) -> None:
    """The same, and do not start it."""
    making, held, limits = _made(request, lifecycle.prepare)
    _keep(request, making, held, limits)


def _keep(
    request: Request,
    making: Undivided,
    held: attached.Held,
    limits: str,
    first: Callable[[Undivided], None] = lambda making: None,
) -> NoReturn:
    """Become its keeper. There is no container without one."""
    facts = {"id": making.id, "pid": making.pid, "limits": limits, "files": list(held.files)}
    try:
        worker.leave_streams()
        first(making)
        request.answer(facts, [held.pidfd])
        attached.keep_container(
            making, held, request.reply.fileno(), until_deleted=bool(request.given.get("until_deleted"))
        )
    except BaseException:
        lifecycle.delete(making.store, making.id, force=True)
        raise


def _made(request: Request, how: Callable[[Undivided], None]) -> tuple[Undivided, attached.Held, str]:
    store, id = _where(request.given)
    worker.take_streams(request.fds)
    limits = "cgroups"
    try:
        making, held = _make(store, id, _options(request.given), how)
    except UnsupportedError as error:
        if not _falls_back(request.given, error):
            raise
        making, held = _make(store, id, _options(fallback.without_cgroups(request.given)), how)
        limits = "rlimits"
    return making, held, limits if making.cgroups.directories or limits == "rlimits" else "none"


def _falls_back(given: dict[str, Any], error: UnsupportedError) -> bool:
    """Whether the container is to be made without cgroups."""
    return bool(given.get("fall_back")) and (error.pointer or "").startswith("/linux/resources")


def _make(
    store: Store, id: str, options: CreateOptions, how: Callable[[Undivided], None]
) -> tuple[Undivided, attached.Held]:
    with Undivided(store, id, options) as making:
        how(making)
        return making, attached.Held(making)


def _exec(request: Request) -> None:
    """Run a process in a container, with the given streams, and keep it."""
    store, id = _where(request.given)
    worker.take_streams(request.fds)
    with Fds() as fds:
        pid, *_ = begin(store, id, _exec_options(request.given), fds)
    worker.leave_streams()
    pidfd = os.pidfd_open(pid)
    request.answer({"pid": pid}, [pidfd])
    attached.keep_process(pidfd, request.reply.fileno(), id)


def _exec_options(given: dict[str, Any]) -> ExecOptions:
    user = given.get("user")
    return ExecOptions(
        args=given["args"],
        cwd=given.get("cwd"),
        env=given.get("env"),
        user=None if user is None else (user[0], user[1]),
        detach=True,
    )


# ---- verbs that end with their answer ----


def _template(request: Request) -> None:
    """A template of a config, or of a process in a container, as a memfd; none, if that is not for a script."""
    from boxes.container import template
    from boxes.plan.scripted import UnusualError

    store, id = _where(request.given)
    try:
        if "config" in request.given:
            facts, steps = _template_of(store, id, request.given)
        else:
            facts, steps = template.make_exec(store, id, _exec_options(request.given))
    except UnusualError:
        request.answer({})
        return
    with Fds() as fds:
        kept = fds.add(memory("template"))
        os.write_all(kept, steps)
        request.answer(facts, [kept])


def _template_of(store: Store, id: str, given: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    from boxes.container import template

    try:
        return template.make(Undivided(store, id, _options(given)), "cgroups")
    except UnsupportedError as error:
        if not _falls_back(given, error):
            raise
        return template.make(Undivided(store, id, _options(fallback.without_cgroups(given))), "rlimits")


def _detach(request: Request) -> None:
    """Make a container that nobody keeps; a small process notes its end."""
    store, id = _where(request.given)
    worker.take_streams(request.fds)
    lifecycle.create(store, id, _options(request.given))
    worker.leave_streams()
    request.answer({})


def _start(request: Request) -> None:
    lifecycle.start(*_where(request.given))
    request.answer({})


def _kill(request: Request) -> None:
    lifecycle.kill(*_where(request.given), _number(request.given, "signal"), all=bool(request.given.get("all")))
    request.answer({})


def _delete(request: Request) -> None:
    """`ended`: what a keeper has told of the end, for those who ask `wait`."""
    ended = request.given.get("ended")
    known = []
    if isinstance(ended, dict):
        code, signal = ended.get("exit_code"), ended.get("signal")
        known = [signal if type(signal) is int else (code if type(code) is int else 0) << 8]
    lifecycle.delete(*_where(request.given), force=bool(request.given.get("force", True)), ended=known)
    request.answer({})


def _wait(request: Request) -> None:
    from boxes.container import waiting

    worker.end_with(request.reply)
    request.answer(waiting.wait(*_where(request.given), timeout=request.given.get("timeout")))


def _pause(request: Request) -> None:
    from boxes.container import pause

    pause.pause(*_where(request.given))
    request.answer({})


def _resume(request: Request) -> None:
    from boxes.container import pause

    pause.resume(*_where(request.given))
    request.answer({})


def _update(request: Request) -> None:
    from boxes.container import update
    from boxes.spec import resources

    wanted = request.given.get("resources")
    resources.check(wanted)
    update.update(*_where(request.given), wanted)  # type: ignore[arg-type]  # it was checked
    request.answer({})


def _stats(request: Request) -> None:
    from boxes.container import stats

    store, id = _where(request.given)
    (sample,) = stats.samples(store, [id])
    request.answer(stats.summary(sample, None))


def _events(request: Request) -> None:
    """One answer for each event, until the container has ended."""
    from boxes.container import events

    interval = request.given.get("interval")
    if not isinstance(interval, int | float) or interval <= 0:
        raise UsageError("'interval' is to be seconds, more than 0")
    worker.end_with(request.reply)
    store, id = _where(request.given)
    for event in events.of_one(store, id, interval):
        request.answer(event)
    request.answer({})


def _number(given: dict[str, Any], name: str) -> int:
    value = given.get(name)
    if type(value) is not int:
        raise UsageError(f"'{name}' is to be a number")
    return value


_VERBS: dict[str, Callable[[Request], None]] = {
    "run": _run,
    "create": _create,
    "exec": _exec,
    "template": _template,
    "detach": _detach,
    "start": _start,
    "kill": _kill,
    "delete": _delete,
    "wait": _wait,
    "pause": _pause,
    "resume": _resume,
    "update": _update,
    "stats": _stats,
    "events": _events,
}
