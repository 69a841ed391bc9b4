"""The caller's ends of a program's streams, for who reads and writes as it runs."""

from __future__ import annotations

import os

from boxes.api.flow import READ, WRITE, Wait, awaitable, blocking
from boxes.errors import StateError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from boxes.api.flow import Flow

_CHUNK = 1 << 16


class End:
    """One end of a pipe. `fileno` is there for those who bring their own loop; it does not block."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._ahead = bytearray()
        os.set_blocking(fd, False)

    def fileno(self) -> int:
        if self._fd < 0:
            raise StateError("the stream is closed")
        return self._fd

    @property
    def closed(self) -> bool:
        return self._fd < 0

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        self.close()

    def release(self) -> int:
        """The descriptor, which is the caller's to close from here on."""
        fd, self._fd = self.fileno(), -1
        return fd

    def _more(self) -> Flow[bool]:
        """Read what there is to `_ahead`; False at the end."""
        while True:
            try:
                part = os.read(self.fileno(), _CHUNK)
                self._ahead += part
                return bool(part)
            except BlockingIOError:
                yield Wait({self.fileno(): READ})

    def _read(self, size: int = -1) -> Flow[bytes]:
        """Bytes: at least one and at most `size`, or all up to the end if it is negative; none at the end."""
        while size < 0 or not self._ahead:
            if not (yield from self._more()):
                break
        return self._taken(len(self._ahead) if size < 0 else size)

    def _read_line(self) -> Flow[bytes]:
        """Bytes up to and with the next newline; the last line may have none; none at the end."""
        while b"\n" not in self._ahead:
            if not (yield from self._more()):
                return self._taken(len(self._ahead))
        return self._taken(self._ahead.index(b"\n") + 1)

    def _taken(self, size: int) -> bytes:
        part = bytes(self._ahead[:size])
        del self._ahead[:size]
        return part

    def _write(self, content: bytes) -> Flow[None]:
        """All of it. Raises BrokenPipeError if nobody reads any more."""
        left = memoryview(content)
        while left:
            try:
                left = left[os.write(self.fileno(), left) :]
            except BlockingIOError:
                yield Wait({self.fileno(): WRITE})


class Reader(End):
    """What a program writes."""

    read = blocking(End._read)
    read_line = blocking(End._read_line)

    def __iter__(self) -> Reader:
        return self

    def __next__(self) -> bytes:
        line = self.read_line()
        if not line:
            raise StopIteration
        return line


class Writer(End):
    """What a program reads; closed, that is at its end."""

    write = blocking(End._write)


class AsyncReader(End):
    """What a program writes."""

    read = awaitable(End._read)
    read_line = awaitable(End._read_line)

    def __aiter__(self) -> AsyncReader:
        return self

    async def __anext__(self) -> bytes:
        line = await self.read_line()
        if not line:
            raise StopAsyncIteration
        return line


class AsyncWriter(End):
    """What a program reads; closed, that is at its end."""

    write = awaitable(End._write)
