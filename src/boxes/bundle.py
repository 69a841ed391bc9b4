"""The bytecode of the whole package in one file, for a start in half the time.

The runtime is started for every command, and importing its small modules one by one would take longer than starting
the interpreter. `write` puts what the interpreter has compiled, the .pyc files, into one file beside them. The launcher
executes what that file begins with, a finder: before a module that is asked for, it makes those which that one needs,
in their order and without the import system's ceremony. A module is taken from the file as long as its source is the
one that was compiled (by time and size, as for a .pyc). Without the file, or with an old one, all works, later.

    file: u32 size of the head, head (marshal: code of `_FINDER`, entries), code of the modules (marshal)
    entries: {name: (offset, size, path, is a package, time and size of the source, names of what it imports)}
"""

from __future__ import annotations

import marshal
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    Entry = tuple[int, int, str, bool, int, int, tuple[str, ...]]

_FINDER = """
import sys
from _frozen_importlib import ModuleSpec
from marshal import loads
from posix import pread, stat

class Bundle:
    @staticmethod
    def find_spec(name, path=None, target=None):
        entry = entries.get(name)
        if entry is None or not current(entry):
            return None
        for needed in entry[6]:
            if needed not in modules:
                make(needed, (name,))
        spec = ModuleSpec(name, Bundle, origin=entry[2], is_package=entry[3])
        spec.has_location = True
        if entry[3]:
            spec.submodule_search_locations = [entry[2].rpartition("/")[0]]
        return spec

    @staticmethod
    def create_module(spec):
        return None

    @staticmethod
    def exec_module(module):
        execute(module, entries[module.__name__])

def current(entry):
    try:
        facts = stat(entry[2])
        good = (int(facts.st_mtime) & 0xFFFFFFFF, facts.st_size) == entry[4:6]
    except OSError:
        good = False
    if not good:
        modules["boxes"].bundled = False
    return good

def execute(module, entry):
    exec(loads(pread(fd, entry[1], start + entry[0])), module.__dict__)

def make(name, above):
    entry = entries[name]
    if name in above or not current(entry):
        return
    for needed in entry[6]:
        if needed not in modules:
            make(needed, (*above, name))
    if name in modules:
        return
    module = modules[name] = Module(name)
    module.__file__ = entry[2]
    parent, _, leaf = name.rpartition(".")
    module.__package__ = parent
    if entry[3]:
        module.__package__ = name
        module.__path__ = [entry[2].rpartition("/")[0]]
    try:
        execute(module, entry)
    except BaseException:
        del modules[name]
        raise
    setattr(modules[parent], leaf, module)

modules = sys.modules
modules["boxes"].bundled = True
Module = type(sys)
sys.meta_path.insert(0, Bundle)
"""


def path(package: str) -> str:
    """Where the file is, for this interpreter: its bytecode is no other's."""
    return f"{package}/__pycache__/bundle.{sys.implementation.cache_tag}"


def refresh() -> None:
    """Write the file for the package this process runs from, if it came without a good one and that may be written."""
    package = sys.modules["boxes"]
    if getattr(package, "bundled", None) is True or "__file__" in vars(package):
        return  # with a good one, or imported as a library
    directory = package.__path__[0]
    if os.access(f"{directory}/__pycache__", os.W_OK):
        try:
            write(directory)
        except (OSError, SyntaxError):
            pass  # as it was: it works without


def write(package: str, installed: str | None = None) -> None:
    """Write the file anew, whole or not at all; `installed`: where the package will be, if not here. Raises OSError."""
    sources = _sources(package)
    entries: dict[str, Entry] = {}
    codes = bytearray()
    for name, source in sources.items():
        shown = (installed or package) + source[len(package) :]
        code, time, size = _compiled(source, shown)
        needed = tuple(_needs(name, source, sources))
        entries[name] = (len(codes), len(code), shown, shown.endswith("/__init__.py"), time, size, needed)
        codes += code
    head = marshal.dumps((compile(_FINDER, "<bundle>", "exec"), entries))
    _replace(path(package), len(head).to_bytes(4, "little") + head + codes)


def _replace(target: str, content: bytes) -> None:
    made = f"{target}.{os.getpid()}"
    fd = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        with open(fd, "wb") as file:
            file.write(content)
        os.rename(made, target)
    except OSError:
        os.unlink(made)
        raise


def _sources(package: str) -> dict[str, str]:
    """The modules below the package, by name; not the package itself, of which the launcher makes an empty one."""
    found = {}
    for directory, _, names in sorted(os.walk(package)):
        for name in sorted(names):
            source = f"{directory}/{name}"
            if name.endswith(".py") and source != f"{package}/__init__.py":
                module = "boxes." + source[len(package) + 1 : -3].replace("/", ".")
                found[module.removesuffix(".__init__")] = source
    return found


def _needs(name: str, source: str, sources: dict[str, str]) -> list[str]:
    """The modules of ours that one imports as it is executed, its packages first."""
    import ast

    found = [name.rpartition(".")[0]]
    with open(source, "rb") as file:
        tree = ast.parse(file.read())
    for node in tree.body:
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.append(node.module)
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return [module for module in found if module in sources]


def _compiled(source: str, shown: str) -> tuple[bytes, int, int]:
    """A module's code, which calls its source `shown`, and the source's time and size."""
    import __future__

    import ast

    with open(source, "rb") as file:
        facts = os.fstat(file.fileno())
        tree = ast.parse(file.read())
    # The statement is for the compiler, which is told otherwise; to execute it costs a look for a module.
    tree.body = [node for node in tree.body if not (isinstance(node, ast.ImportFrom) and node.module == "__future__")]
    flags = __future__.annotations.compiler_flag
    code = compile(tree, shown, "exec", flags=flags, dont_inherit=True, optimize=2)
    return marshal.dumps(code), int(facts.st_mtime) & 0xFFFFFFFF, facts.st_size


if __name__ == "__main__":
    write(os.path.abspath(sys.argv[1]))
