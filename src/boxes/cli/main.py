"""`box`: from argv to one verb, and from its result or error to an exit status."""

from __future__ import annotations

import _signal
import gc
import posix
import sys

from boxes import log
from boxes import system as os
from boxes.cli.commands import GLOBAL, Call, find
from boxes.cli.options import check_count, parse
from boxes.cli.output import OutputClosedError, write
from boxes.cli.report import Report
from boxes.errors import BoxesError, UsageError, refused, unforeseen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

    from boxes.cli.options import Parsed, Values

_WALL = 0x40000000  # the watcher is no child that wait(2) finds otherwise
INTERRUPTED = 130  # 128 + SIGINT, as a shell reports it


def main(stderr: int = 2, watcher: int = 0) -> NoReturn:
    """Run the command line and leave. Never returns, raises or prints a traceback.

    `watcher` is the child of the launcher's that reports what happens before this, and `stderr` is standard error.
    """
    status = 1
    gc.disable()  # a millisecond of every start; what one command leaves behind goes with it
    try:
        if watcher:
            _dismiss(watcher, stderr)
        status = dispatch(sys.argv[1:], watcher)
    except KeyboardInterrupt:
        status = INTERRUPTED
    finally:
        if not getattr(sys.modules["boxes"], "bundled", False):
            _bundle()
        _leave(status)


def _dismiss(watcher: int, stderr: int) -> None:
    """Tell the watcher that Python runs, and put standard error back. Of the two ways to tell it, one can fail."""
    try:
        posix.write(2, b"\0")
    except OSError:
        posix.kill(watcher, 9)
    try:
        posix.dup2(stderr, 2)
    except OSError as error:
        posix.write(stderr, f"box: cannot put standard error back: {error.strerror}\n".encode())
        posix._exit(1)
    posix.closerange(stderr, stderr + 1)


def _bury(watcher: int) -> None:
    """It has ended meanwhile, or is about to."""
    try:
        posix.waitpid(watcher, _WALL)
    except OSError:
        pass  # ignoring: who waits for this process does it then


def dispatch(argv: Sequence[str], watcher: int = 0) -> int:
    """Run one command line; report its error, if any. The exit status."""
    report = Report()
    failure = 1
    try:
        _prepare()
        values: Values = {}
        try:
            options = parse(GLOBAL, argv, values)
        finally:
            if watcher:
                _bury(watcher)
            report.configure(values)  # also after an error: what came before it says where to report it
        log.configure(report.emit)
        if options.flag("version"):
            return _print_version()
        if options.help or not options.arguments or options.arguments[0] == "help":
            return _print_help(options.arguments[1:])
        _check(options)
        verb = find(options.arguments[0])
        failure = verb.COMMAND.failure
        given = parse(verb.COMMAND, options.arguments[1:])
        if given.help:
            return _print_help([verb.COMMAND.name])
        check_count(verb.COMMAND, given.arguments)
        return verb.run(Call(options, given))
    except OutputClosedError:
        pass
    except BoxesError as error:
        report.trace(error)
        report.fail(error)
    except OSError as error:
        report.trace(error)
        report.fail(refused(f"unexpected, at {_place(error)}", error))
    except Exception as error:  # noqa: BLE001 - the last stop: whatever it is, one line and an exit status
        report.trace(error)
        report.fail(unforeseen(error, f"internal error, at {_place(error)}: "))
    return failure


def _place(error: Exception) -> str:
    """The file and line of the package that an error comes from."""
    place, trace = "?", error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        place = f"{file[file.rfind('/boxes/') + 1 :]}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place


def _check(options: Parsed) -> None:
    rootless = options.text("rootless")
    if rootless not in ("true", "false", "auto"):
        raise UsageError(f"flag --rootless: '{rootless}' where 'true', 'false' or 'auto' is wanted")


def _print_version() -> int:
    from boxes.version import COMMIT, SPEC_VERSION, VERSION

    # dockerd looks for a line with `commit:`.
    write(f"box version {VERSION}\ncommit: {COMMIT or VERSION}\nspec: {SPEC_VERSION}\n")
    return 0


def _print_help(about: Sequence[str]) -> int:
    from boxes.cli import help

    write(help.of_verb(find(about[0]).COMMAND) if about else help.overview())
    return 0


def _prepare() -> None:
    # A caller that ignores SIGCHLD would make waitpid fail with ECHILD: the kernel reaps by itself then.
    _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
    sys.unraisablehook = _ignored
    _fill_standard_descriptors()


def _ignored(what: sys.UnraisableHookArgs) -> None:
    """What Python cannot raise, it would print with a traceback."""
    log.warning(f"ignoring: {what.err_msg or 'an error'}: {what.exc_value}")


def _fill_standard_descriptors() -> None:
    """Without this a file opened later could become the container's standard input, output or error."""
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.set_inheritable(os.open("/dev/null", os.O_RDWR), True)


def _bundle() -> None:
    """Make the next start quicker. A verb that has done its work loses nothing by it."""
    try:
        from boxes import bundle

        bundle.refresh()
    except Exception as error:  # noqa: BLE001 - an optimisation never decides a command's fate
        log.debug(f"ignoring: cannot write the bundle: {error}")


def _leave(status: int) -> NoReturn:
    """Flush, and exit without the interpreter's teardown."""
    try:
        _signal.signal(_signal.SIGINT, _signal.SIG_IGN)
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
    except OSError:
        pass  # ignoring: nobody reads the stream
    finally:
        posix._exit(status)
