"""Values that were meant as one thing and taken for another: in lengths that wrap, in names that climb, in strings that
end early, in annotations that are obeyed.

CVE-2021-43784, CVE-2022-0811, CVE-2024-3154, CVE-2022-4318, CVE-2026-23953, GHSA-w2j5-3rcx-vx7x, CVE-2026-53488,
CVE-2026-53489, CVE-2026-53492, CVE-2026-50195, CVE-2024-8676, CVE-2025-0750, GHSA-7ww5-4wqc-m92c.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.bundle import Bundle
from tests.support.marks import not_for
from tests.support.runtime import Runtime
from tests.support.tally import Row

# No names of parameters that belong to a namespace.
NAMES = [
    "net.core.somaxconn+kernel.core_pattern",
    "net.core.somaxconn=1+kernel.core_pattern",
    "net/../kernel/core_pattern",
    "net.ipv4.conf.../kernel/core_pattern",
    "net/core/../../kernel/core_pattern",
    "kernel.core_pattern",
    "kernel/core_pattern",
    "net.core.somaxconn\nkernel.core_pattern",
    "net.core.somaxconn ",
    "/net/core/somaxconn",
    "net//core/somaxconn",
    "net.",
    ".net",
    "",
    "fs.mqueue.../core_pattern",
    "kernel.shm_rmid_forced/../core_pattern",
    "vm.overcommit_memory",
    "user.max_user_namespaces",
]
UNKNOWN = {
    "io.kubernetes.cri-o.TrySkipVolumeSELinuxLabel": "true",
    "io.kubernetes.cri-o.userns-mode": "host",
    "io.containerd.runc.v2.group": "../../x",
    "io.podman.annotations.privileged": "TRUE",
    "io.podman.annotations.label": "disable",
    "org.criu.config": "/etc/evil.conf",
    "com.docker.network.privileged": "true",
    "run.oci.handler": "krun",
    "run.oci.unknown": "/etc/shadow",
    "org.systemd.property.ExecStart": "'/bin/evil'",
    "module.wasm.image/variant": "compat",
    "boxes.unknown": "1",
    "../../etc": "\n\0"[:1],
}


def clean(result: Any) -> None:
    """It ran, or it said in one line why not."""
    assert result.code in (0, 1)
    assert result.code == 0 or (result.err.startswith("box: ") and result.err.count("\n") == 1), result.err


class TestLengths:
    """CVE-2021-43784: a length of 16 bits wrapped, and a mount's source became settings."""

    def test_source_of_seventy_thousand_bytes_is_a_clean_error(self, box: Runtime, bundle: Bundle) -> None:
        clean(box.run(bundle.mount("/mnt", "bind", "/" + "x" * 70_000, "bind"), timeout=10))

    @pytest.mark.parametrize("destination", ["/" + "a" * 300, "/" + "/a" * 3000, "/" + "x/" * 2500])
    def test_destination_beyond_the_limits_is_a_clean_error(
        self, box: Runtime, bundle: Bundle, destination: str
    ) -> None:
        result = box.run(bundle.mount(destination, "tmpfs", "tmpfs"), timeout=10)
        assert result.code == 1
        clean(result)

    def test_five_hundred_mounts_work(self, box: Runtime, bundle: Bundle) -> None:
        for number in range(500):
            bundle.mount(f"/mnt/{number}", "tmpfs", "tmpfs")
        assert box.run(bundle.shell("grep -c ' /mnt/' /proc/self/mountinfo")).ok().out == "500\n"

    @pytest.mark.parametrize("size", [65_535, 65_536, 65_537, 131_073])
    def test_argument_and_variable_arrive_whole(self, box: Runtime, bundle: Bundle, size: int) -> None:
        bundle.process["env"] = ["A=" + "v" * size, "PATH=/bin"]
        seen = box.probe(bundle, "x" * size) if size < 131_072 else None
        if seen is None:
            clean(box.run(bundle.args("/bin/probe", "x" * size)))
            return
        assert (len(seen["args"][1]), len(seen.environment()["A"])) == (size, size)

    @pytest.mark.parametrize("count", [65_535, 65_536, 65_537])
    def test_groups_beyond_the_kernels_limit_are_a_clean_error(self, box: Runtime, bundle: Bundle, count: int) -> None:
        bundle.process["user"]["additionalGids"] = list(range(1, count + 1))
        result = box.run(bundle)
        clean(result)
        assert result.code == (0 if count < 65_537 else 1)


class TestParameters:
    """CVE-2022-0811: `+` joined a second parameter to the first."""

    @pytest.mark.parametrize("name", NAMES)
    def test_name_that_is_no_namespaced_parameter_is_refused(self, box: Runtime, bundle: Bundle, name: str) -> None:
        before = Path("/proc/sys/kernel/core_pattern").read_text()
        bundle.namespace("network").linux["sysctl"] = {name: "|/evil"}
        box.run(bundle).refused()
        assert Path("/proc/sys/kernel/core_pattern").read_text() == before

    @pytest.mark.parametrize("path", ["/proc/self/ns/", "/proc/thread-self/ns/", "/proc/self/task/../ns/"])
    @pytest.mark.parametrize(
        "kind, file, field",
        [
            ("network", "net", "net.core.somaxconn"),
            ("ipc", "ipc", "kernel.shmmni"),
            ("ipc", "ipc", "fs.mqueue.msg_max"),
            ("uts", "uts", "kernel.domainname"),
            ("uts", "uts", "hostname"),
            ("uts", "uts", "domainname"),
        ],
    )
    def test_of_a_namespace_that_is_the_hosts_is_refused_by_whatever_path_it_is_joined(
        self, box: Runtime, bundle: Bundle, path: str, kind: str, file: str, field: str
    ) -> None:
        """GHSA-w2j5-3rcx-vx7x: it was written to the host's. The host is a namespace of the test's here."""
        bundle.namespace(kind, path + file)
        if "." in field:
            bundle.linux["sysctl"] = {field: "77"}
        else:
            bundle.config[field] = "evil"
        script = "look() { cat /proc/sys/net/core/somaxconn /proc/sys/kernel/shmmni /proc/sys/fs/mqueue/msg_max /proc/sys/kernel/*name; }; "
        script += 'before=$(look); "$@"; status=$?; [ "$before" = "$(look)" ] || echo changed; exit $status'
        prefix = ("unshare", "--net", "--ipc", "--uts", "/bin/sh", "-c", script, "sh")
        result = box.run(bundle, prefix=prefix)
        result.refused(f"the {kind} namespace")
        assert result.out == ""

    @pytest.mark.parametrize("value", ["1\n2", "1\0", "x" * 9000])
    def test_value_that_is_more_than_one_is_a_clean_error(self, box: Runtime, bundle: Bundle, value: str) -> None:
        bundle.namespace("network").linux["sysctl"] = {"net.core.somaxconn": value}
        clean(box.run(bundle))


class TestStrings:
    """A newline or a zero byte begins something else, in whatever language the next reader speaks."""

    @pytest.mark.parametrize("place", ["args", "env", "cwd", "hostname", "source", "destination", "masked", "cgroups"])
    def test_zero_byte_is_refused(self, box: Runtime, bundle: Bundle, place: str) -> None:
        bad = "a\0b"
        changes: dict[str, Callable[[], Any]] = {
            "args": lambda: bundle.args("/bin/echo", bad),
            "env": lambda: bundle.process.update(env=[f"A={bad}"]),
            "cwd": lambda: bundle.process.update(cwd=f"/{bad}"),
            "hostname": lambda: bundle.config.update(hostname=bad),
            "source": lambda: bundle.mount("/mnt", "bind", f"/tmp/{bad}", "bind"),
            "destination": lambda: bundle.mount(f"/{bad}", "tmpfs", "tmpfs"),
            "masked": lambda: bundle.linux.update(maskedPaths=[f"/{bad}"]),
            "cgroups": lambda: bundle.linux.update(cgroupsPath=f"/{bad}"),
        }
        changes[place]()
        box.run(bundle).refused()

    def test_newline_in_a_variable_arrives_as_one_variable(self, box: Runtime, bundle: Bundle) -> None:
        """CVE-2022-4318: the rest of it became an entry of /etc/passwd."""
        bundle.process["env"] = ["HOME=/root\nevil:x:0:0::/:/bin/sh", "PATH=/bin"]
        assert box.probe(bundle)["env"] == ["HOME=/root\nevil:x:0:0::/:/bin/sh", "PATH=/bin"]
        assert "evil" not in (bundle.rootfs / "etc/passwd").read_text()

    def test_log_has_one_object_a_line_whatever_the_image_is_called(self, box: Runtime, bundle: Bundle) -> None:
        log = bundle.path / "log"
        bundle.mount('/mnt"}\n{"level":"info', "bind", '/nowhere"\n\u2028\x1b[2J', "bind")
        box.globals = ("--log", str(log), "--log-format", "json")
        assert box.run(bundle).code == 1
        lines = log.read_text().splitlines()
        assert all(json.loads(line)["level"] for line in lines) and lines

    def test_log_is_not_written_through_a_planted_terminal_sequence(self, box: Runtime, bundle: Bundle) -> None:
        result = box.run(bundle.mount("/mnt", "bind", "/nowhere\x1b[2J", "bind"))
        assert result.code == 1
        assert "\x1b" not in result.err


class TestAnnotations:
    """Data that travels along with an image is no order."""

    @not_for("runc", "crun", reason="they know some of them")
    @pytest.mark.parametrize("name", UNKNOWN)
    def test_unknown_one_changes_nothing(self, box: Runtime, make_bundle: Callable[[], Bundle], name: str) -> None:
        differing = {"monotonic", "boottime", "namespaces", "mountinfo", "cgroup", "fds", "keyring", "hostname"}
        plain = box.probe(make_bundle())
        bundle = make_bundle()
        bundle.config["annotations"] = {name: UNKNOWN[name]}
        result = box.run(bundle.args("/bin/probe"))
        if result.code == 0:
            seen = result.report()
            assert {key for key in plain if plain[key] != seen[key]} <= differing
        else:
            clean(result)


class TestDefaults:
    def test_masks_of_a_new_config_cover_what_is_known_to_tell_of_the_host(self, box: Runtime, bundle: Bundle) -> None:
        """GHSA-7ww5-4wqc-m92c: meters of energy tell what others compute."""
        config = json.loads(
            box("spec", "--bundle", str(bundle.path)).ok().out or (bundle.path / "config.json").read_text()
        )
        expected = "/proc/acpi /proc/asound /proc/interrupts /proc/kcore /proc/keys /proc/latency_stats /proc/timer_list /proc/timer_stats "
        expected += "/proc/sched_debug /proc/scsi /sys/firmware /sys/devices/virtual/powercap"
        assert set(expected.split()) <= set(config["linux"]["maskedPaths"])
        readonly = "/proc/bus /proc/fs /proc/irq /proc/sys /proc/sysrq-trigger"
        assert set(readonly.split()) <= set(config["linux"]["readonlyPaths"])
        assert "CAP_SYS_ADMIN" not in config["process"]["capabilities"]["bounding"]


def test_control_reads_a_length_of_sixteen_bits(tally: Row) -> None:
    """What a hand-made message does whose attribute has a source of 65,536 bytes and more in it."""
    source = b"x" * 65_536 + b"/evil"
    message = struct.pack("=HH", (len(source) + 4) & 0xFFFF, 1) + source
    length, _ = struct.unpack_from("=HH", message)
    tally.red("naive length of 16 bits", message[4:length] != source)


def test_control_joins_a_parameter_to_another(bundle: Bundle, tally: Row) -> None:
    """What a runtime does which joins the names by `+`, as CRI-O's helper took them."""
    parameters = {"net.core.somaxconn": "1+kernel.core_pattern=|/evil"}
    spliced = "+".join(f"{name}={value}" for name, value in parameters.items()).split("+")
    tally.red("naive splicing of parameters", "kernel.core_pattern=|/evil" in spliced)
