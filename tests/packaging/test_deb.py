"""The Debian package: what is in it, and a host of its own in which it is installed, used and removed."""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path

import pytest

from boxes.version import VERSION
from tests.support.marks import requires
from tests.support.rootfs import Template

CHECKOUT = Path(__file__).parents[2]
PACKAGE = "boxes-runtime"

# A copy of this host in a mount namespace, in memory; `$1` is a directory, the rest a command to run there as root.
HOST = """set -e
mount --make-rprivate /
mount -t tmpfs tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay overlay -o lowerdir=/,upperdir="$1/upper",workdir="$1/work" "$1/root"
for each in proc sys dev tmp; do mount --rbind /$each "$1/root/$each"; done
mount -t tmpfs tmpfs "$1/root/run"
mkdir "$1/root/run/old"
cd "$1/root"
pivot_root . run/old
umount -l /run/old
shift
exec "$@"
"""


@pytest.fixture(scope="module")
def deb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("deb")
    subprocess.run([CHECKOUT / "scripts/make-deb", folder], check=True, capture_output=True, timeout=300)
    (found,) = folder.iterdir()
    return found


def field(deb: Path, name: str) -> str:
    done = subprocess.run(["dpkg-deb", "--field", deb, name], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_it_says_what_it_is(deb: Path) -> None:
    assert field(deb, "Package") == PACKAGE
    assert field(deb, "Version") == VERSION
    assert "python3 (>= 3.11)" in field(deb, "Depends")
    assert field(deb, "Suggests") == "criu, nftables, passt"


def test_what_is_in_it(deb: Path) -> None:
    listing = subprocess.run(["dpkg-deb", "--contents", deb], check=True, capture_output=True, text=True).stdout
    rows = [line.split() for line in listing.splitlines()]
    files = {row[5].removeprefix("."): row[0] for row in rows}
    assert {row[1] for row in rows} == {"root/root"}
    assert files["/usr/bin/box"] == files["/usr/lib/boxes/libexec/inner"] == "-rwxr-xr-x"
    assert files["/usr/lib/boxes/linux/_syscalls.abi3.so"] == "-rw-r--r--"
    assert {"/usr/share/man/man1/box.1.gz", f"/usr/share/doc/{PACKAGE}/copyright"} <= files.keys()
    assert [name for name in files if "pycache" in name or name.startswith(("/etc", "/usr/share/boxes/"))] == []


def test_lintian_has_nothing_to_say(deb: Path) -> None:
    done = subprocess.run(["lintian", "--allow-root", deb], capture_output=True, text=True, timeout=120)
    assert done.stdout == "", done.stdout


def test_the_manual_page_has_no_warnings(deb: Path, tmp_path: Path) -> None:
    subprocess.run(["dpkg-deb", "--extract", deb, tmp_path], check=True)
    page = tmp_path / "usr/share/man/man1/box.1.gz"
    done = subprocess.run(
        ["man", "--warnings", "-l", page],
        capture_output=True,
        text=True,
        env={"MANROFFSEQ": "", "PATH": "/usr/bin:/bin"},
    )
    assert done.stderr == ""
    assert "checkpoint" in done.stdout


USE = """set -e
touch {bundle}/new
dpkg --install {deb} >{bundle}/log 2>&1 || {{ cat {bundle}/log; exit 1; }}
stamp=$(stat -c %Y%i /usr/lib/boxes/__pycache__/bundle.*)
cd /tmp
/usr/bin/box --version | head -n 1
/usr/bin/python3 -c 'import boxes; print(boxes.__file__)'
/usr/bin/box run --bundle {bundle} deb-test
# It was good as it was made: no command has written another.
[ "$stamp" = "$(stat -c %Y%i /usr/lib/boxes/__pycache__/bundle.*)" ] && echo compiled
[ -e /etc/apparmor.d/box ] && echo profile || echo no profile
dpkg --purge {package} >{bundle}/log 2>&1 || {{ cat {bundle}/log; exit 1; }}
find /etc /usr /var /run -xdev -name 'box*' ! -path '/var/lib/dpkg/*' -newer {bundle}/new | grep . || echo nothing is left
"""


@requires("root")
def test_it_is_installed_used_and_removed(deb: Path, tmp_path: Path) -> None:
    host, bundle = tmp_path / "host", Path(tempfile.mkdtemp(prefix="boxes-deb-", dir="/tmp"))
    host.mkdir()
    try:
        Template(bundle / "template").populate(bundle / "rootfs")
        config = {
            "ociVersion": "1.0.2",
            "process": {
                "user": {"uid": 0, "gid": 0},
                "args": ["/bin/echo", "inside"],
                "env": ["PATH=/bin"],
                "cwd": "/",
            },
            "root": {"path": "rootfs"},
            "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
            "linux": {"namespaces": [{"type": kind} for kind in ("pid", "mount", "uts", "ipc", "network")]},
        }
        (bundle / "config.json").write_text(json.dumps(config))
        copy = bundle / "package.deb"
        copy.write_bytes(deb.read_bytes())
        script = USE.format(deb=copy, bundle=bundle, package=PACKAGE)
        command = ["unshare", "--mount", "sh", "-c", HOST, "sh", str(host), "sh", "-c", script]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    finally:
        subprocess.run(["rm", "-r", bundle], check=True)
    assert done.returncode == 0, done.stderr + done.stdout
    assert done.stdout.splitlines() == [
        f"box version {VERSION}",
        "/usr/lib/python3/dist-packages/boxes/__init__.py",
        "inside",
        "compiled",
        "no profile" if old_parser() else "profile",
        "nothing is left",
    ], done.stderr


def old_parser() -> bool:
    profile = CHECKOUT / "packaging/apparmor"
    return subprocess.run(["apparmor_parser", "-QTK", profile], capture_output=True).returncode != 0


def test_the_profile_is_right_but_for_what_an_old_parser_does_not_know(tmp_path: Path) -> None:
    text = (CHECKOUT / "packaging/apparmor").read_text()
    assert "  userns,\n" in text
    older = tmp_path / "profile"
    older.write_text(text.replace("  userns,\n", "").replace("abi/4.0", "abi/3.0"))
    done = subprocess.run(["apparmor_parser", "-QTK", older], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_changelog_and_version_agree() -> None:
    assert (CHECKOUT / "debian/changelog").read_text().startswith(f"{PACKAGE} ({VERSION}) ")
