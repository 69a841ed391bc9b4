"""The errors of boxes.

    BoxesError
    ├── UsageError         the command line, an id or an argument of the API is wrong
    ├── ConfigError        the bundle or its config.json is wrong: ``pointer`` says where
    ├── NotFoundError      there is no such container
    ├── ExistsError        there is one already
    ├── StateError         the container's state does not allow it
    ├── HookError          a hook failed, or took too long
    ├── KernelError        the kernel refused a call: ``errno`` and ``call`` say which
    ├── UnsupportedError   this kernel, host or privilege level lacks what is asked for
    ├── ServiceError       another service of the host (systemd) refused, or did not answer in time
    ├── ProgramError       a container's program did not end well, and `Result.check` was asked: ``result`` says how
    └── InternalError      one of our own processes ended or spoke out of turn

A class says what a caller can do about it; the facts are attributes, and the same for all. Front ends show an error
once, as one line (`str(error)`) or as data (`error.facts()`). `OSError` stays the builtin: what a system call raises is
wrapped once per stage with `refused`.
"""

from __future__ import annotations


class BoxesError(Exception):
    """An error with a cause.

    `message` is lower case, without a final period. `pointer` is a JSON pointer (RFC 6901) into config.json, `call` the
    rendered system call, `errno` its number, `path` a file on the host or in the container, `hint` what would help.
    """

    code = "error"

    def __init__(
        self,
        message: str,
        *,
        pointer: str | None = None,
        call: str | None = None,
        errno: int | None = None,
        path: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.pointer = pointer
        self.call = call
        self.errno = errno
        self.path = path
        self.hint = hint

    def __str__(self) -> str:
        """The one line for people; control characters are escaped, so that it stays one line."""
        text = self.message
        if self.pointer is not None:
            text = f"{self.pointer or '/'}: {text}"
        if self.hint is not None:
            text = f"{text} ({self.hint})"
        return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)

    def facts(self) -> dict[str, str | int]:
        """The same for programs: `code`, `msg` and those of the attributes that are set."""
        named: dict[str, str | int | None] = {
            "code": self.code,
            "msg": str(self),
            "pointer": self.pointer,
            "call": self.call,
            "errno": self.errno,
            "path": self.path,
            "hint": self.hint,
        }
        return {name: value for name, value in named.items() if value is not None}


class UsageError(BoxesError):
    code = "usage"


class ConfigError(BoxesError):
    code = "config"


class NotFoundError(BoxesError):
    code = "not-found"


class ExistsError(BoxesError):
    code = "exists"


class StateError(BoxesError):
    code = "state"


class HookError(BoxesError):
    code = "hook"


class KernelError(BoxesError):
    code = "kernel"


class UnsupportedError(BoxesError):
    code = "unsupported"


class ServiceError(BoxesError):
    code = "service"


class ProgramError(BoxesError):
    code = "program"

    def __init__(self, message: str, *, result: object = None, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.result = result


class InternalError(BoxesError):
    code = "internal"


def unforeseen(error: BaseException, where: str = "") -> InternalError:
    """What stands for an exception that has no place among these."""
    if isinstance(error, MemoryError):
        return InternalError("out of memory", hint="see `ulimit -v`")
    return InternalError(f"{where}{type(error).__name__}: {error}")


def located(error: BoxesError, pointer: str) -> BoxesError:
    """The same error, with the part of the config it is about, unless it knows better."""
    if error.pointer is None:
        error.pointer = pointer
    return error


def refused(stage: str, error: OSError, *, pointer: str | None = None, hint: str | None = None) -> KernelError:
    """Wrap what a system call raised: `stage` says what was being done, in a few words."""
    call = getattr(error, "call", None)
    path = error.filename if isinstance(error.filename, str) else None
    cause = error.strerror.lower() if error.strerror else str(error)
    where = call or (f"'{path}'" if path else None)
    text = f"{stage}: {where}: {cause}" if where else f"{stage}: {cause}"
    return KernelError(text, pointer=pointer, call=call, errno=error.errno, path=path, hint=hint)
