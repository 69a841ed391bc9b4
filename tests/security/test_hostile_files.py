"""Files of an image that a runtime reads: pipes, sockets, devices, links out of it, and 4 GiB where a line is expected.

CVE-2026-47262, CVE-2025-4437, CVE-2026-40226.
"""

from __future__ import annotations

import os
import resource
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.bundle import Bundle
from tests.support.canaries import Outside
from tests.support.marks import not_for
from tests.support.runtime import ENVIRONMENT, Runtime
from tests.support.tally import Row

pytestmark = not_for("runc", "crun", reason="they look users up in the image, and wait for a pipe there")
MIB = 1 << 20
KINDS = [
    "fifo",
    "socket",
    "zero",
    "4 GiB",
    "one line of 4 MiB",
    "directory",
    "link to proc",
    "link outside",
    "loop",
    "bytes",
]


def plant(place: Path, kind: str, outside: Path) -> None:
    place.unlink(missing_ok=True)
    if kind == "fifo":
        os.mkfifo(place)
    elif kind in ("socket", "zero"):
        mode = stat.S_IFSOCK if kind == "socket" else stat.S_IFCHR
        os.mknod(place, mode | 0o666, os.makedev(1, 5) if kind == "zero" else 0)
    elif kind == "4 GiB":
        with open(place, "wb") as file:
            file.truncate(4 << 30)
    elif kind == "one line of 4 MiB":
        place.write_bytes(b"x" * 4 * MIB)
    elif kind == "directory":
        place.mkdir()
    elif kind == "bytes":
        place.write_bytes(
            b"\xff\xfe:\0x:0:0::/\n" + "user:x:１０００:0::/evil:\n".encode() + b"\n".join([b":::::"] * 9)
        )
    else:
        targets = {"link to proc": "/proc/kcore", "link outside": str(outside / "marker"), "loop": place.name}
        place.symlink_to(targets[kind])


def run_measured(box: Runtime, bundle: Bundle) -> tuple[float, int]:
    """Seconds, and how much memory the runtime had at most, in KiB."""
    command = box.command("run", *box.bundle_args(bundle))
    begun = time.monotonic()
    process = subprocess.Popen(command, env=ENVIRONMENT, stdin=-3, stdout=-3, stderr=subprocess.PIPE)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.stderr is not None
    text = process.stderr.read().decode()
    process.stderr.close()
    assert process.returncode in (0, 1), text
    assert "Traceback" not in text
    return time.monotonic() - begun, usage.ru_maxrss


@pytest.mark.parametrize("name", ["passwd", "group"])
@pytest.mark.parametrize("kind", KINDS)
def test_user_database_neither_holds_it_up_nor_fills_its_memory(
    box: Runtime, bundle: Bundle, outside: Outside, name: str, kind: str
) -> None:
    bundle.process["user"] = {"uid": 1000, "gid": 1000}
    usually, usual = run_measured(box, bundle)
    plant(bundle.rootfs / "etc" / name, kind, outside.path)
    seconds, most = run_measured(box, bundle)
    assert seconds < usually + 1
    assert most < usual + 3 * 1024  # a file is read as far as 1 MiB, and split
    outside.unchanged()


@pytest.mark.parametrize("kind", ["fifo", "socket", "directory", "link outside", "loop", "4 GiB"])
@pytest.mark.parametrize("what", ["program", "interpreter"])
def test_program_that_is_none_is_an_error_at_once(
    box: Runtime, bundle: Bundle, outside: Outside, what: str, kind: str
) -> None:
    place = bundle.rootfs / "home/evil"
    plant(place, kind, outside.path)
    if not place.is_symlink() and kind != "directory":
        place.chmod(0o755)
    script = bundle.rootfs / "home/script"
    script.write_text("#!/home/evil\n")
    script.chmod(0o755)
    begun = time.monotonic()
    result = box.run(bundle.args("/home/evil" if what == "program" else "/home/script"), timeout=10)
    result.refused("/home/")
    assert time.monotonic() - begun < 1
    outside.unchanged()


def test_files_beside_the_config_steer_nothing(box: Runtime, bundle: Bundle) -> None:
    """CVE-2026-40226: settings shipped with an image were believed. Only config.json is read."""
    for name in (".nspawn", "box.conf", "boxes.toml", ".box", "config.toml", ".krun_config.json"):
        for folder in (bundle.path, bundle.rootfs):
            (folder / name).write_text("[Exec]\nPrivateUsers=no\nCapability=all\n")
    assert box.probe(bundle).capabilities()["effective"] == set()


def test_control_waits_for_a_pipe(bundle: Bundle, tally: Row) -> None:
    os.mkfifo(bundle.path / "passwd")
    code = f"open({str(bundle.path / 'passwd')!r}).read()"
    with pytest.raises(subprocess.TimeoutExpired):
        subprocess.run([sys.executable, "-c", code], timeout=0.5, check=False)
    tally.red("naive open() of a pipe", True)


def test_control_reads_all_of_a_large_file(bundle: Bundle, tally: Row) -> None:
    plant(bundle.path / "passwd", "4 GiB", bundle.path)

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (256 * MIB, 256 * MIB))

    code = f"open({str(bundle.path / 'passwd')!r}).read()"
    result = subprocess.run([sys.executable, "-c", code], preexec_fn=limited, capture_output=True, check=False)
    tally.red("naive read() of 4 GiB in 256 MiB", b"MemoryError" in result.stderr)
