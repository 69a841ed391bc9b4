"""`exec`: another process in a container. There is no builder: inner joins the namespaces and does the rest."""

from __future__ import annotations

import _signal
import _socket

from boxes import system as os
from boxes.apply import passwd
from boxes.cgroups import manager as managers
from boxes.container import adjust, channel, foreground, host, joins, status, terminals
from boxes.container.reports import Reports
from boxes.container.store import Store, write_pid
from boxes.errors import StateError, UsageError, refused
from boxes.linux import procfs, syscalls
from boxes.linux.fd import Fds, inherit, sealed
from boxes.plan import exec as planned
from boxes.plan.process import needs_home, with_home

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from boxes.container.attach import Gate
    from boxes.spec.shapes import Process

_PASSCRED = 16  # SO_PASSCRED


class ExecOptions:
    """What `exec` is asked for: a whole `process` object, or `args` and what differs from the config's process."""

    def __init__(
        self,
        *,
        process: Process | None = None,
        args: list[str] | None = None,
        cwd: str | None = None,
        env: list[str] | None = None,
        user: tuple[int, int | None] | None = None,
        tty: bool = False,
        detach: bool = False,
        pid_file: str | None = None,
        console_socket: str | None = None,
        pidfd_socket: str | None = None,
        caps: list[str] | None = None,
        additional_gids: list[int] | None = None,
        no_new_privs: bool = False,
        apparmor: str | None = None,
        process_label: str | None = None,
        preserve_fds: int = 0,
        cgroup: list[str] | None = None,
        ignore_paused: bool = False,
    ) -> None:
        self.process = process
        self.args = args or []
        self.cwd = cwd
        self.env = env or []
        self.user = user
        self.tty = tty
        self.detach = detach
        self.pid_file = pid_file
        self.console_socket = console_socket
        self.pidfd_socket = pidfd_socket
        self.caps = caps or []
        self.additional_gids = additional_gids or []
        self.no_new_privs = no_new_privs
        self.apparmor = apparmor
        self.process_label = process_label
        self.preserve_fds = preserve_fds
        self.cgroup = cgroup or []
        self.ignore_paused = ignore_paused


def execute(store: Store, id: str, options: ExecOptions) -> int:
    """Run a process in a container: its exit status, or 0 if it is detached. Raises BoxesError if it did not begin."""
    host.close_on_exec(options.preserve_fds)
    with Fds() as fds:
        signals = None if options.detach else foreground.Signals()
        try:
            pid, pidfd, terminal = begin(store, id, options, fds)
            if options.detach:
                return 0
            terminal = None if options.console_socket is not None else terminal
            return foreground.wait(pid, pidfd, terminal=terminal, signals=signals)
        finally:
            if signals is not None:
                signals.close()


def begin(store: Store, id: str, options: ExecOptions, fds: Fds) -> tuple[int, int, int | None]:
    """Start a process in a container: its pid, a child of this process's, a pidfd, and the master of its terminal. What
    is opened on the way goes to `fds`. Whoever is to know of the process has been told, or it is gone."""
    with store.peek(id) as place:
        journal = place.load()
        pidfd = fds.add(_running(place, journal, options))
        config = place.config()
    process = process_of(config, options)
    terminals.check(process, options.console_socket, relayed=not options.detach)
    ours, theirs = channel.pair()
    ours.setsockopt(_socket.SOL_SOCKET, _PASSCRED, 1)
    gate = _gate(journal, options, fds)
    steps, cgroup = _plan(journal, config, process, options, pidfd, fds, store.runtime, gate)
    child = _spawn(steps, theirs, options, fds, cgroup)
    channel.close(theirs)
    reports = Reports(ours, lambda: steps)
    reports.listener = lambda number, fds, sender: _listen(journal, config, number, fds, sender)
    try:
        pid, terminal = _begun(child, reports, gate)
        channel.close(ours)
        pidfd = fds.add(syscalls.pidfd_open(pid))
        _tell(pid, pidfd, terminal, options)
    except BaseException:
        _reap(child, reports.sender)
        raise
    return pid, pidfd, terminal


def _running(place: Any, journal: dict[str, Any], options: ExecOptions) -> int:
    found = status.of(place, journal)
    if found == status.PAUSED and not options.ignore_paused:
        raise StateError("cannot exec in a paused container", hint="see --ignore-paused")
    if found in (status.STOPPED, status.CREATING):
        raise StateError(f"cannot exec in a container that is {found}")
    pidfd = procfs.open_process(journal["pid"], journal["started"])
    if pidfd is None:
        raise StateError(f"cannot exec in a container that is {status.STOPPED}")
    return pidfd


def process_of(config: dict[str, Any], options: ExecOptions) -> dict[str, Any]:
    """The process to run: the one given, or the container's own with the changes asked for."""
    if options.process is not None:
        process: dict[str, Any] = dict(options.process)
    else:
        process = dict(config.get("process") or {"cwd": "/", "user": {"uid": 0, "gid": 0}})
        process["args"] = options.args
        process["terminal"] = options.tty
        process.pop("consoleSize", None)
        if options.tty and not options.detach:
            process |= _caller_size()
    process["terminal"] = bool(process.get("terminal")) or options.tty
    if options.cwd is not None:
        process["cwd"] = options.cwd
    process["env"] = [*(process.get("env") or ()), *options.env]
    process["user"] = _user(process.get("user") or {}, options)
    if options.apparmor is not None:
        process["apparmorProfile"] = options.apparmor
    if options.process_label is not None:
        process["selinuxLabel"] = options.process_label
    if options.no_new_privs:
        process["noNewPrivileges"] = True
    if options.caps:
        process["capabilities"] = _with_capabilities(process.get("capabilities") or {}, options.caps)
    return process


def _caller_size() -> dict[str, Any]:
    from boxes.container.relay import caller_size

    size = caller_size()
    return {} if size is None else {"consoleSize": {"height": size[0], "width": size[1]}}


def _user(user: dict[str, Any], options: ExecOptions) -> dict[str, Any]:
    changed = dict(user)
    if options.user is not None:
        uid, gid = options.user
        changed["uid"] = uid
        changed["gid"] = user.get("gid", 0) if gid is None else gid
    if options.additional_gids:
        changed["additionalGids"] = [*(user.get("additionalGids") or ()), *options.additional_gids]
    return changed


def _with_capabilities(sets: dict[str, Any], added: list[str]) -> dict[str, Any]:
    """More in bounding, permitted and effective; never inheritable, which survives the program's own execve
    (CVE-2022-29162)."""
    from boxes.plan.capabilities import number

    names = [name if name.startswith("CAP_") else f"CAP_{name}" for name in added]
    for name in names:
        if number(name) is None:
            raise UsageError(f"unknown capability '{name}'")
    changed = dict(sets)
    for key in ("bounding", "permitted", "effective"):
        changed[key] = [*(sets.get(key) or ()), *names]
    return changed


def _plan(
    journal: dict[str, Any],
    config: dict[str, Any],
    process: dict[str, Any],
    options: ExecOptions,
    pidfd: int,
    fds: Fds,
    runtime: str,
    gate: Gate | None,
) -> tuple[planned.ExecSteps, int]:
    """What inner is to do, and the cgroup it is born in, or -1."""
    facts = joins.facts_of(journal, config, preserve=options.preserve_fds)
    capabilities = host.capabilities()
    given = host.confinement(
        facts,
        capabilities,
        groups_allowed=host.groups_allowed(facts.namespaces, capabilities),
        no_new_keyring=journal["options"]["no_new_keyring"],
    )
    given.terminal_bound = False
    given.labels = host.labels(process)
    given.linux = config.get("linux") or {}
    given.keep_groups = host.keeps_groups(config)
    if (config.get("linux") or {}).get("seccomp"):
        from boxes.container import seccomp

        given.filter = seccomp.prepare(config, process, [], given.available, runtime)
    root = -1
    if not facts.has_own("mount") or facts.namespaces.joined("mount"):
        root = fds.add(os.open(f"/proc/{journal['pid']}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
    # A process that is to have other CPUs before it is in its cgroups cannot be born there.
    born = "execCPUAffinity" not in process and gate is None
    entry, cgroups = _open_cgroups(journal, options, born=born)
    for fd in cgroups:
        fds.add(fd)
    tasks = []
    if "resctrl" in journal:
        from boxes.container import lent

        tasks = [fds.add(fd) for fd in lent.open_tasks(journal)]
    proc = fds.add(_attributes()) if given.labels else -1
    if needs_home(process):
        process = with_home(process, _home(journal["pid"], process["user"].get("uid", 0)))
    adjust.raise_rlimits(0, process)
    adjust.oom_score(os.getpid(), process)  # ours, to be inherited
    waited = -1 if gate is None else gate.fd
    steps = planned.exec_steps(process, facts, given, planned.Joined(pidfd, root, cgroups, proc, tasks, waited))
    return steps, -1 if entry < 0 else fds.add(entry)


def _attributes() -> int:
    from boxes.linux import lsm

    return lsm.open_attributes()


def _home(pid: int, uid: int) -> str:
    """As the container sees it now. Should the pid be another's by now, joining its namespaces fails."""
    try:
        root = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (2, 3):  # ENOENT, ESRCH
            return "/"
        raise refused("cannot look for the user's home directory", error) from error
    try:
        return passwd.home(root, uid)
    finally:
        os.close(root)


def _gate(journal: dict[str, Any], options: ExecOptions, fds: Fds) -> Gate | None:
    """What to wait for before the cgroup is entered: another's help, where the runtime's rights do not suffice."""
    if not ((journal["cgroups"] or {}).get("scope") or {}).get("instance"):
        return None
    from boxes.container import attach

    return attach.gate(journal, paths(journal, options)[0][0], fds)


def paths(journal: dict[str, Any], options: ExecOptions) -> list[tuple[str, bool]]:
    """The cgroups to enter, and whether each is one of v2: the container's, or those of cgroups below it; the init's
    own where nesting has made the configured one take no processes (v2)."""
    manager = status.cgroups_of(journal)
    try:
        found = manager.paths(_subgroups(options.cgroup))
        if found and not options.cgroup and manager.kind == "unified":
            from boxes.cgroups import layout as layouts

            found = managers.paths_of(layouts.detect(), journal["pid"]) or found
    finally:
        manager.close()
    return found


def _open_cgroups(journal: dict[str, Any], options: ExecOptions, *, born: bool) -> tuple[int, list[int]]:
    """A cgroup of v2 for the process to be born in, or -1, and what inner writes itself to, as in
    cgroups/legacy.py."""
    entry, files = -1, []
    with Fds() as fds:
        try:
            for path, unified in paths(journal, options):
                if unified and born:
                    entry = fds.add(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
                else:
                    file = f"{path}/{'cgroup.procs' if unified else 'tasks'}"
                    files.append(fds.add(os.open(file, os.O_WRONLY | os.O_CLOEXEC)))
        except OSError as error:
            raise refused("cannot enter the cgroup", error) from error
        fds.disown()
    return entry, files


def _subgroups(listed: list[str]) -> dict[str, str]:
    """--cgroup [CONTROLLERS:]PATH, as runc has it."""
    found = {}
    for entry in listed:
        controllers, colon, path = entry.rpartition(":")
        for name in controllers.split(",") if colon else [""]:
            found[name] = path
    return found


def _spawn(steps: planned.ExecSteps, theirs: _socket.socket, options: ExecOptions, fds: Fds, cgroup: int) -> int:
    """Start inner from its sealed image."""
    image = fds.add(host.open_inner())
    plan = fds.add(sealed("plan", steps.encode()))
    report = theirs.fileno()
    inherit(plan, report, *steps.descriptors, *range(3, 3 + options.preserve_fds))
    arguments = ["box: exec", str(plan), str(report), str(options.preserve_fds)]
    try:
        return syscalls.spawn(image, [argument.encode() for argument in arguments], cgroup=cgroup)
    except OSError as error:
        hint = "the cgroup has children with controllers" if error.errno == 16 else None  # EBUSY
        raise refused("cannot start the process", error, hint=hint) from error


def _listen(journal: dict[str, Any], config: dict[str, Any], number: int, fds: list[int], pid: int) -> None:
    """inner's filter has a listener; it waits until an agent has got it."""
    from boxes.container import seccomp
    from boxes.spec.state import oci_state

    state = oci_state(journal["id"], status.RUNNING, journal["pid"], journal["bundle"], journal["annotations"])
    seccomp.hand_over(config, state, pid, number, fds)


def _begun(child: int, reports: Reports, gate: Gate | None) -> tuple[int, int | None]:
    """(pid, master of its terminal) once the program runs."""
    if gate is not None:
        gate.open(child)
    terminal = reports.until_executed()
    pid = reports.sender or child
    if pid != child:
        os.waitpid(child, 0)
    return pid, terminal


def _reap(*pids: int) -> None:
    for pid in {pid for pid in pids if pid}:
        try:
            if os.waitpid(pid, os.WNOHANG)[0] == 0:  # else the number could be another's by now
                os.kill(pid, _signal.SIGKILL)
                os.waitpid(pid, 0)
        except OSError:
            pass  # it was waited for already


def _tell(pid: int, pidfd: int, terminal: int | None, options: ExecOptions) -> None:
    """Whoever is to know of the process."""
    if options.console_socket is not None and terminal is not None:
        from boxes.container import console

        console.send(options.console_socket, terminal)
        os.close(terminal)
    if options.pidfd_socket is not None:
        from boxes.container import console

        console.send_pidfd(options.pidfd_socket, pidfd)
    if options.pid_file is not None:
        try:
            write_pid(options.pid_file, pid)
        except OSError as error:
            raise refused("cannot write the pid file", error) from error
