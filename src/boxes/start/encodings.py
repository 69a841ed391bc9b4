"""What the interpreter finds in place of the standard library's `encodings` when the launcher has started it.

It begins by asking for UTF-8, and the package that knows a hundred encodings takes a tenth of the whole start for that.
Here is UTF-8 alone; whoever asks for another encoding gets the real package, loaded into this module. And since it is
the first of our own that comes, and compiled, it has what the launcher would have the interpreter do else.
"""

import codecs
import sys
from codecs import utf_8_decode, utf_8_encode

TYPE_CHECKING = False  # nor `from __future__ import annotations`: that is a file, too
if TYPE_CHECKING:
    from typing import Any

_LIBRARY = sys.path[1] + "/encodings"  # boxes/bundle.py writes sys.path: this folder, then the standard library
# A package, so that `import encodings.idna` works.
__package__ = "encodings"
__path__ = __spec__.submodule_search_locations = [_LIBRARY]


class IncrementalEncoder(codecs.IncrementalEncoder):
    def encode(self, input: str, final: bool = False) -> bytes:
        return utf_8_encode(input, self.errors)[0]


class IncrementalDecoder(codecs.BufferedIncrementalDecoder):
    _buffer_decode = staticmethod(utf_8_decode)  # type: ignore[assignment]  # a built-in, as in the library


def _utf_8_decode(input: "Any", errors: str = "strict", /) -> tuple[str, int]:
    return utf_8_decode(input, errors, True)


_UTF_8 = codecs.CodecInfo(
    name="utf-8",
    encode=utf_8_encode,
    decode=_utf_8_decode,
    incrementalencoder=IncrementalEncoder,
    incrementaldecoder=IncrementalDecoder,
    streamreader=codecs.StreamReader,
    streamwriter=codecs.StreamWriter,
)


def _search(name: str) -> "codecs.CodecInfo | None":
    """For codecs.register: the interpreter asks with lower case and either sign."""
    if name in ("utf-8", "utf_8", "utf8"):
        return _UTF_8
    if "search_function" not in globals():
        with open(_LIBRARY + "/__init__.py", "rb") as source:
            exec(compile(source.read(), source.name, "exec"), globals())  # noqa: S102 - it registers itself, too
    found: "codecs.CodecInfo | None" = globals()["search_function"](name)
    return found


codecs.register(_search)


def start() -> None:
    """What the launcher has the interpreter do, as START of native/launcher.c, which is not compiled yet."""
    import marshal
    import posix

    package, stderr, watcher = sys.argv[1:4]
    del sys.argv[1:4]
    boxes: "Any" = type(sys)("boxes")
    sys.modules["boxes"] = boxes
    boxes.__path__ = [package]
    try:
        fd = posix.open(f"{package}/__pycache__/bundle.{sys.implementation.cache_tag}", posix.O_CLOEXEC)
        size = int.from_bytes(posix.read(fd, 4), "little")
        code, given = marshal.loads(posix.read(fd, size))  # noqa: S302 - our own
        exec(code, given | {"fd": fd, "start": size + 4})  # noqa: S102 - the same
    except Exception:  # noqa: BLE001 - the ordinary import takes over
        pass
    try:
        from boxes.cli.main import main
    except Exception as error:
        if watcher != "0":
            raise  # the watcher makes one line of that
        posix.write(2, f"box: cannot start: {type(error).__name__}: {error}\n".encode("ascii", "replace"))
        posix._exit(1)
    main(int(stderr), int(watcher))
