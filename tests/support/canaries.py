"""The host as a test left it: trees that an escape would change, and the files a runtime is made of."""

from __future__ import annotations

import hashlib
import os
import stat
import sys
import sysconfig
from pathlib import Path
from typing import Any

from tests.support.bundle import Bundle
from tests.support.runtime import CHECKOUT

# What an escape is known to aim at; see core(5) and proc(5).
PARAMETERS = ("kernel/core_pattern", "kernel/modprobe", "kernel/hostname", "kernel/sysrq", "fs/protected_symlinks")


def tree(top: Path) -> list[tuple[Any, ...]]:
    """All there is below a directory, with what would tell of a change."""
    found = []
    for directory, names, files in os.walk(top):
        for name in sorted([".", *names, *files]):
            path = Path(directory, name)
            info = path.lstat()
            content = path.read_bytes() if stat.S_ISREG(info.st_mode) and info.st_size < 1 << 20 else b""
            found.append((str(path), info.st_mode, info.st_uid, info.st_gid, info.st_ino, content))
    return sorted(found)


class Outside:
    """A host directory beside the root filesystem, whose tree is compared before and after."""

    def __init__(self, bundle: Bundle) -> None:
        self.path = bundle.host_directory(marker="canary", ptmx="canary", null="canary")
        (self.path / "deep").mkdir()
        self.before = tree(self.path)

    def changed(self) -> bool:
        return tree(self.path) != self.before

    def unchanged(self) -> None:
        assert tree(self.path) == self.before

    def restore(self) -> None:
        """Take away what a control made, so that the next one is judged on its own."""
        known = {entry[0] for entry in self.before}
        for entry in reversed(tree(self.path)):
            path = Path(entry[0])
            if entry[0] not in known and path.name != ".":
                path.rmdir() if stat.S_ISDIR(entry[1]) else path.unlink()
        for name in ("marker", "ptmx", "null"):
            (self.path / name).write_text("canary")
        self.before = tree(self.path)


def runtime_files() -> list[Path]:
    """The interpreter, its compiled modules, and ours."""
    stdlib, package = Path(sysconfig.get_path("stdlib")), CHECKOUT / "src" / "boxes"
    found = [Path(sys.executable).resolve(), Path("/usr/bin/python3").resolve(), CHECKOUT / "bin" / "box"]
    for folder, patterns in ((stdlib, ("*.py", "lib-dynload/*.so")), (package, ("**/*.py", "**/*.so", "libexec/*"))):
        found += [path for pattern in patterns for path in folder.glob(pattern)]
    return sorted(set(found))


def digests() -> dict[str, str]:
    """sha256 of each, and the kernel's parameters that matter."""
    found = {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in runtime_files() if path.exists()}
    parameters = {name: Path("/proc/sys") / name for name in PARAMETERS}
    return found | {name: path.read_text() for name, path in parameters.items() if path.exists()}
