"""The ids of containers."""

from __future__ import annotations

from boxes.errors import UsageError

# An id becomes the name of a directory, and of files beside it.
LONGEST = 255
LETTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+")
INNER = LETTERS | frozenset(".-")


def check_id(text: str) -> str:
    """The id as it was given, if it can name a container. Every verb asks here, before an id becomes a path.

    Raises UsageError. That an id cannot begin with '.' or '-' rules out '.', '..' and what looks like an option.
    """
    if not 1 <= len(text) <= LONGEST:
        raise UsageError(f"a container id has 1 to {LONGEST} characters, not {len(text)}")
    if text[0] not in LETTERS or not INNER.issuperset(text):
        raise UsageError(
            f"'{text}' is not a container id: expected letters, digits, '_', '+', '.' and '-', and no '.' or '-' first"
        )
    return text
