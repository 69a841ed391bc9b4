"""Standard output and standard error, unbuffered: `box` leaves by `_exit`, which flushes nothing."""

from __future__ import annotations

from boxes import system as os
from boxes.errors import refused


class OutputClosedError(Exception):
    """Nobody reads standard output any more. Not worth a message: `box list | head -1` is no failure of ours."""


def write(text: str) -> None:
    """Write all of `text` to standard output. Raises OutputClosedError, KernelError."""
    try:
        write_all(1, encoded(text))
    except BrokenPipeError as error:
        raise OutputClosedError from error
    except OSError as error:
        raise refused("write to standard output", error) from error


def write_all(fd: int, data: bytes) -> None:
    """Write all of `data`, also to a descriptor which somebody made non-blocking. Raises OSError."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:
            import select

            poller = select.poll()
            poller.register(fd, select.POLLOUT)
            poller.poll()


def encoded(text: str) -> bytes:
    """Arguments come back as the bytes they were; what the locale cannot say becomes UTF-8."""
    try:
        return os.fsencode(text)
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogateescape")


def printable(text: str) -> str:
    """`text` on one line and without control characters: names in tables were chosen by others."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Columns of at least 12 characters, three blanks between them; the last one is not padded."""
    lines = [header, *(tuple(printable(cell) for cell in row) for row in rows)]
    widths = [max(12, *(len(line[column]) + 3 for line in lines)) for column in range(len(header) - 1)]
    return "".join(
        "".join(cell.ljust(width) for cell, width in zip(line, widths, strict=False)) + line[-1] + "\n"
        for line in lines
    )
