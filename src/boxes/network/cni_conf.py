"""Network configurations of the Container Network Interface: which there are, and what they ask for.

SPEC.md of CNI 1.1.0, section 1. Lists (``*.conflist``) come first, then the single plugins of old (``*.conf``,
``*.json``), each in the order of their names, as libcni takes them.
"""

from __future__ import annotations

import json
import os
import re

from boxes.errors import ConfigError, NotFoundError, UnsupportedError, refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Plugin = dict[str, Any]

DIRECTORY = "/etc/cni/net.d"
NEWEST = "1.1.0"
_OLDEST = "0.1.0"  # of a configuration that does not say
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.\-]*")
_VERSION = re.compile(r"\d+\.\d+\.\d+")


class NetworkConf:
    """One network. `versions` are those of the protocol that it may be used with, the newest first; `text` is the file
    as it was read; `plugins` its own and those of the directory of its name."""

    def __init__(self, file: str, text: str) -> None:
        self.file = file
        self.text = text
        content = _parsed(file, text)
        if "type" in content and "plugins" not in content:  # a single plugin, as before CNI 1.0
            content = {key: content[key] for key in ("name", "cniVersion") if key in content} | {"plugins": [content]}
        self.name = _string(file, content, "name")
        if not _NAME.fullmatch(self.name):
            raise _wrong(file, f"the name '{self.name}' is not one of letters, digits, '_', '.' and '-'")
        self.versions = _versions(file, content)
        self.checked = not _flag(file, content, "disableCheck")
        self.collected = not _flag(file, content, "disableGC")
        inlined = _flag(file, content, "loadOnlyInlinedPlugins")
        if inlined and "plugins" not in content:
            raise _wrong(file, "loadOnlyInlinedPlugins is true, and there are no plugins")
        self.plugins = _plugins(file, content.get("plugins", []))
        if not inlined:
            self.plugins += _beside(file, self.name)
        if not self.plugins:
            raise _wrong(file, "there are no plugins")

    def capabilities(self) -> set[str]:
        """Those that any plugin wants to be told of."""
        return {name for plugin in self.plugins for name, wanted in _capabilities(self.file, plugin).items() if wanted}


def load(name: str, directory: str = DIRECTORY) -> NetworkConf:
    """The network of this name. Files that cannot be read as one are an error only if it is not found elsewhere."""
    broken: list[ConfigError] = []
    for file in _files(directory, ".conflist") + _files(directory, ".conf", ".json"):
        try:
            conf = NetworkConf(file, _read(file))
        except ConfigError as error:
            broken.append(error)
            continue
        if conf.name == name:
            return conf
    if broken:
        raise broken[0]
    raise NotFoundError(f"there is no CNI network '{name}' in '{directory}'", path=directory)


def all_of(directory: str = DIRECTORY) -> list[NetworkConf]:
    """Every network that can be read; of those of one name the first."""
    found: dict[str, NetworkConf] = {}
    for file in _files(directory, ".conflist") + _files(directory, ".conf", ".json"):
        try:
            conf = NetworkConf(file, _read(file))
        except ConfigError:
            continue
        found.setdefault(conf.name, conf)
    return list(found.values())


def newer_or_same(version: str, than: str) -> bool:
    return _key(version) >= _key(than)


def _key(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def _files(directory: str, *endings: str) -> list[str]:
    try:
        names = sorted(os.listdir(directory))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise refused("cannot read the CNI configurations", error) from error
    paths = [f"{directory}/{name}" for name in names if os.path.splitext(name)[1] in endings]
    return [path for path in paths if os.path.isfile(path)]


def _read(file: str) -> str:
    try:
        with open(file, encoding="utf-8") as stream:
            return stream.read()
    except OSError as error:
        raise refused("cannot read the CNI configuration", error) from error
    except UnicodeDecodeError:
        raise _wrong(file, "is not UTF-8") from None


def _wrong(file: str, text: str) -> ConfigError:
    return ConfigError(f"CNI configuration '{file}': {text}", path=file)


def _parsed(file: str, text: str) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except ValueError as error:
        raise _wrong(file, f"is not JSON: {error}") from None
    if not isinstance(content, dict):
        raise _wrong(file, "is not an object")
    return content


def _string(file: str, content: dict[str, Any], key: str) -> str:
    value = content.get(key)
    if not isinstance(value, str) or not value:
        raise _wrong(file, f"{key} is not a string" if key in content else f"{key} is missing")
    return value


def _flag(file: str, content: dict[str, Any], key: str) -> bool:
    """true or false; as text too, as libcni has it."""
    value = content.get(key, False)
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if not isinstance(value, bool):
        raise _wrong(file, f"{key} is neither true nor false")
    return value


def _versions(file: str, content: dict[str, Any]) -> list[str]:
    listed = content.get("cniVersions", [])
    if not isinstance(listed, list):
        raise _wrong(file, "cniVersions is not a list")
    own = content.get("cniVersion") or ("" if listed else _OLDEST)
    wanted = [*listed, own] if own else listed
    for version in wanted:
        if not isinstance(version, str) or not _VERSION.fullmatch(version):
            raise _wrong(file, f"{version!r} is not a version of CNI")
    known = sorted({version for version in wanted if newer_or_same(NEWEST, version)}, key=_key, reverse=True)
    if not known:
        text = f"CNI configuration '{file}' is for CNI {', '.join(wanted)}: {NEWEST} is the newest known here"
        raise UnsupportedError(text, path=file)
    return known


def _plugins(file: str, listed: Any) -> list[Plugin]:
    if not isinstance(listed, list):
        raise _wrong(file, "plugins is not a list")
    for number, plugin in enumerate(listed):
        if not isinstance(plugin, dict):
            raise _wrong(file, f"plugin {number} is not an object")
        kind = _string(file, plugin, "type")
        if "/" in kind or "\0" in kind or kind in (".", ".."):
            raise _wrong(file, f"the type '{kind}' is not the name of a file")
        _capabilities(file, plugin)
    return listed


def _capabilities(file: str, plugin: Plugin) -> dict[str, bool]:
    found = plugin.get("capabilities") or {}
    if not isinstance(found, dict) or not all(isinstance(value, bool) for value in found.values()):
        raise _wrong(file, f"the capabilities of '{plugin['type']}' are not an object of true and false")
    return found


def _beside(file: str, name: str) -> list[Plugin]:
    """Plugins from elsewhere: the files in the directory that is named like the network."""
    found: list[Plugin] = []
    for path in _files(f"{os.path.dirname(file)}/{name}", ".conf"):
        found += _plugins(path, [_parsed(path, _read(path))])
    return found
