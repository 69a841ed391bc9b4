"""What `check` has to say of a config, gathered one after the other: what is wrong is left out, and the rest is looked
at again."""

from __future__ import annotations

from boxes.errors import BoxesError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    from boxes.spec.kinds import Notice

    Result = TypeVar("Result")

_MOST = 100  # findings; more help nobody
ERROR, WARNING = "error", "warning"


class Finding:
    """`level`: "error", if there would be no container, or "warning", if it would not be as written."""

    def __init__(self, level: str, error: BoxesError) -> None:
        self.level = level
        self.error = error

    def __str__(self) -> str:
        return f"{self.level}: {self.error}"

    def facts(self) -> dict[str, str | int]:
        return {"level": self.level, **self.error.facts()}


class Findings:
    """Findings about `config`, of which what is wrong is taken out. Pointers are those of the config as it was.

    `validate` says of a config whether it is whole. It is the first that is tried, and what comes after can rely on it.
    """

    def __init__(self, config: Any, validate: Callable[[Any], list[Notice]]) -> None:
        self.config = config
        self._validate = validate
        self._valid = False
        self.found: list[Finding] = []
        self._numbers: dict[int, list[int]] = {}  # of lists that something was taken out of: the former positions
        self._told: set[str] = set()
        self._removed: set[str] = set()

    def validated(self) -> bool:
        """Whether there is something left to look at."""
        notices = self.tried(lambda: self._validate(self.config))
        for notice in notices or ():
            self.warning(notice.message, notice.pointer)
        self._valid = notices is not None
        return self._valid

    def tried(self, function: Callable[[], Result]) -> Result | None:
        """What the function returns, once nothing that it minds is left; None if that cannot be left out."""
        while len(self.found) < _MOST:
            try:
                return function()
            except BoxesError as error:
                if not self._noted(error):
                    return None
        return None

    def is_known(self, pointer: str) -> bool:
        """Whether there is a finding about a part of the config, or about something in it."""
        return any(f"{finding.error.pointer}/".startswith(f"{pointer}/") for finding in self.found)

    def error(self, error: BoxesError) -> None:
        error.pointer = None if error.pointer is None else self._former(error.pointer)
        self._add(ERROR, error)

    def warning(self, text: str, pointer: str | None = None) -> None:
        if pointer is None and text.startswith("/"):
            pointer, _, text = text.partition(": ")
        self._add(WARNING, BoxesError(text, pointer=None if pointer is None else self._former(pointer)))

    def _add(self, level: str, error: BoxesError) -> None:
        if str(error) not in self._told:
            self._told.add(str(error))
            self.found.append(Finding(level, error))

    def _noted(self, error: BoxesError) -> bool:
        """Note an error and take what it is about out. False if there is nothing to take out."""
        pointer = error.pointer
        former = None if pointer is None else self._former(pointer)
        missed = former in self._removed  # it was taken out, and is required: then its holder goes
        if not missed:
            error.pointer = former
            self._add(ERROR, error)
        if pointer is None or former is None:
            return False
        self._removed.add(former)
        removed = self._remove(pointer.rpartition("/")[0] if missed else pointer)
        return removed and (not self._valid or self._settled())

    def _settled(self) -> bool:
        """Take out what cannot be without what was taken out."""
        while True:
            try:
                self._validate(self.config)
                return True
            except BoxesError as error:
                if not self._remove(error.pointer or ""):
                    return False

    def _remove(self, pointer: str) -> bool:
        names = _names(pointer)
        while names:
            holder = self._at(names[:-1])
            if _has(holder, names[-1]):
                break
            names.pop()
        if not names or (len(names) == 1 and names[0] in ("ociVersion", "root")):
            return False
        if isinstance(holder, list):
            self._positions(holder).pop(int(names[-1]))
            holder.pop(int(names[-1]))
        else:
            del holder[names[-1]]
        return True

    def _at(self, names: list[str]) -> Any:
        value = self.config
        for name in names:
            if not _has(value, name):
                return None
            value = value[int(name)] if isinstance(value, list) else value[name]
        return value

    def _positions(self, listed: list[Any]) -> list[int]:
        return self._numbers.setdefault(id(listed), list(range(len(listed))))

    def _former(self, pointer: str) -> str:
        value, found = self.config, ""
        for part in pointer.split("/")[1:]:
            name = _plain(part)
            if isinstance(value, list) and _has(value, name):
                part = str(self._positions(value)[int(name)])
            found += f"/{part}"
            value = self._child(value, name)
        return found

    def _child(self, value: Any, name: str) -> Any:
        if not _has(value, name):
            return None
        return value[int(name)] if isinstance(value, list) else value[name]


def _has(value: Any, name: str) -> bool:
    if isinstance(value, list):
        return name.isdigit() and int(name) < len(value)
    return isinstance(value, dict) and name in value


def _names(pointer: str) -> list[str]:
    return [_plain(part) for part in pointer.split("/")[1:]]


def _plain(part: str) -> str:
    return part.replace("~1", "/").replace("~0", "~")
