"""Values in GVariant's text form, as far as systemd's properties need it: ``true``, ``'text'``, ``uint64 5``,
``['a', 'b']``, ``[byte 0x0f]``. The type is known beforehand; one that the text names has to be the same.

https://docs.gtk.org/glib/gvariant-text-format.html
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_NAMES = {
    "boolean": "b",
    "byte": "y",
    "int16": "n",
    "uint16": "q",
    "int32": "i",
    "uint32": "u",
    "int64": "x",
    "uint64": "t",
    "double": "d",
    "string": "s",
}
_RANGES = {
    "y": (0, 0xFF),
    "n": (-(1 << 15), (1 << 15) - 1),
    "q": (0, (1 << 16) - 1),
    "i": (-(1 << 31), (1 << 31) - 1),
    "u": (0, (1 << 32) - 1),
    "x": (-(1 << 63), (1 << 63) - 1),
    "t": (0, (1 << 64) - 1),
}
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "a": "\a", "v": "\v"}
_LONGEST = 4096


def parse(text: str, signature: str) -> Any:
    """The value of `text`, of one of the types s, b, a number, or an array of these. Raises ValueError."""
    if len(text) > _LONGEST:
        raise ValueError(f"it is longer than {_LONGEST} characters")
    reader = _Reader(text)
    found = reader.value(signature)
    reader.end()
    return found


def microseconds(text: str) -> int:
    """A number of seconds, whole or not, of any type. Raises ValueError."""
    words = text.split()
    if len(words) == 2 and _NAMES.get(words[0], "") not in ("", "b", "s"):
        words = words[1:]
    if len(words) != 1:
        raise ValueError("it is not a number of seconds")
    whole, point, fraction = words[0].partition(".")
    if not _digits(whole) or (point and not _digits(fraction)):
        raise ValueError("it is not a number of seconds")
    return _bounded(int(whole) * 10**6 + int(fraction.ljust(6, "0")[:6]), "t")


def _digits(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 20


def _bounded(number: int, code: str) -> int:
    low, high = _RANGES[code]
    if not low <= number <= high:
        raise ValueError(f"it is not from {low} to {high}")
    return number


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def end(self) -> None:
        if self._next():
            raise ValueError(f"'{self.text[self.at :]}' follows the value")

    def value(self, signature: str) -> Any:
        self._named(signature)
        if signature[0] == "a":
            return self._array(signature[1:])
        if signature == "s":
            return self._string()
        word = self._word()
        if signature == "b":
            if word not in ("true", "false"):
                raise ValueError("it is neither true nor false")
            return word == "true"
        return _bounded(_number(word), signature)

    def _named(self, signature: str) -> None:
        """A type before the value: ``uint64``, ``@as``."""
        first = self._next()
        if not (first == "@" or first.isalpha()):
            return
        before = self.at
        self.at += first == "@"
        word = self._word()
        named = word if first == "@" else _NAMES.get(word)
        if named is None:
            self.at = before  # no name of a type: true, or an error that comes
        elif named != signature:
            raise ValueError(f"its type is '{signature}', not '{named}'")

    def _array(self, element: str) -> Any:
        self._take("[")
        found: list[Any] = []
        while self._next() != "]":
            if found:
                self._take(",")
            found.append(self.value(element))
        self._take("]")
        return bytes(found) if element == "y" else found

    def _string(self) -> str:
        quote = self._next()
        if quote not in ("'", '"'):
            raise ValueError("a text is in quotes")
        self.at += 1
        found = []
        while (letter := self._letter()) != quote:
            if letter == "\\":
                letter = self._letter()
                if letter in ("u", "U"):
                    raise ValueError("escapes by number are not supported")
                letter = _ESCAPES.get(letter, letter)
            if letter == "\0":
                raise ValueError("it has a NUL byte")
            found.append(letter)
        return "".join(found)

    def _letter(self) -> str:
        if self.at == len(self.text):
            raise ValueError("the text does not end")
        self.at += 1
        return self.text[self.at - 1]

    def _word(self) -> str:
        self._next()
        start = self.at
        while self.at < len(self.text) and (self.text[self.at].isalnum() or self.text[self.at] in "+-._"):
            self.at += 1
        return self.text[start : self.at]

    def _next(self) -> str:
        """The next character that is no blank, or nothing."""
        while self.at < len(self.text) and self.text[self.at] in " \t\n":
            self.at += 1
        return self.text[self.at : self.at + 1]

    def _take(self, letter: str) -> None:
        if self._next() != letter:
            raise ValueError(f"'{letter}' is missing")
        self.at += 1


def _number(word: str) -> int:
    """In C's notation."""
    digits = word.lstrip("+-")
    if len(word) - len(digits) > 1 or len(digits) > 24 or not digits.isascii() or "_" in digits:
        raise ValueError("it is not a number")
    base = 16 if digits[:2].lower() == "0x" else 8 if digits[:1] == "0" and len(digits) > 1 else 10
    try:
        return int(word, base)
    except ValueError:
        raise ValueError("it is not a number") from None
