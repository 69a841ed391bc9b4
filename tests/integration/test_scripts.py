"""What a script makes is what a worker makes, seen from inside; what is not for a script is made all the same."""

from __future__ import annotations

import contextlib
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import boxes
from tests.support import scripts
from tests.support.bundle import Bundle
from tests.support.runtime import Runtime, wait_until
from tests.support.scripts import Counter, counted
from tests.support.zygote import gone

__all__ = ["counted"]
pytestmark = pytest.mark.requires("scripts")
LOOK = r"""
cat /proc/self/mountinfo
grep -E '^(Uid|Gid|Groups|Cap|NoNewPrivs|Seccomp|Sig[BIC]|NSpid|Umask|NStgid|THP|Speculation)' /proc/self/status
cat /proc/self/limits /proc/self/cgroup /proc/self/oom_score_adj
env; pwd; umask; hostname; id
ls -l /proc/self/fd | sed 's/.* \([0-9]* ->\)/\1/'
cut -d' ' -f4-8 /proc/self/stat
cut -d' ' -f41 /proc/self/stat
ls -l /dev /dev/ /tmp /run 2>&1
cat /proc/sys/net/ipv4/ip_forward
ip addr 2>&1
cat /proc/keys 2>/dev/null
cat /proc/self/timerslack_ns /proc/self/personality /proc/self/attr/current 2>/dev/null
for each in /proc/kcore /proc/keys /sys/firmware /proc/acpi /proc/sys /proc/timer_list /proc/sysrq-trigger; do
    stat -c '%n %F %a %t %T' "$each" 2>&1
done
cat /sys/fs/cgroup/*/memory.limit_in_bytes /sys/fs/cgroup/*/pids.max 2>&1
"""
Change = Callable[[dict[str, Any]], None]


def normal(text: str) -> list[str]:
    """Without what is another for each container, and the order of mounts, but for those that others are on."""
    text = re.sub(r"run-[0-9a-f]{16}", "ID", text)
    text = re.sub(r"\b(pipe|socket|net|mnt|pid|ipc|uts|cgroup):\[\d+\]", r"\1", text)
    text = re.sub(r"^\d{3,} \d{3,} \d{3,} 0 -1$", "SESSION", text, flags=re.MULTILINE)
    text = re.sub(r"(NS\w+:\s+)\d\d\d+", r"\1", text)
    text = re.sub(r"\w\w\w +\d+ \d\d:\d\d", "DATE", text)
    found, mounts, places = [], list[str](), dict[str, str]()
    for line in text.splitlines():
        mount = re.match(r"(\d+) (\d+) (\d+:\d+) (.*)", line)
        if mount:
            places[mount[1]] = mount[4].split()[1]
            rest = re.sub(r"(shared|master):\d+", r"\1", mount[4])
            rest = re.sub(r"\binode64|size=\d+k|nr_inodes=\d+\b", "", rest)
            mounts.append(f"{places.get(mount[2], '?')} {rest}")
        else:
            found.append(re.sub(r"^[0-9a-f]+ (I--\S+) +\d+", r"KEY \1", line))
    return sorted(mounts) + found


class Scene:
    def __init__(self, box: Runtime, rootfs: Path, counted: Counter, patch: pytest.MonkeyPatch) -> None:
        self.box, self.rootfs, self.counted, self.patch = box, rootfs, counted, patch

    def run(self, args: list[str], **more: Any) -> boxes.Result:
        if "config" not in more:
            more["rootfs"] = self.rootfs
        return boxes.run(args, root=self.box.root, **more)

    def both(self, *, used: bool = True, text: str = LOOK, **more: Any) -> list[str]:
        """What both show, which is the same."""
        before = self.counted.used
        if "config" in more:
            more["config"]["process"]["args"] = ["/bin/sh", "-c", text]
        by_script = self.run(["/bin/sh", "-c", text], **more)
        assert self.counted.used - before == used
        with scripts.by_workers(self.patch):
            by_worker = self.run(["/bin/sh", "-c", text], **more)
        assert by_script.exit_code == by_worker.exit_code
        assert by_script.stderr == by_worker.stderr
        shown = normal(by_script.stdout.decode())
        assert shown == normal(by_worker.stdout.decode())
        assert by_script.limits == by_worker.limits
        return shown

    def config(self, change: Change, **more: Any) -> dict[str, Any]:
        made: Any = boxes.Config(args=["true"], rootfs=self.rootfs, **more).document()
        change(made)
        return dict(made)


@pytest.fixture
def scene(box: Runtime, bundle: Bundle, counted: Counter, monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(box, bundle.path / "rootfs", counted, monkeypatch)


USUAL: dict[str, dict[str, Any]] = {
    "plain": {},
    "limits": {"limits": boxes.Limits(memory=64 << 20, pids=20, cpus=0.5)},
    "user": {"user": (1234, 567)},
    "root": {"user": (0, 0)},
    "home": {"env": {"HOME": "/x", "A": "b c"}},
    "empty value": {"env": {"A": ""}},
    "working directory": {"cwd": "/tmp"},
    "writable": {"writable": True},
}


@pytest.mark.parametrize("name", USUAL)
def test_usual_container(scene: Scene, name: str) -> None:
    shown = scene.both(**USUAL[name])
    assert any(line.startswith("CapEff") for line in shown)


def test_binds(scene: Scene, directory: Path) -> None:
    (directory / "source/below").mkdir(parents=True)
    (directory / "source/file").write_text("text")
    for name in ("ro", "rw"):
        (scene.rootfs / name).mkdir()
    (scene.rootfs / "file").touch()
    binds = [
        boxes.Bind(directory / "source", "/ro"),
        boxes.Bind(directory / "source", "/rw", writable=True),
        boxes.Bind(directory / "source/file", "/file"),
        boxes.Bind("/dev/zero", "/dev/zero"),
    ][:3]
    scene.both(binds=binds)


def without(*names: str) -> Change:
    def change(config: dict[str, Any]) -> None:
        for name in names:
            config["linux"].pop(name, None)
            config["process"].pop(name, None)

    return change


def linux(**more: Any) -> Change:
    return lambda config: config["linux"].update(more)


def process(**more: Any) -> Change:
    return lambda config: config["process"].update(more)


def mount(destination: str, kind: str, *options: str) -> Change:
    made = {"destination": destination, "type": kind, "source": kind, "options": list(options)}
    return lambda config: config["mounts"].append(made)


SECCOMP = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "architectures": ["SCMP_ARCH_X86_64"],
    "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 30}],
}
NOFILE = {"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}
BY_CONFIG: dict[str, Change] = {
    "no filter": without("seccomp"),
    "own filter": linux(seccomp=SECCOMP),
    "filter without noNewPrivileges": lambda config: (
        config["linux"].update(seccomp=SECCOMP),
        config["process"].update(noNewPrivileges=False),
    )[0],
    "rlimits": process(rlimits=[NOFILE, {"type": "RLIMIT_CORE", "soft": 0, "hard": 0}]),
    "capabilities": process(
        capabilities={kind: ["CAP_NET_RAW", "CAP_CHOWN"] for kind in ("bounding", "effective", "permitted")}
    ),
    "no capabilities of one's own": without("capabilities"),
    "paths of one's own": linux(
        maskedPaths=["/proc/cpuinfo", "/sys/kernel", "/proc/nothing"], readonlyPaths=["/proc/tty"]
    ),
    "no masks": without("maskedPaths", "readonlyPaths"),
    "another tmpfs": mount("/run", "tmpfs", "nosuid", "size=1m", "mode=700"),
    "mqueue": mount("/dev/mqueue", "mqueue", "nosuid", "noexec", "nodev"),
    "host name": lambda config: config.update(hostname="other"),
    "umask": lambda config: config["process"]["user"].update(umask=0o77),
    "groups": lambda config: config["process"]["user"].update(additionalGids=[7, 8]),
    "no pid namespace": lambda config: config["linux"].update(
        namespaces=[each for each in config["linux"]["namespaces"] if each["type"] != "pid"]
    ),
    "no cgroup namespace": lambda config: config["linux"].update(
        namespaces=[each for each in config["linux"]["namespaces"] if each["type"] != "cgroup"]
    ),
}


@pytest.mark.parametrize("name", BY_CONFIG)
def test_container_by_config(scene: Scene, name: str) -> None:
    scene.both(config=scene.config(BY_CONFIG[name]))


UNUSUAL: dict[str, Change] = {
    "device": linux(devices=[{"path": "/dev/extra", "type": "c", "major": 1, "minor": 3, "uid": 1}]),
    "score": process(oomScoreAdj=500),
    "sysctl": linux(sysctl={"net.ipv4.ip_forward": "1"}),
    "mask outside": linux(maskedPaths=["/etc"]),
    "annotation": lambda config: config.update(annotations={"a": "b"}),
    "missing working directory": process(cwd="/made/here"),
    "propagation": linux(rootfsPropagation="shared"),
    "missing target": mount("/made", "tmpfs"),
}


def test_host_network(scene: Scene) -> None:
    """Without a sysfs there is nothing of the kernel's to be masked in /sys."""
    scene.both(network="host", used=False)


@pytest.mark.parametrize("name", UNUSUAL)
def test_unusual_container(scene: Scene, name: str) -> None:
    config = scene.config(UNUSUAL[name], writable=True)
    first = scene.counted.used
    config["process"]["args"] = ["/bin/sh", "-c", LOOK]
    by_script = scene.run(["sh"], config=config)
    assert scene.counted.used == first
    with scripts.by_workers(scene.patch):
        by_worker = scene.run(["sh"], config=config)
    assert normal(by_script.stdout.decode()) == normal(by_worker.stdout.decode())
    assert by_script.exit_code == by_worker.exit_code


ODD: dict[str, tuple[str, bool]] = {
    "tmp a link": ("rmdir tmp && mkdir var/tmp && ln -s var/tmp tmp", False),
    "dev a link": ("rmdir dev && ln -s /run dev", False),
    "proc missing": ("rmdir proc", False),
    "etc a link": ("rm -r etc && ln -s var etc && echo u:x:65534:65534::/home: >var/passwd", True),
    "etc a link out": ("rm -r etc && ln -s /../../../../etc etc", False),
    "passwd a directory": ("rm etc/passwd && mkdir etc/passwd", True),
    "passwd a link out": ("ln -sf ../../../../../etc/passwd etc/passwd", False),
    "passwd with a home": ("echo u:x:65534:65534::/mnt: >etc/passwd", True),
    "passwd odd": ("printf 'u:x:65534:65534::\\\\200\\\\0:' >etc/passwd", True),
    "passwd a pipe": ("rm etc/passwd && mkfifo etc/passwd", True),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_root(scene: Scene, name: str) -> None:
    command, used = ODD[name]
    subprocess.run(["sh", "-ec", command], cwd=scene.rootfs, check=True)
    text = "env; pwd; cat /proc/self/mountinfo" if "pipe" in name else LOOK  # others would wait for its other end
    scene.both(used=used, writable=True, text=text)


SWAPS = {
    "dev": "mv dev away && ln -s /run dev",
    "tmp": "mv tmp away && ln -s ../../../../../tmp tmp",
    "proc": "mv proc away && ln -s /run proc",
    "pts": "mv sys away && touch sys",
    "passwd": "rm -rf etc && mkdir etc && echo u:x:65534:65534::/swapped: >etc/passwd",
}


@pytest.mark.parametrize("name", SWAPS)
def test_root_swapped_after_its_template(scene: Scene, name: str) -> None:
    assert scene.run(["true"], writable=True).ok
    assert scene.counted.used == 1
    subprocess.run(["sh", "-ec", SWAPS[name]], cwd=scene.rootfs, check=True)
    args = ["sh", "-c", LOOK + "; echo $HOME"]
    shown: list[object] = []
    for by_worker in (False, True):
        with scripts.by_workers(scene.patch) if by_worker else contextlib.nullcontext():
            try:
                result = scene.run(args, writable=True)
                shown.append((result.exit_code, normal(result.stdout.decode())))
            except boxes.BoxesError as error:
                shown.append(str(error))
    assert shown[0] == shown[1]
    assert scene.counted.used == 1


def test_mount_in_the_root(scene: Scene) -> None:
    """What is mounted there already comes along; on it nothing is mounted by a script."""
    for where in ("mnt", "tmp"):
        subprocess.run(["mount", "-t", "tmpfs", "in-root", scene.rootfs / where], check=True)
        try:
            shown = scene.both(used=where == "mnt")
            assert any("in-root" in line for line in shown)
        finally:
            subprocess.run(["umount", scene.rootfs / where], check=True)


def test_masked_path_that_has_another_kind_by_then(scene: Scene, directory: Path) -> None:
    """The host's null device is looked at each time."""
    assert scene.run(["true"]).ok
    (directory / "null").write_text("no device")
    subprocess.run(["mount", "--bind", directory / "null", "/dev/null"], check=True)
    try:
        with pytest.raises(boxes.BoxesError, match="null"):
            scene.run(["cat", "/proc/kcore"])
    finally:
        subprocess.run(["umount", "/dev/null"], check=True)
    assert scene.counted.used == 1


def test_home_that_a_mount_covers(scene: Scene, directory: Path) -> None:
    subprocess.run(["sh", "-ec", "rm -r etc && mkdir -p usr/etc && ln -s usr/etc etc"], cwd=scene.rootfs, check=True)
    (scene.rootfs / "etc/passwd").write_text("u:x:65534:65534::/below:\n")
    (directory / "above").mkdir()
    (directory / "above/passwd").write_text("u:x:65534:65534::/above:\n")
    for target in ("/usr/etc", "//etc", "/usr/./etc/"):
        binds = [boxes.Bind(directory / "above", target)]
        before = scene.counted.used
        by_script = scene.run(["sh", "-c", "echo $HOME"], binds=binds)
        assert by_script.stdout == b"/above\n", (target, scene.counted.used - before)


def test_processes_left_without_a_pid_namespace(scene: Scene) -> None:
    config = scene.config(BY_CONFIG["no pid namespace"])
    pids = []
    for _ in range(2):
        pids.append(int(scene.run(["sh", "-c", "sleep 1234 >&- 2>&- & echo $!"], config=config).stdout))
    assert scene.counted.used == 2
    wait_until(lambda: all(map(gone, pids)), "the end of what was left", 5.0)
