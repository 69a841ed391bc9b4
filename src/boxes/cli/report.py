"""Where errors, warnings and debug messages go: standard error, and the file of --log.

Engines read both. With `--log-format json` a failed command leaves exactly one JSON object in the file, since podman
parses the whole of it, with `level`, `msg` and an RFC 3339 `time`, since containerd decodes these. On standard error
they look for words of the message, so it is always there, on one line. Warnings go where no program parses.
"""

from __future__ import annotations

import time
from _json import encode_basestring_ascii

from boxes import system as os
from boxes.cli.output import encoded, printable, write_all
from boxes.errors import refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from boxes.cli.options import Values
    from boxes.errors import BoxesError
    from boxes.log import Facts

LEVELS = ("error", "warning", "info", "debug")


class Report:
    """The front end's log. Before `configure`, text on standard error."""

    __slots__ = ("_file", "_json", "_level", "_same")

    def __init__(self) -> None:
        self._file: int | None = None
        self._json = False
        self._level: str | None = None
        self._same = False

    def configure(self, values: Values) -> None:
        """Take the global options given; opens the log, so that engines find it however early a command fails.

        Raises KernelError.
        """
        self._json = values.get("log-format") == "json"
        level = "debug" if values.get("debug") else values.get("log-level")
        self._level = level if isinstance(level, str) else None
        path = values.get("log")
        if isinstance(path, str):
            self._file = _open(path)
            self._same = _same_file(self._file, 2)

    def emit(self, level: str, message: str, facts: Facts) -> None:
        """Log what is no error: at the level asked for; by default warnings only, and those for people only."""
        if self._level is not None:
            if LEVELS.index(level) <= LEVELS.index(self._level):
                self._write(self._file, level, message, facts)
        elif level == "warning":
            if os.isatty(2) or (self._file is None and not self._json):
                _write_quietly(2, _for_people(level, message, facts))
            elif not self._json:
                self._write(self._file, level, message, facts)

    def fail(self, error: BoxesError) -> None:
        """Report the error that ends the command, in the log and on standard error."""
        facts = error.facts()
        message = str(facts.pop("msg"))
        self._write(self._file, "error", message, facts)
        if self._file is not None and not self._same:
            _write_quietly(2, _for_people("error", message, {}))

    def trace(self, error: Exception) -> None:
        """Where an unexpected error came from, for --debug."""
        if self._level != "debug":
            return
        import traceback

        text = "".join(traceback.format_exception(error))
        if self._file is None and not self._json:
            _write_quietly(2, text)
        else:
            self._write(self._file, "debug", "traceback", {"trace": text})

    def _write(self, fd: int | None, level: str, message: str, facts: Facts) -> None:
        if self._json:
            # The members engines read come first; a fact never replaces one of them.
            record = {"level": level, "msg": message, "time": _now()}
            pairs = [*record.items(), *((name, value) for name, value in facts.items() if name not in record)]
            line = "{" + ",".join(f"{_quoted(name)}:{_value(value)}" for name, value in pairs) + "}\n"
        elif fd is None:
            line = _for_people(level, message, facts)
        else:
            extra = "".join(f" {name}={_value(value)}" for name, value in facts.items())
            line = f'time="{_now()}" level={level} msg={_quoted(message)}{extra}\n'
        _write_quietly(2 if fd is None else fd, line)


def _open(path: str) -> int:
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY
    # A link in a directory others can write to would make root append to a file of their choice; the links of /dev
    # and /proc lead to what the caller has open.
    if not path.startswith(("/dev/", "/proc/self/fd/")):
        flags |= os.O_NOFOLLOW
    try:
        return os.open(path, flags, 0o600)
    except OSError as error:
        raise refused("open the log", error) from error


def _same_file(first: int, second: int) -> bool:
    try:
        a, b = os.fstat(first), os.fstat(second)
    except OSError:
        return False
    return (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino)


def _for_people(level: str, message: str, facts: Facts) -> str:
    where = f"{facts['pointer']}: " if level != "error" and "pointer" in facts else ""
    kind = "" if level == "error" else f"{level}: "
    extra = ""
    if level == "debug":
        extra = "".join(f" {name}={_value(value)}" for name, value in facts.items() if name != "pointer")
    return f"box: {kind}{printable(where + message)}{extra}\n"


def _quoted(text: str) -> str:
    # ASCII only: whatever the locale, and whatever bytes a name holds, it stays valid JSON.
    return str(encode_basestring_ascii(text))


def _value(value: str | int) -> str:
    return _quoted(value) if isinstance(value, str) else str(value)


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _write_quietly(fd: int, line: str) -> None:
    """One write, so that lines of several commands in one file do not mix. A full disk must not hide the error."""
    try:
        write_all(fd, encoded(line))
    except OSError:
        pass  # ignoring: there is nowhere left to say it
