"""The configs that we write are right, and confine at least as much as those of other runtimes."""

from __future__ import annotations

from typing import Any

import pytest

from boxes.spec.default import HOST_FILES, default, host_files, masked_paths, throwaway
from boxes.spec.validate import validate

# What runc 1.5 and containerd 2 mask in their default configs.
MASKED_BY_OTHERS = {
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
}
READONLY_BY_OTHERS = {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}


def kinds(config: Any) -> list[str]:
    return sorted(entry["type"] for entry in config["linux"]["namespaces"])


def small(**changes: Any) -> Any:
    return throwaway(
        ["sh", "-c", "id"], **{"uid": 0, "gid": 0, "rootless": False, "tty": False, "host": ["/usr"], **changes}
    )


@pytest.mark.parametrize("rootless", [False, True])
def test_the_template_is_right_and_masks_what_others_mask(rootless: bool) -> None:
    config: Any = default(rootless)
    assert validate(config) == []
    assert set(config["linux"]["maskedPaths"]) >= MASKED_BY_OTHERS
    assert set(config["linux"]["readonlyPaths"]) >= READONLY_BY_OTHERS
    assert config["process"]["noNewPrivileges"] is True
    assert config["root"] == {"path": "rootfs", "readonly": True}
    assert not {"inheritable", "ambient"} & set(config["process"]["capabilities"])


def test_the_template_for_root_denies_devices_and_has_its_own_network() -> None:
    config: Any = default()
    assert kinds(config) == ["cgroup", "ipc", "mount", "network", "pid", "uts"]
    assert config["linux"]["resources"] == {"devices": [{"allow": False, "access": "rwm"}]}


def test_the_rootless_template_maps_one_id_and_sets_no_limits() -> None:
    config: Any = default(True, uid=1000, gid=100)
    assert kinds(config) == ["cgroup", "ipc", "mount", "pid", "user", "uts"]
    assert config["linux"]["uidMappings"] == [{"containerID": 0, "hostID": 1000, "size": 1}]
    assert config["linux"]["gidMappings"] == [{"containerID": 0, "hostID": 100, "size": 1}]
    assert "resources" not in config["linux"]
    assert not any("gid=5" in mount.get("options", ()) for mount in config["mounts"])


def test_only_counters_that_exist_are_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    there = "/sys/devices/system/cpu/cpu1/thermal_throttle"
    monkeypatch.setattr("os.path.isdir", lambda path: path == there)
    assert masked_paths(range(4))[-2:] == ["/sys/firmware", there]


def test_two_templates_share_nothing() -> None:
    first: Any = default()
    first["process"]["capabilities"]["bounding"].append("CAP_SYS_ADMIN")
    first["linux"]["readonlyPaths"].clear()
    second: Any = default()
    assert second["process"]["capabilities"]["bounding"] == ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]
    assert len(second["linux"]["readonlyPaths"]) == 5


def test_a_throwaway_container_has_no_capability_and_no_network() -> None:
    config = small()
    assert validate(config) == []
    assert kinds(config) == ["cgroup", "ipc", "mount", "network", "pid", "uts"]
    assert config["process"]["capabilities"] == {}
    assert config["process"]["noNewPrivileges"] is True
    assert config["process"]["args"] == ["sh", "-c", "id"]
    assert "resources" not in config["linux"]


def test_host_files_are_shown_read_only_all_the_way_down() -> None:
    assert small(host=["/usr", "/etc/passwd"])["mounts"][:2] == [
        {"destination": "/usr", "type": "none", "source": "/usr", "options": ["rbind", "rro", "rnosuid", "rnodev"]},
        {
            "destination": "/etc/passwd",
            "type": "none",
            "source": "/etc/passwd",
            "options": ["rbind", "rro", "rnosuid", "rnodev"],
        },
    ]


def test_a_rootless_throwaway_container_maps_the_caller_to_0() -> None:
    config = small(uid=1000, gid=100, rootless=True)
    assert validate(config) == []
    assert config["process"]["user"] == {"uid": 0, "gid": 0}
    assert config["linux"]["uidMappings"] == [{"containerID": 0, "hostID": 1000, "size": 1}]
    assert config["linux"]["gidMappings"] == [{"containerID": 0, "hostID": 100, "size": 1}]
    assert kinds(config) == ["cgroup", "ipc", "mount", "network", "pid", "user", "uts"]


def test_a_throwaway_container_as_root_runs_as_the_user_asked_for() -> None:
    assert small(uid=65534, gid=65534)["process"]["user"] == {"uid": 65534, "gid": 65534}


def test_a_terminal_has_a_type() -> None:
    assert "TERM=xterm" in small(tty=True)["process"]["env"]
    assert small(tty=True)["process"]["terminal"] is True
    assert not any(entry.startswith("TERM=") for entry in small()["process"]["env"])


def test_nothing_private_of_the_host_is_shown() -> None:
    shown = host_files()
    assert "/usr" in shown
    assert set(shown) <= set(HOST_FILES)
    assert not {"/", "/etc", "/root", "/home", "/var", "/run", "/proc", "/sys", "/dev", "/etc/shadow"} & set(HOST_FILES)
