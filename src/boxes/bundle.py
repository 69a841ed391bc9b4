"""The bytecode of the whole package in one file, for a start in half the time.

The runtime is started for every command, and importing its small modules one by one would take longer than starting
the interpreter. `write` compiles them into one file. The launcher executes what that file begins with, a finder, and
that makes the modules which the verb on the command line needs, all at once: they lie side by side in a *pack*, in the
order in which they need each other. What is imported later is found one by one, or is a pack of its own. A module is
taken from the file as long as its source is the one that was compiled (by time and size, as for a .pyc). Without the
file, or with an old one, all works, later.

    file: u32 size of the head, head, body; all is marshalled, and offsets count from the body's beginning
    head: (code of boxes/start/finder.py, {"packs": {verb or module: [(offset, size)]}, "index_place": (offset, size),
        "size": of the body, "identity": of package and interpreter, "named": whether there is a file NAME._pth})
    packs: lists of entries, none so long that the memory to read it into were a new mapping
    entry: (name, path, is a package, time and size of the file, code), without code for an extension module; or
        (name,). In a module's pack the code is marshalled once more: most of what that needs is there when it is asked
        for, and the code of it need not be read.
    index: {name: entry}, with the (offset, size) of the code in its place

`write` also adds what spares the interpreter the search for its library, see `_write_path`.
"""

from __future__ import annotations
import __future__

import ast
import errno
import fcntl
import marshal
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType
    from typing import Any

# What is surely imported on the way of a verb, or after a module, beyond what these import as they are executed.
_QUERY = ("boxes.container.lifecycle", "boxes.spec.identifier")
_CREATE = (
    *_QUERY,
    "boxes.container.creation",
    "boxes.spec.schema_resources",
    "boxes.plan.descriptors",
)
_CHANGE = ("boxes.container.store", "boxes.spec.identifier", "boxes.cgroups.legacy")
_PACKS: dict[str, tuple[str, ...]] = {
    "": (),
    "state": _QUERY,
    "start": (*_QUERY, "boxes.container.reports"),
    "kill": (*_QUERY, "boxes.cli.signals"),
    "delete": (*_QUERY, "boxes.cgroups.legacy"),
    "pause": (*_CHANGE, "boxes.container.pause"),
    "resume": (*_CHANGE, "boxes.container.pause"),
    "update": (*_CHANGE, "boxes.container.update", "boxes.spec.resources", "boxes.cli.quantities"),
    "events": (*_CHANGE, "boxes.container.events", "boxes.cgroups.statistics_legacy"),
    "create": _CREATE,
    "run": _CREATE,
    "exec": ("boxes.container.exec", "boxes.cgroups.legacy", "boxes.spec.identifier"),
    "boxes.container.builder": ("boxes.container.planning",),
    "boxes.cgroups.legacy": ("boxes.cgroups.devices",),
    "boxes.cgroups.unified": ("boxes.cgroups.devices",),
    "boxes.container.foreground": ("boxes.container.reports",),
    "boxes.container.reports": ("boxes.plan.rlimits",),
    "boxes.container.networking": ("boxes.container.networks",),
    "boxes.container.networks.bridge": ("boxes.plan.mounts",),
    "boxes.container.network_joining": (),
}

_PART = 48 << 10  # bytes; malloc(3) gives more than 128 KiB a mapping of its own


class _Module:
    """A module as it is packed: `path` is where its file will be, `version` its time and size, `needed` what it imports
    as it is executed."""

    def __init__(
        self, path: str, version: tuple[int, int], code: CodeType | None, needed: tuple[str, ...] = ()
    ) -> None:
        self.facts = (path, path.endswith("/__init__.py"), *version)
        self.code = code
        self.needed = needed


def path(package: str) -> str:
    """Where the file is, for this interpreter: its bytecode is no other's."""
    return f"{package}/__pycache__/bundle.{sys.implementation.cache_tag}"


def refresh() -> None:
    """Write the file for the package this process runs from, if that has no good one and it may be written."""
    package = sys.modules["boxes"]
    bundled = getattr(package, "bundled", None)  # False: with an old one; None: without
    if bundled is True or "__file__" in vars(package):
        return  # with a good one, or imported as a library
    directory = package.__path__[0]
    if bundled is None and _is_good(directory):
        return  # only this start could not read it
    if os.access(f"{directory}/__pycache__", os.W_OK):
        try:
            write(directory)
        except (OSError, SyntaxError):
            pass  # as it was: it works without


def _is_good(package: str) -> bool:
    """Whether the next start will find what `write` would write, as far as the head of the file says."""
    try:
        with open(path(package), "rb") as file:
            head = file.read(int.from_bytes(file.read(4), "little"))
            facts = marshal.loads(head)[1]  # noqa: S302 - our own
            size = os.fstat(file.fileno()).st_size - 4 - len(head)
            found = (facts["size"], facts["named"], facts["identity"])
        named = _path_file(package)
        if named is not None:
            with open(named, "rb") as file:
                if file.read() != _path_lines():
                    return False
    except (OSError, EOFError, ValueError, TypeError, LookupError):
        return False
    return bool(found == (size, named is not None, _identity(package)))


def write(package: str, installed: str | None = None) -> None:
    """Write the file anew, whole or not at all; `installed`: where the package will be, if not here. Raises OSError."""
    modules = _modules(package, installed or package)
    body = bytearray()

    def add(content: Any) -> tuple[int, int]:
        data = marshal.dumps(content)
        body.extend(data)
        return len(body) - len(data), len(data)

    packs = {name: [add(part) for part in _parts(_pack(name, modules))] for name in _PACKS}
    index = {
        name: (name, *module.facts, add(module.code)) for name, module in modules.items() if module.code is not None
    }
    facts: dict[str, Any] = {"packs": packs, "index_place": add(index), "size": len(body)}
    facts["identity"] = _identity(installed or package)
    facts["named"] = _path_file(package) is not None
    head = marshal.dumps((_finder(package), facts))
    _write_path(package)
    _replace(path(package), len(head).to_bytes(4, "little") + head + body)


def _identity(package: str) -> str:
    """Of package and interpreter: bytecode has the paths of one, and is for the other."""
    return f"{package}\0{sys.version}\0{_library()}"


def _library() -> str:
    """Where the standard library is. `os` does not know: it is frozen, and for an interpreter under another's name, as
    the launcher starts it, it says that it were beside that."""
    return os.path.dirname(ast.__file__)


def _path_file(package: str) -> str | None:
    """The file that says it to the interpreter, or None if it cannot be said: the file has comments and no quotes."""
    library = _library()
    plain = "#" not in package + library and library.isprintable() and library == library.strip()
    interpreter = os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)
    name = os.path.basename(interpreter)
    if not name.startswith("!"):  # else it runs under that name already
        name = interpreter.replace("/", "!")
    return f"{package}/__pycache__/{name}._pth" if plain and os.path.isfile(name.replace("!", "/")) else None


def _write_path(package: str) -> None:
    """Say where the standard library is, in a file that the interpreter reads instead of looking for it.

    The launcher tells the interpreter NAME as its own; for that, NAME._pth is the whole of sys.path. It begins with a
    folder in which `encodings`, the first import of every interpreter, is a small file: boxes/start/encodings.py.
    """
    file = _path_file(package)
    if file is not None:
        _replace(file, _path_lines())


def _path_lines() -> bytes:
    lines = ["../start", _library(), f"{_library()}/lib-dynload"]
    return "".join(f"{line}\n" for line in lines).encode()


def _parts(entries: list[tuple[object, ...]]) -> list[list[tuple[object, ...]]]:
    parts: list[list[tuple[object, ...]]] = [[]]
    for entry in entries:
        if len(marshal.dumps([*parts[-1], entry])) > _PART and parts[-1]:
            parts.append([])
        parts[-1].append(entry)
    return parts


def _pack(pack: str, modules: dict[str, _Module]) -> list[tuple[object, ...]]:
    """What a verb or a module needs, each after what it imports itself."""
    ordered: dict[str, None] = {}

    def visit(name: str, above: tuple[str, ...]) -> None:
        if name in ordered or name in above:
            return
        for needed in (name.rpartition(".")[0], *modules[name].needed) if name in modules else ():
            visit(needed, (*above, name))
        ordered[name] = None

    later = pack in modules
    roots = (pack,) if later else ("boxes.cli.main", f"boxes.cli.{pack or 'main'}")
    for root in (*roots, *_PACKS[pack]):
        visit(root, ())
    builtins: list[tuple[object, ...]] = [(name,) for name in ordered if name in sys.builtin_module_names]
    code = _marshalled if later else _plain
    return builtins + [(name, *modules[name].facts, code(modules[name])) for name in ordered if name in modules]


def _plain(module: _Module) -> CodeType | None:
    return module.code


def _marshalled(module: _Module) -> bytes | None:
    return None if module.code is None else marshal.dumps(module.code)


def _modules(package: str, installed: str) -> dict[str, _Module]:
    """The modules below the package, by name, and the extension modules that they import; not the package itself, of
    which the launcher makes an empty one."""
    found: dict[str, _Module] = {}
    for directory, _, names in sorted(os.walk(package)):
        for name in sorted(names):
            source = f"{directory}/{name}"
            if name.endswith(".py") and source != f"{package}/__init__.py":
                module = "boxes." + source[len(package) + 1 : -3].replace("/", ".")
                found[module.removesuffix(".__init__")] = _compiled(source, installed + source[len(package) :])
    for name in {name for module in found.values() for name in module.needed} - found.keys():
        file = _extension(name, package)
        if file is not None:
            shown = installed + file.removeprefix(package) if file.startswith(f"{package}/") else file
            found[name] = _Module(shown, _version(os.stat(file)), None)
    return found


def _version(facts: os.stat_result) -> tuple[int, int]:
    return int(facts.st_mtime) & 0xFFFFFFFF, facts.st_size


def _compiled(source: str, shown: str) -> _Module:
    """A module's code, which calls its source `shown`, and what goes with it."""
    with open(source, "rb") as file:
        version = _version(os.fstat(file.fileno()))
        tree = ast.parse(file.read())
    needed = _needs(tree)
    code = _code(tree, shown)
    return _Module(shown, version, code, needed)


def _needs(tree: ast.Module) -> tuple[str, ...]:
    """What a module imports as it is executed, packages first; among it are names that are no modules."""
    found = []
    for node in tree.body:
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            parts = name.split(".")
            found += [".".join(parts[: length + 1]) for length in range(len(parts))]
    return tuple(dict.fromkeys(found))


def _finder(package: str) -> CodeType:
    with open(f"{package}/start/finder.py", "rb") as source:
        return _code(ast.parse(source.read()), "<bundle>")


def _code(tree: ast.Module, shown: str) -> CodeType:
    # `from __future__ import annotations` is for the compiler, which is told otherwise; to execute it costs a look for
    # a module.
    tree.body = [node for node in tree.body if not (isinstance(node, ast.ImportFrom) and node.module == "__future__")]
    flags = __future__.annotations.compiler_flag
    code: CodeType = compile(tree, shown, "exec", flags=flags, dont_inherit=True, optimize=2)
    return code


def _extension(name: str, package: str) -> str | None:
    """The file of an extension module: one of ours, or one of the standard library's own."""
    from importlib.machinery import EXTENSION_SUFFIXES

    inside = name.removeprefix("boxes.").replace(".", "/")
    base = f"{package}/{inside}" if name.startswith("boxes.") else f"{_library()}/lib-dynload/{name}"
    files = [base + suffix for suffix in EXTENSION_SUFFIXES]
    return next((file for file in files if os.path.isfile(file)), None)


def _replace(target: str, content: bytes) -> None:
    """Write a file whole or not at all. There is one name for new ones, which whoever writes has locked: what a killed
    process has left there is used again. BlockingIOError if somebody else is at it."""
    made = f"{target}.new"
    with open(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644), "wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.path.samestat(os.fstat(file.fileno()), os.stat(made)):  # theirs, which has its own name by now
            raise BlockingIOError(errno.EAGAIN, "another process has just written it", target)
        try:
            file.truncate()
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            os.rename(made, target)
        except OSError:
            os.unlink(made)
            raise


if __name__ == "__main__":
    try:
        write(os.path.abspath(sys.argv[1]))
    except OSError as error:
        sys.exit(f"bundle.py: cannot write '{error.filename}': {error.strerror}")
