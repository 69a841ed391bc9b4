"""Attaching a network namespace to a network of the Container Network Interface, and detaching it.

SPEC.md of CNI 1.1.0, section 3. What there is to do is a plain `attachment` (JSON), which is written down before the
first plugin runs and suffices to undo it, also when the configuration has changed since.
"""

from __future__ import annotations

import base64
import os
import re
import time

from boxes.errors import BoxesError, ConfigError, ServiceError, UnsupportedError, UsageError
from boxes.linux import syscalls
from boxes.linux.fd import Fds
from boxes.network import cni_cache, cni_plugin
from boxes.network.cni_conf import NetworkConf, newer_or_same

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    Attachment = dict[str, Any]

_ID = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.\-]*")
_IFNAMSIZ = 16
_NSFS = 0x6E736673  # <linux/magic.h>
_SETTLING = 15.0  # seconds for plugins of a runtime that was killed


def plan(
    conf: NetworkConf,
    container: str,
    interface: str,
    *,
    path: Sequence[str] = cni_plugin.PATH,
    arguments: Sequence[tuple[str, str]] = (),
    capabilities: dict[str, Any] | None = None,
    cache: str = cni_cache.DIRECTORY,
    timeout: float = cni_plugin.TIMEOUT,
) -> Attachment:
    """The attachment, when all that can be known before has been checked. Nothing is changed: the plugins are only
    asked for their versions."""
    if not _ID.fullmatch(container):
        raise UsageError(f"CNI allows letters, digits, '_', '.' and '-' in a container's id, not '{container}'")
    if not 0 < len(interface) < _IFNAMSIZ or interface in (".", "..") or re.search(r"[/:\s]", interface):
        raise UsageError(f"'{interface}' is not the name of an interface")
    _check_capabilities(conf, capabilities or {})
    return {
        "network": conf.name,
        "file": conf.file,
        "config": conf.text,
        "plugins": conf.plugins,
        "version": agreed_version(conf, path, timeout),
        "checked": conf.checked,
        "path": list(path),
        "container": container,
        "interface": interface,
        "arguments": [list(pair) for pair in arguments],
        "capabilities": capabilities or {},
        "cache": cache,
        "timeout": timeout,
        "stage": "planned",
    }


def _check_capabilities(conf: NetworkConf, wanted: dict[str, Any]) -> None:
    for name in wanted:
        if name not in conf.capabilities():
            text = f"the CNI network '{conf.name}' ('{conf.file}') has no plugin with the capability '{name}'"
            raise UnsupportedError(text, path=conf.file)


def agreed_version(conf: NetworkConf, path: Sequence[str], timeout: float = cni_plugin.TIMEOUT) -> str:
    """The newest version of the protocol that the configuration offers and all its plugins speak."""
    programs = dict.fromkeys(cni_plugin.find(plugin["type"], path, conf.file) for plugin in conf.plugins)
    spoken = {program: cni_plugin.versions(program, conf.file, timeout) for program in programs}
    for version in conf.versions:
        if all(version in known for known in spoken.values()):
            return version
    program, known = next((name, known) for name, known in spoken.items() if conf.versions[0] not in known)
    text = f"CNI configuration '{conf.file}' is for CNI {', '.join(conf.versions)}, and its plugin '{program}' speaks "
    hint = 'let the configuration offer an older one too: "cniVersions"'
    raise UnsupportedError(text + (", ".join(known) or "none"), path=conf.file, hint=hint)


def add(attachment: Attachment, netns: str, save: Callable[[], None]) -> dict[str, Any]:
    """Attach the network namespace at a path; returns the result of the last plugin. `save` is called when `attachment`
    has changed. Whatever fails, the plugins are told to take it back.

    The path is to be there when the attachment is deleted: without it plugins leave some of their rules.
    """
    cache = _cache(attachment)
    with Fds() as fds:
        cni_cache.lock(attachment["cache"], fds, exclusive=False)
        _clear_stale(attachment, cache, netns)
        attachment |= {"stage": "claiming", "netns": netns}
        save()
        lock = cache.begin(fds)
        attachment["stage"] = "adding"
        save()
        try:
            result = _chain(attachment, lock)
            cache.finish(lock, _kept(attachment, result))
        except BoxesError:
            _take_back(attachment, cache)
            raise
        attachment |= {"stage": "added", "result": result}
        save()
        return result


def _clear_stale(attachment: Attachment, cache: cni_cache.Cache, netns: str) -> None:
    """What a container of this id left: when the machine went down, since addresses are kept on disk, or when a plugin
    could not be made to take it away. Whoever was at our path has gone."""
    kept = cni_cache.read(cache.path)
    if kept is None:
        return
    before = os.stat(cache.path).st_mtime < time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    if before or kept.get("netns") == netns or not _netns(kept):
        _delete_chain({**attachment, "netns": ""}, cache.result())
        cache.remove()


def _chain(attachment: Attachment, lock: int) -> dict[str, Any]:
    result: dict[str, Any] | None = None
    for plugin in attachment["plugins"]:
        result = _call(attachment, plugin, "ADD", result, lock)
        if result is None:
            text = f"CNI plugin '{plugin['type']}' (ADD, '{attachment['file']}'): it gave no result"
            raise ServiceError(text, path=attachment["file"])
    return result or {}


def _take_back(attachment: Attachment, cache: cni_cache.Cache) -> None:
    """Why it failed is what matters to the caller, not that undoing it fails too: `delete` will try again."""
    try:
        _delete_chain(attachment, None)
        cache.remove()
    except BoxesError:
        pass


def delete(attachment: Attachment) -> None:
    """Detach; nothing is an error that is not there any more. Every plugin is told, also after one has failed."""
    cache = _cache(attachment)
    if attachment["stage"] == "claiming":
        cache.abandon()
    if attachment["stage"] not in ("adding", "added"):
        return
    with Fds() as fds:
        if attachment["stage"] == "adding":
            cache.wait(_SETTLING)
        if os.path.isdir(attachment["cache"]):
            cni_cache.lock(attachment["cache"], fds, exclusive=False)
        result = attachment.get("result") or cache.result()
        _delete_chain(attachment, result if newer_or_same(attachment["version"], "0.4.0") else None)
        cache.remove()


def _delete_chain(attachment: Attachment, result: dict[str, Any] | None) -> None:
    failures: list[BoxesError] = []
    for plugin in reversed(attachment["plugins"]):
        try:
            _call(attachment, plugin, "DEL", result)
        except BoxesError as error:
            failures.append(error)
    if failures:
        raise failures[0]


def check(attachment: Attachment) -> None:
    """Whether all is as the plugins left it. Raises what the first says that finds it is not."""
    if not attachment["checked"]:
        return
    if not newer_or_same(attachment["version"], "0.4.0"):
        raise UnsupportedError(f"CNI {attachment['version']} of '{attachment['file']}' knows no CHECK")
    result = attachment.get("result") or _cache(attachment).result()
    if result is None:
        raise ConfigError(f"no result of the CNI network '{attachment['network']}' has been kept")
    for plugin in attachment["plugins"]:
        _call(attachment, plugin, "CHECK", result)


def status(conf: NetworkConf, path: Sequence[str] = cni_plugin.PATH) -> None:
    """Whether containers can be added to a network now. Plugins before CNI 1.1 cannot be asked."""
    version = agreed_version(conf, path)
    if newer_or_same(version, "1.1.0"):
        for plugin in conf.plugins:
            document = {key: value for key, value in plugin.items() if key != "capabilities"}
            _program(plugin, path, conf.file)(
                "STATUS", {**document, "cniVersion": version, "name": conf.name}, {"CNI_PATH": ":".join(path)}
            )


def collect(
    conf: NetworkConf,
    valid: Sequence[tuple[str, str]],
    path: Sequence[str] = cni_plugin.PATH,
    cache: str = cni_cache.DIRECTORY,
) -> list[BoxesError]:
    """Collect garbage: detach what is kept as attached but is not among the `valid` containers and interfaces, then let
    the plugins do the same. Returns what went wrong."""
    if not conf.collected:
        return []
    failures: list[BoxesError] = []
    version = agreed_version(conf, path)
    with Fds() as fds:
        cni_cache.lock(cache, fds, exclusive=True)
        for kept in cni_cache.attachments(cache, conf.name):
            if (kept["containerId"], kept["ifName"]) not in valid:
                failures += _forget(conf, kept, version, path, cache)
        if newer_or_same(version, "1.1.0"):
            failures += _collect_by_plugins(conf, valid, version, path)
    return failures


def valid(network: str, cache: str = cni_cache.DIRECTORY) -> list[tuple[str, str]]:
    """Containers and interfaces that are kept as attached, by whatever runtime, and whose network namespace is there,
    or is not told."""
    kept = cni_cache.attachments(cache, network)
    return [(each["containerId"], each["ifName"]) for each in kept if not each.get("netns") or _netns(each)]


def _forget(conf: NetworkConf, kept: dict[str, Any], version: str, path: Sequence[str], cache: str) -> list[BoxesError]:
    attachment = {
        "network": conf.name,
        "file": conf.file,
        "plugins": conf.plugins,
        "version": version,
        "path": list(path),
        "container": kept["containerId"],
        "interface": kept["ifName"],
        "arguments": kept.get("cniArgs") or [],
        "capabilities": kept.get("capabilityArgs") or {},
        "cache": cache,
        "timeout": cni_plugin.TIMEOUT,
        "netns": kept.get("netns") or "",
    }
    try:
        _delete_chain(attachment, kept.get("result"))
        _cache(attachment).remove()
    except BoxesError as error:
        return [error]
    return []


def _collect_by_plugins(
    conf: NetworkConf, valid: Sequence[tuple[str, str]], version: str, path: Sequence[str]
) -> list[BoxesError]:
    listed = [{"containerID": container, "ifname": interface} for container, interface in valid]
    # Some plugins know the list by the name that an early text of the specification gave it.
    added = {"cni.dev/valid-attachments": listed, "cni.dev/attachments": listed}
    failures: list[BoxesError] = []
    for plugin in conf.plugins:
        document = {key: value for key, value in plugin.items() if key != "capabilities"}
        try:
            _program(plugin, path, conf.file)(
                "GC", {**document, "cniVersion": version, "name": conf.name, **added}, {"CNI_PATH": ":".join(path)}
            )
        except BoxesError as error:
            failures.append(error)
    return failures


def _program(plugin: dict[str, Any], path: Sequence[str], file: str) -> cni_plugin.Call:
    return cni_plugin.Call(cni_plugin.find(plugin["type"], path, file), file)


def _call(
    attachment: Attachment, plugin: dict[str, Any], command: str, result: dict[str, Any] | None, lock: int = -1
) -> dict[str, Any] | None:
    file = attachment["file"]
    program = cni_plugin.find(plugin["type"], attachment["path"], file)
    call = cni_plugin.Call(program, file, lock=lock, timeout=attachment["timeout"])
    return call(command, request(attachment, plugin, result), _parameters(attachment))


def request(attachment: Attachment, plugin: dict[str, Any], result: dict[str, Any] | None) -> dict[str, Any]:
    """What one plugin is given: its configuration, and what the runtime has to say."""
    document = {key: value for key, value in plugin.items() if key not in ("capabilities", "runtimeConfig")}
    document |= {"cniVersion": attachment["version"], "name": attachment["network"]}
    wanted = plugin.get("capabilities") or {}
    given = {name: value for name, value in attachment["capabilities"].items() if wanted.get(name)}
    if given:
        document["runtimeConfig"] = given
    if result is not None:
        document["prevResult"] = result
    return document


def _parameters(attachment: Attachment) -> dict[str, str]:
    return {
        "CNI_CONTAINERID": attachment["container"],
        "CNI_NETNS": _netns(attachment),
        "CNI_IFNAME": attachment["interface"],
        "CNI_ARGS": ";".join(f"{key}={value}" for key, value in attachment["arguments"]),
        "CNI_PATH": ":".join(attachment["path"]),
    }


def _netns(attachment: Attachment) -> str:
    """As long as there is a namespace at its path; else nothing, which plugins take for one that is gone."""
    path = attachment.get("netns", "")
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        return path if syscalls.filesystem(fd) == _NSFS else ""
    finally:
        os.close(fd)


def _kept(attachment: Attachment, result: dict[str, Any]) -> dict[str, Any]:
    return {
        "config": base64.b64encode(attachment["config"].encode()).decode(),
        "netns": _netns(attachment),
        "cniArgs": attachment["arguments"],
        "capabilityArgs": attachment["capabilities"],
        "result": result,
    }


def _cache(attachment: Attachment) -> cni_cache.Cache:
    names = (attachment[key] for key in ("cache", "network", "container", "interface"))
    return cni_cache.Cache(*names)
