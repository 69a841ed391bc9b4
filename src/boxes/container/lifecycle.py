"""A container's life, in order of time: runtime-spec, runtime.md, "Lifecycle".

    create   1-5   read, claim, build; prestart, createRuntime, createContainer hooks; then inner waits as its init
    start    6-8   startContainer hooks and the program, both by inner; poststart hooks
    kill           a signal
    delete  9-13   what create made is taken back; poststop hooks

This is the only place that orders things; how each is done is elsewhere: `creation.py`, `ending.py`, `foreground.py`.
"""

from __future__ import annotations

import _signal

from boxes import log
from boxes import system as os
from boxes.container import ending, status
from boxes.container.options import CreateOptions
from boxes.container.status import cgroups_of
from boxes.container.store import START_SOCKET, Place, Store
from boxes.errors import BoxesError, InternalError, NotFoundError, StateError, refused
from boxes.linux import procfs, syscalls
from boxes.spec.state import oci_state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from boxes.container.creation import Creation
    from boxes.container.foreground import Signals
    from boxes.container.notification import Proxy
    from boxes.container.undivided import Undivided
    from boxes.plan.inner import Steps

__all__ = ["CreateOptions", "create", "delete", "kill", "run", "start", "state"]

_HEAD_START = 0.03  # seconds a program has before its poststart hooks, which are to come after it


# ---- create ----


def create(store: Store, id: str, options: CreateOptions) -> None:
    """Everything up to the container's own program. Raises BoxesError, and then nothing is left."""
    from boxes.container.creation import Creation

    with Creation(store, id, options) as making:
        _create(making)
        making.finish()


def _create(making: Creation) -> None:
    from boxes.container import placement

    making.read()
    making.survey()
    making.plan_cgroup()
    making.claim()
    if making.notified:
        from boxes.container import notification

        notification.prepare(making.place.path)
    making.make_entry()  # the builder is born in it; v1's others are made while the builder mounts
    if making.layout.kind == "unified" and not making.cgroups.needs_process:
        making.make_cgroup()
    making.open_sources()
    making.spawn()
    try:
        _build(making)
    except InternalError as error:
        raise placement.starved(error, making.cgroups, making.config) from None
    making.record()


def _build(making: Creation) -> None:
    from boxes.container import channel

    try:
        making.build()
    except BoxesError:
        channel.last_words(making.socket)
        raise
    making.run_hooks()
    making.wait_until_ready()


def launch(making: Undivided) -> None:
    """create and start in one, for a caller that is to wait by its own means. The container is locked still. Where
    nothing comes between the two, inner does not wait for the second."""
    making.at_once = True
    _create(making)
    if not making.begun:
        _start(making.place, making.journal, making.config)
    making.finish()


def prepare(making: Creation) -> None:
    """create alone, for the same."""
    _create(making)
    making.finish()


def run_poststart(making: Creation) -> None:
    """What is left of `launch` when its lock is."""
    _run_poststart(making.journal, making.config)


# ---- start ----


def start(store: Store, id: str, *, notify_socket: str | None = None) -> None:
    """Let the program begin. If it cannot, the container is stopped, and the error says why. A service manager that is
    to be told waits for it to be ready, and so does this."""
    proxy = None
    with store.open(id) as place:
        journal = place.load()
        found = status.of(place, journal)
        if found == status.STOPPED:
            raise StateError("cannot start a container that has stopped")
        if found != status.CREATED:
            raise StateError(f"cannot start a container that is {found}")
        config = place.config()
        if notify_socket:
            from boxes.container import notification

            proxy = notification.of_start(place.path, notify_socket)
        _start(place, journal, config)
    _run_poststart(journal, config)
    if proxy is not None:
        pidfd = procfs.open_process(journal["pid"], journal["started"])
        if pidfd is not None:
            proxy.until_ready(journal["pid"], pidfd)


def _start(place: Place, journal: dict[str, Any], config: dict[str, Any]) -> None:
    if config.get("hooks"):
        __import__("boxes.container.hooks")  # now: later a failure would leave a program that runs
    try:
        _begin(place, journal, config)
    except BoxesError as error:
        ending.stop(journal)
        if isinstance(error, InternalError):
            from boxes.container import placement

            with cgroups_of(journal) as cgroups:
                raise placement.starved(error, cgroups, config) from None
        raise


def _run_poststart(journal: dict[str, Any], config: dict[str, Any]) -> None:
    """The hooks once the program has begun, which may end first. The container is not locked meanwhile."""
    if not (config.get("hooks") or {}).get("poststart"):
        return
    try:
        pidfd = procfs.open_process(journal["pid"], journal["started"])
        if pidfd is not None:
            procfs.has_ended(pidfd, _HEAD_START)
            os.close(pidfd)
    except OSError as error:
        log.debug(f"ignoring: cannot wait for the program: {error}")
    from boxes.container import hooks

    hooks.run_all(config, "poststart", status.oci(journal, status.RUNNING))


def _begin(place: Place, journal: dict[str, Any], config: dict[str, Any]) -> None:
    """Say "start" to inner, and hear how it went: the socket closes when the program has replaced it."""
    import _socket

    from boxes.container.reports import Reports
    from boxes.linux.sockets import close, with_short_path

    if "process" not in config:
        raise StateError("the config has no process to start", pointer="/process")
    socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    try:
        with_short_path(f"{place.path}/{START_SOCKET}", socket.connect)
        socket.send(b"start", _socket.MSG_NOSIGNAL)
        reports = Reports(socket, lambda: _steps(journal, config))
        reports.listener = lambda number, fds, sender: _listen(journal, config, number, fds)
        reports.until_executed()
    except OSError as error:
        raise refused("cannot reach the container's init", error) from error
    finally:
        close(socket)


def _steps(journal: dict[str, Any], config: dict[str, Any]) -> Steps:
    from boxes.container.planning import again

    return again(journal, config)


def _listen(journal: dict[str, Any], config: dict[str, Any], number: int, fds: list[int]) -> None:
    """inner's filter has a listener; it waits until an agent has got it."""
    from boxes.container import seccomp

    seccomp.hand_over(config, status.oci(journal, status.CREATED), journal["pid"], number, fds)


# ---- state, kill ----


def state(store: Store, id: str) -> dict[str, Any]:
    """The state document, with runc's additions: rootfs, created, owner. A stopped container has pid 0."""
    with store.peek(id) as place:
        journal = place.load()
        found = status.of(place, journal)
    return describe(journal, found)


def describe(journal: dict[str, Any], found: str) -> dict[str, Any]:
    pid = 0 if found == status.STOPPED else journal.get("pid", 0)
    document = oci_state(journal["id"], found, pid, journal["bundle"], journal["annotations"])
    annotations = document.pop("annotations", None)
    document |= {"rootfs": journal["rootfs"], "created": journal["created"]}
    if annotations:
        document["annotations"] = annotations
    document["owner"] = ""
    scope = (journal["cgroups"] or {}).get("scope")
    if scope:
        document["systemd-scope"] = scope["unit"]
    return document


def kill(store: Store, id: str, signal: int, *, all: bool = False) -> None:
    """Send a signal to the container's process, or to all of its processes."""
    with store.peek(id) as place:
        journal = place.load()
        found = status.of(place, journal)
        shared_pids = found != status.STOPPED and signal == _signal.SIGKILL and not journal["own_pids"]
    if found == status.CREATING:
        raise StateError("container not running: it is being created")
    if all or shared_pids:
        ending.kill_all(journal, signal)
        if all and found == status.STOPPED:
            return
    if found == status.STOPPED:
        raise StateError("container not running")
    if not _kill_init(journal, signal, found) and not (all or shared_pids):  # to all: then that has ended it
        raise StateError("container not running")


def _kill_init(journal: dict[str, Any], signal: int, found: str) -> bool:
    """Whether the container's process was there to take the signal."""
    pidfd = procfs.open_process(journal["pid"], journal["started"])
    if pidfd is None:
        return False
    try:
        syscalls.pidfd_send_signal(pidfd, signal)
        if found == status.PAUSED and signal == _signal.SIGKILL:
            with cgroups_of(journal) as cgroups:  # what v1 has frozen does not even die
                cgroups.thaw()
        if found == status.CREATED or signal == _signal.SIGKILL:
            # inner ends by itself; whoever deletes next must not come between signal and end.
            procfs.has_ended(pidfd, 0.1 if signal != 0 else 0)
    except ProcessLookupError:
        return False
    except OSError as error:
        raise refused("cannot send the signal", error) from error
    finally:
        os.close(pidfd)
    return True


# ---- delete ----


def delete(store: Store, id: str, *, force: bool = False, ended: Sequence[int] = ()) -> None:
    """Take back what create made. A container that is not stopped is left alone, unless by force. `ended` has the wait
    status of the container's process, if the caller knows it."""
    try:
        place = store.open(id, busy=(lambda: _interrupt(store, id)) if force else None)
    except NotFoundError:
        if not force:
            raise
        ending.sweep_networks()
        return
    with place:
        try:
            journal = place.load()
        except (NotFoundError, InternalError) as error:
            if not force:
                raise
            log.warning(f"removing what there is: {error}")
            if isinstance(error, InternalError):
                log.warning("the container's processes and cgroups, if there are any, are known no more and stay")
            place.check_ours()
            place.remove()
            return
        _delete(place, journal, force=force, ended=ended)


def _interrupt(store: Store, id: str) -> None:
    """Whoever creates or starts the container has the lock, perhaps for as long as a hook hangs. Without its process
    they give up."""
    try:
        with store.peek(id) as place:
            journal = place.load()
            if status.of(place, journal) != status.STOPPED:
                ending.destroy_processes(journal)
    except BoxesError as error:
        log.debug(f"ignoring: {error}")


def _delete(place: Place, journal: dict[str, Any], *, force: bool, ended: Sequence[int]) -> None:
    found = status.of(place, journal)
    if found != status.STOPPED or status.alive(journal):  # a process whose creation was cut short waits in vain
        if force or found == status.STOPPED:
            ending.destroy_processes(journal)
        elif not ending.is_dying(journal, found):
            raise StateError(
                f"cannot delete container '{place.id}' that is {found}: it is not stopped", hint="see --force"
            )
    if journal.get("watched"):  # somebody waits, and learns from nobody else what the cgroups know
        from boxes.container import outcome

        outcome.keep(place, journal, *ended)
    ending.release(place, journal)


# ---- run ----


def run(store: Store, id: str, options: CreateOptions, *, detach: bool = False, keep: bool = False) -> int:
    """create and start in one; unless detached, wait for the end, delete, and return the exit status."""
    from boxes.container.creation import Creation

    if not detach:
        adopt_orphans(options)
    with Creation(store, id, options, attached=not detach) as making:
        _create(making)
        proxy = _proxy(making)
        if detach:
            _start(making.place, making.journal, making.config)
            making.finish()
            making.place.close()
            _run_poststart(making.journal, making.config)
            if proxy is not None:
                proxy.until_ready(making.pid, making.pidfd)
            return 0
        from boxes.container import foreground, terminals

        with foreground.Signals() as signals:
            terminals.size(making)
            _start(making.place, making.journal, making.config)
            making.finish()
            making.place.close()
            try:
                _run_poststart(making.journal, making.config)
                code = wait_for(making, signals, proxy)
            finally:
                if not keep:
                    delete_own(store, id, making.ended)
    if keep:
        from boxes.container import outcome

        outcome.keep_all(store, id, making.ended)
    return code


def adopt_orphans(options: CreateOptions) -> None:
    """Who waits for a container has all its processes for children in the end: prctl(2), PR_SET_CHILD_SUBREAPER."""
    if not options.no_subreaper:
        from boxes.linux import flags as k

        syscalls.prctl(k.PR_SET_CHILD_SUBREAPER, 1)


def delete_own(store: Store, id: str, ended: Sequence[int]) -> None:
    """Nobody else will: what was lacking may be there again."""
    try:
        delete(store, id, force=True, ended=ended)
    except (BoxesError, OSError) as error:
        log.warning(f"trying again: {error}")
        delete(store, id, force=True, ended=ended)


def _proxy(making: Creation) -> Proxy | None:
    if not making.notified:
        return None
    from boxes.container import notification

    return notification.of(making)


def wait_for(making: Creation, signals: Signals, proxy: Proxy | None = None) -> int:
    """The exit status of its program, once it has ended."""
    from boxes.container import foreground, terminals

    return foreground.wait(
        making.pid,
        making.pidfd,
        terminal=terminals.give(making),
        signals=signals,
        reap_all=not making.options.no_subreaper,
        ended=making.ended.append,
        proxy=proxy,
    )
