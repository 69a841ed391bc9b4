"""Making box a runtime of an engine: which settings of the engine's file that takes, and writing them there.

What else the file holds stays as it is, byte for byte: settings are put into the text, and the result is parsed and
compared with what it should be before it replaces the file.
"""

from __future__ import annotations

import os

from boxes.errors import ConfigError, NotFoundError, UsageError, refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from boxes.container.settings_text import Setting

FILES = {
    "podman": "/etc/containers/containers.conf",
    "docker": "/etc/docker/daemon.json",
    "containerd": "/etc/containerd/config.toml",
}
# Of an ordinary user, below the directory of their configuration.
_USER_FILES = {
    "podman": "containers/containers.conf",
    "docker": "docker/daemon.json",
    "containerd": "containerd/config.toml",
}
AFTERWARDS = {
    "podman": "containers that there are keep the runtime they were made with",
    "docker": "then 'systemctl reload docker', or restart it where the default changes",
    "containerd": "then 'systemctl restart containerd'",
}
# podman's own lists, which a list in a file takes the place of.
_SPEAK_JSON = ["crun", "runc", "kata", "runsc", "youki", "krun", "ocijail"]
_WITHOUT_CGROUPS = ["crun", "krun"]
_CRI = {2: "io.containerd.grpc.v1.cri", 3: "io.containerd.cri.v1.runtime"}  # by the version of containerd's file


def usual_file(engine: str) -> str:
    """Where the engine looks for its settings, if root or this user starts it."""
    if os.geteuid() == 0:
        return FILES[engine]
    home = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    return f"{home}/{_USER_FILES[engine]}"


def snippet(engine: str, runtime: str, *, default: bool = False) -> str:
    """What a file that is not there yet would hold."""
    return _merged(engine, "", runtime, default, FILES[engine])


def write(engine: str, path: str, runtime: str, *, default: bool = False) -> bool:
    """Merge the settings into the file at `path`, which need not exist; of directories only the usual is made. False
    if it has them already.

    Raises ConfigError, which names the place, if the file is not understood; NotFoundError without the directory.
    """
    usual = path == usual_file(engine)
    path = os.path.realpath(path)
    try:
        with open(path, encoding="utf-8", newline="") as file:
            before = file.read()
            status = os.fstat(file.fileno())
    except FileNotFoundError:
        before, status = "", None
        _find_directory(os.path.dirname(path), make=usual)
    except UnicodeDecodeError as error:
        raise ConfigError(f"'{path}' is not UTF-8: {error.reason}", path=path) from error
    except OSError as error:
        raise refused(f"cannot read '{path}'", error) from error
    after = _merged(engine, before, runtime, default, path)
    if after == before:
        return False
    _replace(path, after, status)
    return True


def runtime_path() -> str:
    """The `box` that belongs to this package, as an absolute path; else the first in PATH. Raises NotFoundError."""
    import shutil

    directory = os.path.dirname(os.path.abspath(__file__))
    while directory != "/":
        directory = os.path.dirname(directory)
        candidate = f"{directory}/bin/box"
        if os.access(candidate, os.X_OK):
            return candidate
    found = shutil.which("box")
    if found is None:
        raise NotFoundError("cannot tell where box is installed", hint="see --runtime")
    return os.path.abspath(found)


def _merged(engine: str, text: str, runtime: str, default: bool, path: str) -> str:
    from boxes.container import settings_text

    if any(not c.isprintable() or c in '"\\' for c in runtime) or not runtime.startswith("/"):
        raise UsageError(f"'{runtime}' where an absolute path without quotes is wanted")
    form = settings_text.JSON if engine == "docker" else settings_text.TOML
    parsed = settings_text.parse(text, path, form)
    if engine == "podman":
        settings = _podman(runtime, default, parsed)
    elif engine == "docker":
        settings = _docker(runtime, default)
    else:
        settings = _containerd(runtime, default, parsed, path)
    return settings_text.merge(text, settings, path, form)


def _podman(runtime: str, default: bool, parsed: Mapping[str, object]) -> list[Setting]:
    there = parsed.get("engine")
    engine = there if isinstance(there, dict) else {}
    json = engine.get("runtime_supports_json", _SPEAK_JSON)
    cgroups = engine.get("runtime_supports_nocgroup", _WITHOUT_CGROUPS)
    settings: list[Setting] = [(("engine", "runtime"), "box")] if default else []
    for name, listed in (("runtime_supports_json", json), ("runtime_supports_nocgroup", cgroups)):
        if isinstance(listed, list):
            settings.append((("engine", name), listed if "box" in listed else [*listed, "box"]))
    return [*settings, (("engine", "runtimes", "box"), [runtime])]


def _docker(runtime: str, default: bool) -> list[Setting]:
    settings: list[Setting] = [(("runtimes", "box", "path"), runtime)]
    return [*settings, (("default-runtime",), "box")] if default else settings


def _containerd(runtime: str, default: bool, parsed: Mapping[str, object], path: str) -> list[Setting]:
    version = parsed.get("version", 1 if parsed else 2)
    if version not in _CRI:
        raise ConfigError(f"'{path}': version {version} where 2 or 3 is wanted", pointer="/version", path=path)
    containerd = ("plugins", _CRI[version], "containerd")
    box = (*containerd, "runtimes", "box")
    settings: list[Setting] = [] if parsed else [(("version",), 2)]
    if default:
        settings.append(((*containerd, "default_runtime_name"), "box"))
    return [*settings, ((*box, "runtime_type"), "io.containerd.runc.v2"), ((*box, "options", "BinaryName"), runtime)]


def _find_directory(path: str, *, make: bool) -> None:
    """An engine that has never been set up may lack its usual one; another is a slip of the pen."""
    if os.path.isdir(path):
        return
    if not make:
        raise NotFoundError(f"there is no directory '{path}'", path=path, hint="the engine would not look there either")
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise refused(f"cannot make the directory '{path}'", error) from error


def _replace(path: str, text: str, status: os.stat_result | None) -> None:
    """Atomically; mode and owner stay."""
    made = f"{path}.box-{os.getpid()}"
    try:
        fd = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            with open(fd, "w", encoding="utf-8", newline="") as file:
                if status is not None:
                    os.fchown(fd, status.st_uid, status.st_gid)
                    os.fchmod(fd, status.st_mode & 0o7777)
                file.write(text)
                file.flush()
                os.fsync(fd)
            os.rename(made, path)
        except OSError:
            os.unlink(made)
            raise
    except OSError as error:
        raise refused(f"cannot write '{path}'", error) from error
