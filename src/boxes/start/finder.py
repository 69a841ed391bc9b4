"""What the bundle begins with: it makes modules of what lies in it. boxes/bundle.py says how that is laid out.

The launcher executes this once, as one code with what it has read of the bundle as globals. It is loaded at every
start: short names, no classes but the one that the import system asks, nothing that is not used.
"""

from __future__ import annotations

import gc

gc.disable()  # a command ends before its garbage matters; from here on, since reading the bundle makes a lot of objects

import sys
from _frozen_importlib import BuiltinImporter, ModuleSpec
from _frozen_importlib_external import ExtensionFileLoader
from marshal import loads
from posix import fstat, pread, stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

    Place = tuple[int, int]
    Entry = Any  # (name, path, is a package, time, size, code or its place), or (name,)

    fd: int  # the bundle
    start: int  # where its body begins
    packs: dict[str, list[Place]]
    index_place: Place
    identity: str  # of package and interpreter
    size: int  # of the body
    named: bool  # whether the interpreter should know where its library is


if (
    identity != "\0".join((sys.modules["boxes"].__path__[0], sys.version, sys.path[1]))
    or fstat(fd).st_size != start + size
    or (named and sys.path[0][-6:] != "/start")
):
    raise ValueError("of another package or interpreter, cut short, or without its other half")


class Bundle:
    """For sys.meta_path: modules that are imported later than their pack, or are in none."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> Any:
        if not name.startswith("boxes."):
            return None
        if name in packs and modules["boxes"].bundled:
            load(name)
        entry = ready.get(name) or index().get(name)
        if entry is None or not current(entry):
            return None
        spec: Any = ModuleSpec(name, Loader, origin=entry[1], is_package=entry[2])
        spec.has_location = True
        if entry[2]:
            spec.submodule_search_locations = [entry[1].rpartition("/")[0]]
        return spec

    @staticmethod
    def create_module(spec: object) -> None:
        return None

    @staticmethod
    def exec_module(module: ModuleType) -> None:
        name = module.__name__
        code = loads(ready[name][5]) if name in ready else part(index()[name][5])  # noqa: S302 - our own
        exec(code, module.__dict__)  # noqa: S102 - our own


def part(place: Place) -> Any:
    return loads(pread(fd, place[1], start + place[0]))  # noqa: S302 - our own


def index() -> dict[str, Entry]:
    global found
    if found is None:
        found = part(index_place)
    return found


def current(entry: Entry) -> bool:
    """Whether the source is the one that was compiled."""
    try:
        facts = stat(entry[1])
        if (int(facts.st_mtime) & 0xFFFFFFFF, facts.st_size) == entry[3:5]:
            return True
    except FileNotFoundError:
        pass
    except OSError:
        return False  # which says nothing of the bundle
    modules["boxes"].bundled = False
    return False


def load(pack: str) -> None:
    """Make all modules of a pack, up to one that is not current. That whose import asks for it is only held ready."""
    for place in packs[pack]:
        for entry in part(place):
            name = entry[0]
            if name == pack:
                ready[name] = entry
            elif name in modules:
                pass
            elif len(entry) == 1:
                enter(ModuleSpec(name, builtin, origin="built-in"))
            elif not current(entry):
                return
            elif entry[5] is None:
                enter(ModuleSpec(name, ExtensionFileLoader(name, entry[1]), origin=entry[1]))
            else:
                make(name, entry)


def make(name: str, entry: Entry) -> None:
    """A module without the import system's ceremony."""
    module = modules[name] = Module(name)
    module.__file__ = entry[1]
    parent, _, leaf = name.rpartition(".")
    module.__package__ = parent
    if entry[2]:
        module.__package__ = name
        module.__path__ = [entry[1].rpartition("/")[0]]
    try:
        code = entry[5]
        exec(loads(code) if isinstance(code, bytes) else code, module.__dict__)  # noqa: S102, S302 - our own
    except BaseException:
        del modules[name]
        raise
    setattr(modules[parent], leaf, module)


def enter(spec: Any) -> None:
    """A built-in module, or an extension module whose place is known."""
    module = spec.loader.create_module(spec)
    module.__spec__ = spec
    module.__loader__ = spec.loader
    spec.loader.exec_module(module)
    modules[spec.name] = module
    parent, _, leaf = spec.name.rpartition(".")
    if parent:
        setattr(modules[parent], leaf, module)


found: dict[str, Entry] | None = None
ready: dict[str, Entry] = {}
modules: dict[str, Any] = sys.modules
modules["boxes"].bundled = True
Module = type(sys)
Loader: Any = Bundle
builtin: Any = BuiltinImporter
sys.meta_path.insert(0, Loader)
load(next((word for word in sys.argv if word in packs), ""))
