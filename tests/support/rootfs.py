"""A small root filesystem: busybox with some links, and the probe. Made once, hard-linked into each bundle."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

SUPPORT = Path(__file__).parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "boxes" / "tests"
# Sources that take other options than the probe.
OPTIONS = {"inject": ["-O2"], "enosys": ["-O2"], "linger": ["-static", "-nostdlib", "-Os", "-s"]}
APPLETS = (
    "sh true false cat echo ls ln id env printenv stat readlink grep head wc sort mount umount mknod touch mkdir rmdir rm mv cp chmod chown "
    "sleep kill ps pwd sed awk cut tr test hostname uname tty stty ulimit dd find date od yes nproc setsid sync expr seq "
    "dmesg ip ipcmk sysctl chroot unshare nsenter getopt xargs tee uniq who mountpoint df timeout"
).split()
# Empty: what mounts go on. /dev has what a bundle without a mount there needs.
DIRECTORIES = ("bin", "dev", "etc", "proc", "sys", "tmp", "root", "home", "var", "run", "mnt")


def _compiled(source: Path) -> Path:
    """Compile `source`, unless the cache has the result for these very bytes."""
    digest = hashlib.sha256(source.read_bytes()).hexdigest()[:16]
    target = CACHE / f"{source.stem}-{digest}"
    if target.exists():
        return target
    options = OPTIONS.get(source.stem)
    compiler = (not options and shutil.which("musl-gcc")) or shutil.which("gcc") or "cc"
    partial = target.with_suffix(f".{os.getpid()}")
    options = options or ["-static", "-Os", "-s"]
    subprocess.run([compiler, *options, "-Wall", "-Wextra", "-o", partial, source], check=True)
    partial.rename(target)
    return target


def probe_program(name: str = "probe") -> Path:
    """The compiled probe, as a file on the host: hooks use it there. Other sources here are compiled as well."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return _compiled(SUPPORT / f"{name}.c")


def _busybox() -> Path:
    found = shutil.which("busybox")
    if found is None:
        raise FileNotFoundError("busybox-static is not installed")
    return Path(found)


class Template:
    """The parts of a root filesystem on the device where bundles are made, so that they can be hard-linked."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(mode=0o755)
        self.busybox = directory / "busybox"
        self.probe = directory / "probe"
        shutil.copyfile(_busybox(), self.busybox)
        shutil.copyfile(probe_program(), self.probe)
        for program in (self.busybox, self.probe):
            program.chmod(0o755)

    def populate(self, root: Path) -> Path:
        """Make the root filesystem `root`: about 70 entries, half a millisecond."""
        root.mkdir(mode=0o755)
        for name in DIRECTORIES:
            os.mkdir(root / name, 0o755)
        os.chmod(root / "tmp", 0o1777)
        os.link(self.busybox, root / "bin/busybox")
        os.link(self.probe, root / "bin/probe")
        for name in APPLETS:
            os.symlink("busybox", root / "bin" / name)
        (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home:/bin/sh\n")
        (root / "etc/group").write_text("root:x:0:\nuser:x:1000:\nextra:x:1234:user\n")
        return root
