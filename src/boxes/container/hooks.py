"""Hooks that run outside of the container's root: all but startContainer, which are inner's.

A hook reads the container's state on its standard input, has exactly the environment config.json gives it, and no
descriptor of ours. What it writes is kept for the error message, unless an annotation wants it in a file.
"""

from __future__ import annotations

import _signal
import select

from boxes import log
from boxes import system as os
from boxes.errors import BoxesError, HookError, refused
from boxes.linux import syscalls
from boxes.linux.fd import Fds, memory, sealed
from boxes.plan.failures import hook_failed, hook_timed_out
from boxes.spec.document import dump

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_SHOWN = 400  # bytes of its output in a message


Outputs = tuple[int, int] | None  # descriptors of the files for standard output and standard error; -1: none


def run(config: dict[str, Any], moment: str, state: dict[str, Any], builder: int = -1, outputs: Outputs = None) -> None:
    """Run the hooks of a moment in their order. The first that fails raises HookError.

    `builder`: a pidfd of the process without which there is no container to run them for; if it ends, so do they.
    """
    listed = (config.get("hooks") or {}).get(moment) or []
    if not listed:
        return
    document = sealed("state", dump(state).encode())
    try:
        for number, hook in enumerate(listed):
            _run_one(hook, f"/hooks/{moment}/{number}", document, builder, outputs)
    finally:
        os.close(document)


def run_before_start(config: dict[str, Any], state: dict[str, Any], builder: int, outputs: Outputs) -> None:
    """prestart (deprecated, and told that the container is created) and createRuntime, in the runtime's namespaces."""
    run(config, "prestart", state, builder, outputs)
    run(config, "createRuntime", state | {"status": "creating"}, builder, outputs)


def run_all(config: dict[str, Any], moment: str, state: dict[str, Any]) -> None:
    """Run the hooks of a moment whose failures change nothing: each is logged, and the next one runs."""
    listed = (config.get("hooks") or {}).get(moment) or []
    if not listed:
        return
    with Fds() as fds:
        try:
            document = fds.add(sealed("state", dump(state).encode()))
        except OSError as error:
            _ignore(refused(f"cannot run hooks of {moment}", error))
            return
        outputs = None
        try:
            outputs = open_outputs(config, fds)
        except BoxesError as error:
            _ignore(error)
        for number, hook in enumerate(listed):
            pointer = f"/hooks/{moment}/{number}"
            try:
                _run_one(hook, pointer, document, -1, outputs)
            except HookError as error:
                _ignore(error)
            except OSError as error:
                _ignore(refused("cannot run a hook", error, pointer=pointer))


def _ignore(error: BoxesError) -> None:
    facts = {} if error.pointer is None else {"pointer": error.pointer}
    log.warning(f"ignoring: {error.message}", **facts)


def open_outputs(config: dict[str, Any], fds: Fds) -> Outputs:
    """The files of the annotations run.oci.hooks.stdout and .stderr, to append to; None if there are none."""
    if not any(name.startswith("run.oci.hooks.") for name in config.get("annotations") or ()):
        return None
    from boxes.plan import annotated

    out, err = (_open_output(config, name, fds) for name in (annotated.HOOKS_STDOUT, annotated.HOOKS_STDERR))
    return (out, err) if out >= 0 or err >= 0 else None


def _open_output(config: dict[str, Any], name: str, fds: Fds) -> int:
    from boxes.plan import annotated

    path = annotated.path(config, name)
    if path is None:
        return -1
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
    # As for a log: a link in a directory that others can write to would make root append to a file of their choice.
    if not path.startswith(("/dev/", "/proc/self/fd/")):
        flags |= os.O_NOFOLLOW
    try:
        fd = fds.add(os.open(path, flags, 0o600))
    except OSError as error:
        raise refused("cannot open the file for what hooks write", error, pointer=annotated.pointer(name)) from error
    os.set_blocking(fd, True)  # it was not only so that a FIFO without a reader is an error
    return fd


def _run_one(hook: dict[str, Any], pointer: str, document: int, builder: int = -1, outputs: Outputs = None) -> None:
    output = memory("hook")
    out, err = outputs or (-1, -1)
    try:
        pid = _spawn(hook, pointer, document, output if out < 0 else out, output if err < 0 else err)
        code = _wait(pid, hook.get("timeout"), builder)
        if code is None:
            raise hook_timed_out(hook, pointer)
        if code:
            raise hook_failed(hook, pointer, code, _said(output))
    finally:
        os.close(output)


def _spawn(hook: dict[str, Any], pointer: str, document: int, out: int, err: int) -> int:
    path = hook["path"]
    os.lseek(document, 0, os.SEEK_SET)
    actions = [(os.POSIX_SPAWN_DUP2, document, 0), (os.POSIX_SPAWN_DUP2, out, 1), (os.POSIX_SPAWN_DUP2, err, 2)]
    environment = dict(entry.partition("=")[::2] for entry in hook.get("env") or ())
    try:
        return os.posix_spawn(
            path,
            hook.get("args") or [path],
            environment,
            file_actions=actions,
            setsigmask=[],
            setsigdef=_signal.valid_signals() - {_signal.SIGKILL, _signal.SIGSTOP},
        )
    except OSError as error:
        text = f"cannot run hook '{path}': {os.strerror(error.errno or 0).lower()}"
        raise HookError(text, pointer=f"{pointer}/path", errno=error.errno, path=path) from None


def _wait(pid: int, timeout: int | None, builder: int) -> int | None:
    """The exit code, negative for a signal; None if it had to be killed after `timeout` seconds."""
    late = False
    try:
        if timeout is not None or builder >= 0:
            late = _is_late(pid, timeout, builder)
    except BaseException:
        _end(pid)
        raise
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return None if late else code


def _is_late(pid: int, timeout: int | None, builder: int) -> bool:
    """Wait for the hook's end, or for what ends it: too long a time, which is told, or the end of the builder."""
    pidfd = syscalls.pidfd_open(pid)
    try:
        poll = select.poll()
        for fd in (pidfd, builder):
            if fd >= 0:
                poll.register(fd, select.POLLIN)
        ready = [fd for fd, _ in poll.poll(None if timeout is None else timeout * 1000)]
    finally:
        os.close(pidfd)
    if pidfd not in ready:
        os.kill(pid, _signal.SIGKILL)  # our child, not reaped yet: the pid is its own
    return not ready


def _end(pid: int) -> None:
    """One that cannot be waited for as it should be does not go on alone."""
    os.kill(pid, _signal.SIGKILL)
    os.waitpid(pid, 0)


def _said(output: int) -> str:
    os.lseek(output, 0, os.SEEK_SET)
    text = os.read_all(output, 1 << 16).decode("utf-8", "replace").strip()
    return text[-_SHOWN:].replace("\n", "; ")
