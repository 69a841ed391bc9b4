"""What CRIU's log says of a failure."""

from __future__ import annotations

from boxes import system as os

_MARK = "Error ("  # `Error (criu/mount.c:1000): …`, after a time
_LIMIT = 64 << 20
_SHOWN = 3
# What a host forbids and CRIU does without. Engines look for words in a message, "not permitted" among them.
_HARMLESS = ("rlimit: Can't setup RLIMIT_NOFILE for self",)


def errors(directory: int, name: str) -> list[str]:
    """The last messages of severity "error", the latest last, without time and source; none without a log."""
    try:
        fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory)
    except OSError:
        return []
    try:
        text = os.read_all(fd, _LIMIT).decode("utf-8", "replace")
    finally:
        os.close(fd)
    return messages(text)


def messages(text: str) -> list[str]:
    found = []
    for line in text.splitlines():
        _, mark, rest = line.partition(_MARK)
        message = rest.partition("): ")[2].strip() or rest.strip()
        if mark and not message.startswith(_HARMLESS):
            found.append(message)
    # The last of all is always that the whole has failed.
    told = [message for message in found if message and not message.endswith(("FAILED.", "failed."))]
    return (told or found)[-_SHOWN:]
