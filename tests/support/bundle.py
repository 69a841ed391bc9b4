"""Bundles: a root filesystem and a config.json which a test changes to its needs."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

# The mounts that nearly every bundle of an engine has. Read-only sysfs: it is the host's, when the network is.
MOUNTS: list[dict[str, Any]] = [
    {"destination": "/proc", "type": "proc", "source": "proc"},
    {
        "destination": "/dev",
        "type": "tmpfs",
        "source": "tmpfs",
        "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
    },
    {
        "destination": "/dev/pts",
        "type": "devpts",
        "source": "devpts",
        "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"],
    },
    {
        "destination": "/dev/shm",
        "type": "tmpfs",
        "source": "shm",
        "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"],
    },
    {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
]


def default_config(cgroups_path: str) -> dict[str, Any]:
    """A config.json that any runtime takes: no capabilities, host network, everything else of its own."""
    return {
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": ["/bin/true"],
            "env": ["PATH=/bin"],
            "cwd": "/",
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs"},
        "mounts": json.loads(json.dumps(MOUNTS)),
        "linux": {
            "namespaces": [{"type": name} for name in ("pid", "ipc", "uts", "mount")],
            "cgroupsPath": cgroups_path,
        },
    }


class Bundle:
    """A directory with `config.json` and `rootfs`. Change `config`; whoever runs the bundle saves it first."""

    def __init__(self, path: Path, identifier: str, cgroups_path: str) -> None:
        self.path = path
        self.id = identifier
        self.config = default_config(cgroups_path)

    @property
    def rootfs(self) -> Path:
        return self.path / "rootfs"

    @property
    def process(self) -> dict[str, Any]:
        return self.config["process"]

    @property
    def linux(self) -> dict[str, Any]:
        return self.config["linux"]

    def args(self, *args: str) -> Bundle:
        """Set `process.args`."""
        self.process["args"] = list(args)
        return self

    def shell(self, script: str) -> Bundle:
        """Let the container run a script by busybox' shell."""
        return self.args("/bin/sh", "-c", script)

    def capabilities(self, *names: str) -> Bundle:
        """Give the process these, in the bounding, permitted and effective sets."""
        self.process["capabilities"] = {kind: list(names) for kind in ("bounding", "permitted", "effective")}
        return self

    def mount(self, destination: str, kind: str, source: str | Path, *options: str) -> Bundle:
        """Add a mount after those there are."""
        entry = {"destination": destination, "type": kind, "source": str(source), "options": list(options)}
        self.config["mounts"].append(entry)
        return self

    def without_mount(self, *destinations: str) -> Bundle:
        """Take mounts away."""
        self.config["mounts"] = [m for m in self.config["mounts"] if m["destination"] not in destinations]
        return self

    def namespace(self, kind: str, path: str | Path | None = None) -> Bundle:
        """Add a namespace, or change the one there is: a new one, or that at `path`."""
        self.without_namespace(kind)
        self.linux["namespaces"].append({"type": kind} if path is None else {"type": kind, "path": str(path)})
        return self

    def without_namespace(self, *kinds: str) -> Bundle:
        """Share these with the runtime."""
        self.linux["namespaces"] = [n for n in self.linux["namespaces"] if n["type"] not in kinds]
        return self

    def user_namespace(self, host_id: int = 100000, size: int = 65536) -> Bundle:
        """Map ids from 0 up to host ids from `host_id` up, and let them own the root filesystem's directories.

        The network becomes a new one too: sysfs can be mounted only by the owner of its network namespace.
        """
        mapping = [{"containerID": 0, "hostID": host_id, "size": size}]
        self.linux.update(uidMappings=mapping, gidMappings=json.loads(json.dumps(mapping)))
        for directory, _, _ in os.walk(self.rootfs):
            os.chown(directory, host_id, host_id)
        return self.namespace("user").namespace("network")

    def hook(self, moment: str, *args: str | Path, **more: Any) -> Bundle:
        """Add a hook; the first of `args` is both its path and its `args[0]`."""
        entry = {"path": str(args[0]), "args": [str(arg) for arg in args], **more}
        self.config.setdefault("hooks", {}).setdefault(moment, []).append(entry)
        return self

    def host_directory(self, name: str = "outside", **files: str) -> Path:
        """A directory beside the root filesystem, with files: what binds show, what escapes would change."""
        directory = self.path / name
        directory.mkdir(exist_ok=True)
        directory.chmod(0o755)
        for file, content in files.items():
            (directory / file).write_text(content)
        return directory

    def save(self) -> Bundle:
        """Write config.json."""
        (self.path / "config.json").write_text(json.dumps(self.config))
        return self
